"""The statements and commands of docs/operations.md do what the page says."""

import re
import shlex

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.head import AuditHead
from command import ROOT, run_command
from sample_rows import fill_every_table
from test_command_line_audit import tamper
from test_sql_task_events import make_old

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
STATEMENTS = [
    statement.strip()
    for block in re.findall(r"^ *```sql\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    for statement in re.sub(r"^ *--.*\n", "", block, flags=re.MULTILINE).split(";")
    if statement.strip()
]


def statement_with(words):
    (found,) = (statement for statement in STATEMENTS if words in statement)
    return found


@pytest.fixture
def run(application):
    return fill_every_table(application)["task_runs"]


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("statement", STATEMENTS)
def test_every_statement_runs_as_the_administrator(admin, statement):
    admin.run(statement)


def test_old_prompts_go_and_costs_stay(admin, run):
    admin.run("ALTER TABLE llm_requests DISABLE TRIGGER USER")
    admin.run("ALTER TABLE llm_responses DISABLE TRIGGER USER")
    admin.run("UPDATE llm_requests SET occurred_at = now() - interval '181 days'")
    admin.run("UPDATE llm_responses SET occurred_at = now() - interval '181 days'")
    cost = admin.value("SELECT estimated_cost_usd FROM token_usage")
    assert admin.value(statement_with("prune_llm_bodies")) == 2
    assert admin.row("SELECT messages, (SELECT content FROM llm_responses) FROM llm_requests") == {
        "messages": None,
        "content": None,
    }
    assert admin.value("SELECT estimated_cost_usd FROM token_usage") == cost
    assert admin.value("SELECT count(*) FROM audit_entries WHERE action = 'llm_bodies.prune'") == 1


def test_old_events_go_with_a_trace(admin, application, run):
    application.insert("task_events", task_run_id=run["id"], sequence=2, type="log")
    make_old(admin)
    assert admin.value(statement_with("retention of two years")) == 1
    assert admin.values("SELECT sequence FROM task_events") == [2]
    details = admin.value("SELECT details FROM audit_entries WHERE action LIKE 'task_events.%'")
    assert details["reason"] == "retention of two years"


def test_a_secret_in_an_event_is_blanked(admin, application, run):
    for sequence, text in ((2, "password=hunter2"), (3, "harmless")):
        application.insert("task_events", task_run_id=run["id"], sequence=sequence, type="log", payload={"text": text})
    assert admin.values(statement_with("holds a password")) == [1]
    payloads = admin.values("SELECT payload FROM task_events WHERE sequence > 1 ORDER BY sequence")
    assert payloads == [{}, {"text": "harmless"}]


def test_a_comparison_with_a_backup_shows_the_entry_that_was_changed(database, application, admin, tmp_path):
    (line,) = (line.strip() for line in PAGE.splitlines() if "> entries.csv" in line)
    command = shlex.split(line.partition(" > ")[0])[1:]
    application.run(
        "INSERT INTO audit_entries (actor, action, outcome) SELECT 'alice', 'a', 'success' FROM generate_series(1, 50)"
    )
    backup = run_command(database, *command, role="readonly").stdout.splitlines()
    tamper(database, "UPDATE audit_entries SET actor = 'mallory' WHERE id = 7")
    broken = run_command(database, *command, role="readonly").stdout.splitlines()
    assert len(backup) == 51
    changed = [(before, after) for before, after in zip(backup, broken) if before != after]
    assert [(before.split(",")[0], "mallory" in after) for before, after in changed] == [("7", True)]


def test_after_a_break_the_chain_verifies_from_a_checkpoint(database, application):
    write = (
        "INSERT INTO audit_entries (actor, action, outcome) SELECT 'alice', 'a', 'success' FROM generate_series(1, 9)"
    )
    application.run(write)
    tamper(database, "UPDATE audit_entries SET actor = 'mallory' WHERE id = 7")
    row = application.row("SELECT sequence, digest FROM audit_head")
    head = AuditHead(row["sequence"], row["digest"])
    for table in ("audit_entries", "audit_links", "audit_head"):
        for trigger in database.session("admin").values(
            f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND NOT tgisinternal"
        ):
            database.session("admin").run(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")
    application.run(write)
    assert run_command(database, "audit", "verify").returncode == 1
    result = run_command(database, "audit", "verify", "--checkpoint", str(head))
    assert (result.returncode, "9 links verified after 9" in result.stdout) == (0, True)


def test_what_is_said_of_a_broken_chain_is_explained():
    """The sentences of the verification, by their words between numbers."""
    sql = (ROOT / "files" / "sql" / "repeatable" / "004_audit.sql").read_text(encoding="utf-8")
    for words in (
        "was changed",
        "is missing",
        "are not in the chain",
        "before the expected",
        "is not the expected one",
    ):
        assert words in sql
        assert words in PAGE
