"""Which login the callback `recorder` hands to the process that loads."""

import subprocess
from types import SimpleNamespace

import pytest
from ansible_collections.homelab.mission_control.plugins.callback import recorder

KEPT = ".config/mission_control/localhost/mission_control.password"


@pytest.mark.parametrize(
    ("given", "password_file"),
    [
        ({}, KEPT),
        ({"url": "postgresql://db.home.arpa/mission_control"}, None),
        ({"env_file": "/nowhere/database.env"}, None),
        (
            {"url": "postgresql://db.home.arpa/mission_control", "password_file": "/nowhere/password"},
            "/nowhere/password",
        ),
    ],
)
def test_the_password_of_this_machines_own_server_is_sent_to_no_other(tmp_path, monkeypatch, given, password_file):
    monkeypatch.setenv("HOME", str(tmp_path))
    commands = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_options: commands.append(command))
    limits = {"max_bytes": 1 << 20, "max_spool_bytes": 1 << 20, "spool": str(tmp_path / "runs")}
    callback = recorder.CallbackModule()
    monkeypatch.setattr(callback, "get_option", {**dict.fromkeys(recorder._OPTIONS), **limits, **given}.get)
    callback.v2_playbook_on_start(SimpleNamespace(_file_name=str(tmp_path / "site.yml")))
    callback._end_early()
    (command,) = commands
    told = command[command.index("--password-file") + 1] if "--password-file" in command else None
    assert told == (str(tmp_path / KEPT) if password_file == KEPT else password_file)
