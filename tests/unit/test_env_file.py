"""Env files read the same by everybody who reads such files."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.homelab.mission_control.plugins.filter.env_file import env_file
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.files.env_file import (
    render,
    value_problem,
)
from hypothesis import given, settings
from hypothesis import strategies as st

# systemd's own reader of this format, run as `systemd --user` runs it.
SYSTEMD_READER = Path("/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator")
HARD = """a b"c#d$e`f;g&h|i*j?k(l)m<n>o!p%q~r=s\u00e9\u20ac[t]{u}^v@w,x:y/z"""
good_values = st.text(st.characters(blacklist_categories=["Cs"]), max_size=40).filter(
    lambda text: not value_problem(text)
)


def read_with_shell(text, tmp_path):
    path = tmp_path / "shell.env"
    path.write_text(text, encoding="utf-8")
    command = f'set -eu; . {shlex.quote(str(path))}; printf %s "$SECRET"'
    result = subprocess.run(["sh", "-c", command], env={}, capture_output=True, check=True, timeout=30)
    return result.stdout.decode()


def test_a_shell_reads_back_what_was_written(tmp_path):
    assert read_with_shell(render({"SECRET": HARD}), tmp_path) == HARD
    assert read_with_shell(render({"SECRET": ""}), tmp_path) == ""


def test_systemd_reads_back_what_was_written(tmp_path):
    if not SYSTEMD_READER.exists():
        pytest.skip(f"systemd's reader {SYSTEMD_READER} is not on this machine")
    directory = tmp_path / "environment.d"
    directory.mkdir()
    # This reader, unlike EnvironmentFile=, replaces $NAME, whatever the quotes.
    value = HARD.replace("$", "")
    (directory / "a.conf").write_text(render({"SECRET": value}), encoding="utf-8")
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path), "PATH": os.defpath}
    result = subprocess.run(
        [str(SYSTEMD_READER)], env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    # It prints in the form of a shell's export.
    lines = [line for line in result.stdout.splitlines() if line.startswith("SECRET=")]
    shown = subprocess.run(
        ["bash", "-c", lines[0] + '; printf %s "$SECRET"'], env={}, capture_output=True, check=True, timeout=30
    )
    assert shown.stdout.decode() == value


@settings(deadline=None, max_examples=200)
@given(value=good_values)
def test_posix_quoting_rules_read_back_every_value(value):
    assert shlex.split(render({"SECRET": value})) == ["SECRET=" + value]


@pytest.mark.parametrize("value", ["it's", "back\\slash", "${HOME}", "two\nlines", "nul\0", "tab\t", "\u2028"])
def test_a_value_that_readers_do_not_agree_on_is_refused_without_showing_it(value):
    with pytest.raises(AnsibleFilterError) as error:
        env_file({"SECRET": value})
    assert "SECRET" in str(error.value)
    assert value not in str(error.value)


def test_names_and_numbers():
    assert env_file({"POSTGRES_PORT": 5432, "A": "b"}) == "POSTGRES_PORT='5432'\nA='b'\n"
    with pytest.raises(AnsibleFilterError, match="not a name"):
        env_file({"A=1; rm": "x"})
