"""The login by which a standby follows: what it may do, where its password is, and how it gets another."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import testinfra
from drill_hosts import wait_until
from secrets_on_host import HostWatch, Known, files_with, journal, misplaced

STANDBY, REMOVE = "playbooks/standby.yml", "playbooks/remove.yml"
ROLE = "mission_control_replicator"


def attempt(client, pair, database):
    """What libpq says to a login of the replicator from the host of the application, which is not of the pair."""
    where = f"host={pair.primary} user={ROLE} sslmode=require connect_timeout=10 {database}"
    return client.attempt(f"PGPASSWORD=wrong psql --no-psqlrc --command 'SELECT 1' '{where}'")


def test_it_comes_in_from_the_other_host_alone_and_to_no_database(pair, client):
    for database in ("replication=true", "dbname=mission_control", "dbname=postgres"):
        code, said = attempt(client, pair, database)
        assert code != 0
        assert "pg_hba.conf rejects" in said
    kind = "SELECT rolreplication, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolinherit FROM pg_roles WHERE rolname = '{}'"
    assert pair.host(pair.primary).sql(kind.format(ROLE)) == "t|f|f|f|f|f"


def test_a_new_password_reaches_both_hosts_and_stands_nowhere_else(pair, scenario):
    kept = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / f"passwords-{pair.suite}/{ROLE}.password"
    secret = "a-New_WordOfTheStandby4711-x"
    kept.write_text(f"{secret}\n")
    hosts = {name: testinfra.get_host(f"podman://mission-control-{scenario.name}-{name}") for name in pair.names}
    with contextlib.ExitStack() as watches:
        watch = watches.enter_context(HostWatch(hosts[pair.primary]))
        run = pair.run(STANDBY, "-vvv", "--diff")
    assert run.returncode == 0, run.output
    known = {"password": Known(secret, ("/etc/mission-control/standby/replication.pgpass",))}
    places = {"output": run.output, **watch.places()}
    for name, host in hosts.items():
        found = files_with(host, [secret])
        assert list(found) == ["/etc/mission-control/standby/replication.pgpass"], name
        assert misplaced(known, {**places, "journal": journal(host), **found}) == []
        file = host.file("/etc/mission-control/standby/replication.pgpass")
        assert (file.user, file.mode) == ("postgres", 0o600)
    # The standby logs in anew with it.
    pair.host(pair.standby).run("pg_ctlcluster $(ls /etc/postgresql) main restart")
    pair.wait_until_whole()
    assert pair.run(STANDBY).changed(*pair.names) == dict.fromkeys(pair.names, 0)


def test_what_let_a_standby_follow_goes_with_the_rest(pairs):
    pair = pairs["trixie"]
    pair.wait_until_whole()
    only = pair.run(REMOVE)
    assert only.returncode != 0
    assert pair.host(pair.standby).state() is not None
    run = pair.run(REMOVE, mission_control_database_remove_confirm="mission_control")
    assert run.returncode == 0, run.output
    primary, standby = pair.host(pair.primary), pair.host(pair.standby)
    assert primary.sql("SELECT count(*) FROM pg_replication_slots") == "0"
    assert primary.sql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'mission_control_re%'") == "0"
    for host in (primary, standby):
        assert host.run("cat /etc/postgresql/*/main/pg_hba.conf").count("mission_control_standby") == 0
        code, _said = host.attempt(
            "ls /etc/postgresql/*/main/conf.d/mission_control_standby.conf /etc/mission-control/standby"
        )
        assert code != 0
    wait_until(lambda: standby.state() is None, "the standby is stopped")
    assert "disabled" in standby.attempt("pg_ctlcluster $(ls /etc/postgresql) main start")[1]
