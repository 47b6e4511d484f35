"""The module inventory_sync: any Ansible inventory in the database, and the circle back to a play by the inventory plugin."""

from __future__ import annotations

import sys

import pytest
from ansible_inventory import list_inventory
from ansible_sync import run_play, sync_task, write_inventory

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
DEAD = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-oBatchMode=yes"}


@pytest.fixture
def hosts(admin):
    """A function that returns the rows of the source by their names."""
    return lambda source="lab": {
        row["external_id"]: row for row in admin.rows("SELECT * FROM hosts WHERE source = %s", source)
    }


def lab(home, *, without=()):
    """A static inventory and a constructed one behind it."""
    known = {
        "here": {**LOCAL, "site": "home", "rack": 5},
        "dead": DEAD,
        "node": {"mission_control_host_type": "{{ 'k8s-' ~ 'node' }}", "site": "{{ 1 + 1 }}"},
        "192.0.2.9": {"mission_control_host_type": "vm"},
        "odd": {"mission_control_host_type": "a toaster"},
    }
    children = {"web": {"hosts": {"here": None}}, "europe": {"children": {"web": None}}}
    left = {name: each for name, each in known.items() if name not in without}
    static = write_inventory(home / "static.yml", {"all": {"hosts": left, "children": children}})
    constructed = write_inventory(
        home / "constructed.yml",
        {"plugin": "ansible.builtin.constructed", "keyed_groups": [{"key": "rack | string", "prefix": "rack"}]},
    )
    return [static, constructed]


