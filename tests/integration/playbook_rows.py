"""Runs of playbooks, written by statements as the loader leaves them."""


def add_playbook_run(
    session, playbook="homelab/site.yml", status="succeeded", seconds_ago=1, hosts=None, steps=(), error=None, **columns
):
    """The run's id. It has taken 12.5 seconds, if it has ended.

    `hosts` has the counts of each host by its name, and its `host_id`; `steps` are pairs of a type of event and its payload.
    """
    run = session.value(
        "WITH task AS (INSERT INTO tasks (title, created_by, playbook) VALUES (%s, 'homelab.mission_control.recorder', %s) "
        "ON CONFLICT (playbook) DO UPDATE SET title = excluded.title RETURNING id) "
        "INSERT INTO task_runs (task_id, status, error, created_at, started_at, finished_at) "
        "SELECT task.id, %s, %s, at, at, CASE WHEN %s <> 'running' THEN at + interval '12.5 seconds' END "
        "FROM task, (SELECT now() - %s * interval '1 second' AS at) AS began RETURNING id",
        *(playbook, playbook, status, error, status, seconds_ago),
    )
    given = {"controller": "laptop", "run_by": "sven", "check_mode": False, "ansible_version": "2.21.5", **columns}
    session.insert("playbook_runs", task_run_id=run, **given)
    for name, counts in (hosts or {}).items():
        session.insert("playbook_run_hosts", task_run_id=run, host_name=name, **counts)
    for sequence, (kind, payload) in enumerate(steps):
        session.insert("task_events", task_run_id=run, sequence=sequence, type=kind, payload=payload)
    return run


def play(name):
    return "log", {"event": "play", "name": name}


def task(name, module="ansible.builtin.copy", path="roles/web/tasks/main.yml:12"):
    return "log", {"event": "task", "name": name, "module": module, "path": path, "handler": False}


def result(name, host, outcome="ok", changed=False, **more):
    payload = {
        "event": "result",
        "host": host,
        "task": name,
        "task_sequence": 1,
        "outcome": outcome,
        "changed": changed,
    }
    return "tool_result", {**payload, "seconds": 0.25, **more}
