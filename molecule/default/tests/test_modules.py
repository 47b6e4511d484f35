"""The modules health and query against the host's own server, with Debian's own python3-psycopg2."""

from __future__ import annotations

import uuid

# The third host has the same Debian as the first.
testinfra_hosts = ["debian12", "debian13"]


# The committed price list grows old, which is no concern of the tests.
YOUNG_PRICES = {"thresholds": {"prices_warn_days": 100_000}}


def statuses(run):
    return {check["name"]: check["status"] for check in run.result["checks"]}


def test_health_by_the_env_file_of_the_host(run_module):
    run = run_module("health", YOUNG_PRICES)
    assert run.returncode == 0, run.output
    assert run.result["status"] == "pass"
    assert run.result["counts"]["fail"] == 0
    for name in ("connection", "server", "migrations", "repeatables", "schema_objects", "audit_chain"):
        assert statuses(run)[name] == "pass", run.output


def test_the_administrator_sees_everything(run_module):
    run = run_module("health", {"fail_on": "warn", **YOUNG_PRICES}, become_user="postgres")
    assert run.returncode == 0, run.output
    # No backup is set up on these hosts.
    assert statuses(run) == {
        **dict.fromkeys(statuses(run), "pass"),
        "backups": "not checked",
        "inventory_sources": "not checked",
        "budgets": "not checked",
    }


def test_somebody_else_gets_the_cure_and_the_whole_structure(run_module):
    run = run_module("health", become_user="nobody")
    assert run.returncode == 2
    assert "database.env is there but may not be read by nobody" in run.result["msg"]
    assert "run with --become" in run.result["msg"]
    assert statuses(run)["connection"] == "fail"
    assert run.result["counts"]["not checked"] == len(run.result["checks"]) - 1
    assert "Traceback" not in run.output


def test_a_local_login_under_another_name_gets_the_cure(run_module):
    run = run_module("query", {"query": "SELECT 1", "login_user": "postgres"})
    assert run.returncode == 2
    assert "--become-user postgres" in run.result["msg"]


def test_query_writes_once(run_module, application):
    name = f"molecule-{uuid.uuid4()}"
    insert = {
        "query": "INSERT INTO hosts (name, type) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        "positional_args": [name, "vm"],
    }
    first, second = run_module("query", insert), run_module("query", insert)
    assert (first.returncode, second.returncode) == (0, 0), first.output
    assert (first.result["changed"], second.result["changed"]) == (True, False)
    assert application.value("SELECT count(*) FROM hosts WHERE name = %s", name) == 1


def test_query_gives_values_without_loss(run_module):
    values = {
        "uuid": "6f1f9a63-3f1c-4a39-8b8e-0a4c1f6f3d55",
        "inet": "192.0.2.1/24",
        "numeric": "0.10000000000000000001",
        "timestamptz": "2026-02-06T07:08:09.5+00:00",
        "interval": "PT1H30M",
        "bytea": "AP8=",
        "int4range": "[1,5)",
    }
    given = {**values, "bytea": "\\x00ff"}
    columns = ", ".join(f"%({name})s::{name} AS {name}" for name in given)
    run = run_module("query", {"query": f"SELECT {columns}", "named_args": given, "fetch": "one", "read_only": True})
    assert run.returncode == 0, run.output
    assert run.result["row"] == values
    assert run.result["changed"] is False


def test_parameters_are_not_in_the_hosts_log(host, run_module):
    secret = f"parameter-{uuid.uuid4()}"
    run = run_module("query", {"query": "SELECT length(%s) AS length", "positional_args": [secret]})
    assert run.result["rows"] == [{"length": len(secret)}]
    assert host.run("grep --recursive --fixed-strings --quiet -- %s /var/log", secret).rc == 1
    assert host.run("journalctl --no-pager | grep --fixed-strings --quiet -- %s", secret).rc == 1
