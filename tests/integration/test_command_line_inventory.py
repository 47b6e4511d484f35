"""`mission-control inventory`, `hosts` and `workloads`: a sync by hand, what it shows, and how it ends."""

import contextlib
import json
import signal
import time

import pytest
from command import LAB_COMMAND, on_terminal, run_command, run_process, start_command

TOLD = {
    "hosts": [{"external_id": "rack", "name": "rack"}],
    "workloads": [{"external_id": "web", "name": "web", "host": "rack"}, {"external_id": "db", "name": "db"}],
}


class Lab:
    """A source of the tests' own connector."""

    def __init__(self, database, directory):
        self.database = database
        self.file = directory / "lab.json"
        self.trace = directory / "trace"
        self.sources = directory / "sources.json"
        self.configure()
        self.tell(TOLD)

    def configure(self, **keys):
        options = {"file": str(self.file), "trace": str(self.trace)}
        entry = {"name": "lab", "connector": "docker", "deadline": 60, "options": options, **keys}
        self.sources.write_text(json.dumps([entry]), encoding="utf-8")

    def tell(self, told):
        self.file.write_text(json.dumps(told), encoding="utf-8")

    def arguments(self, *words):
        return ("inventory", *words, "--file", str(self.sources), "--credentials", str(self.sources.parent / "none"))

    def run(self, *words):
        return run_process(self.database, *self.arguments(*words), command=LAB_COMMAND)

    def fetching(self):
        """The process that fetches, once there is one."""
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError, ValueError, IndexError):
                return int(self.trace.read_text(encoding="ascii").split()[-1])
            assert time.monotonic() < deadline, "it fetches"
            time.sleep(0.05)


@pytest.fixture
def lab(database, tmp_path):
    return Lab(database, tmp_path)


def test_check_shows_what_a_sync_then_does(lab, application):
    checked = lab.run("sync", "--check")
    assert checked.returncode == 0, checked.stderr
    assert [application.value(f"SELECT count(*) FROM {name}") for name in ("inventory_sources", "hosts", "tasks")] == [
        0,
        0,
        0,
    ]
    done = lab.run("sync")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == checked.stdout
    assert "hosts: 1 added" in done.stdout
    assert application.values("SELECT name FROM workloads ORDER BY name") == ["db", "web"]
    assert application.values("SELECT status FROM task_runs") == ["succeeded"]
    again = json.loads(lab.run("sync", "--json").stdout)
    assert [(each["source"], each["succeeded"], each["differences"]) for each in again] == [("lab", True, [])]


def test_preflight_names_the_rights_that_are_missing_and_changes_nothing(lab, application):
    whole = lab.run("preflight")
    assert (whole.returncode, whole.stdout) == (0, "lab: The login has every right that a sync needs.\n")
    lab.tell({**TOLD, "missing_rights": ["The login may not list pods: apply reader.yml."]})
    lacking = lab.run("preflight")
    assert (lacking.returncode, lacking.stdout) == (1, "lab: The login may not list pods: apply reader.yml.\n")
    (told,) = json.loads(lab.run("preflight", "--json").stdout)
    assert told == {"source": "lab", "missing": ["The login may not list pods: apply reader.yml."], "error": None}
    lab.tell({"fault": "die"})
    dead = lab.run("preflight")
    assert dead.returncode == 1
    assert dead.stdout.startswith("lab: Fetching lab failed: its process was killed by SIGKILL")
    assert application.value("SELECT count(*) FROM inventory_sources") == 0


def test_a_source_that_cannot_be_asked_fails_the_run_with_its_sentence(lab, application):
    lab.run("sync")
    lab.file.unlink()
    failed = lab.run("sync")
    assert failed.returncode == 1
    assert failed.stdout == f"The file {lab.file} of lab cannot be read: No such file or directory.\n"
    assert application.value("SELECT error FROM task_runs WHERE status = 'failed'") == failed.stdout.strip()
    assert application.value("SELECT count(*) FROM workloads WHERE gone_at IS NULL") == 2
    as_json = json.loads(lab.run("sync", "--check", "--json").stdout)
    assert as_json == [{"source": "lab", "succeeded": False, "error": failed.stdout.strip()}]
    listed = run_command(lab.database, "inventory", "sources")
    assert listed.returncode == 1
    assert failed.stdout.strip() in listed.stdout


def test_a_disappearance_is_refused_until_it_is_accepted(lab, application):
    lab.run("sync")
    lab.tell({"hosts": TOLD["hosts"]})
    refused = lab.run("sync")
    assert refused.returncode == 1
    assert "mission-control inventory sync --source lab --accept-disappearance" in refused.stdout
    assert application.value("SELECT count(*) FROM workloads WHERE gone_at IS NULL") == 2
    accepted = lab.run("sync", "--source", "lab", "--accept-disappearance")
    assert accepted.returncode == 0, accepted.stdout
    listed = run_command(lab.database, "workloads")
    assert listed.stdout.splitlines()[-1] == "(0 workloads)"
    assert json.loads(run_command(lab.database, "workloads", "--gone", "--json").stdout)[1]["name"] == "web"


def test_another_identity_is_refused_until_it_is_accepted(lab):
    lab.run("sync")
    lab.tell({**TOLD, "identity": "another"})
    refused = lab.run("sync")
    assert (refused.returncode, "--accept-identity" in refused.stdout) == (1, True)
    assert lab.run("sync", "--accept-identity").returncode == 0


def test_wrong_usage_is_said_before_anything_is_connected(lab):
    for arguments, sentence in (
        (("sync", "--source", "lob"), "There is no source 'lob' in "),
        (("sync",), "Its interval is 1, but"),
    ):
        result = run_process(None, *lab.arguments(*arguments), command=LAB_COMMAND)
        assert (result.returncode, sentence in result.stderr) == (2, True), result.stderr
        lab.configure(interval=1)


def test_a_signal_closes_the_run_and_ends_the_process_that_fetches(lab, application):
    lab.tell({"fault": "hang"})
    process = start_command(lab.database, *lab.arguments("sync"), command=LAB_COMMAND)
    try:
        fetching = lab.fetching()
    finally:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")
    assert application.value("SELECT error FROM task_runs WHERE status = 'failed'") == "The sync was ended by a signal."
    deadline = time.monotonic() + 30
    while run_is_there(fetching):
        assert time.monotonic() < deadline, "it ends with its parent"
        time.sleep(0.05)


def run_is_there(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_on_a_terminal_there_is_progress_and_colour_and_no_line_is_too_wide(lab):
    code, text = on_terminal(lab.database, *lab.arguments("sync"), command=LAB_COMMAND)
    assert (code, "lab: fetching" in text, "lab: 2 workloads" in text) == (0, True, True)
    code, text = on_terminal(lab.database, "inventory", "sources")
    assert (code, "\x1b[32msucceeded\x1b[0m" in text) == (0, True)
    for words in (("workloads",), ("hosts",)):
        code, text = on_terminal(lab.database, *words)
        assert code == 0
        assert max(len(line.replace("\x1b[2m", "").replace("\x1b[0m", "")) for line in text.splitlines()) <= 80
