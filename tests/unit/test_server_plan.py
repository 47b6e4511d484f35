"""What the server role decides: every refusal, and each action only when it is needed."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.homelab.mission_control.plugins.filter.existing_server_problem import existing_server_problem
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans import server_hba
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans import (
    server_settings as server_files,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.server import plan_server
from hypothesis import given
from hypothesis import strategies as st

GIB = 2**30
WANTED = {
    "supported": {"debian-12": 15, "debian-13": 17},
    "version": "",
    "cluster": "main",
    "port": 5432,
    "repository": "distribution",
    "repository_uri": "",
    "repository_key": "",
    "listen_addresses": [],
    "client_networks": [],
    "client_tls": True,
    "tls": "automatic",
    "tls_names": [],
    "tls_renew_days": 90,
    "tls_renew": False,
    "tls_given": {},
    "own_names": ["db"],
    "memory_mb": "",
    "settings": {},
    "ignored_clusters": [],
    "administrator": "postgres",
    "become_user": "postgres",
    "su_flags": "",
    "database": "mission_control",
    "logins": ["mission_control"],
    "groups": [],
}
PACKAGES = {"postgresql-common": "1", "postgresql-17": "17.5", "python3-psycopg2": "2.9"}


def server(**changes):
    return {
        "port": 5432,
        "databases": ["postgres", "template0", "template1"],
        "database_problem": "",
        "hba_file": "/etc/postgresql/17/main/pg_hba.conf",
        "ssl": True,
        "certificate": None,
        "in_recovery": False,
        "reload_pending": False,
        "pending_restart": [],
        "configuration_errors": [],
        "hba_errors": [],
        "overridden": [],
        **changes,
    }


def cluster(version="17", name="main", **changes):
    return {
        "version": version,
        "name": name,
        "port": 5432,
        "running": True,
        "patroni": "",
        "owner": "postgres",
        "start": "auto",
        "data_directory": f"/var/lib/postgresql/{version}/{name}",
        "log": "/var/log/postgresql/x.log",
        "reads_conf_d": True,
        "settings": {"shared_buffers": "128MB", "max_connections": "100"},
        "drop_in_content": None,
        "hba_file": f"/etc/postgresql/{version}/{name}/pg_hba.conf",
        "drop_in_encoding": "utf-8",
        "drop_in_problem": "",
        "has_data": True,
        "hba_content": "local all all peer\n",
        "hba_encoding": "utf-8",
        "hba_problem": "",
        "server": server(),
        "server_problem": "",
        **changes,
    }


def stopped(version="15", name="main", **changes):
    return cluster(
        version,
        name,
        **{"port": 5433, "running": False, "server": None, "server_problem": "it is not running", **changes},
    )


def host(*clusters, **changes):
    return {
        "distribution": {"id": "debian", "version": "13", "codename": "trixie", "name": "Debian GNU/Linux 13 (trixie)"},
        "systemd": True,
        "service_enabled": True,
        "memory_bytes": 8 * GIB,
        "packages": PACKAGES,
        "administrator_shell": "/bin/bash",
        "port_holder": {"pid": 7, "name": "postgres"} if any(each["running"] for each in clusters) else None,
        "unregistered_data_directories": [],
        "unfinished_creation": None,
        "host_names": ["db", "db.home.arpa"],
        "addresses": ["10.0.0.5"],
        "certificates": {"directory": "/etc/mission-control/postgresql", "authority": None, "pairs": []},
        "clusters": list(clusters),
        **changes,
    }


def provisioned(**changes):
    """Return a cluster as the role leaves it."""
    plan = plan_server(host(cluster()), WANTED)
    return cluster(drop_in_content=plan["drop_in"], hba_content=plan["hba"], **changes)


def problem_of(info, **wanted):
    problems = plan_server(info, {**WANTED, **wanted})["problems"]
    assert len(problems) == 1, problems
    return problems[0]


def test_a_fresh_host_gets_everything():
    plan = plan_server(host(packages={}, service_enabled=False), WANTED)
    assert plan["problems"] == []
    assert plan["packages"] == ["postgresql-common", "postgresql-17", "python3-psycopg2"]
    assert (plan["label"], plan["create"], plan["start"], plan["enable"]) == ("17/main", True, True, True)


def test_a_provisioned_host_gets_nothing():
    plan = plan_server(host(provisioned()), WANTED)
    assert (plan["problems"], plan["actions"], plan["configure"], plan["create"]) == ([], [], False, False)


def test_without_systemd_nothing_is_enabled():
    plan = plan_server(host(provisioned(), systemd=False, service_enabled=False), WANTED)
    assert plan["actions"] == []


@pytest.mark.parametrize(
    ("changes", "actions"),
    [
        ({"reload_pending": True}, ["Reload 17/main."]),
        ({"pending_restart": ["shared_buffers"]}, ["Restart 17/main to apply shared_buffers."]),
    ],
)
def test_a_killed_run_is_caught_up_with(changes, actions):
    assert plan_server(host(provisioned(server=server(**changes))), WANTED)["actions"] == actions


def test_a_stopped_cluster_is_adopted_and_started():
    plan = plan_server(host(stopped("17", port=5432)), WANTED)
    assert plan["actions"] == [
        "Write the settings of 17/main.",
        "Write pg_hba.conf of 17/main.",
        "Start 17/main.",
    ]


def test_what_somebody_chose_on_an_adopted_cluster_stays():
    theirs = {"shared_buffers": "3GB", "listen_addresses": "*", "max_connections": "500"}
    drop_in = plan_server(host(cluster(settings=theirs)), WANTED)["drop_in"]
    assert "\nshared_buffers" not in drop_in
    assert "\nlisten_addresses" not in drop_in
    assert "# Left alone, since another file of this cluster sets it: shared_buffers = 3GB" in drop_in
    assert "\neffective_cache_size = '6144MB'\n" in drop_in


def test_what_is_asked_for_wins_over_what_somebody_chose():
    theirs = {"shared_buffers": "3GB", "listen_addresses": "*"}
    wanted = {**WANTED, "settings": {"shared_buffers": "1GB"}, "listen_addresses": ["localhost"]}
    drop_in = plan_server(host(cluster(settings=theirs)), wanted)["drop_in"]
    assert "shared_buffers = '1GB'" in drop_in
    assert "listen_addresses = 'localhost'" in drop_in
    assert "Left alone" not in drop_in


@pytest.mark.parametrize("number", ["0x1F4", "0764", "5e2", " 500 "])
def test_numbers_of_postgresql_are_read_as_it_does(number):
    theirs = {"max_connections": number, "port": "0x1538"}
    plan = plan_server(host(cluster(settings=theirs)), WANTED)
    assert plan["drop_in"] == plan_server(host(cluster(settings={"max_connections": "500"})), WANTED)["drop_in"]
    assert plan["problems"] == plan_server(host(), {**WANTED, "settings": theirs | {"port": None}})["problems"] == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("100", 100), ("0x64", 100), ("0144", 100), ("1e2", 100), ("99.5", 100), ("-1", -1), ("09", None), ("1GB", None), ("", None), ("1e999", None)],
)  # fmt: skip
def test_a_whole_number(text, value):
    assert server_files.whole_number(text) == value


def test_how_much_memory_is_taken_is_told_once_and_only_where_nobody_chose_it():
    told = (
        "17/main reserves 2048 MB for shared_buffers, about a quarter of this host's memory: set mission_control_postgresql_memory_mb if the "
        "host does other work too."
    )
    assert plan_server(host(), WANTED)["notes"] == [told]
    assert plan_server(host(provisioned()), WANTED)["notes"] == []
    assert plan_server(host(), {**WANTED, "memory_mb": "1024"})["notes"] == []
    assert plan_server(host(cluster(settings={"shared_buffers": "1GB"})), WANTED)["notes"] == []


@pytest.mark.parametrize(
    ("shell", "flags", "refused"),
    [
        ("/usr/sbin/nologin", "", True),
        ("/bin/false", "-l", True),
        ("/usr/sbin/nologin", "-s /bin/sh", False),
        ("/usr/sbin/nologin", "-l --shell=/bin/sh", False),
        ("/bin/bash", "", False),
    ],
)
def test_a_user_whom_su_cannot_become_is_refused_before_anything_is_changed(shell, flags, refused):
    problems = plan_server(host(administrator_shell=shell), {**WANTED, "su_flags": flags})["problems"]
    assert [f"The shell of the user postgres is {shell}" in each for each in problems] == [True] * refused


def test_a_file_that_cannot_be_written_is_only_named_where_it_has_to_be():
    for key in ("drop_in_problem", "hba_problem"):
        assert plan_server(host(cluster(**{key: "It is a link."})), WANTED)["problems"] == ["It is a link."]
        assert plan_server(host(provisioned(**{key: "It is a link."})), WANTED)["problems"] == []


def test_a_null_setting_is_left_out():
    drop_in = plan_server(host(), {**WANTED, "settings": {"work_mem": None}})["drop_in"]
    assert "work_mem" not in drop_in.replace("maintenance_work_mem", "")


def test_memory_can_be_given_or_left_alone():
    assert "shared_buffers = '512MB'" in plan_server(host(), {**WANTED, "memory_mb": "2048"})["drop_in"]
    assert "shared_buffers" not in plan_server(host(), {**WANTED, "memory_mb": "0"})["drop_in"]


def test_an_interrupted_creation_is_done_again_but_never_one_that_was_started():
    unfinished = {"version": "17", "name": "main", "data_directory": "/var/lib/postgresql/17/main", "started": False}
    half_made = stopped("17", port=5432)
    plan = plan_server(host(half_made, unfinished_creation=unfinished), WANTED)
    assert (plan["create"], plan["leftover"]) == (True, "/var/lib/postgresql/17/main")
    plan = plan_server(host(half_made, unfinished_creation={**unfinished, "started": True}), WANTED)
    assert (plan["create"], plan["leftover"]) == (False, "")


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"version": "16"}, "Debian GNU/Linux 13 (trixie) ships PostgreSQL 17, not 16: set mission_control_postgresql_repository to pgdg, "
                            "or to none if the host's own package sources have it."),
        ({"memory_mb": "9000"}, "mission_control_postgresql_memory_mb is 9000, but it must be between 64 and the 8192 MB of this host."),
        ({"settings": {"shared_buffers": "9GB"}}, "The setting shared_buffers is 9GB, but it must be between 128kB and the 8192MB of this host."),
        ({"settings": {"shared_buffers": 8}}, "The setting shared_buffers is 8, but it must be between 128kB and the 8192MB of this host."),
        ({"settings": {"work_mem": "lots"}}, "The setting work_mem is 'lots', but a size such as 512MB is needed."),
        ({"settings": {"max_connections": 0}}, "The setting max_connections is 0, but a number of connections is needed."),
        ({"settings": {"work mem": 1}}, "'work mem' in mission_control_postgresql_settings is no name of a setting."),
        ({"settings": {"log_line_prefix": "a\nport = 1"}}, "The setting log_line_prefix must be one value on one line."),
        ({"client_networks": ["10.0.0.0/24"]},
         "mission_control_postgresql_client_networks is set, but the server listens on localhost only: "
         "set mission_control_postgresql_listen_addresses too."),
    ],
)  # fmt: skip
def test_an_input_that_cannot_be_used_is_one_sentence(wanted, sentence):
    assert problem_of(host(), **wanted) == sentence


def test_an_unsupported_distribution_is_one_sentence():
    info = host(
        distribution={"id": "debian", "version": "11", "codename": "bullseye", "name": "Debian GNU/Linux 11 (bullseye)"}
    )
    assert problem_of(info) == (
        "Debian GNU/Linux 11 (bullseye) is not supported: install PostgreSQL yourself and set mission_control_postgresql_mode to existing."
    )


def test_another_process_on_the_port_is_named():
    expected = (
        "Port 5432 is in use by nginx (process 42): stop it, or set mission_control_postgresql_port to a free port."
    )
    assert problem_of(host(port_holder={"pid": 42, "name": "nginx"})) == expected


def test_an_adopted_cluster_keeps_its_port_and_ours_may_move():
    adopted = stopped("17", port=5433)
    assert "uses port 5433, not 5432" in problem_of(host(adopted))
    ours = provisioned()
    plan = plan_server(host(ours, port_holder=None), {**WANTED, "port": 5499})
    assert plan["actions"] == ["Write the settings of 17/main."]


def test_a_stopped_cluster_that_will_take_the_port_at_boot_is_named():
    rival = stopped(port=5432)
    assert problem_of(host(rival), ignored_clusters=["15/main"]) == (
        "The cluster 15/main also uses port 5432 and starts at boot: set mission_control_postgresql_port to another port."
    )
    manual = {**rival, "start": "manual"}
    assert plan_server(host(manual), {**WANTED, "ignored_clusters": ["15/main"]})["problems"] == []


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"start": "disabled"}, "is disabled in its start.conf"),
        ({"reads_conf_d": False}, "does not include conf.d"),
        (
            {"has_data": False, "running": False, "server": None},
            "does not exist: mount it, or restore the database with playbooks/restore.yml.",
        ),
        (
            {"hba_content": "local all postgres scram-sha-256\n", "server": None},
            "add the line 'local all postgres peer' before all others",
        ),
        ({"server": None, "server_problem": "peer failed"}, "runs but cannot be queried: peer failed."),
        ({"server": server(in_recovery=True)}, "is a standby"),
        ({"server": server(hba_file="/etc/other")}, "uses the hba_file /etc/other instead of"),
        ({"server": server(hba_errors=["line 3: bad"])}, "has an error, correct it first: line 3: bad."),
        ({"server": server(configuration_errors=["a line 1: bad"])}, "has an error, correct it first: a line 1: bad."),
        ({"hba_content": f"{server_hba.BEGIN}\nlocal all all peer\n"}, "without its counterpart"),
    ],
)
def test_a_cluster_that_cannot_be_adopted_is_one_sentence(changes, part):
    assert part in problem_of(host(cluster(**changes)))


@pytest.mark.parametrize("changes", [{}, {"server": server(in_recovery=True)}, {"running": False, "server": None}])
def test_a_cluster_that_patroni_runs_is_refused_on_every_member(changes):
    assert problem_of(host(cluster(patroni="/etc/postgresql/17/main/postgresql.conf", **changes))) == (
        "The cluster 17/main is run by Patroni, as /etc/postgresql/17/main/postgresql.conf shows, which owns its settings and its client "
        "authentication: set mission_control_postgresql_mode to existing, and mission_control_login_host to where its leader is reached."
    )
    beside = cluster("15", patroni="pg_lsclusters", port=5433, server=server(port=5433, databases=["postgres"]))
    assert plan_server(host(beside, cluster()), WANTED)["problems"] == []


def test_a_setting_that_another_file_overrides_is_only_refused_if_it_was_asked_for():
    info = host(provisioned(server=server(overridden=["work_mem"])))
    assert plan_server(info, WANTED)["problems"] == []
    assert problem_of(info, settings={"work_mem": "8MB"}) == (
        "work_mem is also set in a file of 17/main that is read later and overrides it: remove it there."
    )


def test_another_cluster_with_the_database_stops_the_run():
    holder = cluster("15", port=5433, server=server(port=5433, databases=["mission_control"]))
    assert "15/main already holds the database mission_control" in problem_of(host(holder, port_holder=None))


def test_the_holder_itself_is_not_held_up_by_a_copy_elsewhere():
    holder = provisioned(server=server(databases=["mission_control"]))
    copy_of_it = cluster("15", port=5433, server=server(port=5433, databases=["mission_control"]))
    assert plan_server(host(holder, copy_of_it, stopped("16")), WANTED)["actions"] == []


def test_a_cluster_that_cannot_be_looked_into_stops_the_run_until_it_is_named():
    assert "15/main cannot be inspected (it is not running)" in problem_of(host(stopped()))
    assert plan_server(host(stopped()), {**WANTED, "ignored_clusters": ["15/main"]})["problems"] == []


def test_a_stopped_cluster_does_not_hold_up_one_that_was_provisioned_before():
    ours = {**provisioned(), "running": False, "server": None, "server_problem": "it is not running"}
    assert plan_server(host(ours, stopped(), port_holder=None), WANTED)["actions"] == ["Start 17/main."]


def test_data_that_belongs_to_no_cluster_stops_a_creation_until_it_is_named():
    info = host(unregistered_data_directories=["/var/lib/postgresql/17/main"])
    assert "/var/lib/postgresql/17/main holds PostgreSQL data that belongs to no cluster" in problem_of(info)
    assert plan_server(info, {**WANTED, "ignored_clusters": ["/var/lib/postgresql/17/main"]})["problems"] == []


def test_the_plan_leaves_its_inputs_as_they_are():
    info, wanted = host(cluster()), copy.deepcopy(WANTED)
    before = copy.deepcopy(info)
    plan_server(info, wanted)
    assert (info, wanted) == (before, WANTED)


@pytest.mark.parametrize("nominal", [512, 1024, 2048, 3072, 4096, 6144, 8192, 16384, 24576, 32768, 65536])
def test_memory_settings_do_not_follow_a_kernels_small_change(nominal):
    # A kernel keeps about 2 to 5 % of a machine's nominal memory for itself, more or less from one release to the next.
    values = {
        tuple(server_files.memory_settings(int(nominal * share), 100).items()) for share in (0.95, 0.96, 0.97, 0.98)
    }
    assert len(values) == 1


@given(st.integers(min_value=64, max_value=4 * 2**20), st.integers(min_value=1, max_value=5000))
def test_memory_settings_stay_within_bounds(megabytes, connections):
    values = {name: int(value[:-2]) for name, value in server_files.memory_settings(megabytes, connections).items()}
    assert 32 <= values["shared_buffers"] <= max(32, megabytes * 0.3)
    assert values["shared_buffers"] <= values["effective_cache_size"] <= max(megabytes, 32)
    assert 16 <= values["maintenance_work_mem"] <= 1024
    assert 4 <= values["work_mem"] <= 64


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "on"),
        (False, "off"),
        (3, "3"),
        (0.9, "0.9"),
        ("it's", "'it''s'"),
        ("a\\b", "'a\\\\b'"),
        (["a", "b"], "'a, b'"),
    ],
)
def test_settings_are_written_as_postgresql_reads_them(value, text):
    assert server_files.settings_content({"x": value}, {}).endswith(f"x = {text}\n")


ROW = {
    "version": "15.3",
    "version_number": 150003,
    "in_recovery": False,
    "superuser": False,
    "may_create_roles": True,
    "may_create_databases": True,
    "has_database": False,
}
REACH = {"host": "db", "port": 5432, "administrator": "admin"}


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({}, ""),
        ({"superuser": True, "may_create_roles": False, "may_create_databases": False}, ""),
        ({"may_create_databases": False, "has_database": True}, ""),
        ({"version": "13.9", "version_number": 130009}, "is PostgreSQL 13.9, but 14 or newer is needed."),
        ({"in_recovery": True}, "is a standby"),
        (
            {"may_create_roles": False},
            "is not a superuser and lacks CREATEROLE: grant it, or use another administrator.",
        ),
        (
            {"may_create_databases": False},
            "lacks CREATEDB, and the database does not exist yet: grant it, or create the database.",
        ),
    ],
)
def test_an_existing_server_is_judged_by_version_and_rights(row, part):
    problem = existing_server_problem({"query_result": [{**ROW, **row}]}, REACH)
    assert part in problem
    assert bool(part) == bool(problem)


@pytest.mark.parametrize("answer", [{"msg": "no route\nno route"}, {"msg": "no route", "query_result": {}}])
def test_an_existing_server_that_gives_no_answer_is_one_sentence(answer):
    assert existing_server_problem(answer, REACH) == "The server at db, port 5432, cannot be used as admin: no route"


def test_of_several_servers_the_cause_of_each_is_told():
    answer = {
        "msg": 'unable to connect to database: connection to server at "a", port 5432 failed: Connection refused\n'
        '\tIs the server running on that host?\nconnection to server at "b", port 5432 failed: session is read-only\n'
    }
    assert existing_server_problem(answer, {**REACH, "host": "a,b"}) == (
        'No server of a,b, port 5432, can be used as admin: unable to connect to database: connection to server at "a", port 5432 failed: '
        'Connection refused; connection to server at "b", port 5432 failed: session is read-only'
    )
