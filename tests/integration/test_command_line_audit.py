"""`mission-control audit`: what it finds in the chain, in one part or in many, and the head that it keeps."""

import json

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.batches import verify_in_batches
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.head import AuditHead
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.log import verify_audit_chain
from command import on_terminal, run_command
from library_client import client_of

COUNT = 100
_WRITE = (
    "INSERT INTO audit_entries (actor, action, outcome) SELECT 'alice', 'count', 'success' FROM generate_series(1, %s)"
)


@pytest.fixture
def chain(database, application):
    application.run(_WRITE, COUNT)
    return database


def heads(session):
    """Every head that the chain has had."""
    rows = session.rows("SELECT sequence, digest FROM audit_links ORDER BY sequence")
    return [AuditHead(row["sequence"], row["digest"]) for row in rows]


def tamper(database, *statements):
    """What only a superuser can do."""
    admin = database.session("admin")
    for table in ("audit_entries", "audit_links", "audit_head"):
        admin.run(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    for statement in statements:
        admin.run(statement)


CUT_OFF = (
    "DELETE FROM audit_entries WHERE id IN (SELECT entry_id FROM audit_links WHERE sequence > 90)",
    "DELETE FROM audit_links WHERE sequence > 90",
    "UPDATE audit_head SET (sequence, digest) = (SELECT sequence, digest FROM audit_links WHERE sequence = 90)",
)


def verify(database, *arguments, **options):
    result = run_command(database, "audit", "verify", "--json", *arguments, **options)
    return result.returncode, json.loads(result.stdout)


@pytest.mark.parametrize("role", ["application", "readonly", "monitor"])
def test_a_sound_chain_is_0(chain, application, role):
    code, report = verify(chain, role=role)
    assert code == 0
    assert report == {
        "valid": True,
        "verified": COUNT,
        "head": str(heads(application)[-1]),
        "first_bad_sequence": None,
        "problem": None,
        "compared": False,
        "head_kept": False,
    }
    text = run_command(chain, "audit", "verify", role=role).stdout
    assert text.startswith(f"The audit chain is sound: {COUNT} links verified.\n")
    assert "entries cut off at its end would not be seen" in text


def test_an_empty_chain_is_sound_too(database):
    assert verify(database)[1]["verified"] == 0
    head = run_command(database, "audit", "head").stdout
    assert head == f"0:{'0' * 64}\n"
    assert verify(database, "--expected-head", head.strip()) == (0, {**verify(database)[1], "compared": True})


def test_the_head_is_what_the_options_take(chain, application):
    head = run_command(chain, "audit", "head").stdout.strip()
    assert head == str(heads(application)[-1])
    assert json.loads(run_command(chain, "audit", "head", "--json").stdout)["head"] == head
    application.run(_WRITE, 5)
    assert verify(chain, "--expected-head", head)[0] == 0
    code, report = verify(chain, "--checkpoint", head)
    assert (code, report["verified"]) == (0, 5)
    text = run_command(chain, "audit", "verify", "--checkpoint", head, "--expected-head", head).stdout
    assert "sound: 5 links verified after 100." in text
    assert "It contains the expected head 100." in text


def test_a_head_that_never_was_is_1(chain, application):
    code, report = verify(chain, "--expected-head", f"50:{'ab' * 32}")
    assert (code, report["problem"]) == (1, "link 50 is not the expected one")
    code, report = verify(chain, "--checkpoint", f"50:{'ab' * 32}", "--batch", "10")
    assert (code, report["problem"]) == (1, "the checkpoint 50 is not in the chain")


BATCHES = [1, 7, 50, 99, 100, 101, 5000]


@pytest.mark.parametrize("batch", BATCHES)
def test_parts_find_what_the_whole_finds(chain, application, batch):
    every = heads(application)
    with client_of(chain) as client:
        for expected, checkpoint in ((None, None), (every[20], None), (every[20], every[70]), (None, every[99])):
            whole = verify_audit_chain(client, expected, checkpoint)
            assert verify_in_batches(client, expected, checkpoint, batch) == whole
            assert whole.valid


TAMPERING = {
    "an entry was changed": ["UPDATE audit_entries SET actor = 'mallory' WHERE id = 57"],
    "the first one was": ["UPDATE audit_entries SET actor = 'mallory' WHERE id = 1"],
    "the last one was": ["UPDATE audit_entries SET actor = 'mallory' WHERE id = 100"],
    "an entry is gone": ["DELETE FROM audit_entries WHERE id = 50"],
    "a link is gone": ["DELETE FROM audit_links WHERE sequence = 51"],
    "links are gone": ["DELETE FROM audit_links WHERE sequence BETWEEN 30 AND 70"],
    "links and entries are gone": [
        "DELETE FROM audit_links WHERE sequence BETWEEN 30 AND 70",
        "DELETE FROM audit_entries WHERE id BETWEEN 30 AND 70",
    ],
    "a link was changed": ["UPDATE audit_links SET digest = sha256('') WHERE sequence = 50"],
    "entries are in no link": [
        "INSERT INTO audit_entries (id, actor, action, outcome) OVERRIDING SYSTEM VALUE VALUES (200, 'm', 'x', 'success')"
    ],
    "the end was cut off the links": ["DELETE FROM audit_links WHERE sequence > 95"],
    "the head was moved": ["UPDATE audit_head SET sequence = 60"],
    "the head is far off": ["UPDATE audit_head SET sequence = 100000"],
    "the head is gone": ["DELETE FROM audit_head"],
    "everything is gone": [
        "DELETE FROM audit_entries",
        "DELETE FROM audit_links",
        "UPDATE audit_head SET sequence = 0, digest = decode(repeat('00', 32), 'hex')",
    ],
    "the end was cut off": list(CUT_OFF),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_found_in_parts_as_in_the_whole(chain, application, what):
    expected = heads(application)[94]
    tamper(chain, *TAMPERING[what])
    with client_of(chain) as client:
        whole = verify_audit_chain(client, expected)
        assert not whole.valid
        for batch in BATCHES:
            report = verify_in_batches(client, expected, batch=batch)
            assert (report.valid, report.problem, report.first_bad_sequence) == (
                False,
                whole.problem,
                whole.first_bad_sequence,
            )


def test_an_entry_in_no_link_is_found_wherever_its_number_is(database, application):
    """Links follow the commits, numbers the inserts: here they run against each other."""
    sessions = [database.session("application") for count in range(6)]
    for session in sessions:
        session.run("BEGIN")
        session.run(_WRITE, 3)
    for session in reversed(sessions):
        session.run("COMMIT")
    numbers = application.values("SELECT entry_id FROM audit_links ORDER BY sequence")
    assert numbers != sorted(numbers)
    with client_of(database) as client:
        assert all(verify_in_batches(client, batch=batch).valid for batch in (1, 2, 4, 17, 18, 100))
        tamper(database, "CREATE TABLE away AS TABLE audit_links")
        for number in numbers:
            # The link now leads to another entry, so that its own is in none; numbers beyond the last are free.
            tamper(database, f"UPDATE audit_links SET entry_id = 900 WHERE entry_id = {number}")
            for batch in (1, 2, 4, 17, 18, 100):
                assert not verify_in_batches(client, batch=batch).valid
            tamper(database, f"UPDATE audit_links SET entry_id = {number} WHERE entry_id = 900")
        assert verify_in_batches(client, batch=4).valid


def test_what_is_written_meanwhile_is_verified_too(chain, application):
    seen = []

    def progress(verified, total):
        seen.append((verified, total))
        if len(seen) < 4:
            application.run(_WRITE, 10)

    with client_of(chain) as client:
        report = verify_in_batches(client, batch=40, progress=progress)
    assert (report.valid, report.verified) == (True, 130)
    assert seen == [(0, 100), (40, 110), (80, 120)]


def test_a_part_reads_as_many_links_as_it_is_told_by_index(chain, application, admin):
    every = heads(application)
    part = application.row("SELECT * FROM verify_audit_links(10, %s, 25)", every[9].digest)
    assert (part["verified"], part["last_sequence"], part["last_digest"]) == (25, 35, every[34].digest)
    assert (part["problem"], part["unlinked"]) == (None, 0)
    application.run(_WRITE, 20_000)
    admin.run("VACUUM ANALYZE audit_entries, audit_links")
    admin.run("SET plan_cache_mode = force_generic_plan")  # as a session may come to after a few parts
    # Of this transaction alone, so that what other sessions count, and when, does not matter.
    counted = (
        "SELECT sum(seq_tup_read) AS whole, sum(idx_tup_fetch) AS indexed FROM pg_stat_xact_user_tables "
        "WHERE relname IN ('audit_entries', 'audit_links')"
    )
    admin.run("BEGIN")
    before = admin.row(counted)
    assert admin.value("SELECT verified FROM verify_audit_links(10, %s, 25)", every[9].digest) == 25
    after = admin.row(counted)
    admin.run("ROLLBACK")
    assert after["whole"] == before["whole"]
    assert 25 <= after["indexed"] - before["indexed"] < 200


def test_a_terminal_sees_how_far_it_is(chain):
    code, text = on_terminal(chain, "audit", "verify", "--batch", "25")
    assert code == 0
    for share in ("25 of 100 links verified (25 %)", "50 of 100", "75 of 100"):
        assert share in text
    assert text.split("\r")[-1].startswith("The audit chain is sound")
    assert run_command(chain, "audit", "verify", "--batch", "25").stderr == "", "nobody else does"


def test_a_head_file_is_made_compared_and_renewed(chain, application, tmp_path):
    path = tmp_path / "audit.head"
    result = run_command(chain, "audit", "verify", "--head-file", str(path))
    assert result.returncode == 0
    assert f"The head is kept in {path}." in result.stdout
    assert path.read_text() == f"{heads(application)[-1]}\n"
    application.run(_WRITE, 3)
    code, report = verify(chain, "--head-file", str(path))
    assert (code, report["compared"], report["head_kept"]) == (0, True, True)
    assert path.read_text() == f"{heads(application)[-1]}\n"


def test_a_cut_off_end_is_found_against_the_kept_head_which_stays(chain, application, tmp_path):
    path = tmp_path / "audit.head"
    assert verify(chain, "--head-file", str(path))[0] == 0
    kept = path.read_text()
    tamper(chain, *CUT_OFF)
    assert verify(chain)[0] == 0, "without a head nothing is to be seen"
    result = run_command(chain, "audit", "verify", "--head-file", str(path))
    assert result.returncode == 1
    assert result.stdout == (
        "The audit chain is BROKEN: the chain ends at 90, before the expected 100. The kept head stays as it was.\n"
    )
    assert path.read_text() == kept
    assert [each.name for each in tmp_path.iterdir()] == ["audit.head"]


LYING_DIGEST = """
    CREATE OR REPLACE FUNCTION audit_digest(p_previous bytea, p_sequence bigint, p_entry audit_entries) RETURNS bytea
        LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT digest FROM public.audit_links WHERE sequence = p_sequence'
"""


@pytest.mark.parametrize("role", ["application", "readonly"])
def test_recompute_agrees_with_the_server_on_a_sound_chain(chain, application, tmp_path, role):
    path = tmp_path / "audit.head"
    on_the_server = verify(chain, role=role)[1]
    assert verify(chain, "--recompute", role=role) == (0, on_the_server)
    assert verify(chain, "--recompute", "--head-file", str(path), role=role)[1]["head_kept"]
    assert path.read_text() == f"{heads(application)[-1]}\n"


def test_recompute_trusts_no_function_of_the_database(chain, tmp_path):
    path = tmp_path / "audit.head"
    assert verify(chain, "--head-file", str(path))[0] == 0
    tamper(chain, "UPDATE audit_entries SET actor = 'mallory' WHERE id = 57", LYING_DIGEST)
    assert verify(chain, "--head-file", str(path))[0] == 0, "the server's own function can be made to lie"
    code, report = verify(chain, "--recompute", "--head-file", str(path))
    assert (code, report["problem"], report["first_bad_sequence"]) == (1, "entry 57 or link 57 was changed", 57)


def test_recompute_needs_a_login_that_reads_entries(chain):
    result = run_command(chain, "audit", "verify", "--recompute", role="monitor")
    assert result.returncode == 3
    assert "permission denied" in result.stderr
    assert "Traceback" not in result.stderr


def test_recompute_begins_at_the_beginning(chain):
    result = run_command(chain, "audit", "verify", "--recompute", "--checkpoint", f"50:{'ab' * 32}")
    assert (result.returncode, result.stdout) == (2, "")
    assert "not allowed with argument" in result.stderr


def test_a_file_that_is_no_head_is_left_alone(chain, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("important\n", encoding="ascii")
    result = run_command(chain, "audit", "verify", "--head-file", str(path))
    assert (result.returncode, result.stdout) == (2, "")
    assert "does not hold a head of an audit chain" in result.stderr
    assert path.read_text() == "important\n"


def test_a_database_that_cannot_be_asked_leaves_the_kept_head(chain, tmp_path):
    path = tmp_path / "audit.head"
    assert verify(chain, "--head-file", str(path))[0] == 0
    kept = path.read_text()
    result = run_command(chain, "audit", "verify", "--head-file", str(path), POSTGRES_PORT="1")
    assert result.returncode == 3
    assert path.read_text() == kept
