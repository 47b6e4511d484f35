"""What the callback recorder writes of a playbook with everything in it is what the database has in the end, and what Ansible itself says."""

import json
from collections import Counter

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.load import load_spool
from library_client import client_of
from processes import wait_for
from recorder_plays import RecordedPlays, loaders_of
from recorder_spools import SpoolKeeper, events_of, stored_events

DEAD = {
    "ansible_connection": "ssh",
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,
    "ansible_ssh_common_args": "-oBatchMode=yes",
}
SAY = {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }}"}}
# A module costs a process of its own, so they are few.
CHANGE = {**SAY, "changed_when": True}
FAIL = {"ansible.builtin.fail": {"msg": "on purpose"}}
MODULE = {"ansible.builtin.command": "true"}
HERE = "inventory_hostname == 'a'"
INCLUDED = [{"name": "Included", **SAY}]
ROLE = [
    {"name": "Role's change", **CHANGE, "notify": "Handler of the role"},
    {"name": "Role's own tasks", "ansible.builtin.include_tasks": "more.yml"},
]
LINEAR = {
    "name": "Everything for {{ ansible_limit | default('all') }}",
    "hosts": "local",
    "gather_facts": True,
    "gather_subset": ["!all", "!min"],
    # In the home directory of the account, and not of the play, it would not be found.
    "vars": {"ansible_async_dir": "{{ playbook_dir }}/async"},
    "pre_tasks": [{"name": "Before", **SAY, "tags": "some"}],
    "tasks": [
        {"name": "Change", **CHANGE, "notify": ["Handler", "Handler in vain"], "tags": "some"},
        {"name": "Module", **MODULE, "tags": "some"},
        SAY,
        {"name": "Only where it is true", **SAY, "when": HERE},
        {"name": "Nobody", **SAY, "when": False},
        {"name": "Loop", **SAY, "loop": [1, 2], "when": "item != 2", "tags": "some"},
        {"name": "Loop of nothing", **SAY, "loop": []},
        {"name": "Loop that fails", **FAIL, "loop": [1, 2], "ignore_errors": True},
        {"name": "Loop that is skipped", **SAY, "loop": [1, 2], "when": False},
        {"name": "Retried", **SAY, "register": "tried", "until": "tried.attempts == 2", "retries": 2, "delay": 0},
        {"name": "Delegated", **MODULE, "delegate_to": "b"},
        {"name": "Once", **SAY, "run_once": True},
        {"name": "Once and elsewhere", **SAY, "run_once": True, "delegate_to": "localhost"},
        {"name": "Asynchronous", **MODULE, "async": 30, "poll": 1, "when": HERE},
        {"name": "Begun", **MODULE, "async": 30, "poll": 0, "register": "job", "when": HERE},
        {
            "name": "Waited for",
            "ansible.builtin.async_status": {"jid": "{{ job.ansible_job_id }}"},
            "register": "told",
            "until": "told.finished",
            "retries": 30,
            "delay": 1,
            "when": HERE,
        },
        {"name": "Ignored", **FAIL, "ignore_errors": True, "tags": "some"},
        {"name": "Ignored where", **FAIL, "ignore_errors": "{{ inventory_hostname != 'nobody' }}"},
        {"name": "Undefined", "ansible.builtin.debug": {"msg": "{{ not_there }}"}, "ignore_errors": True},
        {"name": "Failed by its condition", **SAY, "failed_when": True, "ignore_errors": True},
        {"name": "Hidden", **FAIL, "no_log": True, "ignore_errors": True},
        {
            "name": "Rescued block",
            "block": [{"name": "Fails at once", **FAIL, "when": HERE}, {"name": "Where it did not fail", **SAY}],
            "rescue": [{"name": "Rescue", **SAY}, {"ansible.builtin.include_tasks": "included.yml"}],
            "always": [{"name": "Always", **SAY}],
            "tags": "some",
        },
        {"name": "Include", "ansible.builtin.include_tasks": "included.yml", "loop": ["x", "y"]},
        {"name": "Include nothing", "ansible.builtin.include_tasks": "included.yml", "when": False},
        {"name": "Import", "ansible.builtin.import_tasks": "included.yml"},
        {"name": "Role by import", "ansible.builtin.import_role": {"name": "one"}},
        {"name": "Role by include", "ansible.builtin.include_role": {"name": "one"}, "when": HERE},
        {"ansible.builtin.meta": "flush_handlers"},
        {"name": "New host", "ansible.builtin.add_host": {"name": "new", "groups": "added"}},
        {"name": "Group", "ansible.builtin.group_by": {"key": "is_{{ inventory_hostname }}"}},
        {"name": "Not by its tag", **SAY, "tags": "unwanted"},
        {"name": "End of one", "ansible.builtin.meta": "end_host", "when": "inventory_hostname == 'b'"},
        {"name": "After the end of one", **SAY},
    ],
    "handlers": [
        {"name": "Handler", **SAY},
        {"name": "Handler in vain", **SAY, "when": False},
        {"name": "Handler of the role", "ansible.builtin.include_tasks": "included.yml"},
    ],
    "post_tasks": [{"name": "Change again", **CHANGE, "notify": "Handler"}],
}


