"""What a backup reads and records in the database, and what it leaves alone there."""

from __future__ import annotations

import contextlib
import subprocess

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.backup import password_line
from backup_lab import BackupLab
from mission_control_database import ROLES, Session
from playbook import ROOT

FIRE = """
CREATE FUNCTION public.fire() RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        ALTER ROLE mallory SUPERUSER;
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    RETURN 1;
END $$;
CREATE FUNCTION public.still() RETURNS integer LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.fire(); END';
CREATE FUNCTION public.fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.fire(); RETURN NEW; END';
"""
# What a member of the tables' owner, or whoever owns the schema, can put there; and how the refusal begins.
TRAPS = {
    "a view": (
        "ALTER TABLE audit_head RENAME TO was; CREATE VIEW audit_head AS SELECT 1 AS sequence, ''::bytea AS digest WHERE public.fire() = 1",
        "audit_head is a view",
    ),
    "a trigger": (
        "CREATE TRIGGER t BEFORE INSERT ON backup_runs FOR EACH ROW EXECUTE FUNCTION public.fired()",
        "backup_runs has the trigger t",
    ),
    "a rule": (
        "CREATE RULE r AS ON INSERT TO backup_runs DO ALSO SELECT public.fire()",
        "backup_runs has a rule",
    ),
    "a default": (
        "ALTER TABLE backup_runs ADD COLUMN more integer DEFAULT NULL; ALTER TABLE backup_runs ALTER COLUMN more SET DEFAULT public.fire()",
        "backup_runs uses what is not PostgreSQL's own",
    ),
    "an index": ("CREATE INDEX ON backup_runs ((public.still()))", "backup_runs uses what is not PostgreSQL's own"),
    "a check": (
        "ALTER TABLE backup_runs ADD CHECK (public.fire() = 1)",
        "backup_runs uses what is not PostgreSQL's own",
    ),
}


@pytest.fixture
def lab(cluster, tmp_path):
    return BackupLab(cluster, tmp_path)


@pytest.fixture
def mallory(cluster, database):
    """A member of the audit owner, which may also make things in its schema."""
    with contextlib.closing(Session(cluster.connect(database.name))) as admin:
        admin.run(
            f"CREATE ROLE mallory LOGIN IN ROLE {ROLES['audit']}; GRANT CREATE ON SCHEMA public TO {ROLES['audit']}"
        )
        with contextlib.closing(Session(cluster.connect(database.name, "mallory"))) as session:
            session.run(f"SET ROLE {ROLES['audit']}")
            session.run(FIRE)
            yield session
        admin.run("DROP ROLE mallory")


def test_a_backup_is_recorded_with_the_head_of_the_audit_log(lab, database, admin):
    admin.run("INSERT INTO audit_entries (actor, action, outcome) VALUES ('test', 'count', 'success')")
    done = lab.program(database, "dump")
    assert (done.stderr, done.returncode) == ("", 0)
    head = admin.value("SELECT sequence || ':' || encode(digest, 'hex') FROM audit_head")
    assert admin.row("SELECT type, outcome, audit_sequence FROM backup_runs") == {
        "type": "dump",
        "outcome": "success",
        "audit_sequence": 1,
    }
    [kept] = lab.dumps.glob("*.head")
    assert kept.read_text() == f"{head}\n"


@pytest.mark.parametrize(("trap", "reason"), TRAPS.values(), ids=TRAPS)
def test_what_somebody_put_in_place_of_its_tables_is_not_touched(lab, database, mallory, trap, reason):
    mallory.run(trap)
    done = lab.program(database, "dump")
    assert "is complete" in done.stdout
    assert f"How it ended could not be recorded: psql says: ERROR:  {reason}" in done.stderr
    assert done.returncode == 1
    assert lab.program(database, "lost", "0123").returncode == 1
    assert lab.is_superuser("mallory") is False
    lab.program(database, "dump", table_guard="")
    assert lab.is_superuser("mallory") is True, "the trap is none"


def test_nothing_of_the_callers_environment_chooses_the_server(lab, database, admin):
    odd = {
        "PGHOST": "/nowhere",
        "PGPORT": "1",
        "PGDATABASE": "other",
        "PGUSER": "nobody",
        "PGOPTIONS": "-c search_path=x",
        "PGSERVICE": "no",
    }
    done = lab.program(database, "dump", caller=odd)
    assert (done.stderr, done.returncode) == ("", 0)
    assert admin.value("SELECT count(*) FROM backup_runs") == 1


def test_the_password_file_serves_this_server_and_database(lab, database, tmp_path):
    with contextlib.closing(Session(lab.cluster.connect())) as admin:
        admin.run("CREATE ROLE dumper LOGIN SUPERUSER PASSWORD %s", "a:b\\c")
        file = tmp_path / "pgpass"
        environment = {"PATH": lab.path, "PGPASSFILE": str(file), "PGREQUIREAUTH": "scram-sha-256"}
        for port, code in ((lab.cluster.port, 0), (lab.cluster.port + 1, 1)):
            file.write_text(password_line("127.0.0.1", port, database.name, "dumper", "a:b\\c"))
            file.chmod(0o600)
            settings = {"host": "127.0.0.1", "user": "dumper", "environment": environment}
            assert lab.program(database, "dump", **settings).returncode == code
        admin.run("DROP ROLE dumper")


def test_a_dump_is_there_under_its_name_or_the_task_fails(tmp_path):
    """It is the last thing before a database is dropped or migrated."""
    [dump] = yaml.safe_load((ROOT / "roles/mission_control_database/tasks/dump.yml").read_text(encoding="utf-8"))
    [script] = [
        task["ansible.builtin.command"]["argv"][2] for task in dump["block"] if task["name"] == "Rename the dump"
    ]
    partial, whole = tmp_path / "a dump.partial", tmp_path / "a dump"
    for there in ("a file", "a directory", "a link"):
        partial.write_text("new")
        if there == "a file":
            whole.write_text("old")
        elif there == "a directory":
            whole.mkdir()
        else:
            whole.symlink_to(tmp_path / "nothing")
        done = subprocess.run(["sh", "-c", script, partial, whole], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "already exists" in done.stderr or "overwrite" in done.stderr
        assert partial.read_text() == "new"
        whole.rmdir() if there == "a directory" else whole.unlink()
    subprocess.run(["sh", "-c", script, partial, whole], check=True)
    assert whole.read_text() == "new"
