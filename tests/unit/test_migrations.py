"""Reading migration files and planning what to do with them."""

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import (
    BUNDLE,
    SITE,
    AppliedMigration,
    PlanError,
    checksum,
    plan_migrations,
    read_migrations,
    read_repeatables,
    status_table,
)


@pytest.fixture
def write(tmp_path):
    """Write files, given as name=text with dots for nothing, and return their directory."""

    def write_files(files):
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path)

    return write_files


def applied(files):
    return [AppliedMigration(file.origin, file.version, file.name, file.checksum) for file in files]


def test_files_are_read_in_the_order_of_their_numbers(write):
    files = read_migrations(write({"002_b.sql": "SELECT 2", "001_a.sql": "SELECT 1", "README.md": "no SQL"}))
    assert [(file.version, file.name, file.origin) for file in files] == [
        (1, "001_a.sql", BUNDLE),
        (2, "002_b.sql", BUNDLE),
    ]


def test_line_ends_do_not_change_a_checksum():
    assert checksum("SELECT 1;\r\nSELECT 2;\r\n") == checksum("SELECT 1;\nSELECT 2;\n")


def test_directives_stand_in_the_comment_at_the_head(write):
    directory = write(
        {
            "001_a.sql": "-- What it does.\n-- role: audit\nCREATE TABLE a (x int);",
            "002_b.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON a (x);",
            "003_c.sql": "SELECT 1;\n-- role: audit\n-- no-transaction\n",
        }
    )
    assert [(file.role, file.transactional) for file in read_migrations(directory)] == [
        ("audit", True),
        ("owner", False),
        ("owner", True),
    ]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"first.sql": "SELECT 1"}, ["first.sql", "001_what_it_does.sql", "rename"]),
        ({"001_a.sql": "SELECT 1", "003_c.sql": "SELECT 1"}, ["no migration 002", "003_c.sql"]),
        ({"002_a.sql": "SELECT 1"}, ["no migration 001"]),
        ({"001_a.sql": "SELECT 1", "001_b.sql": "SELECT 1"}, ["001_a.sql", "001_b.sql", "same number"]),
        ({"001_a.sql": "SELECT 1;\ncommit;"}, ["001_a.sql", "line 2", "COMMIT"]),
        ({"001_a.sql": "begin; SELECT 1; end;"}, ["line 1", "BEGIN"]),
        ({"001_a.sql": "START TRANSACTION; SELECT 1"}, ["START TRANSACTION"]),
        ({"001_a.sql": "SAVEPOINT a"}, ["SAVEPOINT"]),
        ({"001_a.sql": "\\connect other"}, ["001_a.sql", "backslash"]),
        ({"001_a.sql": "-- nothing here\n"}, ["001_a.sql", "no statement"]),
        ({"001_a.sql": "-- no-transaction\nSELECT 1; SELECT 2"}, ["001_a.sql", "2 statements"]),
        (
            {"001_a.sql": "-- no-transaction\nCALL tidy_up()"},
            ["001_a.sql", "VACUUM", "administrator's rights", "remove the line"],
        ),
        ({"001_a.sql": "-- no-transaction\nDO $$ BEGIN COMMIT; END $$"}, ["001_a.sql", "administrator's rights"]),
        ({"001_a.sql": "-- no-transaction\nCREATE INDEX i ON t (x)"}, ["001_a.sql", "CONCURRENTLY"]),
        ({"001_a.sql": "-- role: postgres\nSELECT 1"}, ["001_a.sql", "role: postgres"]),
        ({"001_a.SQL": "SELECT 1"}, ["001_a.SQL", "would be ignored", "rename"]),
        ({"001_a.sql": "SELECT 1", "002_b.sql.txt": "SELECT 2"}, ["002_b.sql.txt", "would be ignored"]),
        ({"001_a.sql": "SELECT 1", "002_b": "SELECT 2"}, ["002_b", "would be ignored"]),
        ({"001_a.sql": "SELECT '\x00'"}, ["001_a.sql", "NUL"]),
    ],
)
def test_a_file_that_can_never_be_applied_is_refused_in_a_sentence(write, files, words):
    with pytest.raises(PlanError) as refusal:
        read_migrations(write(files))
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_a_commit_inside_a_procedure_or_a_string_is_no_transaction_control(write):
    body = "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$; SELECT 'COMMIT';"
    assert len(read_migrations(write({"001_a.sql": body}))) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE UNIQUE INDEX CONCURRENTLY i ON t (x)",
        "/* why */ drop index concurrently if exists i",
        "REINDEX (VERBOSE) TABLE CONCURRENTLY t",
        "VACUUM (ANALYZE) t",
        "ALTER TYPE mood ADD VALUE 'calm'",
        "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
    ],
)
def test_what_postgresql_runs_as_the_owner_of_the_table_may_be_outside_of_a_transaction(write, statement):
    (file,) = read_migrations(write({"001_a.sql": f"-- no-transaction\n{statement};"}))
    assert not file.transactional


