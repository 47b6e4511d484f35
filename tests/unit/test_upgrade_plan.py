"""When a cluster may be moved to a newer major version: every refusal, and what is found out before."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.upgrade import plan_upgrade

WANTED = {"database": "mission_control", "upgrade_to": "17", "upgrade_confirm": "17"}


def server(**changes):
    return {
        "port": 5432,
        "socket_directory": "/var/run/postgresql",
        "databases": ["mission_control", "postgres", "template0", "template1"],
        "in_recovery": False,
        "standby_slots": [],
        "reload_pending": False,
        "pending_restart": [],
        "configuration_errors": [],
        "hba_errors": [],
        **changes,
    }


def cluster(version="15", **changes):
    return {
        "version": version,
        "name": "main",
        "owner": "postgres",
        "patroni": "",
        "drop_in_content": "port = 5432\nwork_mem = '8MB'\n",
        "drop_in_encoding": "utf-8",
        "data_directory": f"/var/lib/postgresql/{version}/main",
        "drop_in": f"/etc/postgresql/{version}/main/conf.d/mission_control.conf",
        "settings": {"port": "5432"},
        "server": server(),
        **changes,
    }


def host(*clusters, **changes):
    packages = {"postgresql-common": "278", "postgresql-15": "15.1"}
    return {"clusters": list(clusters), "packages": packages, "unregistered_data_directories": [], **changes}


def test_the_holder_of_the_database_is_moved_with_all_its_databases():
    plan = plan_upgrade(host(cluster("14", server=server(databases=["postgres"])), cluster()), WANTED)
    assert (plan["problems"], plan["needed"], plan["old"], plan["new"]) == ([], True, "15/main", "17/main")
    assert plan["packages"] == ["postgresql-17"]
    assert plan["databases"] == ["mission_control", "postgres", "template1"]
    assert not plan["move_port"]


def test_a_port_that_only_the_drop_in_sets_is_moved_first():
    assert plan_upgrade(host(cluster(settings={"port": "5433"})), WANTED)["move_port"]


def test_a_cluster_that_was_moved_before_needs_nothing():
    stopped = cluster("15", server=None)
    plan = plan_upgrade(host(stopped, cluster("17")), {**WANTED, "upgrade_confirm": ""})
    assert (plan["problems"], plan["needed"]) == ([], False)


@pytest.mark.parametrize(
    ("info", "wanted", "part"),
    [
        (host(cluster()), {"upgrade_to": "new"}, "is 'new', but a major version of at least 14 is needed"),
        (host(cluster()), {"upgrade_to": "13"}, "is '13', but a major version of at least 14 is needed"),
        (host(), {}, "No running cluster of this host holds the database mission_control: start the one that does."),
        (host(cluster(server=None)), {}, "No running cluster"),
        (host(cluster("15"), cluster("16")), {}, "15/main and 16/main both hold the database"),
        (host(cluster("18")), {}, "18/main is already newer than PostgreSQL 17"),
        (host(cluster(), cluster("17", server=None)), {}, "17/main already exists"),
        (host(cluster(), unregistered_data_directories=["/var/lib/postgresql/17/main"]), {}, "belongs to no cluster"),
        (host(cluster(patroni="pg_lsclusters")), {}, "15/main is run by Patroni, as pg_lsclusters shows: upgrade all"),
        (host(cluster(server=server(in_recovery=True))), {}, "is a standby"),
        (host(cluster(server=server(standby_slots=["theirs"]))), {}, "has a standby with the slot theirs"),
        (host(cluster(server=server(hba_errors=["line 1: bad"]))), {}, "has an error, correct it first: line 1: bad."),
        (host(cluster(server=server(reload_pending=True))), {}, "not in force yet"),
        (host(cluster(server=server(pending_restart=["port"]))), {}, "not in force yet"),
        (host(cluster()), {"upgrade_confirm": ""}, "set mission_control_postgresql_upgrade_confirm to 17 to proceed."),
        (
            host(cluster()),
            {"upgrade_confirm": "yes"},
            "set mission_control_postgresql_upgrade_confirm to 17 to proceed.",
        ),
    ],
)
def test_every_refusal_is_one_sentence(info, wanted, part):
    plan = plan_upgrade(info, {**WANTED, **wanted})
    assert len(plan["problems"]) == 1
    assert part in plan["problems"][0]
    assert not plan["needed"]


def test_the_confirmation_names_what_else_moves():
    databases = ["mission_control", "other", "postgres", "template0", "template1"]
    sentence = plan_upgrade(host(cluster(server=server(databases=databases))), {**WANTED, "upgrade_confirm": ""})[
        "problems"
    ][0]
    assert "move mission_control together with other to 17/main" in sentence
