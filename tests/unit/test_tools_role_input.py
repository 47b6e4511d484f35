"""What the role mission_control_tools refuses, and what of the sources goes to the executor and what to the inventory."""

import json

import lab_connector
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.options import Option
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.registry import CONNECTORS
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.sources import source_for_tools
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.files.inventory import parts_of
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.tool_executor import (
    input_problem,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.tools.connectors.registry import (
    SOURCE_CONNECTORS,
)

READS, ACTS = "token-Rg7Hs2Kd9Q-that-reads", "token-Vn4Jw8Bz3F-that-acts"
LAB = {
    "name": "lab",
    "connector": "docker",
    "options": {"file": "/lab.json"},
    "secrets": {"token": READS},
    "tool_options": {"seconds": 7},
    "tool_credentials": {"token": ACTS},
}
FURTHER = {"name": "further", "connector": "docker", "options": {"file": "/further.json"}}
METRICS = {"name": "metrics", "connector": "prometheus", "options": {"url": "https://prometheus.lan"}}
INPUTS = {
    "mission_control_inventory_sources": [LAB],
    "mission_control_tools_sources": [FURTHER, METRICS],
    "mission_control_tools_concurrency": 4,
    "mission_control_tools_database_host": "localhost",
    "mission_control_tools_database_target_session_attrs": "",
    "mission_control_tools_database_port": 5432,
    "mission_control_tools_database_ssl_mode": "prefer",
    "mission_control_tools_database_ca_cert": "",
    "mission_control_tools_user": "mission-control-tools",
    "mission_control_tools_socket_group": "docker",
    "mission_control_database_name": "mission_control",
    "mission_control_database_executor_role": "mission_control_executor",
    "mission_control_database_executor_password": "",
}


@pytest.fixture(autouse=True)
def _lab(monkeypatch):
    for connectors in (CONNECTORS, SOURCE_CONNECTORS):
        monkeypatch.setitem(connectors, "docker", lambda: lab_connector)
    monkeypatch.setitem(lab_connector.OPTIONS, "seconds", Option("number", 1, "How long it takes.", least=1, most=9))


def test_the_inputs_of_a_homelab_are_taken():
    assert input_problem(INPUTS) == ""


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("inventory_sources", [{**LAB, "interval": 1}], "mission_control_inventory_sources: source lab: Its interval"),
        (
            *("inventory_sources", [METRICS]),
            "mission_control_inventory_sources: source metrics: There is no connector 'prometheus' among docker,",
        ),
        (
            "tools_sources",
            [{**METRICS, "options": {}}],
            "mission_control_tools_sources: source metrics: The option url",
        ),
        ("tools_sources", {}, "mission_control_tools_sources must be a list of sources"),
        ("tools_sources", [FURTHER, FURTHER], "mission_control_tools_sources: two sources are called further"),
        (
            *("tools_sources", [{**FURTHER, "name": "lab"}]),
            "mission_control_tools_sources: mission_control_inventory_sources has a source lab too: give this one another name, or",
        ),
        ("tools_concurrency", 0, "mission_control_tools_concurrency is 0, but it must be a whole number from 1 to 16."),
        ("tools_user", "root", "mission_control_tools_user is 'root', but it must be a name other than root"),
        ("tools_user", "mission-control-inventory", "mission_control_tools_user is 'mission-control-inventory', which"),
        ("tools_socket_group", "", "mission_control_tools_socket_group is '', but"),
        ("tools_database_port", 0, "mission_control_tools_database_port is 0, but it must be a whole number"),
        ("tools_database_host", "", "mission_control_tools_database_host is empty, but it is needed."),
        ("database_executor_role", "", "mission_control_database_executor_role is empty, but it is needed."),
        (
            *("database_executor_password", f"{ACTS}\n"),
            "The password in mission_control_database_executor_password holds a line break",
        ),
    ],
)
def test_a_wrong_input_is_one_sentence_that_names_it(name, value, sentence):
    problem = input_problem({**INPUTS, f"mission_control_{name}": value})
    assert problem.startswith(sentence)
    assert problem.endswith(".")
    assert READS not in problem
    assert ACTS not in problem


def test_the_inventory_gets_nothing_of_what_is_for_tools():
    parts = parts_of([LAB], "/c", {})
    assert [each["content"] for each in parts["credentials"]] == [READS]
    assert json.loads(parts["file"]) == [{"name": "lab", "connector": "docker", "options": {"file": "/lab.json"}}]
    assert ACTS not in str(parts)


def test_the_executor_gets_its_own_credentials_and_options_and_nothing_of_what_they_replace():
    parts = parts_of([LAB, FURTHER, METRICS], "/c", {"/c/lab.old": {"kind": "file"}}, for_tools=True)
    assert parts["credentials"] == [
        {"path": "/c/lab.token", "content": ACTS, "secret": True},
        {"path": "/c/lab.old", "state": "absent"},
    ]
    first, second, third = json.loads(parts["file"])
    assert first == {"name": "lab", "connector": "docker", "options": {"file": "/lab.json", "seconds": 7}}
    assert (second, third) == (FURTHER, METRICS)
    assert parts["packages"] == ["python3", "python3-requests"]
    assert READS not in str(parts)


def test_without_credentials_of_its_own_the_executor_gets_a_copy_of_those_that_read():
    source = {key: value for key, value in LAB.items() if key != "tool_credentials"}
    assert source_for_tools(source)["secrets"] == {"token": READS}
