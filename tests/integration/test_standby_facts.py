"""What the module standby_info asks a primary, its standby and a dead primary's files: who is what, and what is lost."""

from __future__ import annotations

import json
import os
import pwd

import pytest
import replication_lab
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.facts import cluster as clusters
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.facts import standby as facts


def described(member):
    """The cluster as pg_lsclusters would list it."""
    owner = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    running = member._server.poll() is None
    major = os.path.basename(os.path.dirname(member.bindir))
    return clusters.Cluster(major, "main", member.port, running, True, owner, member._data, "")


def asked(member):
    where = clusters.postmaster(member._data)
    answer = clusters.run_query(described(member), where, "postgres", {"replicator": "nobody"}, facts.QUERY)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.fixture
def pair():
    with replication_lab.Member(autovacuum="off") as primary, replication_lab.Standby(primary) as standby:
        yield primary, standby


def test_who_is_what_and_what_a_dead_primary_alone_has(pair):
    primary, standby = pair
    primary.query("CREATE TABLE kept (number int)")
    standby.wait_until_caught_up()
    first, second = asked(primary), asked(standby)
    assert (first["in_recovery"], first["writable"], second["in_recovery"], second["writable"]) == (
        False,
        True,
        True,
        False,
    )
    assert first["system_identifier"] == second["system_identifier"]
    assert (first["timeline"], second["timeline"]) == (1, 1)
    assert (list(first["slots"]), first["standbys"][0]["state"], second["receiver"]["status"]) == (
        ["standby"],
        "streaming",
        "streaming",
    )
    assert first["login"] is None

    standby.wait_until_caught_up()
    standby.configure(primary_conninfo="")
    received = asked(standby)["lsn"]
    for number in range(5):
        primary.query("INSERT INTO kept VALUES (%s)", number)
    ahead = facts.ahead_of(described(primary), 1, received)
    assert ahead["commits"] == 5
    primary.kill()
    assert facts.ahead_of(described(primary), 1, received) == ahead
    assert facts.ahead_of(described(primary), 1, ahead["lsn"])["commits"] == 0
    assert facts.ahead_of(described(primary), 1, "FF/0") is None
    assert facts.ahead_of(described(primary), 1, "nonsense") is None
    standby.query("SELECT pg_promote(true, 60)")
    after = asked(standby)
    assert (after["timeline"], after["writable"]) == (2, True)
    fork = facts.read_history(standby._data)
    assert fork == {"1": received}
    assert facts.control_data(described(standby))["rewindable"] == facts.control_data(described(primary))["rewindable"]
    primary.start()
