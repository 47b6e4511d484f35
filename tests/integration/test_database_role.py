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


# What of it the roles judge before a server is asked is in tests/unit/test_database_input.py; here one of a kind.
BAD_INPUTS = [
    ({"mission_control_login_password": "wrong"}, " as postgres: "),
    ({"mission_control_postgresql_port": 1}, "Cannot use the server at 127.0.0.1, port 1 as postgres: "),
    ({"mission_control_login_user": "nobody_there"}, " as nobody_there: "),
    ({"mission_control_database_user": 'a"; DROP ROLE postgres; --'}, "mission_control_database_user is "),
    (
        {"mission_control_database_password": "top\nsecret"},
        "The password in mission_control_database_password holds a line break",
    ),
    ({"mission_control_database_generate_passwords": False}, "needs a password"),
    ({"mission_control_database_administrator": "nobody_there"}, "There is no role nobody_there"),
    ({"mission_control_database_reporting_time_zone": "Mars/Olympus"}, "There is no time zone Mars/Olympus"),
    ({"mission_control_database_tablespace": "nowhere"}, "There is no tablespace nowhere"),
    ({"mission_control_database_monitor_memberships": "pg_monitor"}, "must be a list"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("labs")


@pytest.fixture(scope="module")
def labs(cluster, home):
    """Of a superuser and of an administrator who is none."""
    return [DatabaseLab(cluster, home, user) for user in ("postgres", "keeper")]


@pytest.fixture(scope="module")
def first_play(cluster, home, labs):
    """The first run of the labs, and a lab for each bad input with what became of it: hosts of one play."""
    refused = [DatabaseLab(cluster, home) for _ in BAD_INPUTS]
    hosts = [lab.variables for lab in labs]
    hosts += [{**lab.variables, **variables} for lab, (variables, _words) in zip(refused, BAD_INPUTS)]
    runs = run_on_hosts(labs[0].playbook, hosts, home=home)
    return runs[: len(labs)], list(zip(refused, runs[len(labs) :]))


@pytest.fixture(scope="module")
def second_play(first_play, labs):
    return run_together(labs)


@pytest.fixture(scope="module")
def dry_play(cluster, home, labs, second_play):
    """A dry run of the labs, of one that was never made, and of one whose server is still to be made: hosts of one play."""
    new = [DatabaseLab(cluster, home) for _ in range(2)]
    env_file = {ENV_FILE: str(home / "app.env")}
    hosts = [
        *(lab.variables for lab in labs),
        {**new[0].variables, **env_file},
        {
            **new[1].variables,
            **env_file,
            "mission_control_postgresql_port": 1,
            "mission_control_postgresql_server": {"reachable": False},
        },
    ]
    return list(zip([*labs, *new], run_on_hosts(labs[0].playbook, hosts, "--check", "--diff", home=home)))


@pytest.fixture
def provisioned(labs, first_play, second_play, dry_play):
    """The labs with their first run, their second and a dry run."""
    return list(zip(labs, first_play[0], second_play, [run for _lab, run in dry_play]))


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
    assert "roles: 26 settings" in first.told
    assert f"role {lab.roles['owner']}: comment" not in first.output

    assert second.succeeded().recap["changed"] == 0
    expected = ["Read roles, database and privileges"]
    if lab.user == "keeper":
        expected.append("Log in with the passwords")
    assert second.tasks_with_a_module() == expected
    assert dry.succeeded().recap["changed"] == 0


def test_check_mode_on_an_empty_server_shows_everything_and_does_nothing(dry_play):
    lab, run = dry_play[2]
    run.succeeded()
    assert run.recap["changed"] > 0
    assert f"CREATE ROLE {lab.roles['owner']} NOLOGIN" in run.output
    assert f"CREATE DATABASE {lab.name}" in run.output
    assert f"COMMENT ON ROLE {lab.roles['monitor']}" in run.output
    assert lab.existing_roles() == []
    assert not lab.exists()
    assert not lab.file.exists()
    assert not (lab.home / "app.env").exists()


@pytest.mark.parametrize(("number", "words"), [(number, words) for number, (_, words) in enumerate(BAD_INPUTS)])
def test_bad_input_gets_a_sentence_and_makes_nothing(first_play, number, words):
    lab, run = first_play[1][number]
    assert run.failed
    assert run.recap["changed"] == 0
    assert words in run.sentence, run.output
    assert "Traceback" not in run.output
    assert "secret" not in run.sentence.replace("secret.", "")
    assert ADMINISTRATOR_PASSWORD not in run.output
    assert lab.existing_roles() == []
    assert not lab.file.exists()
    assert not lab.exists()


def test_in_check_mode_a_server_that_is_still_to_be_made_is_no_failure(dry_play):
    lab, run = dry_play[3]
    assert run.succeeded().recap["changed"] == 1
    assert f"the database {lab.name} and its privileges" in " ".join(run.output.split())
    assert not lab.file.exists()
