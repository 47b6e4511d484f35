"""What the backup's role refuses before it looks at a host: one sentence that names the variable, and never a secret."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.backup import (
    input_problem,
    password_line,
)

PREFIX = "mission_control_backup_"
INPUTS = {
    "mission_control_backup_method": "pgbackrest",
    "mission_control_postgresql_mode": "package",
    "mission_control_backup_full_calendar": "Sun *-*-* 02:30:00",
    "mission_control_backup_incremental_calendar": "",
    "mission_control_backup_dump_calendar": "*-*-* 02:30:00",
    "mission_control_backup_random_delay": 900,
    "mission_control_backup_repository": "/var/lib/pgbackrest",
    "mission_control_backup_second_repository": "",
    "mission_control_backup_stanza": "mission_control",
    "mission_control_backup_keep_full": 2,
    "mission_control_backup_cipher_password": "",
    "mission_control_backup_archive_timeout": 300,
    "mission_control_backup_archive_queue": "1GiB",
    "mission_control_backup_processes": 1,
    "mission_control_backup_port": 5432,
    "mission_control_backup_options": {},
    "mission_control_backup_dump_directory": "/var/lib/dumps",
    "mission_control_backup_dump_keep": 14,
    "mission_control_backup_login_user": "postgres",
    "mission_control_backup_login_password": "",
    "mission_control_database_name": "mission_control",
    "mission_control_database_schema": "public",
    "mission_control_backup_user": "postgres",
    "mission_control_backup_restore_confirm": "",
    "mission_control_backup_restore_target": "",
    "mission_control_backup_restore_cluster": "",
    "mission_control_backup_restore_port": 5432,
    "mission_control_backup_restore_repository": 1,
    "mission_control_backup_restore_dump": "",
    "mission_control_backup_restore_heads": [],
    "mission_control_backup_restore_timeout": 3600,
    "mission_control_login_host": "",
    "mission_control_login_target_session_attrs": "",
    "mission_control_login_port": 5432,
    "mission_control_login_unix_socket": "",
    "mission_control_login_user": "postgres",
    "mission_control_login_password": "",
    "mission_control_login_ssl_mode": "prefer",
    "mission_control_login_ca_cert": "",
    "mission_control_login_become_user": "postgres",
}


def problem(**changes):
    """What is said of inputs, which are written without the role's prefix where they have it."""
    return input_problem(
        {**INPUTS, **{name if name in INPUTS else f"{PREFIX}{name}": value for name, value in changes.items()}}
    )


def test_the_defaults_are_fine():
    assert problem() == ""


def test_numbers_from_the_command_line_are_numbers():
    assert problem(keep_full="3", archive_timeout="60", restore_port="5433") == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "rsync"},
        {"port": 0},
        {"random_delay": -1},
        {"keep_full": 0},
        {"archive_timeout": "soon"},
        {"archive_queue": "1G"},
        {"archive_queue": "0MiB"},
        {"processes": True},
        {"dump_keep": 0},
        {"restore_port": 0},
        {"restore_repository": 0},
        {"repository": "backups"},
        {"repository": "/a b"},
        {"repository": "/a%n"},
        {"repository": ""},
        {"second_repository": "/var/lib/pgbackrest"},
        {"second_repository": "nas"},
        {"stanza": "Mission Control"},
        {"stanza": "a/b"},
        {"mission_control_database_name": "--help"},
        {"mission_control_database_schema": 'x"y'},
        {"user": "postgres; id"},
        {"full_calendar": "Sun\nExecStart=/bin/sh"},
        {"options": []},
        {"options": {"repo2 path": "x"}},
        {"options": {"repo1-path": "/elsewhere"}},
        {"options": {"config": "/elsewhere"}},
        {"options": {"repo2-s3-key": "a\nb"}},
        {"restore_target": "yesterday"},
        {"restore_target": "2026-11-25 12:00:00"},
        {"restore_cluster": "../main"},
        {"restore_cluster": None},
        {"restore_heads": "1:2"},
        {"restore_heads": ["1:2"]},
        {"restore_dump": "last.dump"},
    ],
)
def test_what_cannot_be_used_is_named(changes):
    [name] = changes
    sentence = problem(**changes)
    assert (name if name in INPUTS else f"{PREFIX}{name}") in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize("method", ["pgbackrest", "dump"])
def test_the_login_may_take_another_way_than_to_this_host(method):
    """Whether there is a member of a cluster here is seen on the host."""
    inputs = {"mission_control_postgresql_mode": "existing", "mission_control_login_host": "db.home.arpa"}
    assert problem(method=method, **inputs) == ""


@pytest.mark.parametrize("name", ["cipher_password", "login_password"])
def test_a_secret_is_never_shown(name):
    sentence = problem(**{name: "the\nsecret"})
    assert f"mission_control_backup_{name}" in sentence
    assert "secret" not in sentence.replace("mission_control", "")
    assert "hidden" not in problem(options={"repo2-s3-key-secret": "hidden\n"})


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_a_password_goes_over_a_network_only_with_tls(mode):
    said = problem(mission_control_login_host="db.lan", login_password="hush-hush", mission_control_login_ssl_mode=mode)
    assert said.startswith(
        f"mission_control_login_ssl_mode is {mode}, with which anybody between here and db.lan (mission_control_login_host) may ask"
    )
    assert "hush" not in said
    for host in ("", "localhost", "127.0.0.1", "::1", "/run/postgresql"):
        assert (
            problem(mission_control_login_host=host, login_password="hush-hush", mission_control_login_ssl_mode=mode)
            == ""
        )
    assert problem(mission_control_login_host="db.lan", mission_control_login_ssl_mode=mode) == ""


def test_the_password_is_for_one_server_database_and_user():
    assert password_line("fd00::1", 5433, "lab", "me", "a:b\\c") == "fd00\\:\\:1:5433:lab:me:a\\:b\\\\c\n"
    assert password_line("a,b", 5433, "lab", "me", "x") == "a:5433:lab:me:x\nb:5433:lab:me:x\n"
    # libpq calls the directory that it was built with by this name.
    assert password_line("/var/run/postgresql", 5432, "lab", "me", "x") == (
        "localhost:5432:lab:me:x\n/var/run/postgresql:5432:lab:me:x\n"
    )
