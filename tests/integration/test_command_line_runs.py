"""`mission-control runs`: the list, a run as it was or as it goes on, and loading by hand."""

import csv
import io
import json
import signal

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.load import load_spool
from command import on_terminal, run_command, start_command
from library_client import client_of
from recorder_lab import Recording, dead_process

HOSTILE = "evil\x1b]0;owned\x07\u202egnp.exe"


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "runs"


def load(database, spool):
    with client_of(database) as client:
        result = load_spool(client, str(spool))
    assert result.problems == []


def finished(
    spool, playbook="homelab/site.yml", status="succeeded", host="web1", at="2026-11-27T18:30:00.000000Z", **begin
):
    run = Recording(spool, playbook=playbook, at=at, **begin)
    run.play("Web servers")
    run.task("Install {{ package }}")
    failed = status == "failed"
    run.result(
        host, "failed" if failed else "ok", changed=not failed, **({"message": "No such package"} if failed else {})
    )
    run.host(host, ok=int(not failed), changed=int(not failed), failed=int(failed))
    run.end(status, f"Install {{{{ package }}}} on {host}" if failed else None)
    return run


@pytest.fixture
def runs(database, spool):
    """Three runs, the oldest first."""
    made = [
        finished(spool, at="2026-11-27T18:00:00.000000Z"),
        finished(spool, "homelab/backup.yml", "failed", "nas", at="2026-11-27T19:00:00.000000Z"),
        finished(spool, "other/site.yml", host="web2", at="2026-11-27T20:00:00.000000Z", check=True),
    ]
    load(database, spool)
    return made


