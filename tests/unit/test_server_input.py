"""Inputs of the server's role that are refused before the host is looked at."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.server import input_problem

PREFIX = "mission_control_postgresql_"
INPUTS = {
    "mission_control_postgresql_mode": "package",
    "mission_control_postgresql_version": "",
    "mission_control_postgresql_cluster": "main",
    "mission_control_postgresql_port": 5432,
    "mission_control_postgresql_repository": "distribution",
    "mission_control_postgresql_repository_uri": "",
    "mission_control_postgresql_repository_key": "",
    "mission_control_postgresql_listen_addresses": [],
    "mission_control_postgresql_client_networks": [],
    "mission_control_postgresql_memory_mb": "",
    "mission_control_postgresql_settings": {},
    "mission_control_postgresql_ignored_clusters": [],
    "mission_control_postgresql_tls": "automatic",
    "mission_control_postgresql_tls_names": [],
    "mission_control_postgresql_tls_days": 730,
    "mission_control_postgresql_tls_renew_days": 90,
    "mission_control_postgresql_tls_certificate": "",
    "mission_control_postgresql_tls_key": "",
    "mission_control_postgresql_tls_directory": "~/.config/mission_control/db",
    "mission_control_database_name": "mission_control",
    "mission_control_login_host": "",
    "mission_control_login_target_session_attrs": "",
    "mission_control_login_port": 5432,
    "mission_control_login_unix_socket": "",
    "mission_control_login_user": "postgres",
    "mission_control_login_password": "",
    "mission_control_login_ssl_mode": "prefer",
    "mission_control_login_ca_cert": "",
    "mission_control_login_become_user": "postgres",
    "mission_control_database_user": "mission_control",
    "mission_control_database_readonly_role": "mission_control_readonly",
    "mission_control_database_monitor_role": "mission_control_monitor",
    "mission_control_database_service_role": "mission_control_service",
    "mission_control_database_maintenance_role": "mission_control_maintenance",
    "mission_control_database_executor_role": "mission_control_executor",
    "mission_control_database_approver_role": "mission_control_approver",
}


def problem(changes):
    """What is said of inputs, which are written without the role's prefix where they have it."""
    return input_problem(
        {**INPUTS, **{name if name in INPUTS else f"{PREFIX}{name}": value for name, value in changes.items()}}
    )


def test_the_defaults_are_fine():
    assert problem({}) == ""


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": "13"}, "version is 13, but PostgreSQL 14 or newer is needed."),
        ({"version": "new"}, "version is 'new', but a major version such as 17 is needed."),
        ({"port": 80}, "port is 80, but it must be a whole number from 1024 to 65535."),
        ({"port": "65536"}, "port is '65536', but it must be a whole number from 1024 to 65535."),
        ({"port": 80, "mode": "existing"}, ""),
        ({"port": 0, "mode": "existing"}, "port is 0, but it must be a whole number from 1 to 65535."),
        ({"cluster": "my-main"}, "cluster is 'my-main', which is no name for a cluster: use lower-case letters, digits and underscores."),
        ({"memory_mb": "8g"}, "memory_mb is '8g', but a number of megabytes is needed."),
        ({"repository": "pgdg", "repository_uri": "x"}, f"repository is pgdg, but {PREFIX}repository_key is empty."),
        ({"settings": []}, "settings is [], but it must be a mapping."),
        ({"listen_addresses": "x"}, "listen_addresses is 'x', but it must be a list; an empty one is written []."),
        ({"tls_days": 0}, "tls_days is 0, but it must be a whole number from 1 to 1825."),
        ({"tls_days": 30}, f"tls_renew_days is 90, but it must be a whole number from 0 to 29, below {PREFIX}tls_days."),
        ({"tls_directory": "here"}, "tls_directory is 'here', but it must be an absolute path or begin with ~."),
        ({"tls": "given"}, f"tls is given, but {PREFIX}tls_certificate is empty."),
        ({"tls": "given", "tls_certificate": "x"}, f"tls is given, but {PREFIX}tls_key is empty."),
        ({"tls_key": "secret"}, f"tls_key is set, but {PREFIX}tls is automatic: set that to given, or leave this empty."),
        ({"tls_key": ["secret"]}, "tls_key must be a text in PEM form; an empty one is written ''."),
    ],
)  # fmt: skip
def test_an_input_that_cannot_be_used_is_one_sentence(changes, sentence):
    assert problem(changes) == (f"{PREFIX}{sentence}" if sentence else "")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mission_control_database_name": 'a"b'}, "The name 'a\"b' has a double quote or a control character in it."),
        ({"mission_control_database_name": "ä" * 32}, f"The name {'ä' * 32} is longer than the 63 bytes that PostgreSQL allows."),
        ({"mode": "existing", "mission_control_login_port": 0}, "mission_control_login_port is 0, but it must be a whole number from 1 to 65535."),
        ({"mission_control_database_user": ""}, "A name of a database or role is empty."),
        ({"settings": {"port": 1}}, f"port cannot be set in {PREFIX}settings; use {PREFIX}port."),
        ({"settings": {"hba_file": "x"}}, f"hba_file cannot be set in {PREFIX}settings."),
        ({"settings": {"ssl": "off"}, "tls": "own_authority"}, f"ssl cannot be set in {PREFIX}settings while {PREFIX}tls is own_authority."),
        ({"settings": {"ssl": "off"}}, ""),
        ({"mode": "existing", "mission_control_login_host": "a,b"}, ""),
        ({"mission_control_login_host": ["a", "b"]}, "mission_control_login_host is ['a', 'b'], but in mission_control_postgresql_mode package there is "
         "one server, on the host itself: name one, or set the mode to existing."),
        ({"client_networks": ["fe80::%x trust/64"]}, f"'fe80::%x trust/64' in {PREFIX}client_networks names an interface, but a network is none."),
        ({"client_networks": ["10.0.0.1/24"]}, f"'10.0.0.1/24' in {PREFIX}client_networks is not a network: 10.0.0.1/24 has host bits set."),
    ],
)  # fmt: skip
def test_so_are_names_networks_and_settings(changes, sentence):
    assert problem(changes) == sentence


@pytest.mark.parametrize(
    "name", ["", "a b", "db.home.arpa\nDNS:other", "a,DNS:b", "-a", "1.2.3", "x" * 64, "a/b", "fe80::1%a,DNS:b"]
)
def test_what_cannot_stand_in_a_certificate_is_named(name):
    assert f"in {PREFIX}tls_names is neither the name of a host" in problem({"tls_names": [name]}) or (
        "which holds a character that cannot be printed" in problem({"tls_names": [name]})
    )


@pytest.mark.parametrize("name", ["db", "DB.Home.Arpa", "*.home.arpa", "192.168.20.5", "fd00::5", "my_container"])
def test_names_and_addresses_are_taken(name):
    assert problem({"tls_names": [name]}) == ""
