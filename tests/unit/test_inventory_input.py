"""What the role mission_control_inventory refuses, and what of its sources goes into which file."""

import json

import lab_connector
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.options import Option
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.registry import CONNECTORS
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.files.inventory import parts_of
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.inventory import input_problem

TOKEN = "token-Rg7Hs2Kd9Q"
LAB = {"name": "lab", "connector": "docker", "options": {"file": "/lab.json"}, "secrets": {"token": TOKEN}}
INPUTS = {
    "mission_control_inventory_sources": [LAB],
    "mission_control_inventory_database_host": "localhost",
    "mission_control_inventory_database_target_session_attrs": "",
    "mission_control_inventory_database_port": 5432,
    "mission_control_inventory_database_ssl_mode": "prefer",
    "mission_control_inventory_database_ca_cert": "",
    "mission_control_inventory_user": "mission-control-inventory",
    "mission_control_inventory_socket_group": "docker",
    "mission_control_database_name": "mission_control",
    "mission_control_database_user": "mission_control",
    "mission_control_database_password": "",
}


@pytest.fixture(autouse=True)
def _lab(monkeypatch):
    monkeypatch.setitem(CONNECTORS, "docker", lambda: lab_connector)


def test_the_inputs_of_a_homelab_are_taken():
    assert input_problem(INPUTS) == ""


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("sources", {}, "mission_control_inventory_sources must be a list of sources"),
        ("sources", [{**LAB, "interval": 1}], "mission_control_inventory_sources: source lab: Its interval is 1, but"),
        ("user", "root", "mission_control_inventory_user is 'root', but it must be a name other than root"),
        ("socket_group", "", "mission_control_inventory_socket_group is '', but"),
        ("database_port", 0, "mission_control_inventory_database_port is 0, but it must be a whole number"),
        ("database_host", "", "mission_control_inventory_database_host is empty, but it is needed."),
        ("database_host", [], "mission_control_inventory_database_host is empty, but it is needed."),
        (
            "database_host",
            "a,",
            "mission_control_inventory_database_host is 'a,', which names several servers, one of them",
        ),
        (
            "database_target_session_attrs",
            "standby",
            "mission_control_inventory_database_target_session_attrs is standby, but",
        ),
        ("database_ca_cert", "/it's", "mission_control_inventory_database_ca_cert holds a single quote"),
    ],
)
def test_a_wrong_input_is_one_sentence_that_names_it(name, value, sentence):
    problem = input_problem({**INPUTS, f"mission_control_inventory_{name}": value})
    assert problem.startswith(sentence)
    assert TOKEN not in problem


def test_no_sentence_shows_a_password():
    problem = input_problem({**INPUTS, "mission_control_database_password": f"{TOKEN}\n"})
    assert problem.startswith("The password in mission_control_database_password ")
    assert TOKEN not in problem


def test_secrets_go_into_files_of_their_own_and_those_of_no_source_are_removed():
    there = {"kind": "file"}
    found = {
        "/c/lab.token": there,
        "/c/old.token": there,
        "/c/database.env": there,
        "/c/lab.other": None,
        "/d/x": there,
    }
    parts = parts_of([LAB, {"name": "b", "connector": "docker", "options": {"file": "/b"}}], "/c", found)
    assert parts["credentials"] == [
        {"path": "/c/lab.token", "content": TOKEN, "secret": True},
        {"path": "/c/old.token", "state": "absent"},
    ]
    assert parts["names"] == ["database.env", "lab.token"]
    assert [each["name"] for each in json.loads(parts["file"])] == ["lab", "b"]
    assert TOKEN not in parts["file"]
    assert parts["packages"] == ["python3"]


@pytest.mark.parametrize(
    ("url", "sockets"), [(None, True), ("unix:///run/podman/podman.sock", True), ("tcp://rack.lan:2375", False)]
)
def test_a_socket_of_the_host_is_told(monkeypatch, url, sockets):
    option = Option("text", "unix:///var/run/docker.sock", "Where the engine listens.")
    monkeypatch.setitem(lab_connector.OPTIONS, "url", option)
    source = {**LAB, "options": {"file": "/lab.json", "url": url}}
    assert parts_of([source], "/c", {})["sockets"] is sockets
