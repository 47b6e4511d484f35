"""What makes a standby, promotes it and takes an old primary back: decided of what two hosts say, or refused in a sentence."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.facts import standby as facts
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans import standby as plans
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.server_hba import hba_content

SETTINGS = {
    "wal_level": "replica",
    "max_connections": "100",
    "max_worker_processes": "8",
    "max_wal_senders": "10",
    "max_prepared_transactions": "0",
    "max_locks_per_transaction": "64",
    "listen_addresses": "*",
    "ssl": "on",
    "ssl_cert_file": "/etc/mission-control/postgresql/server-1.crt",
}
HBA = "local all postgres peer\nhost all all 127.0.0.1/32 scram-sha-256\n"
LOGINS = {
    "database": "mission_control",
    "logins": ["mission_control"],
    "groups": [],
    "administrator": "postgres",
    "client_networks": ["10.0.0.0/24"],
    "client_tls": True,
}


def cluster(**changes):
    server = {
        "in_recovery": False,
        "writable": True,
        "system_identifier": "7",
        "timeline": 1,
        "lsn": "0/5000000",
        "receiver": None,
        "slots": {},
        "standbys": [],
        "databases": ["mission_control", "postgres", "template0", "template1"],
        "size": 10**9,
        "settings": dict(SETTINGS),
        "login": None,
        **changes.pop("server", {}),
    }
    good = {
        "version": "15",
        "label": "15/main",
        "running": True,
        "patroni": False,
        "fenced": "",
        "has_data": True,
        "standby_signal": False,
        "backup_label": False,
        "start_path": "/etc/postgresql/15/main/start.conf",
        "settings_content": None,
        "hba_content": HBA,
        "control": {"system_identifier": "7", "timeline": 1, "rewindable": True},
        "history": {},
        "free_bytes": 10**10,
        "server": server,
        "server_problem": "",
    }
    return {**good, **changes}


def follower(**changes):
    server = {"in_recovery": True, "writable": False, "receiver": {"status": "streaming"}, **changes.pop("server", {})}
    return cluster(standby_signal=True, server=server, **changes)


def host(its, address, **changes):
    authority = {"certificate": "PEM", "has_key": True}
    return {
        "cluster": its,
        "address": address,
        "peer_answers": True,
        "authority": authority,
        "making": False,
        **changes,
    }


def pair(one=None, two=None, **changes):
    return {"one": host(one or cluster(), "10.0.0.1"), "two": {**host(two, "10.0.0.2"), **changes}}


def wanted(**changes):
    def own(name):
        return {
            "address": name,
            "networks": [],
            "slot": f"mission_control_{name}",
            "ca_cert": "",
            "password_directory": "/kept",
            "authority_file": "/etc/mission-control/postgresql/ca.crt",
            "password_file": "/etc/mission-control/standby/replication.pgpass",
        }

    return {
        "primary": "one",
        "standby": "two",
        "database": "mission_control",
        "port": 5432,
        "replicator": "mission_control_replicator",
        "rewinder": "mission_control_rewind",
        "synchronous": False,
        "keep_wal": "1GB",
        "max_slot_wal": "4GB",
        "standby_version": "15",
        "hosts": {name: own(name) for name in ("one", "two")},
        **changes,
    }


def settled(**changes):
    """A pair on which everything is as it is wanted."""
    desired = wanted(**changes)
    one = cluster(server={"slots": {"mission_control_two": "reserved"}, "login": {"login": True}})
    found = pair(one, follower())
    for _ in range(2):
        files = plans.plan_pair(found, desired)["files"]
        for name, each in files.items():
            found[name]["cluster"].update(settings_content=each["settings"], hba_content=each["hba"])
    return found, desired


def problem(found, **changes):
    [sentence] = plans.plan_pair(found, wanted(**changes))["problems"]
    return sentence


def test_a_fresh_host_becomes_a_standby():
    plan = plans.plan_pair(pair(), wanted())
    assert plan["make"]
    assert plan["actions"] == [
        "Create the role mission_control_replicator on one.",
        "Create the replication slot mission_control_two on one.",
        "Let the other host of the pair in by pg_hba.conf of one.",
        "Write the settings of replication of one.",
        "Let the other host of the pair in by pg_hba.conf of two.",
        "Write the settings of replication of two.",
        "Copy the data of one to two and start it as a standby.",
    ]


@pytest.mark.parametrize("synchronous", [False, True])
def test_what_is_there_is_left_alone(synchronous):
    found, desired = settled(synchronous=synchronous)
    assert plans.plan_pair(found, desired)["actions"] == []


def test_the_settings_follow_the_other_host_by_a_password_file_and_verify_it():
    text = plans.settings_content(wanted(), "two", synchronous=False)
    [connection] = [line for line in text.splitlines() if line.startswith("primary_conninfo")]
    for part in ("host=one", "sslmode=verify-full", "passfile=/etc/mission-control/standby/replication.pgpass"):
        assert f" {part}" in connection.replace("'", " ")
    assert "password=" not in text
    assert "synchronous_standby_names" not in text
    assert "synchronous_standby_names = '\"one\"'" in plans.settings_content(wanted(), "two", synchronous=True)


def test_commits_wait_only_for_a_standby_that_streams():
    found, desired = settled()
    desired["synchronous"] = True
    found["two"]["cluster"]["server"]["receiver"] = None
    assert plans.plan_pair(found, desired)["turn_on"]
    assert not plans.plan_pair(found, desired)["files"]["one"]["write_settings"]
    found["two"]["cluster"]["server"]["receiver"] = {"status": "streaming"}
    plan = plans.plan_pair(found, desired)
    assert "synchronous_standby_names" in plan["files"]["one"]["settings"]
    assert "synchronous_standby_names" not in plan["files"]["two"]["settings"]


def test_commits_that_wait_go_on_waiting_while_the_standby_is_away():
    found, desired = settled(synchronous=True)
    found["two"]["cluster"]["server"]["receiver"] = None
    assert not plans.plan_pair(found, desired)["files"]["one"]["write_settings"]


def test_the_rules_stand_between_those_of_the_server_role_and_all_others_and_both_roles_leave_the_others_alone():
    server = hba_content(HBA, LOGINS)
    ours = plans.hba_content(server, ["10.0.0.2/32"], wanted())
    assert plans.hba_content(ours, ["10.0.0.2/32"], wanted()) == ours
    assert hba_content(ours, LOGINS) == ours
    assert plans.hba_without(ours) == server
    order = [ours.index(text) for text in ("# END homelab.mission_control", plans.BEGIN, plans.END, HBA)]
    assert order == sorted(order)
    first = plans.hba_content(HBA, ["10.0.0.2/32"], wanted())
    assert hba_content(first, LOGINS) == hba_content(ours, LOGINS)


def test_the_replicator_comes_in_from_the_other_host_alone_and_to_no_database():
    rules = plans.hba_content("", ["10.0.0.2/32"], wanted()).splitlines()[1:-1]
    assert rules == [
        'hostssl replication "mission_control_replicator" 10.0.0.2/32 scram-sha-256',
        'hostssl postgres "mission_control_rewind" 10.0.0.2/32 scram-sha-256',
        'local all,replication "mission_control_replicator","mission_control_rewind" reject',
        'host all,replication "mission_control_replicator","mission_control_rewind" all reject',
    ]


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"one": host(None, "10.0.0.1"), "two": host(None, "10.0.0.2")}, "run site.yml first"),
        (pair(cluster(server={"databases": ["postgres"]})), "does not hold the database mission_control: run site.yml"),
        (pair(follower()), "is a standby itself"),
        (pair(cluster(fenced="two was promoted")), "is no longer the primary: two was promoted"),
        (pair(cluster(patroni=True)), "is run by Patroni"),
        (pair(cluster() | {"server": None, "server_problem": "it is not running"}), "promote.yml"),
        (
            pair(cluster(server={"settings": {**SETTINGS, "listen_addresses": "localhost"}})),
            "mission_control_postgresql_listen_addresses",
        ),
        (pair(cluster(server={"settings": {**SETTINGS, "ssl": "off"}})), "mission_control_postgresql_tls"),
        (
            pair(cluster(server={"settings": {**SETTINGS, "ssl_cert_file": "/etc/ssl/certs/ssl-cert-snakeoil.pem"}})),
            "mission_control_postgresql_tls",
        ),
        (pair(cluster(server={"settings": {**SETTINGS, "wal_level": "minimal"}})), "wal_level minimal"),
        (pair(two=cluster(version="17", label="17/main")), "needs the same major version"),
        (pair(two=cluster(control={"system_identifier": "8"})), "holds other data than one"),
        (pair(two=cluster()), "rejoin.yml -e mission_control_standby_rejoin_confirm=two"),
        (pair(two=follower(fenced="one was promoted")), "rejoin.yml"),
        (pair(cluster(server={"slots": {"mission_control_two": "lost"}}), follower()), "has fallen behind"),
        (
            pair(two=follower(server={"settings": {**SETTINGS, "max_connections": "50"}})),
            "has max_connections 50 and one has 100",
        ),
        (pair(address=""), "mission_control_standby_address for one"),
        (
            pair(two=cluster(control={"system_identifier": "8"}, server={"databases": ["theirs"]}), making=True),
            "holds the database theirs",
        ),
        (
            pair(two=cluster(control={"system_identifier": "8"}) | {"server": None}, making=True),
            "cannot be asked what it holds",
        ),
        # Promoted before the mark of its making was gone, or an old primary whose data could not be moved aside.
        (pair(two=cluster(history={"1": "0/5"}, server={"timeline": 2}), making=True), "rejoin_confirm=two"),
        (pair(two=cluster(fenced="one was promoted") | {"server": None}, making=True), "rejoin_confirm=two"),
    ],
)
def test_what_cannot_be_a_pair_is_refused_in_a_sentence(found, sentence):
    assert sentence in problem(found)


@pytest.mark.parametrize("left", [{"has_data": False, "control": {}}, {"control": {}}, {"backup_label": True}])
def test_a_copy_that_was_left_unfinished_is_made_again(left):
    unfinished = cluster(running=False, **left) | {"server": None}
    assert plans.plan_pair(pair(two=unfinished, making=True), wanted())["make"]


def test_two_directories_of_passwords_are_refused():
    desired = wanted()
    desired["hosts"]["two"]["password_directory"] = "/other"
    assert (
        "mission_control_database_password_directory is /kept for one and /other"
        in (plans.plan_pair(pair(), desired)["problems"][0])
    )


def promotion(one, two, **options):
    found = pair(one, two)
    found["two"]["peer_answers"] = options.pop("answers", False)
    options = {"reachable": True, "switchover": False, **options}
    return plans.plan_promotion(found, wanted(), **options)


DEAD = cluster(running=False) | {"server": None, "server_problem": "it is not running"}


def test_a_dead_primary_is_fenced_and_its_standby_promoted():
    plan = promotion(DEAD, follower())
    assert (plan["fence"], plan["stop"], plan["done"]) == (True, False, False)
    assert plan["actions"][-2:] == ["Promote two.", "Create the replication slot mission_control_one on two."]


@pytest.mark.parametrize(
    ("one", "two", "options", "sentence"),
    [
        (cluster(), follower(), {"answers": True}, "set mission_control_standby_switchover to true"),
        (cluster(), follower(), {"reachable": False, "answers": True}, "two primaries would take writes"),
        (DEAD, follower(), {"answers": True}, "does not run: two primaries would take writes"),
        (cluster(), DEAD, {}, "cannot be asked: it is not running"),
        (cluster(), cluster(), {}, "was never promoted"),
        (cluster(), follower(patroni=True), {}, "patronictl"),
    ],
)
def test_a_promotion_that_would_make_two_primaries_or_none_is_refused(one, two, options, sentence):
    [problem] = promotion(one, two, **options)["problems"]
    assert sentence in problem


def test_a_primary_that_runs_is_stopped_only_when_asked():
    plan = promotion(cluster(), follower(), switchover=True, answers=True)
    assert plan["stop"]
    assert plan["actions"][0] == "Stop the server of one, after two has all that it wrote."


def test_an_unreachable_host_is_to_be_fenced_by_hand():
    plan = promotion(cluster(), follower(), reachable=False)
    assert (plan["fence"], plan["stop"]) == (False, False)
    assert "write the word disabled into /etc/postgresql/15/main/start.conf" in plan["notes"][0]


def test_a_promotion_that_was_killed_goes_on_where_it_was():
    done = cluster(server={"timeline": 2}, history={"1": "0/5000000"})
    plan = promotion(copy.deepcopy(DEAD) | {"fenced": "two was promoted"}, done)
    assert (plan["done"], plan["fence"], plan["actions"]) == (
        True,
        False,
        ["Create the replication slot mission_control_one on two."],
    )
    slots = {"slots": {"mission_control_one": "reserved"}}
    after = cluster(server={"timeline": 2, **slots}, history={"1": "0/5000000"})
    assert promotion(follower(), after)["settled"]


def back(old, new=None):
    found = {
        "one": host(new or cluster(server={"timeline": 2}, history={"1": "0/5"}), "10.0.0.1"),
        "two": host(old, "10.0.0.2"),
    }
    return plans.plan_rejoin(found, wanted())


def test_an_old_primary_is_rewound_from_where_the_new_one_left_it():
    plan = back(DEAD)
    assert (plan["rewind"], plan["fork"], plan["timeline"], plan["stop"]) == (True, "0/5", 1, False)


def test_one_that_runs_is_stopped_and_called_a_second_primary():
    plan = back(cluster())
    assert plan["stop"]
    assert "runs as a second primary" in plan["actions"][0]


def test_one_that_follows_is_left_alone():
    plan = back(follower(control={"system_identifier": "7", "timeline": 2}))
    assert (plan["done"], plan["actions"]) == (True, [])


def test_one_without_checksums_and_hints_is_copied():
    assert not back(DEAD | {"control": {"system_identifier": "7", "timeline": 1, "rewindable": False}})["rewind"]


def test_a_standby_that_fell_too_far_behind_is_copied():
    slots = {"slots": {"mission_control_two": "lost"}}
    new = cluster(server={"timeline": 1, **slots})
    assert not back(follower(server={"receiver": None}), new)["rewind"]
    assert back(follower(server={"receiver": None}))["rewind"]


def test_one_of_a_history_that_the_new_one_does_not_know_is_copied():
    assert not back(DEAD | {"control": {"system_identifier": "7", "timeline": 3, "rewindable": True}})["rewind"]


@pytest.mark.parametrize(
    ("old", "sentence"),
    [
        (None, "run playbooks/standby.yml"),
        (cluster(control={"system_identifier": "8"}), "holds other data than one"),
        (cluster(version="17", label="17/main"), "has PostgreSQL 17 and one 15"),
    ],
)
def test_what_is_no_old_primary_is_refused(old, sentence):
    assert sentence in back(old)["problems"][0]


def test_what_is_lost_is_said():
    assert "nothing that was not replicated" in plans.lost_sentence("one", {"bytes": 0, "commits": 0})
    assert "cannot be told" in plans.lost_sentence("one", None)
    assert "with 1 committed transaction: these are lost" in plans.lost_sentence("one", {"bytes": 9, "commits": 1})


def test_the_history_of_a_timeline_is_read():
    text = "1\t0/3000148\tno recovery target specified\n\n2\t0/5000060\tno recovery target specified\n"
    assert facts.parse_history(text) == {"1": "0/3000148", "2": "0/5000060"}


def test_control_data_is_read():
    text = (
        "Database system identifier:           7713082608730611793\nDatabase cluster state:               shut down\n"
        "Latest checkpoint location:           0/4036928\nLatest checkpoint's TimeLineID:       2\n"
        "wal_log_hints setting:                off\nData page checksum version:           0\n"
    )
    assert facts.parse_control_data(text) == {
        "system_identifier": "7713082608730611793",
        "state": "shut down",
        "timeline": 2,
        "checkpoint": "0/4036928",
        "rewindable": False,
    }
    assert facts.parse_control_data(text.replace("version:           0", "version:           1"))["rewindable"]


def test_commits_after_a_position_are_counted():
    text = (
        "rmgr: Heap        len (rec/tot):     54/    54, tx:        733, lsn: 0/01500028, prev 0/01500000, desc: INSERT off 1\n"
        "rmgr: Transaction len (rec/tot):     34/    34, tx:        733, lsn: 0/01500060, prev 0/01500028, desc: COMMIT 2026\n"
        "rmgr: Transaction len (rec/tot):     34/    34, tx:        734, lsn: 0/01500088, prev 0/01500060, desc: ABORT 2026\n"
    )
    assert facts.parse_waldump(text, "0/1500028") == {"lsn": "0/15000AA", "bytes": 0x82, "commits": 1}
    assert facts.parse_waldump("", "0/1500028") == {"lsn": "0/1500028", "bytes": 0, "commits": 0}
