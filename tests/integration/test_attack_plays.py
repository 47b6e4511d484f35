"""Inputs that a role refuses, in real plays: every host is a play of its own with one bad input, and nothing is changed by any of them."""

from __future__ import annotations

import os
import random

import fingerprint
import pytest
from attack_seed import attack_seed
from bad_inputs import NASTY, is_sentence
from database_lab import DatabaseLab, prepare_cluster
from host_plays import run_on_hosts
from playbook import ROOT
from role_inputs import options_of, refusal
from throwaway_cluster import ThrowawayCluster

# `make attack` asks for more.
PLAYS = int(os.environ.get("MISSION_CONTROL_ATTACK_PLAYS", "12"))
AT_ONCE = 50
ROLES = ("mission_control_database", "mission_control_schema")
WRONG_KINDS = [None, True, [], ["a"], {}, {"a": 1}, -1, 10**30, 1.5]
PLAYBOOK = """
- name: Give bad inputs to a role
  hosts: all
  gather_facts: false
  roles:
    - role: homelab.mission_control.{role}
"""


def refused_inputs(role, count):
    """(variable, value), of those that the role refuses before it does anything."""
    chance = random.Random(attack_seed())
    found = []
    while len(found) < count:
        name = chance.choice(sorted(options_of(role)))
        value = chance.choice([*NASTY, *WRONG_KINDS])
        # As Ansible would read a template out of an inventory.
        if "{" not in str(value) and refusal(role, {name: value}):
            found.append((name, value))
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with ThrowawayCluster() as server:
        prepare_cluster(server)
        yield DatabaseLab(server, tmp_path_factory.mktemp("plays"))


@pytest.fixture
def state(lab):
    connection = lab.cluster.connect()
    passwords = lab.home / "passwords"
    passwords.mkdir(exist_ok=True)
    yield lambda: (
        fingerprint.of_server(connection),
        fingerprint.of_database(connection),
        fingerprint.of_files(passwords),
        sorted(each.name for each in ROOT.iterdir()),
    )
    connection.close()


def run(lab, role, inputs):
    """What became of each input, given to the role by a host of its own."""
    lab.playbook.write_text(PLAYBOOK.format(role=role), encoding="utf-8")
    runs = run_on_hosts(lab.playbook, [{**lab.variables, name: value} for name, value in inputs], home=lab.home)
    assert "Traceback" not in runs[0].output
    return runs


@pytest.mark.parametrize("role", ROLES)
def test_a_refusal_is_a_sentence_and_changes_nothing(lab, state, role):
    inputs = refused_inputs(role, PLAYS)
    for start in range(0, len(inputs), AT_ONCE):
        part = inputs[start : start + AT_ONCE]
        before = state()
        outcome = run(lab, role, part)
        assert state() == before, part
        for (name, value), host in zip(part, outcome):
            assert host.failed, (name, value)
            assert is_sentence(host.sentence), (name, value, host.sentence)
            assert name in host.sentence, (name, value, host.sentence)
            assert host.recap["changed"] == 0, (name, value)
