"""The schema role against a server: what it applies, what it refuses, and that it leaves nothing half done."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from host_plays import HostRun
from schema_lab import MINIMAL, SchemaLab, create_roles, run_as_hosts
from throwaway_cluster import ThrowawayCluster


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster() as server:
        create_roles(server)
        yield server


@pytest.fixture(scope="module")
def applied(cluster, tmp_path_factory):
    """Name of a database after a first run, to be copied."""
    lab = SchemaLab(cluster, tmp_path_factory.mktemp("applied"))
    lab.migration().run()
    assert lab.applied() == ["001_first.sql", "002_second.sql", "003_third.sql"]
    return lab.database


@pytest.fixture
def applied_lab(cluster, tmp_path, applied):
    """A lab after a first run."""
    return SchemaLab(cluster, tmp_path, applied)


# What a file or an input may be wrong with is in tests/unit/test_migrations.py and test_schema_input.py; here one of a kind.
REFUSED_FILES = [
    ({"migrations/001_first.sql": "SELECT 'edited'"}, [], "001_first.sql was changed after it was applied"),
    ({}, ["migrations/003_third.sql"], "003_third.sql, which this version of the collection does not ship"),
    ({"migrations/004_fourth.sql": "SELECT 1; COMMIT; SELECT 2"}, [], "controls the transaction itself (COMMIT)"),
]
HISTORY = "SELECT xmin::text, * FROM schema_migrations ORDER BY version"
WRONG_INPUTS = [
    ({"mission_control_login_password": "wrong-and-secret"}, " as postgres: "),
    ({"mission_control_postgresql_port": 1}, ", port 1 as postgres: "),
    ({"mission_control_database_name": "nowhere"}, "Cannot read the database nowhere"),
    ({"mission_control_database_owner_role": 'a"; DROP TABLE a; --'}, "mission_control_database_owner_role is "),
    ({"mission_control_schema_site_directory": "/dev/null/nowhere"}, "/dev/null/nowhere cannot be read"),
]


@dataclass
class Outcome:
    """What became of a lab in a play; `before`: its history before it."""

    lab: SchemaLab
    run: HostRun
    before: list


@pytest.fixture(scope="module")
def labs(cluster, tmp_path_factory, applied):
    """A function that makes a lab, empty or as after a first run."""
    return lambda template="template1": SchemaLab(cluster, tmp_path_factory.mktemp("lab"), template)


@pytest.fixture(scope="module")
def first_play(labs, applied):
    """A first run, one whose second file fails, one for each refused file and one for each wrong input: hosts of one play."""
    new, failing = labs(), labs()
    failing.write({"migrations/002_second.sql": "CREATE TABLE second (id integer); INSERT INTO second SELECT 1 / 0;"})
    refused = [labs(applied) for _ in REFUSED_FILES]
    for lab, (files, removed, _words) in zip(refused, REFUSED_FILES):
        lab.write({"repeatable/002_new.sql": "CREATE FUNCTION never() RETURNS integer LANGUAGE sql RETURN 1;", **files})
        for name in removed:
            lab.remove(name)
    before = [lab.query(HISTORY) for lab in refused]
    wrong = [(labs(), variables) for variables, _words in WRONG_INPUTS]
    runs = iter(run_as_hosts([*((lab, {}) for lab in (new, failing, *refused)), *wrong]))
    return {
        "new": Outcome(new, next(runs), []),
        "failing": Outcome(failing, next(runs), []),
        "refused": [Outcome(lab, next(runs), rows) for lab, rows in zip(refused, before)],
        "wrong": [Outcome(lab, next(runs), []) for lab, _variables in wrong],
    }


@pytest.fixture(scope="module")
def left_behind(first_play):
    """What the run that failed has applied, and made."""
    lab = first_play["failing"].lab
    return lab.applied(), lab.tables()


@pytest.fixture(scope="module")
def second_play(first_play, left_behind):
    """The first run again, and the one that failed with its file corrected: hosts of one play."""
    new, failing = first_play["new"].lab, first_play["failing"].lab
    failing.write({"migrations/002_second.sql": MINIMAL["migrations/002_second.sql"]})
    return dict(zip(("new", "failing"), run_as_hosts([(new, {}), (failing, {})])))


def test_files_are_applied_once_and_a_second_run_changes_nothing(first_play, second_play):
    lab = first_play["new"].lab
    assert first_play["new"].run.succeeded().recap["changed"] > 0
    assert lab.applied() == ["001_first.sql", "002_second.sql", "003_third.sql"]
    owners = lab.query(
        "SELECT DISTINCT tableowner, tablename = 'schema_objects' FROM pg_tables WHERE schemaname = 'public' ORDER BY 2"
    )
    assert owners == [("mission_control_owner", False), ("mission_control_audit", True)]
    assert second_play["new"].succeeded().recap["changed"] == 0


def test_what_fails_leaves_no_trace_and_a_rerun_continues(first_play, left_behind, second_play):
    run = first_play["failing"].run
    assert run.failed
    assert "002_second.sql failed: division by zero (SQLSTATE 22012)" in run.sentence
    assert "CREATE TABLE" not in run.output
    assert left_behind == (["001_first.sql"], {"first"})
    second_play["failing"].succeeded()
    assert first_play["failing"].lab.applied() == ["001_first.sql", "002_second.sql", "003_third.sql"]


@pytest.mark.parametrize(("number", "words"), [(number, case[2]) for number, case in enumerate(REFUSED_FILES)])
def test_every_refusal_is_one_sentence_and_changes_nothing(first_play, number, words):
    outcome = first_play["refused"][number]
    lab, before, run = outcome.lab, outcome.before, outcome.run
    assert run.failed
    assert words in run.sentence
    assert "Traceback" not in run.output
    assert run.recap["changed"] == 0
    assert len(before) == 3
    assert lab.query(HISTORY) == before
    assert lab.query("SELECT to_regproc('never')") == [(None,)]


@pytest.fixture(scope="module")
def dry_runs(cluster, tmp_path_factory, applied):
    """A lab whose database is not there yet, an empty one and an applied one, with what a dry run says of each, as the hosts of one play."""
    new = [SchemaLab(cluster, tmp_path_factory.mktemp("dry")) for _ in range(2)]
    labs = [*new, SchemaLab(cluster, tmp_path_factory.mktemp("dry"), applied)]
    cases = zip(labs, ({"mission_control_database_name": "not_yet"}, {}, {}))
    return list(zip(labs, run_as_hosts(list(cases), "--check", "--diff")))


def test_check_mode_shows_the_plan_where_there_is_no_database_yet(dry_runs):
    _lab, run = dry_runs[0]
    run.succeeded()
    assert all(name in run.told for name in ("001_first.sql", "003_third.sql", "001_prices.sql"))
    assert run.recap["changed"] > 0


def test_check_mode_changes_nothing_and_then_says_so(dry_runs):
    _lab, empty, applied = dry_runs
    assert empty[1].succeeded().recap["changed"] > 0
    assert empty[0].applied() == []
    assert applied[1].succeeded().recap["changed"] == 0


def test_the_status_is_a_table_and_changes_nothing(applied_lab):
    lab = applied_lab
    lab.write({"migrations/001_first.sql": "SELECT 'edited'", "migrations/004_fourth.sql": "SELECT 1"})
    run = lab.run(playbook="playbooks/status.yml").succeeded()
    rows = [line.split()[2:5] for line in run.output.splitlines() if line.strip().startswith("- bundle")]
    assert [row[1:] for row in rows] == [
        ["001_first.sql", "DRIFTED"],
        ["002_second.sql", "applied"],
        ["003_third.sql", "applied"],
        ["004_fourth.sql", "pending"],
    ]
    assert run.recap["changed"] == 0
    assert len(lab.applied()) == 3


@pytest.mark.parametrize(("number", "words"), [(number, words) for number, (_, words) in enumerate(WRONG_INPUTS)])
def test_wrong_input_is_named_in_a_sentence(first_play, number, words):
    lab, run = first_play["wrong"][number].lab, first_play["wrong"][number].run
    assert run.failed
    assert words in run.sentence
    assert "Traceback" not in run.output
    assert "wrong-and-secret" not in run.output
    assert run.recap["changed"] == 0
    assert lab.applied() == []
