"""A promotion in which something fails on the old primary while the standby could go on."""

from __future__ import annotations

import json
import sys

import pytest
from playbook import run_playbook

TASKS = "homelab.mission_control.mission_control_standby"


@pytest.fixture
def promote(tmp_path):
    """Run the tasks that stop the old primary and promote its standby, with the command that controls the old one's server."""

    def run(control, **changes):
        steps = [
            {
                "ansible.builtin.set_fact": {
                    "__mission_control_standby_reachable": True,
                    "__mission_control_standby_has_cluster": True,
                }
            },
            {"ansible.builtin.include_role": {"name": TASKS, "tasks_from": "fence"}},
            {
                "ansible.builtin.include_role": {"name": TASKS, "tasks_from": "raise"},
                "when": "inventory_hostname == 'two'",
            },
        ]
        hosts = [
            {
                "hosts": "localhost",
                "gather_facts": False,
                "tasks": [
                    {"ansible.builtin.add_host": {"name": name, "groups": "pair", "ansible_connection": "local"}}
                    for name in ("one", "two")
                ],
            },
            {"hosts": "pair", "gather_facts": False, "tasks": steps},
        ]
        playbook = tmp_path / "promote.yml"
        playbook.write_text(json.dumps(hosts))
        plan = {"stop": False, "done": False, "settled": False, "fence": False, "create_slot": False, **changes}
        variables = {
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "__mission_control_standby_pair": {"primary": "one", "standby": "two"},
            "__mission_control_standby_promotion": plan,
            "__mission_control_standby_cluster": {
                "running": True,
                "start_path": "/nonexistent/start.conf",
                "owner": "root",
                "server": None,
            },
            "__mission_control_standby_control": control,
            "__mission_control_standby_environment": {},
            # Nobody is there, so the first statement of a promotion fails in another sentence.
            "__mission_control_standby_connection": {
                "login_host": "",
                "login_unix_socket": str(tmp_path),
                "login_user": "nobody",
            },
        }
        return run_playbook(playbook, variables, home=tmp_path)

    return run


def test_a_standby_is_not_promoted_beside_a_primary_that_could_not_be_stopped(promote):
    run = promote(["false"])
    assert (
        "Nothing was promoted, as one was not fenced and stopped: see what failed there, and run again." in run.output
    )
    assert "TASK [homelab.mission_control.mission_control_standby : Promote the server]" not in run.output


def test_it_is_where_that_one_is_stopped(promote):
    run = promote(["true"])
    assert "Nothing was promoted" not in run.output
    assert "TASK [homelab.mission_control.mission_control_standby : Promote the server]" in run.output
