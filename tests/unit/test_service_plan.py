"""What the service's role decides: each action only when it is needed, also after a run that was killed."""

from __future__ import annotations

import hashlib
import json

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.service import plan_service

SECRET = "POSTGRES_PASSWORD='the secret'\n"
WANTED = {
    "address": "127.0.0.1",
    "port": 3000,
    "unit": "mission-control.service",
    "user": "mission-control-service",
    "packages": ["gunicorn", "python3-flask"],
    "release": "a" * 64,
    "files": [
        {"path": "/etc/mission-control", "state": "directory", "mode": "0755", "owner": "root", "group": "root"},
        {"path": "/env", "mode": "0640", "owner": "root", "group": "service", "content": "A='1'\n"},
        {"path": "/secret", "mode": "0600", "owner": "root", "group": "root", "secret": True, "content": SECRET},
        {"path": "/key", "mode": "0600", "owner": "root", "group": "root", "keep": True, "content": "random"},
    ],
}


def found(wanted):
    return {
        "kind": wanted.get("state", "file"),
        "modified": 100.0,
        "sha256": hashlib.sha256(wanted.get("content", "").encode()).hexdigest(),
        **{key: wanted[key] for key in ("mode", "owner", "group")},
    }


@pytest.fixture
def host():
    """A host on which everything is as it should be."""
    paths = {each["path"]: found(each) for each in WANTED["files"]}
    paths["/key"]["sha256"] = "of a key that was made earlier"
    return {
        "systemd": True,
        "packages": {"gunicorn": "20", "python3-flask": "2"},
        "user_exists": True,
        "release": "a" * 64,
        "switched": 100.0,
        "paths": paths,
        "unit": {"loaded": True, "running": True, "enabled": True, "needs_reload": False, "started": 200.0},
        "holder": None,
    }


def actions(host, wanted=WANTED):
    return plan_service(host, wanted)["actions"]


def test_nothing_is_done_where_nothing_is_to_be_done(host):
    assert actions(host) == []


@pytest.mark.parametrize("path", ["/etc/mission-control", "/env", "/key"])
def test_where_root_would_write_through_a_link_nothing_is_done(host, path):
    host["paths"][path]["kind"] = "other"
    (problem,) = plan_service(host, WANTED)["problems"]
    assert problem.startswith(f"{path} is a link or something else than a ")


def test_a_fresh_host_gets_everything():
    host = {
        "systemd": True,
        "packages": {},
        "user_exists": False,
        "release": "",
        "switched": 0.0,
        "paths": dict.fromkeys(["/env", "/secret", "/key", "/etc/mission-control"]),
        "unit": {"loaded": False, "running": False, "enabled": False, "needs_reload": False, "started": 0.0},
        "holder": None,
    }
    assert actions(host) == [
        "Install gunicorn, python3-flask.",
        "Make the user mission-control-service.",
        "Put the release aaaaaaaaaaaa in use.",
        "Make /etc/mission-control.",
        "Write /env, /secret, /key.",
        "Start mission-control.service.",
        "Start mission-control.service when the host boots.",
    ]
    assert "the secret" not in json.dumps(plan_service(host, WANTED))


def test_without_systemd_nothing_is_started(host):
    host.update(systemd=False, unit={}, release="")
    assert actions(host) == ["Put the release aaaaaaaaaaaa in use."]


@pytest.mark.parametrize("path", ["/env", "/secret"])
def test_other_content_is_replaced_and_needs_a_restart(host, path):
    host["paths"][path]["sha256"] = "of something else"
    assert actions(host) == [f"Write {path}.", "Restart mission-control.service."]


def test_a_key_that_is_there_stays_but_for_its_mode(host):
    host["paths"]["/key"]["mode"] = "0644"
    plan = plan_service(host, WANTED)
    assert (plan["files"]["write"], plan["files"]["adjust"]) == ([], ["/key"])
    assert plan["actions"] == ["Set owner and mode of /key."]


def test_a_new_release_needs_a_restart(host):
    host["release"] = "b" * 64
    assert actions(host) == ["Put the release aaaaaaaaaaaa in use.", "Restart mission-control.service."]


@pytest.mark.parametrize("place", ["/env", "/secret", "/key", "switched", "needs_reload"])
def test_a_restart_that_a_killed_run_owes_is_made_up_for(host, place):
    late = 201.0
    if place == "switched":
        host["switched"] = late
    elif place == "needs_reload":
        host["unit"]["needs_reload"] = True
    else:
        host["paths"][place]["modified"] = late
    assert actions(host) == ["Restart mission-control.service."]


def test_a_stopped_service_is_started_and_not_restarted(host):
    host["unit"].update(running=False, started=0.0)
    assert actions(host) == ["Start mission-control.service."]


@pytest.mark.parametrize(
    ("holder", "who"),
    [
        ({"pid": 42, "name": "grafana"}, "grafana (process 42)"),
        ({"pid": None, "name": "a process that is not visible from here"}, "a process that is not visible from here"),
    ],
)
def test_who_holds_the_port_is_named_and_nothing_is_planned(host, holder, who):
    host["holder"] = holder
    plan = plan_service(host, WANTED)
    assert plan == {
        "problems": [
            f"Port 3000 of 127.0.0.1 is held by {who}: stop it, or set mission_control_service_port to another port."
        ]
    }


def test_a_timer_whose_calendar_systemd_does_not_take_is_refused(host):
    host["calendars"] = {"dayly": "Failed to parse calendar specification"}
    wanted = {**WANTED, "calendars": {"mission_control_maintenance_schedule": "dayly"}}
    sentence = (
        "mission_control_maintenance_schedule is 'dayly', which is no calendar: Failed to parse calendar specification."
    )
    assert plan_service(host, wanted) == {"problems": [sentence]}
