"""The callback `recorder`: what it records of playbooks, that nothing of it is a secret, and that plays are the same with it."""

import json
import os
import signal

import pytest
from mission_control_database import ROLES
from recorder_plays import SHORT, WAIT_SECONDS, RecordedPlays, loaders_of, outcome_of, until

EVERYTHING = """
- name: Play on {{ target }}
  hosts: "{{ target }}"
  gather_facts: false
  vars: {service: web, db_password: Gartenzaun}
  handlers:
    - name: Restart {{ service }}
      ansible.builtin.debug: {msg: done}
  tasks:
    - name: Change {{ service }}
      ansible.builtin.command: {argv: ["true"]}
      notify: Restart web
    - ansible.builtin.debug: {msg: "{{ db_password }}"}
    - name: Loop
      ansible.builtin.debug: {msg: "{{ item }}"}
      loop: [Aurikel, Begonie]
      changed_when: item == 'Aurikel'
      failed_when: item == 'Begonie'
      ignore_errors: true
    - name: Skip on one
      ansible.builtin.debug: {msg: x}
      when: inventory_hostname == 'web1'
    - name: Fail with a message of one's own
      ansible.builtin.fail: {msg: "It is {{ db_password }}"}
      ignore_errors: true
    - name: Fail with the value of a variable
      ansible.builtin.copy: {src: "/nowhere/{{ db_password }}/x", dest: /nowhere/x}
      ignore_errors: true
    - name: Hide
      no_log: "{{ inventory_hostname == 'nobody' }}"
      block:
        - name: Hidden
          ansible.builtin.include_vars: {file: /nowhere/x.yml}
          ignore_errors: true
    - name: Recover
      block:
        - name: Break
          ansible.builtin.include_vars: {file: /nowhere/x.yml}
      rescue:
        - name: Repair
          ansible.builtin.debug: {msg: x}
    - name: Delegate
      ansible.builtin.debug: {msg: x}
      delegate_to: db1
      run_once: true
    - name: Wait
      ansible.builtin.command: {argv: [sleep, "0.1"]}
      changed_when: false
      async: 30
      poll: 1
      vars: {ansible_async_dir: "{{ playbook_dir }}/async"}
      when: inventory_hostname == 'web1'
    - name: Include
      ansible.builtin.include_tasks: {file: parts/included.yml}
      loop: [1]
    - name: Do not reach, and go on
      ansible.builtin.ping:
      ignore_unreachable: true
      vars: &away {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 9}
      when: inventory_hostname == 'web2'
    - name: Do not reach
      ansible.builtin.ping:
      vars: *away
      when: inventory_hostname == 'web2'
    - name: Left out
      ansible.builtin.debug: {msg: x}
      tags: [later]
- hosts: web1
  gather_facts: false
  strategy: free
  tasks:
    - name: Freely
      ansible.builtin.debug: {msg: x}
- hosts: web1,db1
  gather_facts: false
  strategy: ansible.builtin.host_pinned
  tasks:
    - name: Keep the password
      ansible.builtin.copy: {content: Kirschbaum, dest: "{{ playbook_dir }}/password", mode: "0600"}
      when: inventory_hostname == 'web1'
    - name: Stop
      ansible.builtin.assert: {that: inventory_hostname != 'web1', fail_msg: Enough}
"""
INCLUDED = """
- name: Included {{ item }}
  ansible.builtin.debug: {msg: x}
"""
BUILTIN = "ansible.builtin."
OWN_WORDS = "It is {{ db_password }}"
# Task, module, line, and for each host its outcome, with a + where something changed.
EXPECTED = [
    ("play", "Play on {{ target }}"),
    ("Change {{ service }}", "command", "all.yml:10", {"web1": "ok+", "web2": "ok+"}),
    ("ansible.builtin.debug", "debug", "all.yml:13", {"web1": "ok", "web2": "ok"}),
    ("Loop", "debug", "all.yml:14", {"web1": "ignored+", "web2": "ignored+"}),
    ("Skip on one", "debug", "all.yml:20", {"web1": "ok", "web2": "skipped"}),
    ("Fail with a message of one's own", "fail", "all.yml:23", {"web1": "ignored", "web2": "ignored"}),
    ("Fail with the value of a variable", "copy", "all.yml:26", {"web1": "ignored", "web2": "ignored"}),
    ("Hidden", "include_vars", "all.yml:32", {"web1": "ignored", "web2": "ignored"}),
    ("Break", "include_vars", "all.yml:37", {"web1": "failed", "web2": "failed"}),
    ("Repair", "debug", "all.yml:40", {"web1": "ok", "web2": "ok"}),
    ("Delegate", "debug", "all.yml:42", {"web1": "ok"}),
    ("Wait", "command", "all.yml:46", {"web1": "ok", "web2": "skipped"}),
    ("Include", "include_tasks", "all.yml:53", {"web1": "ok", "web2": "ok"}),
    ("Included {{ item }}", "debug", "parts/included.yml:2", {"web1": "ok", "web2": "ok"}),
    ("Do not reach, and go on", "ping", "all.yml:56", {"web1": "skipped", "web2": "ignored"}),
    ("Do not reach", "ping", "all.yml:61", {"web1": "skipped", "web2": "unreachable"}),
    ("Restart {{ service }}", "debug", "all.yml:7", {"web1": "ok"}),
    ("play", "web1"),
    ("Freely", "debug", "all.yml:72", {"web1": "ok"}),
    ("play", "web1,db1"),
    ("Keep the password", "copy", "all.yml:78", {"web1": "ok+", "db1": "skipped"}),
    ("Stop", "assert", "all.yml:81", {"web1": "failed", "db1": "ok"}),
]
WAITING = """
- hosts: web1
  gather_facts: false
  tasks:
    - name: Begin
      ansible.builtin.debug: {msg: x}
    - name: Wait
      ansible.builtin.shell: {cmd: "touch started && sleep 15", chdir: "{{ playbook_dir }}"}
"""


