"""From which backup is restored and into what; nothing that holds data is ever chosen."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.backup import moment
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.restore import (
    choose_backup,
    choose_dump,
    plan_restore,
)

NOW = 1_795_700_000.0
FIRST, SECOND, THIRD = "20261122-023000F", "20261122-023000F_20261123-023000I", "20261124-023000F"
HEADS = {FIRST: f"1:{'1' * 64}", SECOND: f"2:{'2' * 64}", THIRD: f"3:{'3' * 64}"}
STOPPED = {FIRST: NOW - 300_000, SECOND: NOW - 200_000, THIRD: NOW - 100_000}
WANTED = {
    "method": "pgbackrest",
    "database": "mission_control",
    "stanza": "mission_control",
    "own_cluster": "main",
    "server_mode": "package",
    "restore_target": "",
    "restore_cluster": "",
    "restore_port": 5432,
    "restore_repository": 1,
    "restore_heads": [],
    "restore_dump": "",
}


def backup(label, **changes):
    kind = "incr" if label.endswith("I") else "full"
    return {
        "repository": 1, "cluster": 1, "label": label, "type": kind, "started": STOPPED[label] - 10,
        "stopped": STOPPED[label], "damaged": False, "head": HEADS[label], **changes,
    }  # fmt: skip


@pytest.fixture
def host():
    return {
        "packages": {"postgresql-common": "1", "postgresql-15": "1", "pgbackrest": "1", "python3-psycopg2": "1"},
        "data_directory": "missing",
        "unfinished_restore": "",
        "repositories": {
            "problem": "",
            "clusters": [{"repository": 1, "id": 1, "system": "77", "version": "15"}],
            "backups": [backup(label) for label in (FIRST, SECOND, THIRD)],
        },
        "heads": [],
        "dumps": [],
    }


def main(running, holds=True):
    return {
        "version": "15", "name": "main", "port": 5432, "running": running, "data_directory": "/var/lib/postgresql/15/main",
        "server": {"databases": ["mission_control"] if holds else [], "in_recovery": False} if running else None,
    }  # fmt: skip


def chosen(host, **changes):
    return choose_backup(host, {**WANTED, **changes}, NOW)


def plan(host, clusters, holder=None, **changes):
    wanted = {**WANTED, **changes}
    choice = choose_backup(host, wanted, NOW)
    return plan_restore(host, {"clusters": clusters, "port_holder": holder}, choice, wanted)


def at(seconds):
    import datetime

    return f"{datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc):%Y-%m-%d %H:%M:%S}+00"


def test_the_newest_backup_is_taken(host):
    assert chosen(host)["backup"]["label"] == THIRD


def test_a_damaged_one_is_not(host):
    host["repositories"]["backups"][-1]["damaged"] = True
    assert chosen(host)["backup"]["label"] == SECOND


def test_for_a_moment_it_is_the_last_that_was_complete_by_then(host):
    assert chosen(host, restore_target=at(STOPPED[SECOND] + 1))["backup"]["label"] == SECOND
    assert chosen(host, restore_target=at(STOPPED[SECOND] - 1))["backup"]["label"] == FIRST


@pytest.mark.parametrize(
    ("target", "word"), [(NOW + 60, "lies in the future"), (STOPPED[FIRST] - 1, "the oldest backup in repository 1")]
)
def test_a_moment_of_which_there_is_no_backup_is_refused(host, target, word):
    [problem] = chosen(host, restore_target=at(target))["problems"]
    assert word in problem


def test_another_repository_is_looked_at_alone(host):
    [problem] = chosen(host, restore_repository=2)["problems"]
    assert problem == (
        "Repository 2 holds no backup of mission_control, but repository 1 does: set mission_control_backup_restore_repository to 1."
    )
    host["repositories"]["backups"] = []
    [problem] = chosen(host)["problems"]
    assert problem == (
        "Repository 1 holds no backup of mission_control, and no other does: set mission_control_backup_repository and "
        "mission_control_backup_stanza to where one is."
    )


def test_a_cluster_that_runs_is_never_restored_over(host):
    host["data_directory"] = "data"
    [problem] = plan(host, [main(running=True)])["problems"]
    assert "runs, and nothing is restored over it" in problem


def test_a_cluster_of_patroni_is_restored_elsewhere(host):
    [problem] = chosen(host, server_mode="existing")["problems"]
    assert "name a new cluster in mission_control_backup_restore_cluster" in problem
    assert chosen(host, server_mode="existing", restore_cluster="then")["label"] == "15/then"


def test_a_standby_is_not_asked_to_archive_what_it_replays(host):
    member = main(running=True)
    assert plan(host, [member], restore_cluster="then", restore_port=5433)["living"] == "15/main"
    member["server"]["in_recovery"] = True
    made = plan(host, [member], restore_cluster="then", restore_port=5433)
    assert (made["living"], made["archiving"]) == ("", False)


@pytest.mark.parametrize("state", ["data", "other"])
def test_a_directory_that_is_not_empty_is_never_restored_over(host, state):
    host["data_directory"] = state
    [problem] = plan(host, [main(running=False)])["problems"]
    assert problem.startswith("/var/lib/postgresql/15/main is not empty")


@pytest.mark.parametrize("state", ["missing", "empty"])
def test_a_cluster_whose_data_is_gone_is_restored_and_archives_again(host, state):
    host["data_directory"] = state
    found = plan(host, [main(running=False)])
    assert (found["create"], found["archiving"], found["restored"], found["port"]) == (False, True, False, 5432)
    assert found["options"] == ["--repo=1"]


def test_beside_a_living_one_nothing_is_archived(host):
    found = plan(host, [main(running=True)], restore_cluster="then", restore_port=5433, restore_target=at(NOW - 50))
    assert (found["create"], found["archiving"], found["living"], found["port"]) == (True, False, "15/main", 5433)
    assert found["options"][1:] == [
        "--type=time",
        f"--target={moment(at(NOW - 50))}",
        "--target-action=promote",
        "--archive-mode=off",
    ]


def test_on_a_new_host_the_cluster_is_made(host):
    host["packages"] = {}
    found = plan(host, [])
    assert found["create"]
    assert "postgresql-15" in found["packages"]
    assert found["directory"] == "/var/lib/postgresql/15/main"


@pytest.mark.parametrize(
    ("clusters", "holder", "word"),
    [
        ([main(running=True)], None, "Port 5432 belongs to the cluster 15/main"),
        ([], {"pid": 7, "name": "nginx"}, "Port 5432 is held by nginx (process 7)"),
    ],
)
def test_a_port_that_is_taken_is_named(host, clusters, holder, word):
    [problem] = plan(host, clusters, holder, restore_cluster="then")["problems"]
    assert problem.startswith(word)


def test_a_link_in_place_of_the_data_directory_is_not_followed(host):
    for unfinished in ("", "begun", "done"):
        host.update(data_directory="link", unfinished_restore=unfinished)
        [problem] = plan(host, [main(running=False)])["problems"]
        assert problem.startswith("/var/lib/postgresql/15/main is a symbolic link, which a restore does not follow")


def test_a_run_that_was_killed_is_begun_anew(host):
    host.update(data_directory="data", unfinished_restore="begun")
    found = plan(host, [main(running=False)])
    assert found["problems"] == []
    assert not found["restored"]
    # In a directory of root's, where the server's user can plant none.
    assert found["marker"] == "/etc/mission-control/backup/15-main.restoring"


def test_a_run_that_was_killed_at_its_end_is_only_ended(host):
    host.update(data_directory="data", unfinished_restore="done")
    found = plan(host, [main(running=False)])
    assert found["restored"]
    assert found["actions"][0] == "Continue with 15/main, which an earlier run has restored."


def test_heads_that_were_kept_until_the_backup_have_to_be_there_and_later_ones_may(host):
    found = plan(host, [main(running=False)], restore_target=at(STOPPED[SECOND] + 1), restore_heads=[f"9:{'9' * 64}"])
    assert found["required_heads"] == [HEADS[FIRST], HEADS[SECOND]]
    assert found["later_heads"] == [HEADS[THIRD], f"9:{'9' * 64}"]


def test_heads_outlive_the_backups_that_they_were_kept_with(host):
    host["heads"] = [{"label": "20261101-023000F", "head": f"0:{'0' * 64}"}]
    assert plan(host, [main(running=False)])["required_heads"][0] == f"0:{'0' * 64}"


def test_of_dumps_the_newest_is_taken_and_its_head_required(host):
    head, later = f"5:{'5' * 64}", f"6:{'6' * 64}"
    host["dumps"] = [{"path": "/d/b.dump", "head": later}, {"path": "/d/a.dump", "head": head}]
    assert choose_dump(host, WANTED)["path"] == "/d/b.dump"
    found = choose_dump(host, {**WANTED, "restore_dump": "/d/a.dump"})
    assert (found["path"], found["required_heads"], found["later_heads"]) == ("/d/a.dump", [head], [later])
    host["dumps"] = []
    assert choose_dump(host, WANTED)["problems"][0].startswith("There is no dump of mission_control")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-25 12:00:00+00", "2026-11-25 12:00:00.000000+00"),
        ("2026-11-25T12:00:00.5+01:30", "2026-11-25 10:30:00.500000+00"),
        ("2026-11-25 12:00Z", "2026-11-25 12:00:00.000000+00"),
        ("2026-11-25 12:00:00 -0500", "2026-11-25 17:00:00.000000+00"),
    ],
)
def test_a_moment_is_read_with_its_offset(text, expected):
    assert moment(text) == expected


@pytest.mark.parametrize(
    "text", ["2026-11-25", "2026-11-25 12:00:00", "yesterday", "2026-13-01 00:00:00+00", "2026-11-25 12:00:00+00; x"]
)
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        moment(text)