def some(strategy):
    """A play with blocks, includes and handlers that each host goes through at its own pace."""
    return {
        "name": f"By the strategy {strategy}",
        "hosts": "local:added",
        "strategy": strategy,
        "gather_facts": False,
        "tasks": [
            {"name": "Change", **CHANGE, "notify": "Handler"},
            {"name": "Include", "ansible.builtin.include_tasks": "included.yml", "loop": ["x", "y"]},
            {"name": "Role", "ansible.builtin.import_role": {"name": "one"}},
            {"name": "Some", **SAY, "when": HERE},
            {
                "block": [{"name": "Fails", **FAIL}],
                "rescue": [{"name": "Rescue", **SAY}],
                "always": [{"name": "Always", **SAY}],
            },
        ],
        "handlers": [{"name": "Handler", **SAY}, {"name": "Handler of the role", **SAY}],
    }


PLAYBOOK = [
    LINEAR,
    {
        "name": "Host by host",
        "hosts": "local",
        "serial": 1,
        "gather_facts": False,
        "tasks": [{"name": "One after the other", **SAY}],
    },
    some("free"),
    some("ansible.builtin.host_pinned"),
    {
        "hosts": "a:dead",
        "gather_facts": False,
        "tasks": [
            {"name": "Unreachable and ignored", "ansible.builtin.ping": None, "ignore_unreachable": True},
            {"name": "Unreachable", "ansible.builtin.ping": None},
            {"name": "After what was unreachable", **SAY},
        ],
    },
    {
        "name": "One fails",
        "hosts": "local",
        "gather_facts": False,
        "tasks": [
            {"name": "Fails on one", **FAIL, "when": HERE},
            {"name": "The others go on", **SAY},
        ],
    },
    {"name": "Nobody", "hosts": "no_such_group", "tasks": [{"name": "Never", **SAY}]},
    {"name": "By this machine", "hosts": "localhost", "gather_facts": False, "tasks": [SAY]},
]
SECOND_INVENTORY = {"all": {"hosts": {"dead": DEAD}, "children": {"local": {"hosts": {"a": {}, "b": {}}}}}}


IGNORED = {
    task["name"]
    for play in PLAYBOOK
    for task in play["tasks"]
    if task.get("ignore_errors") or task.get("ignore_unreachable")
}
COUNTS = {
    **{name: name for name in ("ok", "changed", "unreachable", "skipped", "rescued", "ignored")},
    "failures": "failed",
}


@pytest.fixture
def plays(tmp_path):
    plays = RecordedPlays(tmp_path, hosts=["a"])
    (tmp_path / "roles/one/tasks").mkdir(parents=True)
    plays.write("site.yml", json.dumps(PLAYBOOK))
    plays.write("second.json", json.dumps(SECOND_INVENTORY))
    plays.write("included.yml", json.dumps(INCLUDED))
    plays.write("roles/one/tasks/main.yml", json.dumps(ROLE))
    plays.write("roles/one/tasks/more.yml", json.dumps(INCLUDED))
    return plays


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["--skip-tags", "unwanted"], "failed", "dead was unreachable at the task: Unreachable"),
        (["--check", "--limit", "local", "--tags", "some"], "succeeded", None),
    ],
    ids=["everything", "dry and in part"],
)
def test_everything_that_a_playbook_does_is_recorded_once_and_as_ansible_says(
    database, application, plays, arguments, status, error
):
    with SpoolKeeper(plays.spool) as keeper:
        inventory = ["-i", str(plays.home / "second.json")]
        playbook = plays.home / "site.yml"
        run = plays.run(playbook, *inventory, *arguments, ANSIBLE_STDOUT_CALLBACK="ansible.posix.jsonl")
        wait_for(lambda: not loaders_of(plays.spool))
        ((run_id, lines),) = keeper.lines().items()
    with client_of(database, pool_size=1) as client:
        result = load_spool(client, str(plays.spool))
    assert (result.problems, result.left, plays.files) == ([], [], [])
    assert stored_events(application, run_id) == events_of(lines)
    overview = application.row("SELECT status, error, check_mode, dropped_events FROM playbook_run_overview")
    assert tuple(overview.values()) == (status, error, "--check" in arguments, 0)

    told = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    recap = next(event["stats"] for event in told if event["_event"] == "v2_playbook_on_stats")
    hosts = application.rows("SELECT * FROM playbook_run_hosts")
    assert {host["host_name"]: {name: host[column] for name, column in COUNTS.items()} for host in hosts} == recap
    steps = application.rows("SELECT name, host, outcome, changed FROM playbook_run_steps WHERE event = 'result'")
    assert Counter(tuple(step.values()) for step in steps) == Counter(results_of(told))


def results_of(told):
    """(task, host, outcome, changed) of each result, as another callback saw it."""
    for event in told:
        for host, result in event.get("hosts", {}).items():
            name = event["task"]["name"].rpartition(" : ")[2]
            kind = event["_event"].removeprefix("v2_runner_on_")
            is_ignored = name in IGNORED and kind in ("failed", "unreachable")
            yield name, host, "ignored" if is_ignored else kind, result.get("changed", False)
