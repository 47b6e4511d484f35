"""The timer that removes what is old, on hosts with systemd: scheduled, protected as far as the host allows, and silent about its password."""

from __future__ import annotations

import re

import pytest
from sql_on_host import as_administrator

testinfra_hosts = ["debian12", "debian13", "confined"]
UNIT, TIMER = "mission-control-maintenance.service", "mission-control-maintenance.timer"
DIRECTORY = "/etc/mission-control/maintenance"
# One of each that is older than the role's days, and one that is younger.
ROWS = """
WITH ages (name, number, days) AS (VALUES ('old', 0, interval '91 days'), ('young', 1, interval '1 day')),
task AS (INSERT INTO tasks (title, created_by) VALUES ('maintained', 'test') RETURNING id),
run AS (INSERT INTO task_runs (task_id) SELECT id FROM task RETURNING id),
event AS (
    INSERT INTO task_events (task_run_id, sequence, type, recorded_at)
    SELECT run.id, number, 'log', now() - days FROM run, ages
),
pod AS (
    INSERT INTO workloads (name, type, source, external_id, gone_at) SELECT name, 'k8s-pod', 'test', name, now() - days FROM ages
    ON CONFLICT DO NOTHING
)
INSERT INTO llm_requests (provider, model, messages, occurred_at) SELECT 'test', name, '["hello"]', now() - days FROM ages
"""
LEFT = """
SELECT (SELECT string_agg(DISTINCT sequence::text, ' ') FROM task_events WHERE recorded_at < now() - interval '12 hours'),
    (SELECT string_agg(name, ' ') FROM workloads WHERE source = 'test'),
    (SELECT string_agg(DISTINCT model, ' ') FROM llm_requests WHERE provider = 'test' AND messages IS NOT NULL),
    (SELECT string_agg(DISTINCT model, ' ' ORDER BY model) FROM llm_requests WHERE provider = 'test')
"""
TRACES = """
SELECT string_agg(DISTINCT action, ' ' ORDER BY action) FROM audit_entries WHERE actor = 'mission_control_maintenance'
    AND id > %d
"""


@pytest.fixture(scope="module")
def is_confined(host) -> bool:
    return host.check_output("hostname") == "confined"


@pytest.fixture
def start(host):
    """Start the unit by hand, and return its exit code and what it says: start()."""

    def run() -> tuple[int, str]:
        code = host.run(f"systemctl start {UNIT}").rc
        invocation = host.check_output(f"systemctl show --value --property=InvocationID {UNIT}")
        return code, host.check_output(f"journalctl --no-pager --output=cat _SYSTEMD_INVOCATION_ID={invocation}")

    return run


def test_the_timer_waits_for_its_time_and_starts_at_boot(host):
    assert host.check_output(f"systemctl is-active {TIMER}") == "active"
    assert host.check_output(f"systemctl is-enabled {TIMER}") == "enabled"
    assert re.match(
        r"\w+ \d{4}-01-01 00:0\d:",
        host.check_output(f"systemctl show --value --property=NextElapseUSecRealtime {TIMER}"),
    )


def test_protections_are_in_force(host, is_confined):
    text = host.check_output(f"systemd-analyze security --no-pager {UNIT}")
    exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", text)[1])
    assert exposure <= (3.5 if is_confined else 2.0), text


def test_the_password_is_for_one_user_alone(host, is_confined):
    file_mode, group = (640, "mission-control-maintenance") if is_confined else (600, "root")
    found = host.check_output(f"find {DIRECTORY} -printf '%f %m %u %g\\n' | sort").splitlines()
    assert found == [
        f"database.conf {file_mode} root {group}",
        "maintenance 750 root mission-control-maintenance",
        "maintenance.sql 640 root mission-control-maintenance",
    ]


def test_started_by_hand_it_removes_what_is_old_and_nothing_younger(start, database_host):
    as_administrator(database_host, ROWS, "mission_control")
    entries = int(as_administrator(database_host, "SELECT coalesce(max(id), 0) FROM audit_entries", "mission_control"))
    code, said = start()
    line = "Removed 1 events of runs older than 90 days; 1 pods, jobs and containers gone for 30 days; 1 prompts and replies older than 60 days"
    assert (code, said) == (0, line)
    assert as_administrator(database_host, LEFT, "mission_control") == "1|young|young|old young"
    traces = as_administrator(database_host, TRACES % entries, "mission_control")
    assert traces == "inventory.forget llm_bodies.prune task_events.remove"


def test_with_a_wrong_password_it_fails_and_says_so_without_it(host, start):
    path = f"{DIRECTORY}/database.conf"
    host.check_output(
        f"cp --archive {path} /root/kept && sed --in-place 's/^password=.*/password=wrong-Wc7TnKx2/' {path}"
    )
    try:
        code, said = start()
    finally:
        host.check_output(f"mv /root/kept {path} && systemctl reset-failed {UNIT}")
    assert code != 0
    assert 'password authentication failed for user "mission_control_maintenance"' in said
    assert host.run("journalctl --no-pager | grep --fixed-strings --quiet wrong-Wc7TnKx2").rc == 1
