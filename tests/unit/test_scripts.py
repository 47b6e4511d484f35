"""The scripts of a checkout."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def windows_clone(tmp_path_factory):
    """A clone by a git that is set to write the line ends of Windows."""
    clone = tmp_path_factory.mktemp("windows") / "checkout"
    subprocess.run(["git", "clone", "--quiet", "-c", "core.autocrlf=true", str(ROOT), str(clone)], check=True)
    return clone


def test_scripts_run_in_a_clone_with_other_line_ends(windows_clone):
    run = subprocess.run([windows_clone / "scripts" / "in-podman-namespace"], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (2, "usage: in-podman-namespace COMMAND [ARGUMENT …]\n")
    scripts = [
        path for path in (windows_clone / "scripts").iterdir() if path.read_bytes().startswith(b"#!/usr/bin/env bash")
    ]
    assert len(scripts) >= 10
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)
    shown = subprocess.run(["make", "help"], cwd=windows_clone, capture_output=True, text=True, check=True)
    assert "site " in shown.stdout


def test_no_file_differs_in_a_clone_with_other_line_ends(windows_clone):
    """The checksum of an SQL file is of its bytes."""
    shown = subprocess.run(["git", "ls-files", "--eol"], cwd=windows_clone, capture_output=True, text=True, check=True)
    differing = [line for line in shown.stdout.splitlines() if line.split()[1] in ("w/crlf", "w/mixed")]
    assert differing == []