def test_what_is_no_migration_by_its_name_is_left_alone(write):
    assert len(read_migrations(write({"001_a.sql": "SELECT 1", "README.md": "x", ".001_a.sql.swp": "x"}))) == 1


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    (tmp_path / "001_a.sql").write_bytes(b"\xef\xbb\xbf-- no-transaction\nVACUUM t")
    (file,) = read_migrations(str(tmp_path))
    assert (file.transactional, file.body[:2]) == (False, "--")


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "001_a.sql").write_bytes(b"SELECT '\xff'")
    with pytest.raises(PlanError, match="UTF-8"):
        read_migrations(str(tmp_path))


def test_a_directory_that_is_missing_is_named(tmp_path):
    with pytest.raises(PlanError, match="nowhere"):
        read_migrations(str(tmp_path / "nowhere"))


def test_site_local_files_may_not_touch_the_audit_log(write):
    with pytest.raises(PlanError, match="audit"):
        read_migrations(write({"001_a.sql": "-- role: audit\nSELECT 1"}), SITE)


def test_repeatable_files_have_the_same_rules(write):
    with pytest.raises(PlanError, match="numbered migration"):
        read_repeatables(write({"001_a.sql": "-- no-transaction\nSELECT 1"}))
    with pytest.raises(PlanError, match="ROLLBACK"):
        read_repeatables(write({"001_a.sql": "ROLLBACK"}))


def test_only_what_is_not_recorded_is_pending(write):
    files = read_migrations(write({"001_a.sql": "SELECT 1", "002_b.sql": "SELECT 2"}))
    plan = plan_migrations(files, applied(files[:1]))
    assert ([file.name for file in plan.applied], [file.name for file in plan.pending]) == (
        ["001_a.sql"],
        ["002_b.sql"],
    )
    assert plan.problems == ()
    assert plan_migrations(files, applied(files)).pending == ()


def test_site_local_files_count_for_themselves_and_come_last(write, tmp_path_factory):
    site_directory = tmp_path_factory.mktemp("site")
    (site_directory / "001_own.sql").write_text("SELECT 1")
    site = read_migrations(str(site_directory), SITE)
    bundle = read_migrations(write({"001_a.sql": "SELECT 1", "002_b.sql": "SELECT 2"}))
    plan = plan_migrations(site + bundle, [])
    assert [file.name for file in plan.pending] == ["001_a.sql", "002_b.sql", "001_own.sql"]
    # An upgrade of the bundle after the site's own files is in order.
    assert plan_migrations(site + bundle, applied([*bundle[:1], *site])).problems == ()


def test_a_changed_file_is_drift(write):
    (file,) = read_migrations(write({"001_a.sql": "SELECT 1"}))
    plan = plan_migrations([file], [AppliedMigration(BUNDLE, 1, file.name, checksum("SELECT 2"))])
    assert len(plan.problems) == 1
    assert "001_a.sql was changed" in plan.problems[0]
    assert plan.pending == ()


def test_a_database_ahead_of_the_files_is_a_problem(write):
    files = read_migrations(write({"001_a.sql": "SELECT 1"}))
    ahead = AppliedMigration(BUNDLE, 2, "002_b.sql", "00")
    (problem,) = plan_migrations(files, [*applied(files), ahead]).problems
    assert "002_b.sql" in problem
    assert "ahead" in problem


def test_a_missing_site_local_file_is_a_problem(write):
    files = read_migrations(write({"001_a.sql": "SELECT 1"}))
    (problem,) = plan_migrations(files, [*applied(files), AppliedMigration(SITE, 1, "001_own.sql", "00")]).problems
    assert "001_own.sql" in problem
    assert "directory" in problem


def test_a_number_below_an_applied_one_is_out_of_order(write):
    files = read_migrations(write({"001_a.sql": "SELECT 1", "002_b.sql": "SELECT 2", "003_c.sql": "SELECT 3"}))
    (problem,) = plan_migrations(files, applied([files[0], files[2]])).problems
    assert "002_b.sql is out of order" in problem
    assert "above 003" in problem


def test_the_status_names_every_state(write):
    files = read_migrations(write({"001_a.sql": "SELECT 1", "002_b.sql": "SELECT 2", "003_c.sql": "SELECT 3"}))
    row = {"origin": BUNDLE, "applied_at": "2026-01-01 00:00:00Z"}
    table = status_table(
        files,
        [
            {**row, "version": 1, "name": "001_a.sql", "checksum": files[0].checksum},
            {**row, "version": 2, "name": "002_b.sql", "checksum": "00"},
            {**row, "version": 9, "name": "009_x.sql", "checksum": "00"},
        ],
    )
    assert table[0].split() == ["origin", "version", "name", "state", "applied", "at"]
    states = {line.split()[2]: line.split()[3] for line in table[1:]}
    assert states == {"001_a.sql": "applied", "002_b.sql": "DRIFTED", "003_c.sql": "pending", "009_x.sql": "NO"}
