"""The rules of pg_hba.conf, tried against a server: who is a member of a group gets in, and nobody else does."""

import contextlib

import mission_control_database as layer
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.server_hba import hba_content
from throwaway_cluster import ThrowawayCluster

PASSWORD = "of-these-people"
WANTED = {
    "database": "mission_control",
    "logins": ["mission_control"],
    "groups": ["deciders", "nobody there"],
    "administrator": "postgres",
    "client_networks": [],
    "client_tls": True,
}
ROLES = """
CREATE ROLE mission_control LOGIN PASSWORD %(password)s;
CREATE ROLE deciders;
CREATE ROLE family IN ROLE deciders;
CREATE ROLE alice LOGIN PASSWORD %(password)s IN ROLE family;
CREATE ROLE bob LOGIN PASSWORD %(password)s;
"""


@pytest.fixture(scope="module")
def server():
    with ThrowawayCluster() as cluster:
        layer.create_database(cluster, "mission_control").close()
        with contextlib.closing(cluster.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(ROLES, {"password": PASSWORD})
            cursor.execute("SHOW hba_file")
            path = cursor.fetchone()[0]
            with open(path, "w", encoding="utf-8") as file:
                file.write(hba_content("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n", WANTED))
            cursor.execute("SELECT pg_reload_conf()")
            cursor.execute("SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL")
            assert cursor.fetchall() == []
        yield cluster


def log_in(server, user, database="mission_control"):
    with contextlib.closing(
        psycopg2.connect(host="127.0.0.1", port=server.port, dbname=database, user=user, password=PASSWORD)
    ):
        return True


def test_a_member_gets_in_by_a_password_and_keeps_other_databases(server):
    assert log_in(server, "alice")
    assert log_in(server, "alice", "postgres")
    assert log_in(server, "mission_control")


def test_others_are_rejected_and_logins_are_kept_out_of_other_databases(server):
    for user, database in (("bob", "mission_control"), ("mission_control", "postgres")):
        with pytest.raises(psycopg2.OperationalError, match="rejects connection"):
            log_in(server, user, database)
    assert log_in(server, "bob", "postgres")
