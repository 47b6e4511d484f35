"""Which rules a pg_hba.conf of Patroni's lacks for our logins: the first rule that fits decides, as in PostgreSQL."""

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.client_rules import (
    missing_rules,
)

LINE = "hostssl mission_control mission_control 192.0.2.5/32 scram-sha-256"
MASKS = {"32": "255.255.255.255", "24": "255.255.255.0", "0": "0.0.0.0"}


def rule(kind, databases, users, address, method):
    """A row of pg_hba_file_rules."""
    host, _slash, prefix = address.partition("/")
    return {
        "type": kind,
        "databases": databases.split(","),
        "users": users.split(","),
        "address": host,
        "netmask": "ffff:ffff:ffff:ffff::" if ":" in host else MASKS.get(prefix),
        "method": method,
    }


def missing(*rules, tls=True, address="192.0.2.5", groups=(), logins=("mission_control",), networks=()):
    found = {
        "rules": [rule(*each.split()) for each in rules] or None,
        "memberships": {"mission_control": ["mission_control", *groups]} if groups else None,
        "address": address,
        "tls": tls,
    }
    return missing_rules(
        found, {"database": "mission_control", "logins": list(logins), "client_networks": list(networks)}
    )


@pytest.mark.parametrize(
    "line",
    [
        "host all all all scram-sha-256",
        "hostssl mission_control all 192.0.2.0/24 scram-sha-256",
        "hostssl other,mission_control other,mission_control 192.0.2.5/32 md5",
        "hostnogssenc all all 0.0.0.0/0 scram-sha-256",
        "host sameuser all all scram-sha-256",
        "host all all db.home.arpa scram-sha-256",
        "host all all samenet reject",
        "host /^mission /control$ all scram-sha-256",
    ],
)
def test_nothing_is_missing_where_a_rule_lets_them_in_or_that_is_not_known(line):
    assert missing(line, "host all all all reject") == []


@pytest.mark.parametrize(
    "line",
    [
        "hostnossl all all all scram-sha-256",
        "hostgssenc all all all scram-sha-256",
        "host replication all all scram-sha-256",
        "host other all all scram-sha-256",
        "host all other all scram-sha-256",
        "host all +staff all scram-sha-256",
        "host all all 192.0.3.0/24 scram-sha-256",
        "host all all fd00::/64 scram-sha-256",
        "host all all 192.0.2.0/24 reject",
    ],
)
def test_a_rule_that_does_not_let_them_in_leaves_one_missing(line):
    assert missing(line) == [LINE]
    assert missing(line, "host all all all reject", "host all all all trust") == [LINE]


def test_without_any_rule_all_are_missing_in_one_line():
    assert missing(logins=("mission_control", "all")) == [
        'hostssl mission_control mission_control,"all" 192.0.2.5/32 scram-sha-256'
    ]


def test_only_those_that_are_refused_are_named():
    rules = ("host all mission_control_service all scram-sha-256",)
    assert missing(*rules, logins=("mission_control", "mission_control_service")) == [LINE]


def test_members_of_a_group_are_let_in_by_its_rule():
    assert missing("host all +staff all scram-sha-256", groups=("staff",)) == []
    assert missing("host samerole all all scram-sha-256", groups=("other",)) == []


def test_without_tls_a_rule_for_tls_does_not_count():
    assert missing("hostssl all all all scram-sha-256", tls=False) == [LINE.replace("hostssl", "host")]


def test_networks_of_clients_are_to_be_let_in_as_a_whole():
    part = "host all all 192.0.2.5/32 scram-sha-256"
    assert missing(part, "host all all 192.0.2.0/24 reject", networks=["192.0.2.0/24"]) == []
    assert missing(part, networks=["198.51.100.0/24"]) == [LINE.replace("192.0.2.5/32", "198.51.100.0/24")]
    assert missing("host all all fd00::/64 scram-sha-256", address="fd00::5") == []
    assert missing("host all all 127.0.0.1/32 scram-sha-256", address=None) == []
