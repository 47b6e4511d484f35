"""What the backup's role decides: each action only when it is needed, also after a run that was killed or a move to a newer version."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.backup import plan_backup

DROP_IN = "archive_mode = on\n"
COMMAND = '/usr/local/sbin/push "%p"'
FULL, INCREMENTAL, DUMP = (f"mission-control-backup-{kind}.timer" for kind in ("full", "incr", "dump"))
WANTED = {
    "method": "pgbackrest",
    "port": 5432,
    "stanza": "mission_control",
    "repositories": [1],
    "repository_paths": ["/repository"],
    "packages": ["pgbackrest"],
    "files": [
        {"path": "/state", "state": "directory", "mode": "0750", "owner": "postgres", "group": "postgres"},
        {"path": "/repository", "state": "directory", "mode": "0750", "owner": "postgres", "group": "postgres", "keep": True},
        {"path": "/program", "mode": "0755", "content": "program\n"},
        {"path": "/configuration", "mode": "0640", "group": "postgres", "content": "repo1-path=/repository\n"},
        {"path": f"/etc/systemd/system/{FULL}", "content": "timer\n"},
        {"path": f"/etc/systemd/system/{DUMP}", "state": "absent"},
        {"path": "", "state": "unmanaged"},
    ],
    "drop_in": DROP_IN,
    "archive_command": COMMAND,
    "archive_timeout": 300,
    "calendars": {"full_calendar": "Sun 02:30", "incremental_calendar": "Mon..Sat 02:30"},
    "timers": [{"name": FULL}, {"name": INCREMENTAL}],
    "all_timers": [FULL, INCREMENTAL, DUMP],
}  # fmt: skip
RUNNING = {"loaded": True, "active": True, "enabled": True, "needs_reload": False}
MISSING = {"loaded": False, "active": False, "enabled": False, "needs_reload": False}


def found(wanted):
    state = wanted.get("state", "file")
    if state in ("absent", "unmanaged"):
        return None
    return {
        "kind": state,
        "modified": 100.0,
        "sha256": hashlib.sha256(wanted.get("content", "").encode()).hexdigest(),
        "owner": wanted.get("owner", "root"),
        "group": wanted.get("group", "root"),
        "mode": wanted.get("mode", "0644"),
    }


@pytest.fixture
def host():
    """A host on which everything is as it should be."""
    paths = {each["path"]: found(each) for each in WANTED["files"]}
    return {
        "systemd": True,
        "packages": {"pgbackrest": "2.45"},
        "paths": paths,
        "units": {FULL: dict(RUNNING), INCREMENTAL: dict(RUNNING), DUMP: dict(MISSING)},
        "calendars": {},
        "system_identifier": "77",
        "repositories": {
            "problem": "",
            "clusters": [{"repository": 1, "id": 1, "system": "77", "version": "15"}],
            "backups": [{"repository": 1, "cluster": 1, "label": "20261125-023000F"}],
        },
        "dumps": [],
    }


@pytest.fixture
def cluster():
    return {
        "version": "15",
        "name": "main",
        "owner": "postgres",
        "settings": {"port": "5432"},
        "reads_conf_d": True,
        "drop_in": "/etc/postgresql/15/main/conf.d/mission_control_backup.conf",
        "drop_in_content": DROP_IN,
        "server": {"port": 5432, "in_recovery": False, "reload_pending": False, "pending_restart": [], "overridden": []},
    }  # fmt: skip


def actions(host, cluster, **changes):
    return plan_backup(host, [cluster], {**WANTED, **changes})["actions"]


def problems(host, cluster, **changes):
    return plan_backup(host, [cluster], {**WANTED, **changes})["problems"]


CHECK = "Check that the WAL reaches the repository."
FIRST = "Make the first backup."


def test_nothing_is_done_where_nothing_is_to_be_done(host, cluster):
    assert actions(host, cluster) == []


def test_a_host_with_nothing_gets_everything_and_a_backup(host, cluster):
    host["packages"] = {}
    host["paths"] = dict.fromkeys(host["paths"])
    host["units"] = dict.fromkeys(host["units"], MISSING)
    host["repositories"].update(clusters=[], backups=[])
    cluster["drop_in_content"] = None
    assert actions(host, cluster) == [
        "Install pgbackrest.",
        "Make /state, /repository.",
        f"Write /program, /configuration, /etc/systemd/system/{FULL}.",
        "Create the stanza mission_control in the repository.",
        "Enable WAL archiving in 15/main.",
        CHECK,
        f"Start {FULL}, {INCREMENTAL}.",
        "Reload systemd.",
        FIRST,
    ]


def test_a_server_of_the_package_that_a_killed_run_left_enabled_is_disabled(host, cluster):
    host["units"]["pgbackrest.service"] = {**RUNNING, "active": False}
    assert actions(host, cluster) == ["Disable pgbackrest.service, which fails."]
    host["units"]["pgbackrest.service"] = dict(RUNNING)
    assert actions(host, cluster) == [], "one with certificates is somebody's own"


def test_where_no_server_runs_yet_the_plan_says_so(host):
    plan = plan_backup(host, [], WANTED)
    assert plan["problems"] == []
    assert plan["ready"] is False
    assert FIRST in plan["actions"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"drop_in_content": "archive_mode = on\nold\n"}, ["Enable WAL archiving in 15/main.", CHECK]),
        ({"server": {"reload_pending": True}}, ["Reload 15/main.", CHECK]),
        ({"server": {"pending_restart": ["archive_mode"]}}, ["Restart 15/main, which archive_mode waits for.", CHECK]),
    ],
)
def test_a_run_that_was_killed_before_the_server_had_it_is_made_up_for(host, cluster, change, expected):
    cluster["server"].update(change.pop("server", {}))
    cluster.update(change)
    assert actions(host, cluster) == expected


@pytest.mark.parametrize("drop_in", [None, "archive_mode = off\n"])
def test_where_archiving_was_off_the_earlier_backups_are_followed_by_one(host, cluster, drop_in):
    """On a new machine that a backup was restored on, and where backups were removed and come back."""
    cluster["drop_in_content"] = drop_in
    plan = plan_backup(host, [cluster], WANTED)
    again = "Make a backup, since the earlier ones lead no further than to where archiving was off."
    assert plan["actions"] == ["Enable WAL archiving in 15/main.", CHECK, again]
    assert plan["first"] == "incr"


def test_a_run_that_was_killed_before_the_first_backup_is_made_up_for(host, cluster):
    host["repositories"]["backups"] = []
    assert actions(host, cluster) == [FIRST]


def test_a_second_repository_gets_a_backup_too(host, cluster):
    assert actions(host, cluster, repositories=[1, 2]) == [
        "Create the stanza mission_control in the repository.",
        CHECK,
        FIRST,
    ]


def test_after_a_move_to_a_newer_version_the_repository_follows_and_a_full_backup_is_made(host, cluster):
    cluster.update(version="17")
    host["system_identifier"] = "99"
    plan = plan_backup(host, [cluster], WANTED)
    assert plan["actions"] == ["Upgrade the stanza mission_control to the new version of PostgreSQL.", CHECK, FIRST]
    assert (plan["stanza"], plan["first"], plan["control"]) == ("upgrade", "full", ["pg_ctlcluster", "17", "main"])


def test_the_old_cluster_of_a_move_is_not_mistaken_for_the_new_one(host, cluster):
    old = {**cluster, "server": None}
    assert plan_backup(host, [old, {**cluster, "version": "17"}], WANTED)["label"] == "17/main"


def test_backups_of_another_cluster_are_never_written_over(host, cluster):
    host["system_identifier"] = "99"
    [problem] = problems(host, cluster)
    assert "holds backups of another cluster" in problem
    assert "playbooks/restore.yml" in problem


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"archive_command": "cp %p /mnt"}, "archives its write-ahead log for somebody else"),
        ({"archive_library": "basic_archive"}, "archives its write-ahead log for somebody else"),
        ({"wal_level": "minimal"}, "wal_level"),
    ],
)
def test_somebody_elses_archiving_is_left_alone(host, cluster, settings, word):
    cluster["settings"] = settings
    [problem] = problems(host, cluster)
    assert word in problem


def test_a_command_that_does_nothing_is_nobodys(host, cluster):
    cluster["settings"] = {"archive_command": "(disabled)"}
    assert problems(host, cluster) == []


def test_a_server_that_cannot_archive_is_refused(host, cluster):
    cluster["server"]["overridden"] = ["archive_command"]
    [problem] = problems(host, cluster)
    assert "read later" in problem


STANDBY_NOTE = "This server is a standby: its primary makes the backups, and this host begins with its promotion."


@pytest.fixture
def standby(cluster):
    cluster["server"]["in_recovery"] = True
    return cluster


def test_a_standby_is_prepared_and_makes_no_backup(host, standby):
    plan = plan_backup(host, [standby], WANTED)
    assert (plan["actions"], plan["notes"]) == ([], [STANDBY_NOTE])
    standby["drop_in_content"] = None
    host["paths"]["/configuration"] = None
    host["units"][FULL] = dict(MISSING)
    assert actions(host, standby) == [
        "Write /configuration.",
        "Enable WAL archiving in 15/main.",
        f"Start {FULL}.",
    ]


def test_a_standby_makes_no_stanza_and_says_that_the_repository_is_not_its_primarys(host, standby):
    host["repositories"].update(clusters=[], backups=[])
    plan = plan_backup(host, [standby], WANTED)
    assert plan["actions"] == []
    assert plan["notes"][0] == STANDBY_NOTE
    assert plan["notes"][1].startswith(
        "The repository of this host knows nothing of this cluster: run this on its primary"
    )


def test_what_a_promoted_standby_finds_in_its_own_repository_is_made_up_for(host, cluster):
    host["repositories"].update(clusters=[], backups=[])
    assert actions(host, cluster) == ["Create the stanza mission_control in the repository.", CHECK, FIRST]


def test_a_standby_is_not_dumped(host, standby):
    host["units"].update({FULL: MISSING, INCREMENTAL: MISSING, DUMP: dict(RUNNING)})
    changes = {"method": "dump", "timers": [{"name": DUMP}], "packages": []}
    assert plan_backup(host, [standby], {**WANTED, **changes})["actions"] == []


@pytest.fixture
def member(host):
    """A server that Patroni runs and whose log goes where it is to go, and the host that says so."""
    host["member"] = {
        "problem": "",
        "is_member": True,
        "version": "15",
        "name": "15-lab",
        "owner": "postgres",
        "data_directory": "/pg/data",
        "settings": {
            "archive_mode": "on", "archive_command": COMMAND, "archive_library": "", "archive_timeout": "300", "wal_level": "replica",
        },
        "server": {"port": 5432, "socket_directory": "/run/postgresql", "in_recovery": False, "pending_restart": []},
    }  # fmt: skip
    return host["member"]


NEW = {"archive_mode": "off", "archive_command": "(disabled)", "archive_timeout": "0"}
LINES = [
    "postgresql:",
    "  parameters:",
    '    archive_mode: "on"',
    f"    archive_command: {COMMAND}",
    "    archive_timeout: 300s",
]


@pytest.mark.parametrize("in_recovery", [False, True])
def test_nothing_is_asked_of_patroni_where_all_is_there(host, member, in_recovery):
    member["server"]["in_recovery"] = in_recovery
    plan = plan_backup(host, [member], WANTED)
    assert (plan["actions"], plan["asks"]) == ([], {"lines": [], "restart": []})


def test_patronis_settings_are_asked_for_and_never_written(host, member):
    member["settings"].update(NEW)
    host["repositories"].update(clusters=[], backups=[])
    plan = plan_backup(host, [member], WANTED)
    assert plan["actions"] == ["Create the stanza mission_control in the repository."]
    assert plan["asks"] == {"lines": LINES, "restart": []}
    assert (plan["write_drop_in"], plan["settle"], plan["first"]) == (False, False, "")


def test_a_member_that_waits_for_a_restart_says_so_and_makes_no_backup(host, member):
    member["settings"].update(archive_mode="off", archive_command="(disabled)")
    member["server"]["pending_restart"] = ["archive_mode"]
    host["repositories"]["backups"] = []
    plan = plan_backup(host, [member], WANTED)
    assert plan["actions"] == []
    assert plan["asks"] == {"lines": [], "restart": ["archive_mode"]}


def test_the_first_backup_of_a_member_comes_when_its_log_is_archived(host, member):
    host["repositories"]["backups"] = []
    assert actions(host, member) == [CHECK, FIRST]
    member["server"]["in_recovery"] = True
    assert actions(host, member) == []


def test_what_patroni_runs_is_not_set_up_as_our_own(host, cluster):
    cluster["patroni"] = "/var/lib/postgresql/15/main/patroni.dynamic.json"
    [problem] = problems(host, cluster)
    assert problem == (
        "The cluster 15/main is run by Patroni, as /var/lib/postgresql/15/main/patroni.dynamic.json shows, which owns its settings: set "
        "mission_control_postgresql_mode to existing."
    )


def test_a_member_that_archives_for_somebody_else_is_left_alone(host, member):
    member["settings"]["archive_command"] = "pgbackrest --stanza=x archive-push %p"
    [problem] = problems(host, member)
    assert problem.startswith("The cluster 15-lab archives its write-ahead log for somebody else already")
    member["settings"]["archive_command"] = "cd ."
    assert problems(host, member) == []


def test_a_member_whose_repository_is_not_mounted_makes_no_other(host, member):
    host["paths"]["/repository"] = None
    assert "mount it" in problems(host, member)[0]
    member["settings"].update(NEW)
    assert problems(host, member) == []


def test_without_a_member_the_dump_is_named_as_the_way(host):
    host["member"] = {"problem": "psql ended with 2"}
    [problem] = plan_backup(host, [], WANTED)["problems"]
    assert problem == (
        "mission_control_backup_method is pgbackrest and mission_control_postgresql_mode is existing, but this host has no server on port 5432 that "
        "Patroni runs (psql ended with 2): run this on the members of such a cluster, or set mission_control_backup_method to dump."
    )


def test_a_repository_that_is_not_mounted_is_not_made_anew(host, cluster):
    host["paths"]["/repository"] = None
    assert problems(host, cluster) == [
        "The repository /repository is in use and is not there: mount it, or make the directory anew."
    ]
    cluster["drop_in_content"] = None
    assert problems(host, cluster) == []


def test_a_repository_that_is_somebody_elses_is_left_alone(host, cluster):
    """As where two hosts share a directory and their users have other numbers: each would take it from the other."""
    host["paths"]["/repository"]["owner"] = "etcd"
    [problem] = problems(host, cluster)
    assert problem.startswith("The repository /repository belongs to etcd here, and not to postgres")


def test_a_repository_that_cannot_be_read_stops_the_run(host, cluster):
    host["repositories"] = {"problem": "unable to load info file", "clusters": [], "backups": []}
    assert problems(host, cluster) == ["The backups cannot be read: unable to load info file."]
    host["repositories"]["problem"] = "unable to list: [13] Permission denied"
    assert problems(host, cluster) == [
        "The backups cannot be read (unable to list: [13] Permission denied): where hosts share the directory, give its user the same number on all of them."
    ]


def test_a_calendar_that_systemd_does_not_take_is_named(host, cluster):
    host["calendars"] = {"Sun 02:30": "Failed to parse"}
    [problem] = problems(host, cluster)
    assert problem.startswith("mission_control_backup_full_calendar is 'Sun 02:30', which is no calendar")


def test_the_mode_of_a_mounted_repository_is_left_alone(host, cluster):
    host["paths"]["/repository"]["mode"] = "0755"
    assert actions(host, cluster) == []
    host["paths"]["/repository"]["owner"] = "root"
    assert actions(host, cluster) == ["Set owner and mode of /repository."]


def test_without_systemd_there_are_no_timers(host, cluster):
    host.update(systemd=False, units={}, sandbox=False)
    assert actions(host, cluster) == []


def test_the_timers_of_another_method_go(host):
    host.update(dumps=[{"path": "/dumps/x.dump", "head": ""}])
    changes = {"method": "dump", "timers": [{"name": DUMP}], "packages": []}
    plan = plan_backup(host, [], {**WANTED, **changes})
    assert plan["disable"] == [FULL, INCREMENTAL]
    assert plan["enable"] == [DUMP]
    assert plan["first"] == ""


def test_a_host_without_a_dump_gets_its_first(host):
    host["units"][DUMP] = dict(RUNNING)
    host["units"].update({FULL: MISSING, INCREMENTAL: MISSING})
    assert plan_backup(host, [], {**WANTED, "method": "dump", "timers": [{"name": DUMP}]})["actions"] == [FIRST]
