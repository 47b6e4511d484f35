"""What the role mission_control_maintenance refuses."""

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.maintenance import (
    input_problem,
)

SECRET = "Rg7Hs2Kd9Q"
INPUTS = {
    "mission_control_maintenance_task_events_days": 90,
    "mission_control_maintenance_gone_inventory_days": "30",
    "mission_control_maintenance_llm_bodies_days": 0,
    "mission_control_maintenance_tool_results_days": 0,
    "mission_control_maintenance_schedule": "daily",
    "mission_control_maintenance_database_host": "localhost",
    "mission_control_maintenance_database_target_session_attrs": "",
    "mission_control_maintenance_database_port": 5432,
    "mission_control_maintenance_database_ssl_mode": "prefer",
    "mission_control_maintenance_database_ca_cert": "",
    "mission_control_database_name": "mission_control",
    "mission_control_database_schema": "public",
    "mission_control_database_maintenance_role": "mission_control_maintenance",
    "mission_control_database_maintenance_password": "",
}


def test_the_inputs_of_a_homelab_are_taken():
    assert input_problem(INPUTS) == ""


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("maintenance_task_events_days", -1, "is -1, but it must be a whole number from 0 to 36500."),
        ("maintenance_gone_inventory_days", "0.5", "is '0.5', but it must be a whole number from 0 to 36500."),
        ("maintenance_llm_bodies_days", "a week", "is 'a week', but it must be a whole number from 0 to 36500."),
        ("maintenance_schedule", " ", "is empty, but it is needed."),
        (
            "maintenance_schedule",
            "daily\nUnit=x",
            "is 'daily\\nUnit=x', which holds a character that cannot be printed.",
        ),
        ("maintenance_database_host", "", "is empty, but it is needed."),
        ("maintenance_database_host", "a,,b", "is 'a,,b', which names several servers, one of them without a name"),
        ("maintenance_database_target_session_attrs", "standby", "is standby, but a session that writes"),
        ("maintenance_database_port", 0, "is 0, but it must be a whole number from 1 to 65535."),
        ("maintenance_database_ca_cert", "ca.crt", "is 'ca.crt', but it must be an absolute path."),
        ("database_schema", 'x"; DROP', "is 'x\"; DROP', but a name has 1 to 63 lower-case letters"),
    ],
)
def test_a_wrong_input_is_one_sentence_that_names_it(name, value, sentence):
    name = f"mission_control_{name}"
    assert input_problem({**INPUTS, name: value}).startswith(f"{name} {sentence}")


def test_no_sentence_shows_a_password():
    name = "mission_control_database_maintenance_password"
    problem = input_problem({**INPUTS, name: f"{SECRET}\nhost=elsewhere"})
    assert problem == f"The password in {name} holds a line break or the character NUL."
