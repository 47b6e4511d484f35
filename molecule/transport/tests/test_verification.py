"""What clients that verify the server take it for, and what they refuse."""

from __future__ import annotations

import pytest
from sql_on_host import as_administrator

CERTIFICATES = "/etc/mission-control/postgresql"


@pytest.mark.parametrize("name", ["server", "db.home.arpa"])
def test_the_server_is_known_by_its_names(psql, name):
    assert psql.but(server=name).value("SELECT 1") == "1"


def test_and_by_the_address_through_which_clients_come(psql, client):
    address = client.check_output("getent ahostsv4 server").split()[0]
    assert psql.but(server=address).value("SELECT 1") == "1"


def test_another_name_is_refused(psql, client):
    address = client.check_output("getent ahostsv4 server").split()[0]
    elsewhere = psql.but(server="elsewhere", options=f"hostaddr={address} {psql.options}")
    assert 'does not match host name "elsewhere"' in elsewhere.refusal()
    ca_alone = elsewhere.but(options=elsewhere.options.replace("verify-full", "verify-ca"))
    assert ca_alone.value("SELECT 1") == "1"


def test_another_authority_is_refused(psql, client):
    client.check_output(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=Stranger -keyout /dev/null -out /root/stranger.crt"
    )
    stranger = psql.but(options="sslmode=verify-full sslrootcert=/root/stranger.crt")
    assert "certificate verify failed" in stranger.refusal()


def test_the_certificate_of_the_packages_is_refused(psql, server):
    """What somebody in between could show at best: a server with another certificate."""
    server.check_output("pg_createcluster --port 5499 --start 17 between -- --auth=trust")
    try:
        server.check_output(
            "pg_conftool 17 between set listen_addresses '*' && pg_ctlcluster 17 between restart && "
            "echo 'hostssl all all all trust' >>/etc/postgresql/17/between/pg_hba.conf && pg_ctlcluster 17 between reload"
        )
        between = psql.but(options=f"port=5499 {psql.options}", user="postgres", dbname="postgres")
        assert "certificate verify failed" in between.refusal()
        assert between.but(options="port=5499 sslmode=require").value("SELECT 1") == "1"
    finally:
        server.check_output("pg_dropcluster --stop 17 between")


def test_files_and_keys_are_for_their_users(server):
    pair = as_administrator(server, "SHOW ssl_cert_file").removesuffix(".crt").removeprefix(f"{CERTIFICATES}/")
    listed = server.check_output(f"cd {CERTIFICATES} && stat --format '%n %U %a' . *").split("\n")
    authority = [". root 755", "ca.crt root 644", "ca.key root 600"]
    assert listed == [*authority, f"{pair}.crt root 644", f"{pair}.key postgres 600"]


def test_no_key_has_left_the_host(server, client, scenario):
    key = server.file(f"{CERTIFICATES}/ca.key").content_string
    assert client.run("grep --recursive --quiet 'PRIVATE KEY' /etc/mission-control").rc == 1
    assert (
        client.file("/etc/mission-control/ca.crt").content_string
        == server.file(f"{CERTIFICATES}/ca.crt").content_string
    )
    assert key not in server.file(f"{CERTIFICATES}/ca.crt").content_string


def test_a_server_elsewhere_was_provisioned_and_is_used_with_verification(client):
    """By the administrator's inputs in mode existing, and by the env file that they led to."""
    lines = client.file("/etc/mission-control/database.env").content_string.splitlines()
    assert "POSTGRES_SSLMODE='verify-full'" in lines
    assert "POSTGRES_SSLROOTCERT='/etc/mission-control/ca.crt'" in lines
    program = (
        "from mission_control import Client\nwith Client() as db:\n"
        "    print(db.settings.sslmode, db.query_one('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')['ssl'])"
    )
    assert client.check_output("python3 -c %s", program) == "verify-full True"
    wrong = program.replace("Client()", "Client(host='server', sslrootcert='/etc/ssl/certs/ca-certificates.crt')")
    assert "certificate verify failed" in client.run("python3 -c %s", wrong).stderr
