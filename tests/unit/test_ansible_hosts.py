"""Hosts of an Ansible inventory as rows: which variables and facts there are in them, and which never."""

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.snapshot import HostRow
from ansible_collections.homelab.mission_control.plugins.plugin_utils.ansible_hosts import (
    host_labels,
    host_row,
    label_variable_problem,
    name_problem,
)

FACTS = {
    "module_setup": True,
    "distribution": "Debian",
    "distribution_version": "12.11",
    "kernel": "6.1.0-37-amd64",
    "product_name": "NA",
    "virtualization_role": "guest",
    "virtualization_type": "kvm",
    "processor_vcpus": 4,
    "memtotal_mb": 3915,
    "default_ipv4": {"address": "192.0.2.4", "gateway": "192.0.2.1"},
    "env": {"TOKEN": "hunter2"},
    "cmdline": {"root": "hunter2"},
    "local": {"secret": "hunter2"},
    "ssh_host_key_rsa_public": "hunter2",
}


def test_facts_become_columns_and_a_list_of_metadata():
    row = host_row("vm1", "online", None, {"site": "home"}, FACTS)
    assert row == {
        "external_id": "vm1", "name": "vm1", "type": "vm", "status": "online", "address": "192.0.2.4", "os": "Debian 12.11", "cpu_cores": 4,
        "memory_bytes": 3915 * 1024 * 1024, "labels": {"site": "home"}, "unknown": [],
        "metadata": {"distribution": "Debian", "distribution_version": "12.11", "kernel": "6.1.0-37-amd64", "virtualization_role": "guest",
                     "virtualization_type": "kvm"},
    }  # fmt: skip
    HostRow(**row)


@pytest.mark.parametrize(
    ("role", "kind", "host_type"),
    [("guest", "kvm", "vm"), ("guest", "docker", "lxc-container"), ("guest", "lxc", "lxc-container"), ("host", "kvm", "bare-metal"),
     ("NA", "NA", "bare-metal")],
)  # fmt: skip
def test_the_type_is_what_the_facts_say(role, kind, host_type):
    facts = {**FACTS, "virtualization_role": role, "virtualization_type": kind}
    assert host_row("a", "online", None, {}, facts)["type"] == host_type
    assert host_row("a", "online", "k8s-node", {}, facts)["type"] == "k8s-node"


def test_without_facts_nothing_is_said_of_what_they_tell():
    row = host_row("a", "offline", None, {}, None)
    assert (row["type"], set(row["unknown"])) == (None, {"address", "os", "cpu_cores", "memory_bytes", "metadata"})
    row = host_row("2001:db8::1", "unknown", "vm", {}, None)
    assert (row["address"], set(row["unknown"])) == ("2001:db8::1", {"os", "cpu_cores", "memory_bytes", "metadata"})


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1,
        0,
        1e400,
        float("nan"),
        2**80,
        "x" * 5000,
        "\0\ud800",
        ["a"],
        {"address": ["a"]},
        {"address": "evil"},
        {},
    ],
)
def test_a_host_may_say_anything_of_itself(value):
    row = host_row("a", "online", None, {}, dict.fromkeys(FACTS, value))
    HostRow(**row)
    assert row["type"] is None
    assert row["address"] is None
    assert row["memory_bytes"] is None or 0 < row["memory_bytes"] < 2**63
    text = f"{row['os']}{row['metadata']}"
    assert "\0" not in text
    text.encode()


def test_labels_are_texts_as_they_are_written():
    variables = {
        "site": "home",
        "rack": 5,
        "spare": False,
        "template": "{{ x }}",
        "block": "{% if x %}",
        "list": ["a"],
        "none": None,
        "vault": "hunter2",
    }
    labels = host_labels(variables, [*variables, "missing"], {"vault"}, ["web", "db"])
    assert labels == {"site": "home", "rack": "5", "spare": "false", "groups": ["db", "web"]}
    assert host_labels(variables, [], set(), None) == {}


@pytest.mark.parametrize(
    "name",
    ["ansible_host", "ansible_password", "ansible_facts", "db_password", "PASSWD", "root_pass", "api_key", "apikey", "ssh_keys", "github_token",
     "client_secret",
     "vault_site", "aws_credentials",
     "private_key_file", "hostvars", "groups", "vars"],
)  # fmt: skip
def test_variables_that_are_refused_as_labels(name):
    assert f"labels_from names '{name}'" in label_variable_problem(name)


@pytest.mark.parametrize(
    "name", ["site", "rack", "passive", "keyboard", "monkey", "compass", "spinning", "bypass_proxy", "private_network"]
)
def test_variables_that_may_be_labels(name):
    assert label_variable_problem(name) == ""


@pytest.mark.parametrize(
    ("name", "fits"), [("web-1", True), ("büro", True), (" web", False), ("a\0b", False), ("x" * 1025, False)]
)
def test_names_that_can_be_stored(name, fits):
    assert (name_problem(name) == "") is fits
