"""scripts/in-podman-namespace runs commands as root: in a mount namespace of root's, and in nobody else's."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from playbook import ROOT

# In processes and mounts of their own, so that no other namespace of the machine is met: hybrid cgroups, and a namespace of a
# stranger that looks like the wanted one, with a program of theirs in it.
PLACE = """
set -euo pipefail
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/unified
mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
mkfifo "$1/ready"
chmod 666 "$1/ready"
runuser -u nobody -- unshare --user --map-root-user --mount bash -c '
  mount --rbind /sys/fs/cgroup/unified /sys/fs/cgroup && mount --bind "$2" "$(command -v true)" && echo planted >"$1/ready" ||
  echo not planted >"$1/ready"
  exec sleep 300' stranger "$1" "$2" &
stranger=$!
cat "$1/ready"
seen=$(for each in /proc/[0-9]*; do grep -qx sleep "$each/comm" && readlink "$each/ns/mnt"; done || true)
echo "stranger ${seen:-none}"
"$3" bash -c 'echo "entered $(readlink /proc/self/ns/mnt) $(stat --file-system --format %T /sys/fs/cgroup)"; true'
# What made it is still there, so the next command shares it.
"$3" bash -c 'readlink /proc/self/ns/mnt; "$0" readlink /proc/self/ns/mnt' "$3"
kill "$stranger" 2>/dev/null || true
"""


@pytest.fixture
def place():
    """A directory that the stranger reaches too."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


def test_a_strangers_mount_namespace_is_not_entered(place):
    program = place / "program"
    program.write_text("#!/bin/sh\nid -u >>" + str(place / "ran") + "\n")
    program.chmod(0o755)
    command = [
        ROOT / "scripts/as-root",
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--mount-proc",
    ]
    script = ROOT / "scripts/in-podman-namespace"
    run = subprocess.run(
        [*command, "bash", "-c", PLACE, "place", place, program, script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    planted, stranger, entered, shared, again = run.stdout.splitlines()
    assert (planted, stranger.split()[1] != "none") in (("planted", True), ("not planted", True)), run.stderr
    assert entered.split()[2] == "cgroup2fs"
    assert stranger.split()[1] not in (entered.split()[1], shared)
    assert shared == again
    assert not (place / "ran").exists()