def test_an_inventory_becomes_rows_and_what_is_no_longer_in_it_is_gone(database, admin, hosts, tmp_path):
    task = {"source": "lab", "labels_from": ["site", "rack"]}
    play = {
        "hosts": "here:dead",
        "gather_facts": True,
        "gather_subset": ["!all", "virtual", "hardware", "network"],
        "tasks": [
            sync_task("dry", task, database, check_mode=True, diff=True),
            sync_task("first", task, database),
            sync_task("again", task, database),
            sync_task("fewer, dry", {**task, "hosts": ["all:!node"]}, database, check_mode=True, diff=True),
            sync_task("fewer", {**task, "hosts": ["all", "!node"]}, database),
            sync_task("another controller", {**task, "identity": "theirs"}, database, ignore_errors=True),
            sync_task("secret", {**task, "labels_from": ["db_password"]}, database, ignore_errors=True),
            sync_task("name", {"source": "My Lab"}, database, ignore_errors=True),
            sync_task("nobody", {**task, "hosts": ["nobody"]}, database, ignore_errors=True),
        ],
    }
    run = run_play(play, lab(tmp_path), home=tmp_path)
    tasks = run.tasks
    assert (tasks["dry"]["changed"], tasks["dry"]["counts"]["added"], tasks["dry"]["task_run_id"]) == (True, 4, None), (
        run.output
    )
    assert tasks["first"]["counts"] == {"added": 4, "changed": 0, "gone": 0, "back": 0, "unchanged": 0, "skipped": 1}
    assert tasks["first"]["left_as_stored"][0]["external_id"] == "odd"
    assert tasks["first"]["left_as_stored"][0]["reason"].startswith(
        "its variable mission_control_host_type is none of proxmox-node, vm"
    )
    assert (tasks["again"]["changed"], tasks["again"]["counts"]["unchanged"]) == (False, 4)
    assert (tasks["fewer"]["changed"], tasks["fewer"]["counts"]["gone"]) == (True, 1)
    assert "was " in tasks["another controller"]["msg"]
    assert "set accept_identity of the task that syncs it" in tasks["another controller"]["msg"]
    assert "labels_from names 'db_password', which by its name is a secret" in tasks["secret"]["msg"]
    assert "source is 'My Lab', but the name of a source has" in tasks["name"]["msg"]
    assert "hosts is nobody, which no host of the inventory is" in tasks["nobody"]["msg"]
    assert "Traceback" not in run.output
    assert "+192.0.2.9\n+dead\n+here\n+node\n" in run.output
    assert "-node\n" in run.output

    rows = hosts()
    statuses = {name: (row["type"], row["status"]) for name, row in rows.items() if name != "here"}
    assert statuses == {
        "dead": ("bare-metal", "offline"),
        "node": ("k8s-node", "unknown"),
        "192.0.2.9": ("vm", "unknown"),
    }
    here = rows["here"]
    assert here["status"] == "online"
    assert here["labels"] == {"site": "home", "rack": "5", "groups": ["europe", "rack_5", "web"]}
    assert here["memory_bytes"] > 2**20
    assert here["metadata"]["kernel"]
    assert here["os"]
    assert rows["node"]["labels"] == {"groups": []}
    assert rows["192.0.2.9"]["address"] == "192.0.2.9"
    assert {name for name, row in rows.items() if row["gone_at"]} == {"node"}
    source = admin.row("SELECT connector, enabled FROM inventory_sources WHERE name = 'lab'")
    assert source == {"connector": "ansible", "enabled": True}

    # A limit and a source that cannot be read take nothing away; a host without facts keeps what is stored of it.
    both = [
        *lab(tmp_path, without=["192.0.2.9"]),
        write_inventory(tmp_path / "dead.yml", {"plugin": "ansible.builtin.none"}),
    ]
    limited = {"hosts": "all", "gather_facts": False, "tasks": [sync_task("limited", task, database)]}
    run = run_play(limited, both, "--limit", "dead", home=tmp_path)
    assert run.returncode == 2
    said = run.tasks["limited"]["msg"]
    assert (
        f"Ansible could not read the inventory source {tmp_path}/dead.yml, so nothing of it is marked as gone" in said
    )
    assert run.tasks["limited"]["counts"]["gone"] == 0
    after = hosts()
    assert after["192.0.2.9"]["gone_at"] is None
    told = ("type", "os", "address", "memory_bytes", "cpu_cores", "metadata", "labels")
    assert [after["here"][name] for name in told] == [here[name] for name in told]
    assert after["here"]["status"] == "unknown"

    # The circle: a play for the groups that the database tells.
    options = {
        "sources": ["lab"],
        "keyed_groups": [{"key": "mission_control_host.labels.groups", "prefix": "group"}],
        "compose": {"ansible_connection": "'local'", "ansible_python_interpreter": repr(sys.executable)},
    }
    listed = list_inventory(options, home=tmp_path, database=database)
    assert listed.groups["group_web"] == listed.groups["group_rack_5"] == ["here"]
    tell = {
        "name": "tell",
        "ansible.builtin.command": "echo {{ inventory_hostname }} {{ mission_control_host.labels.site }}",
    }
    play = {"hosts": "group_europe", "gather_facts": False, "tasks": [{**tell, "changed_when": False}]}
    login = {"POSTGRES_HOST": database.cluster.socket_directory, "POSTGRES_PORT": str(database.cluster.port)}
    login |= {"POSTGRES_DB": database.name, "POSTGRES_USER": "mission_control_readonly"}
    run = run_play(play, [tmp_path / "hosts.yml"], home=tmp_path, **login)
    assert run.tasks["tell"]["stdout"] == "here home", run.output


def test_a_stored_type_stays_where_nothing_tells_it(database, admin, hosts, tmp_path):
    play = {"hosts": "all", "gather_facts": False, "tasks": [sync_task("sync", {"source": "lab"}, database)]}
    inventory = write_inventory(tmp_path / "one.yml", {"all": {"hosts": {"a": LOCAL, "b": LOCAL}}})
    assert run_play(play, [inventory], home=tmp_path).returncode == 0
    admin.run("UPDATE hosts SET type = 'lxc-container' WHERE external_id = 'a'")
    run = run_play(play, [inventory], home=tmp_path)
    assert run.tasks["sync"]["changed"] is False, run.output
    assert {name: row["type"] for name, row in hosts().items()} == {"a": "lxc-container", "b": "bare-metal"}