@pytest.fixture
def plays(tmp_path):
    plays = RecordedPlays(tmp_path)
    yield plays
    for process in loaders_of(plays.spool):
        os.kill(process, signal.SIGKILL)


def told(payloads):
    """Events in the form of EXPECTED, each result with its task."""
    events, by_sequence = [], {}
    for sequence, each in payloads:
        if each["event"] == "play":
            events.append(("play", each["name"]))
        elif each["event"] == "task":
            assert each["module"].startswith(BUILTIN)
            events.append((each["name"], each["module"].removeprefix(BUILTIN), each["path"], {}))
            by_sequence[sequence] = events[-1]
        else:
            task = by_sequence[each["task_sequence"]]
            assert task[0] == each["task"]
            task[3][each["host"]] = each["outcome"] + "+" * each["changed"]
    return events


@pytest.fixture
def url(database, admin):
    """Of a login that needs the password which the play writes, as the first run of site.yml does."""
    role = ROLES["application"]
    admin.run(f"ALTER ROLE {role} PASSWORD 'Kirschbaum'")
    yield f"postgresql://{role}@127.0.0.1:{database.cluster.port}/{database.name}"
    admin.run(f"ALTER ROLE {role} PASSWORD NULL")


def test_a_playbook_is_recorded_and_loaded_while_ansible_waits_for_nothing(plays, url, application):
    playbook = plays.write("all.yml", EVERYTHING)
    (plays.home / "parts").mkdir()
    plays.write("parts/included.yml", INCLUDED)
    done = plays.run(
        playbook,
        "--limit",
        "web*,db1",
        "--skip-tags",
        "later",
        variables={"target": "web*"},
        url=url,
        password_file=str(plays.home / "password"),
    )
    assert done.returncode == 4, done.stdout + done.stderr
    until(lambda: application.value("SELECT count(*) FROM playbook_run_overview WHERE finished_at IS NOT NULL") == 1)
    overview = application.row("SELECT * FROM playbook_run_overview")
    assert {
        name: overview[name]
        for name in ("playbook", "status", "error", "limited_to", "tags", "skip_tags", "check_mode")
    } == {
        "playbook": "~/all.yml",
        "status": "failed",
        "error": "web2 was unreachable at the task: Do not reach",
        "limited_to": "web*,db1",
        "tags": [],
        "skip_tags": ["later"],
        "check_mode": False,
    }
    assert overview["dropped_events"] == 0
    rows = application.rows("SELECT sequence, payload FROM task_events WHERE payload ? 'event' ORDER BY sequence")
    payloads = [(row["sequence"], row["payload"]) for row in rows]
    results = [each for _, each in payloads if each["event"] == "result"]
    assert told(payloads) == EXPECTED
    assert [each["name"] for _, each in payloads if each.get("handler")] == ["Restart {{ service }}"]
    assert all(each["seconds"] >= 0 for each in results)
    assert {each["task"]: each["seconds"] for each in results if each["host"] == "web1"}["Wait"] >= 1
    messages = {each["task"]: each["message"] for each in results if "message" in each}
    assert set(messages) == {
        each[0] for each in EXPECTED if "failed" in str(each) or "ignored" in str(each) or "unreachable" in str(each)
    } - {"Hidden"}
    assert messages["Fail with a message of one's own"] == OWN_WORDS
    assert "Could not find or access '***'" in messages["Fail with the value of a variable"]
    assert messages["Stop"] == "Enough"
    stored = json.dumps(payloads)
    for secret in ("Gartenzaun", "Aurikel", "Begonie", "Kirschbaum"):
        assert secret not in stored
    hosts = application.rows("SELECT * FROM playbook_run_hosts ORDER BY host_name")
    names = ("ok", "changed", "failed", "unreachable", "skipped", "rescued", "ignored")
    recap = {
        line.split()[0]: [int(part.partition("=")[2]) for part in line.partition(":")[2].split()]
        for line in done.stdout.partition("PLAY RECAP")[2].splitlines()[1:]
        if line.strip()
    }
    in_recap = ("ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored")
    assert {row["host_name"]: {name: row[name] for name in names} for row in hosts} == {
        host: dict(zip(in_recap, counts)) for host, counts in recap.items()
    }


def test_an_interrupted_run_ends_cancelled(plays):
    process = plays.start(plays.write("wait.yml", WAITING))
    try:
        # Not in the moment of a fork, in which Ansible does not hear it.
        until((plays.home / "started").exists)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=WAIT_SECONDS)
    finally:
        process.kill()
    begin, *_, end = plays.lines()
    assert begin["begin"]["process"]["pid"] == process.pid
    assert end["end"]["status"] == "cancelled"


def test_a_play_is_the_same_where_the_spool_cannot_be(plays):
    playbook = plays.write("short.yml", SHORT)
    usual = plays.run(playbook, ANSIBLE_CALLBACKS_ENABLED="ansible.builtin.default")
    plays.spool.mkdir(parents=True, mode=0o755)
    other = plays.run(playbook)
    assert usual.returncode == 2
    assert outcome_of(other) == outcome_of(usual)
    assert plays.files == []
