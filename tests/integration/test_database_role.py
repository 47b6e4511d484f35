"""The role mission_control_database against a server: the first run, the second, what it repairs and what it refuses."""

from __future__ import annotations

import stat

import psycopg2
import pytest
from database_lab import ADMINISTRATOR_PASSWORD, DatabaseLab, prepare_cluster, run_together
from host_plays import run_on_hosts
from throwaway_cluster import ThrowawayCluster

ENV_FILE = "mission_control_database_env_file"


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster(log_statement="all") as server:
        prepare_cluster(server)
        yield server


@pytest.fixture
def lab(cluster, tmp_path):
    return DatabaseLab(cluster, tmp_path)


@pytest.fixture(scope="module")
def provisioned(cluster, tmp_path_factory):
    """Labs of a superuser and of an administrator who is none, with their first run, their second and a dry run, as hosts of one play each."""
    home = tmp_path_factory.mktemp("provisioned")
    labs = [DatabaseLab(cluster, home, user) for user in ("postgres", "keeper")]
    return list(zip(labs, run_together(labs), run_together(labs), run_together(labs, "--check", "--diff")))


@pytest.mark.parametrize("number", [0, 1], ids=["postgres", "keeper"])
def test_the_first_run_makes_everything_and_the_second_finds_nothing_to_do(provisioned, number):
    lab, first, second, dry = provisioned[number]
    assert first.succeeded().recap["changed"] > 0
    assert lab.existing_roles() == sorted(lab.roles.values())
    password = lab.file.read_text(encoding="utf-8").strip()
    assert stat.S_IMODE(lab.file.stat().st_mode) == 0o600
    assert lab.log_in(password) == lab.roles["application"]
    with pytest.raises(psycopg2.OperationalError):
        lab.log_in(password + "x")
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        lab.log_in(password, database=lab.make_neighbour())
    assert f"{lab.roles['application']}.password on the" in first.told
    assert "roles: 20 settings" in first.told
    assert f"role {lab.roles['owner']}: comment" not in first.output

    assert second.succeeded().recap["changed"] == 0
    expected = ["Read roles, database and privileges"]
    if lab.user == "keeper":
        expected.append("Log in with the passwords")
    assert second.tasks_with_a_module() == expected
    assert dry.succeeded().recap["changed"] == 0


def test_check_mode_on_an_empty_server_shows_everything_and_does_nothing(lab):
    run = lab.run("--check", "--diff", **{ENV_FILE: str(lab.home / "app.env")}).succeeded()
    assert run.recap["changed"] > 0
    assert f"CREATE ROLE {lab.roles['owner']} NOLOGIN" in run.output
    assert f"CREATE DATABASE {lab.name}" in run.output
    assert f"COMMENT ON ROLE {lab.roles['monitor']}" in run.output
    assert lab.existing_roles() == []
    assert not lab.exists()
    assert not lab.file.exists()
    assert not (lab.home / "app.env").exists()


BAD_INPUTS = [
    ({"mission_control_login_password": "wrong"}, " as postgres: "),
    ({"mission_control_postgresql_port": 1}, "Cannot use the server at 127.0.0.1, port 1 as postgres: "),
    ({"mission_control_login_user": "nobody_there"}, " as nobody_there: "),
    ({"mission_control_database_user": 'a"; DROP ROLE postgres; --'}, "mission_control_database_user is "),
    ({"mission_control_database_name": "a" * 64}, "mission_control_database_name is "),
    (
        {"mission_control_database_user": "keeper", "mission_control_database_owner_role": "keeper"},
        "need different names",
    ),
    ({"mission_control_database_statement_timeout": "-5s"}, "mission_control_database_statement_timeout is "),
    ({"mission_control_database_connection_limit": -3}, "mission_control_database_connection_limit is -3"),
    (
        {"mission_control_database_password": "top\nsecret"},
        "The password in mission_control_database_password holds a line break",
    ),
    ({"mission_control_database_password": "top'secret", ENV_FILE: "/nowhere/x.env"}, "holds a single quote"),
    ({"mission_control_database_generate_passwords": False}, "needs a password"),
    ({"mission_control_database_administrator": "nobody_there"}, "There is no role nobody_there"),
    ({"mission_control_database_reporting_time_zone": "Mars/Olympus"}, "There is no time zone Mars/Olympus"),
    ({"mission_control_database_tablespace": "nowhere"}, "There is no tablespace nowhere"),
    ({"mission_control_database_monitor_memberships": "pg_monitor"}, "must be a list"),
    ({"mission_control_database_env_file": ["/a"]}, "mission_control_database_env_file is "),
    ({"mission_control_database_password_directory": "here"}, "must be an absolute path or begin with ~"),
    ({"mission_control_database_administrator": "a\0b"}, "mission_control_database_administrator is "),
    ({"mission_control_database_connection_limit": "many"}, "connection_limit"),
    (
        {"mission_control_database_privileges": [{"name": "a", "readonly": ["SELECT ON a TO PUBLIC; --"]}]},
        "Entry 1 of mission_control_database_privileges has ",
    ),
]


@pytest.fixture(scope="module")
def refusals(cluster, tmp_path_factory):
    """A lab for each bad input and what became of it, as the hosts of one play."""
    home = tmp_path_factory.mktemp("refusals")
    labs = [DatabaseLab(cluster, home) for _ in BAD_INPUTS]
    hosts = [{**lab.variables, **variables} for lab, (variables, _words) in zip(labs, BAD_INPUTS)]
    return list(zip(labs, run_on_hosts(labs[0].playbook, hosts, home=home)))


@pytest.mark.parametrize(("number", "words"), [(number, words) for number, (_, words) in enumerate(BAD_INPUTS)])
def test_bad_input_gets_a_sentence_and_makes_nothing(refusals, number, words):
    lab, run = refusals[number]
    assert run.failed
    assert run.recap["changed"] == 0
    assert words in run.sentence, run.output
    assert "Traceback" not in run.output
    assert "secret" not in run.sentence.replace("secret.", "")
    assert ADMINISTRATOR_PASSWORD not in run.output
    assert lab.existing_roles() == []
    assert not lab.file.exists()
    assert not lab.exists()


def test_in_check_mode_a_server_that_is_still_to_be_made_is_no_failure(lab):
    variables = {"mission_control_postgresql_port": 1, ENV_FILE: str(lab.home / "app.env")}
    run = lab.run("--check", "--diff", mission_control_postgresql_server={"reachable": False}, **variables).succeeded()
    assert run.recap["changed"] == 1
    assert f"the database {lab.name} and its privileges" in " ".join(run.output.split())
    assert not lab.file.exists()