def listed(database, *options):
    result = run_command(database, "runs", *options, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    return [row["id"] for row in json.loads(result.stdout)]


def test_the_list_is_the_newest_first_and_takes_filters(database, runs):
    first, second, third = (run.run for run in runs)
    assert listed(database) == [third, second, first]
    assert listed(database, "--limit", "1") == [third]
    assert listed(database, "--playbook", "site.yml") == [third, first]
    assert listed(database, "--playbook", "homelab/site.yml") == [first]
    assert listed(database, "--playbook", "e.yml") == []
    assert listed(database, "--on", "nas") == [second]
    assert listed(database, "--status", "failed", "--status", "running") == [second]
    printed = run_command(database, "runs").stdout.splitlines()
    assert printed[0].split() == ["started", "playbook", "status", "took", "by", "hosts", "changed", "failed", "id"]
    assert printed[1].startswith("2026-11-27 20:00:00Z  other/site.yml (check)  succeeded")
    assert printed[1].endswith(f"sven@rack      1        1       0  {third[:8]}")
    assert printed[-1] == "(3 runs)"
    rows = list(csv.DictReader(io.StringIO(run_command(database, "runs", "--csv").stdout)))
    assert [(row["id"], row["failed_hosts"], row["check_mode"]) for row in rows] == [
        (third, "0", "t"),
        (second, "1", "f"),
        (first, "0", "f"),
    ]
    lines = run_command(database, "runs", "--json-lines").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [third, second, first]


def test_a_run_is_shown_by_the_beginning_of_its_identifier(database, runs):
    shown = run_command(database, "runs", "show", runs[1].run[:8].upper())
    assert (shown.returncode, shown.stderr) == (0, "")
    for line in (
        "playbook      homelab/backup.yml",
        "by            sven@rack with ansible-core 2.21.5",
        "PLAY Web servers",
        "  Install {{ package }} (ansible.builtin.apt, roles/x/tasks/main.yml:3)",
        "    failed      nas, 0.5 s: No such package",
        "failed after 0.0 s: Install {{ package }} on nas",
    ):
        assert line in shown.stdout.splitlines()
    whole = json.loads(run_command(database, "runs", "show", runs[1].run, "--json").stdout)
    assert (whole["status"], whole["hosts"][0]["host_name"], whole["steps"][2]["message"]) == (
        "failed",
        "nas",
        "No such package",
    )


def test_runs_that_called_language_models_say_what_that_cost(database, application, runs):
    used = {"task_run_id": runs[0].run, "provider": "lab", "model": "m"}
    application.insert("token_usage", **used, cost_source="provider", estimated_cost_usd="0.5")
    application.insert("token_usage", **used, input_tokens=1)
    application.insert("token_usage", **{**used, "task_run_id": runs[1].run}, input_tokens=1)
    headings, *printed = run_command(database, "runs").stdout.splitlines()
    assert headings.split()[-3:] == ["cost", "USD", "id"]
    assert [line.split()[-2] for line in printed[:3]] == ["0", "unpriced", "0.5000"]
    shown = run_command(database, "runs", "show", runs[0].run).stdout
    assert "2 calls of language models for 0.5000 USD, 1 of them without a price.\n" in shown
    listed = json.loads(run_command(database, "runs", "--json").stdout)
    assert [(row["llm_calls"], row["unpriced_llm_calls"], row["cost_usd"]) for row in listed] == [
        (0, 0, None),
        (1, 1, None),
        (2, 1, "0.500000000000"),
    ]


def test_what_names_no_run_or_several_is_a_sentence_and_1(database, spool):
    for digit in "12":
        finished(spool, run=f"aaaaaaaa-0000-4000-8000-00000000000{digit}")
    load(database, spool)
    for word, sentence in (
        ("aaaaaaaa", "More than one run of a playbook begins with aaaaaaaa"),
        ("b", "There is no run of a playbook whose identifier begins with 'b'"),
        ("x' OR true --", "There is no run of a playbook whose identifier begins with"),
        ("", "There is no run of a playbook whose identifier begins with ''"),
    ):
        result = run_command(database, "runs", "show", word)
        assert (result.returncode, result.stdout) == (1, "")
        assert sentence in result.stderr


def test_hostile_names_reach_no_terminal_as_they_are(database, spool):
    run = Recording(spool, playbook=HOSTILE, controller=HOSTILE, user=HOSTILE, limit=HOSTILE, tags=[HOSTILE])
    run.play(HOSTILE)
    run.task(HOSTILE, path=HOSTILE)
    run.result(HOSTILE, "failed", message=HOSTILE)
    run.host(HOSTILE, failed=1)
    run.end("failed", HOSTILE)
    load(database, spool)
    for words in (["runs"], ["runs", "show", run.run]):
        code, printed = on_terminal(database, *words, columns=300, NO_COLOR="1")
        assert (code, "evil\\u001b]0;owned\\u0007\\u202egnp.exe" in printed) == (0, True)
        assert not {"\x1b", "\x07", "\u202e"} & set(printed)


def read_until(process, text):
    lines = []
    while not lines or text not in lines[-1]:
        line = process.stdout.readline().decode()
        assert line, "".join(lines)
        lines.append(line)
    return "".join(lines)


def test_follow_shows_a_run_until_it_ends(database, spool):
    run = Recording(spool)
    run.play("Slow")
    load(database, spool)
    process = start_command(database, "runs", "show", run.run, "--follow")
    read_until(process, "PLAY Slow")
    run.task("Wait")
    run.result("web1", changed=True)
    load(database, spool)
    assert "  Wait (" in read_until(process, "changed     web1, 0.5 s")
    run.host("web1", ok=1, changed=1)
    run.end()
    load(database, spool)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out.decode().splitlines()[-1].startswith("succeeded after ")


def test_ctrl_c_ends_following_and_nothing_else(database, spool, application):
    run = Recording(spool)
    run.play("Slow")
    load(database, spool)
    process = start_command(database, "runs", "show", run.run, "-f")
    read_until(process, "PLAY Slow")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")
    assert application.value("SELECT status FROM task_runs") == "running"


def test_load_says_what_it_did_and_what_is_left(database, spool):
    finished(spool)
    Recording(spool, process=dead_process()).whole(2, end=False)
    going_on = Recording(spool)
    going_on.play()
    bad = Recording(spool, playbook=7)
    result = run_command(database, "runs", "load", "--spool", str(spool))
    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        f"Loaded 3 runs from {spool}, with 8 new events.",
        "1 run was closed, as its playbook had been killed.",
        f"Left: {going_on.file.name}, since its playbook goes on.",
        f"{bad.file.name} was set aside as {bad.file.name}.rejected: its first line is none of the recorder's.",
    ]
    again = run_command(database, "runs", "load", "--json", MISSION_CONTROL_RECORDER_SPOOL=str(spool))
    assert again.returncode == 0
    assert json.loads(again.stdout) == {
        "runs": 1,
        "events": 0,
        "closed": 0,
        "left": [{"file": going_on.file.name, "reason": "its playbook goes on"}],
        "problems": [],
    }


def test_load_says_what_is_wrong(database, spool, tmp_path):
    run = finished(spool)
    away = run_command(database, "runs", "load", "--spool", str(spool), "--port", "1")
    assert (away.returncode, away.stdout, "Cannot connect to" in away.stderr) == (3, "", True)
    missing = run_command(database, "runs", "load", "--spool", str(tmp_path / "none"))
    assert (missing.returncode, "There is no directory" in missing.stderr) == (2, True)
    spool.chmod(0o777)
    open_to_all = run_command(database, "runs", "load", "--spool", str(spool))
    assert (open_to_all.returncode, "others may" in open_to_all.stderr) == (3, True)
    spool.chmod(0o700)
    reader = run_command(database, "runs", "load", "--spool", str(spool), role="readonly")
    assert reader.returncode == 1
    assert "The database takes no playbook runs: " in reader.stdout
    assert run.file.exists()
    empty = run_command(database, "runs", "load", HOME=str(tmp_path))
    assert (empty.returncode, empty.stdout.startswith("No run waits to be loaded in ")) == (0, True)


def test_a_database_that_is_too_old_is_told_how_it_is_helped(database, admin):
    admin.run("DROP TABLE playbook_run_hosts, playbook_runs CASCADE")
    for words in (["runs"], ["runs", "show", "3f2a"]):
        result = run_command(database, *words)
        assert (result.returncode, result.stdout) == (3, "")
        assert result.stderr.endswith("apply its pending migrations with playbooks/migrate.yml.\n")
