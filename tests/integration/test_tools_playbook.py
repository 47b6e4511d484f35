"""playbooks/migrate.yml: tools, policies and tokens, shown before they are applied, applied once, and no token in what it says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import mission_control_database as layer
import pytest
from host_plays import run_on_hosts
from schema_lab import PASSWORD, create_roles
from throwaway_cluster import ThrowawayCluster

PLAYBOOK = Path("playbooks/migrate.yml")
ALICE, ASSISTANT, NEW, SHORT = (
    "Alice+Kq7ZtXw9Lm/" * 3,
    "Assistant.Tr4VbNs2Hd" * 2,
    "New~Wm8JcYp5Gk" * 3,
    "Short-Zx3QfBd6Rv",
)
INPUTS = {
    "mission_control_schema_tools": [
        {
            "name": "restart_web",
            "risk_level": "SAFE_MUTATE",
            "connector": "kubernetes",
            "operation": "restart_deployment",
            "arguments_schema": {"type": "object", "properties": {"deployment": {"type": "string"}}},
            "preset": {"source": "lab", "namespace": "shop"},
        }
    ],
    "mission_control_schema_policies": [{"name": "the assistant's", "effect": "deny", "tools": ["restart_web"]}],
    "mission_control_schema_tool_approvers": {"alice": ALICE},
    "mission_control_schema_tool_requesters": {"assistant": ASSISTANT},
}
LINES = ["tool list_hosts", "tool restart_web", "policy the assistant's", "approver alice", "requester assistant"]


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster() as server:
        create_roles(server)
        yield server


@pytest.fixture(scope="module")
def database(cluster):
    database = layer.create_database(cluster, "present")
    layer.provision(database)
    yield database
    database.close()


@pytest.fixture(scope="module")
def plays(cluster, database, tmp_path_factory):
    """A dry run of a host that has nothing yet, one of a host with a database, and inputs that cannot be; a run; another, and one with a new token."""
    home = tmp_path_factory.mktemp("home")
    present = {
        "mission_control_postgresql_mode": "existing",
        "mission_control_login_host": "127.0.0.1",
        "mission_control_postgresql_port": cluster.port,
        "mission_control_login_password": PASSWORD,
        "mission_control_database_name": database.name,
        **INPUTS,
    }
    loud = ("-vvv", "--diff")
    fresh = {**present, "mission_control_database_name": "not_yet"}
    wrong = {**present, "mission_control_schema_tool_approvers": {"alice": SHORT}}
    mixed_up = {**present, "mission_control_schema_tool_approvers": [ALICE]}
    dry = run_on_hosts(PLAYBOOK, [fresh, present, wrong, mixed_up], "--check", *loud, home=home)
    untouched = database.session().values("SELECT name FROM tool_definitions")
    first = run_on_hosts(PLAYBOOK, [present], *loud, home=home)
    database.close()
    copy = layer.create_database(cluster, "copy", database.name)
    rotated = {
        **present,
        "mission_control_database_name": copy.name,
        "mission_control_schema_tool_approvers": {"alice": NEW},
    }
    second = run_on_hosts(PLAYBOOK, [present, rotated], *loud, home=home)
    names = ("fresh", "dry", "wrong", "mixed_up", "first", "second", "rotated")
    yield {**dict(zip(names, [*dry, *first, *second])), "untouched": untouched, "copy": copy}
    copy.close()


@pytest.mark.parametrize("name", ["fresh", "dry"])
def test_a_dry_run_shows_what_is_to_come_and_does_nothing(plays, name):
    assert plays[name].succeeded().recap["changed"] > 0
    assert [line for line in LINES if line not in plays[name].told] == []
    assert plays["untouched"] == []


def test_a_run_applies_all_of_it_and_a_second_one_finds_nothing_to_do(plays, database):
    assert plays["first"].succeeded().recap["changed"] > 0
    admin = database.session()
    assert "list_hosts" in admin.values("SELECT name FROM tool_definitions WHERE origin = 'seed'")
    assert admin.values("SELECT name FROM tool_definitions WHERE origin = 'role'") == ["restart_web"]
    assert admin.values("SELECT effect FROM policies") == ["deny"]
    assert plays["second"].succeeded().recap["changed"] == 0


def test_a_new_token_alone_is_a_change(plays):
    assert plays["rotated"].succeeded().recap["changed"] > 0
    service = plays["copy"].session("service")
    assert [service.value("SELECT tool_token_name(%s)", each) for each in (ALICE, NEW)] == [None, "alice"]


def test_inputs_that_cannot_be_are_refused_with_a_sentence(plays):
    assert plays["wrong"].sentence.startswith("Token 1 in mission_control_schema_tool_approvers has 16 characters")
    assert "mission_control_schema_tool_approvers" in plays["mixed_up"].sentence


def test_no_output_holds_a_token_or_its_checksum(plays):
    output = "".join(plays[name].output + plays[name].told for name in ("dry", "first", "second", "rotated"))
    for token in (ALICE, ASSISTANT, NEW, SHORT):
        assert token not in output
        assert hashlib.sha256(token.encode()).hexdigest() not in output
