"""files/inventory/proxmox-role.sh, with programs in place of Proxmox VE's own that note what they are called with."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "files/inventory/proxmox-role.sh"
PVEUM = """#!/bin/sh
echo "$*" >>"$0.calls"
case "$1 $2 $3" in
  "role add "* | "user add "*) if grep -qxF "$1 $3" "$0.there" 2>/dev/null; then exit 2; fi; echo "$1 $3" >>"$0.there" ;;
  "user token list") cat "$0.tokens" ;;
  "user token add") echo '[{"comment":"","tokenid":"inventory"}]' >"$0.tokens"; echo "value: 4e1f" ;;
esac
"""


@pytest.fixture
def node(tmp_path):
    """Calls the script on a node of a version; the output and what Proxmox VE was asked to do."""
    programs = {"pveum": PVEUM, "pveversion": '#!/bin/sh\ncat "$0.version"\n'}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "pveum.tokens").write_text("[]\n")

    def run(*arguments, version="9.0.10"):
        (tmp_path / "pveversion.version").write_text(f"pve-manager/{version}/deb1ca707ec72a89 (running kernel: 6.14)\n")
        calls = tmp_path / "pveum.calls"
        calls.write_text("")
        done = subprocess.run(
            ["sh", SCRIPT, *arguments],
            env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )
        return done, calls.read_text().splitlines()

    return run


def test_the_role_may_only_look(node):
    done, calls = node(version="8.4.1")
    assert done.returncode == 0, done.stderr
    assert calls == [
        "role add MissionControlInventory --privs VM.Audit Sys.Audit",
        "user add mission-control@pve --comment Inventory of Mission Control",
        "acl modify / --users mission-control@pve --roles MissionControlInventory",
        "user token list mission-control@pve --output-format json",
        "user token add mission-control@pve inventory --privsep 0",
    ]
    assert done.stdout == "value: 4e1f\n"


def test_the_user_of_the_tools_is_another_one(node):
    done, calls = node("--tools", version="8.4.1")
    assert done.returncode == 0, done.stderr
    assert calls == [
        "role add MissionControlTools --privs VM.Audit VM.PowerMgmt",
        "user add mission-control-tools@pve --comment Tools of Mission Control",
        "acl modify /vms --users mission-control-tools@pve --roles MissionControlTools",
        "user token list mission-control-tools@pve --output-format json",
        "user token add mission-control-tools@pve tools --privsep 0",
    ]


def test_it_may_run_again(node):
    node()
    done, calls = node("--addresses")
    assert done.returncode == 0, done.stderr
    assert "role modify MissionControlInventory --privs VM.Audit Sys.Audit VM.GuestAgent.Audit" in calls
    assert not any(each.startswith("user token add") for each in calls)
    assert "is there already" in done.stdout


def test_the_right_to_run_commands_in_guests_is_not_given(node):
    done, calls = node("--addresses", version="8.4.1")
    assert (done.returncode, calls) == (1, [])
    assert "may also run commands in guests: leave out --addresses." in done.stderr
    done, calls = node("--everything")
    assert (done.returncode, calls) == (2, [])
