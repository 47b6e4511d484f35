"""The audit log through the library: what is written, by whom, and what its verification finds."""

import datetime

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.head import AuditError, AuditHead
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.log import (
    audit,
    audit_head,
    verify_audit_chain,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.recompute import recompute_audit_chain
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import ConstraintError
from ansible_collections.homelab.mission_control.plugins.module_utils.models import CreateTask, insert
from library_client import client_of


@pytest.fixture
def client(database):
    with client_of(database) as client:
        yield client


def test_an_entry_is_stored_with_what_the_server_knows(client):
    entry = audit(client, "alice", "workload.restart", ("workload", "plex"), "success", {"risk": "SAFE_MUTATE"})
    assert (entry.actor, entry.action, entry.outcome) == ("alice", "workload.restart", "success")
    assert (entry.target_type, entry.target_id, entry.details) == ("workload", "plex", {"risk": "SAFE_MUTATE"})
    assert entry.database_role == "mission_control"
    assert entry.source_address is None  # a client on the Unix socket has no address
    assert abs(entry.recorded_at - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(minutes=1)


def test_the_target_may_be_a_stored_row_a_kind_or_nothing(client):
    task = insert(client, CreateTask("Restart Plex", "system"))
    found = [
        audit(client, "alice", "look", target) for target in (task, ("task", task.id), ("task", None), "tasks", None)
    ]
    assert [(entry.target_type, entry.target_id) for entry in found] == [
        ("tasks", str(task.id)),
        ("task", str(task.id)),
        ("task", None),
        ("tasks", None),
        (None, None),
    ]
    assert all(entry.details == {} for entry in found)


def test_the_address_may_be_given(client):
    assert audit(client, "alice", "log_in", source_address="192.0.2.7").source_address == "192.0.2.7"
    assert audit(client, "alice", "log_in", source_address=None).source_address is None


def test_an_entry_goes_with_its_transaction(client):
    with client.transaction() as transaction:
        audit(transaction, "alice", "kept")
    with pytest.raises(ConstraintError), client.transaction() as transaction:
        audit(transaction, "alice", "undone", outcome="maybe")
    assert [row["action"] for row in client.query_many("SELECT action FROM audit_entries")] == ["kept"]
    assert audit_head(client).sequence == 1


def test_a_sound_chain_is_valid(client):
    empty = verify_audit_chain(client)
    assert (empty.valid, empty.verified, empty.head) == (True, 0, AuditHead(0, bytes(32)))
    heads = []
    for number in range(3):
        audit(client, "alice", "count", details={"number": number})
        heads.append(audit_head(client))
    report = verify_audit_chain(client, expected_head=heads[1])
    assert (report.valid, report.verified, report.problem, report.compared) == (True, 3, None, True)
    assert report.head == heads[2]
    assert verify_audit_chain(client).compared is False
    assert verify_audit_chain(client, expected_head=str(heads[2]), checkpoint=heads[0]).verified == 2


def test_a_changed_entry_is_found(client, database):
    for number in range(3):
        audit(client, "alice", "count", details={"number": number})
    admin = database.session("admin")
    admin.run("ALTER TABLE audit_entries DISABLE TRIGGER ALL")
    admin.run("UPDATE audit_entries SET actor = 'mallory' WHERE details @> '{\"number\": 1}'")
    report = verify_audit_chain(client)
    assert (report.valid, report.first_bad_sequence) == (False, 2)
    assert "was changed" in report.problem


def test_a_cut_off_end_is_found_only_against_a_head_that_was_kept(client, database):
    for number in range(3):
        audit(client, "alice", "count", details={"number": number})
    kept = str(audit_head(client))
    admin = database.session("admin")
    for table in ("audit_entries", "audit_links", "audit_head"):
        admin.run(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    admin.run("DELETE FROM audit_entries WHERE id = (SELECT entry_id FROM audit_links WHERE sequence = 3)")
    admin.run("DELETE FROM audit_links WHERE sequence = 3")
    admin.run(
        "UPDATE audit_head SET (sequence, digest) = (SELECT sequence, digest FROM audit_links WHERE sequence = 2)"
    )
    assert verify_audit_chain(client).valid
    report = verify_audit_chain(client, expected_head=kept)
    assert (report.valid, report.head.sequence) == (False, 2)
    assert report.problem == "the chain ends at 2, before the expected 3"


def test_the_recomputation_agrees_with_the_server(client):
    assert recompute_audit_chain(client, AuditHead(0, bytes(32))).valid
    heads = []
    for details in ({"a": ["é", None, 1.50]}, {}, {"long": "x" * 3000}):
        audit(client, "Łukasz 🦊", "count", ("task", None), "denied", details, "2001:db8::/32")
        heads.append(audit_head(client))
    for expected in (*heads, str(heads[0]), None):
        report = recompute_audit_chain(client, expected)
        assert (report.valid, report.verified, report.problem) == (True, 3, None)
        assert report.head == heads[-1]
        assert report.compared == (expected is not None)
    report = recompute_audit_chain(client, AuditHead(4, heads[-1].digest))
    assert report.problem == "the chain ends at 3, before the expected 4"
    report = recompute_audit_chain(client, AuditHead(2, heads[-1].digest))
    assert report.problem == "link 2 is not the expected one"


@pytest.mark.parametrize(
    ("change", "problem", "first_bad"),
    [
        ("UPDATE audit_entries SET action = 'x' WHERE id = 2", "entry 2 or link 2 was changed", 2),
        ("DELETE FROM audit_entries WHERE id = 2", "entry 2 of link 2 is missing", 2),
        ("DELETE FROM audit_links WHERE sequence = 2", "link 2 is missing", 2),
        ("DELETE FROM audit_links WHERE sequence = 3", "the chain ends at 2, its head says 3", None),
        ("DELETE FROM audit_head", "the head is missing", None),
        (
            "INSERT INTO audit_entries (id, actor, action, outcome) OVERRIDING SYSTEM VALUE "
            "VALUES (-1, 'm', 'm', 'success')",
            "1 entries are not in the chain",
            None,
        ),
    ],
)
def test_the_recomputation_needs_no_function_of_the_server(client, database, change, problem, first_bad):
    """Whoever may replace the server's functions can make them say that all is well."""
    for number in range(3):
        audit(client, "alice", "count", details={"number": number})
    kept = audit_head(client)
    admin = database.session("admin")
    for table in ("audit_entries", "audit_links", "audit_head"):
        admin.run(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    admin.run(change)
    admin.run("DROP FUNCTION verify_audit_chain(bigint, bytea, bigint, bytea)")
    report = recompute_audit_chain(client, kept)
    assert (report.valid, report.problem, report.first_bad_sequence) == (False, problem, first_bad)


@pytest.mark.parametrize("role", ["readonly", "monitor", "service"])
def test_who_only_reads_may_verify(database, client, role):
    audit(client, "alice", "count")
    with client_of(database, role) as reader:
        assert verify_audit_chain(reader, expected_head=audit_head(reader)).verified == 1


@pytest.mark.parametrize("text", ["", "3", "3:abc", "x:" + "0" * 64, "3:" + "G" * 64])
def test_a_head_that_is_none_is_named(text):
    with pytest.raises(AuditError, match=r"^The head of an audit chain is a number, a colon and 64 hexadecimal digits"):
        AuditHead.parse(text)


def test_a_head_comes_back_from_its_text():
    head = AuditHead(12, bytes(range(32)))
    assert AuditHead.parse(f" {head}\n") == head
