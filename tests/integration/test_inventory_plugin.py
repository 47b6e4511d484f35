"""The inventory plugin `hosts`, as ansible-inventory runs it on rows that a source may have told."""

from __future__ import annotations

import os
import time
from typing import get_args

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.inventory import hosts
from ansible_collections.homelab.mission_control.plugins.module_utils.models import enums
from ansible_inventory import list_inventory

PASSWORD = "hunter2-of-the-inventory"  # the server asks for none
TEMPLATE = "{{ lookup('ansible.builtin.pipe', 'touch /tmp/mission-control-owned') }}"


@pytest.fixture
def host(admin):
    """A function that adds a row; what is not given is that of an ordinary guest."""

    def add(name, **columns):
        given = {"type": "vm", "cluster": "pve", "status": "online", "source": "proxmox-main", **columns}
        return str(admin.insert("hosts", name=name, external_id=f"qemu/{os.urandom(4).hex()}", **given)["id"])

    return add


def test_what_a_source_says_is_text_and_no_name_is_expanded_or_run(database, host, tmp_path):
    static = tmp_path / "static.yml"
    known = {"pve1": {"ansible_host": "192.0.2.1"}, "pve2": None}
    static.write_text(yaml.safe_dump({"all": {"hosts": known, "children": {"web": None}}}), encoding="utf-8")
    host(
        "db",
        address="db.home.arpa",
        os=TEMPLATE,
        labels={"tier": "a", "note": TEMPLATE},
        memory_bytes=2**30,
        cpu_cores=1.5,
    )
    host("büro-pc_2.home", address="fe80::1%eth0", labels={"tier": "../b c"})
    host("pve1", address="203.0.113.66")  # a guest that calls itself like a machine of another source
    host("pve2", address="203.0.113.67")
    host("no-address", address="-oProxyCommand=touch /tmp/mission-control-owned")
    host("with address", address="198.51.100.7")
    for number, name in enumerate(
        ["web[1:3]", "-oProxyCommand=x", "a\nb", "two words", "a,b", "a:b", "!all", "~.*", "@file", "../etc/passwd", TEMPLATE, "all", "web",
         "small", "localhost", "::1", "\u202ex", "$(id)"]
    ):  # fmt: skip
        host(name, cluster=f"bad-{number}")
    twins = [host("twin", cluster=cluster) for cluster in ("a", "b")]

    run = list_inventory(
        {
            "login_unix_socket": database.cluster.socket_directory,
            "login_port": database.cluster.port,
            "login_db": database.name,
            "login_user": "mission_control_readonly",
            "login_password": "{{ lookup('ansible.builtin.env', 'INVENTORY_PASSWORD') }}",
            "unique_names": "suffix",
            "keyed_groups": [{"key": "mission_control_host.labels.tier", "prefix": "tier"}],
            "groups": {"small": "(mission_control_host.memory_bytes or 0) > 1024 ** 2"},
            "compose": {"note": "mission_control_host.labels.note"},
        },
        "-i", str(static), home=tmp_path, INVENTORY_PASSWORD=PASSWORD,
    )  # fmt: skip
    assert run.returncode == 0, run.said
    suffixed = [f"twin-{each[:8]}" for each in twins]
    assert set(run.variables) == {"pve1", "pve2", "db", "büro-pc_2.home", "no-address", "198.51.100.7", *suffixed}
    assert run.groups["tier_a"] == run.groups["small"] == ["db"]
    assert run.groups["tier____b_c"] == ["büro-pc_2.home"]
    db = run.variables["db"]
    told = db["mission_control_host"]
    assert (told["os"], told["labels"]["note"], db["note"]) == (TEMPLATE, TEMPLATE, TEMPLATE)
    assert (told["cpu_cores"], told["memory_bytes"], told["status"], told["cluster"]) == (1.5, 2**30, "online", "pve")
    assert (db["ansible_host"], run.variables["büro-pc_2.home"]["ansible_host"]) == ("db.home.arpa", "fe80::1%eth0")
    # How a machine is reached that another source knows is not for a row to say.
    assert run.variables["pve1"]["ansible_host"] == {"template": "192.0.2.1"}
    assert "ansible_host" not in {**run.variables["pve2"], **run.variables["no-address"]}
    assert not os.path.exists("/tmp/mission-control-owned")
    assert "Hosts are left out" in run.said
    assert "and 8 more" in run.said
    assert PASSWORD not in run.output + run.said
    assert "mission_control_readonly" not in run.output


def test_hosts_are_chosen_by_type_status_source_and_labels(database, host, tmp_path):
    good = {"labels": {"site": "home", "groups": ["web", "db"], "more": "x"}, "address": "192.0.2.9"}
    host("wanted", **good)
    host("type", **{**good, "type": "bare-metal"})
    host("status", **{**good, "status": "offline"})
    host("source", **{**good, "source": "proxmox-other"})
    host("label", **{**good, "labels": {"site": "home", "groups": ["db"]}})
    host("gone", gone_at="2026-01-02T03:04:05Z", **good)
    options = {
        "types": ["vm", "k8s-node"],
        "statuses": ["online", "degraded"],
        "sources": ["proxmox-main"],
        "labels": {"site": "home", "groups": ["web"]},
        "hostnames": ["label:fqdn", "name"],
        "set_ansible_host": False,
    }
    run = list_inventory(options, home=tmp_path, database=database)
    assert set(run.variables) == {"wanted"}, run.said
    assert "ansible_host" not in run.variables["wanted"]
    run = list_inventory({**options, "include_gone": True}, home=tmp_path, database=database)
    assert {name: each["mission_control_host"]["gone_at"] for name, each in run.variables.items()} == {
        "wanted": None,
        "gone": "2026-01-02T03:04:05Z",
    }


def test_a_group_made_of_labels_does_not_become_a_host(database, host, tmp_path):
    host("web", labels={"role": "db"})
    host("db", labels={"role": "web", "fqdn": "db.home.arpa"})
    keyed = [{"key": "mission_control_host.labels.role", "separator": ""}]
    run = list_inventory({"keyed_groups": keyed, "hostnames": ["label:fqdn", "name"]}, home=tmp_path, database=database)
    assert set(run.variables) == {"db.home.arpa"}
    assert run.groups == {"web": ["db.home.arpa"]}
    assert "groups of keyed_groups are called like them: 'web'" in run.said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "Several hosts would be called 'twin': 'twin' of 'a' (source 'proxmox-main', id "),
        ({"tpyes": ["vm"]}, "It has the option 'tpyes', which there is not"),
        ({"types": ["vms"]}, "types"),
        ({"hostnames": ["fqdn"]}, "hostnames has 'fqdn', but an entry is name, address or label:"),
        ({"strict": True, "unique_names": "suffix", "compose": {"x": "nothing.here"}}, "Could not set x for host twin-"),
        ({"login_port": 1, "login_unix_socket": "/nowhere"}, "Cannot connect to the database"),
        ({"cache": True, "cache_plugin": "ansible.builtin.jsonfile"}, "jsonfile"),
    ],
)  # fmt: skip
def test_what_is_wrong_ends_the_run_with_a_sentence(database, host, tmp_path, options, words):
    host("twin", cluster="a")
    host("twin", cluster="b")
    run = list_inventory(options, home=tmp_path, database=database)
    assert run.returncode == 1
    assert run.said.startswith(f"[ERROR]: The inventory {tmp_path}/hosts.yml could not be read. ")
    assert words in run.said
    assert "Traceback" not in run.said
    assert "WARNING" not in run.said


def test_the_cache_serves_where_the_database_does_not(database, host, admin, tmp_path):
    host("kept")
    cache = tmp_path / "cache"
    options = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(cache)}
    assert set(list_inventory(options, home=tmp_path, database=database).variables) == {"kept"}
    host("later", type="bare-metal")
    database.close()
    with_postgres = database.cluster.connect("postgres")
    with_postgres.cursor().execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")

    # Rows are kept, not results: another variable is composed of them.
    composed = {**options, "compose": {"mine": "'x' ~ mission_control_host.name"}}
    run = list_inventory(composed, home=tmp_path, database=database)
    assert (run.variables["kept"]["mine"], run.said) == ("xkept", "")
    run = list_inventory(options, "--flush-cache", home=tmp_path, database=database)
    assert set(run.variables) == {"kept"}
    assert "The hosts are those of the cache, which is 0 minutes old." in run.said

    # Another configuration has another key, and what is too old does not serve.
    assert list_inventory({**options, "types": ["vm"]}, home=tmp_path, database=database).returncode == 1
    [file] = cache.iterdir()
    os.utime(file, (time.time() - 7200, time.time() - 7200))
    run = list_inventory(options, home=tmp_path, database=database)
    assert run.returncode == 1
    assert "not currently accepting connections" in run.said

    with_postgres.cursor().execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")
    with_postgres.close()
    run = list_inventory(options, home=tmp_path, database=database)
    assert (set(run.variables), run.said) == ({"kept", "later"}, "")


def test_the_documented_words_are_those_of_the_tables():
    options = yaml.safe_load(hosts.DOCUMENTATION)["options"]
    assert options["types"]["choices"] == list(get_args(enums.HostType))
    assert options["statuses"]["choices"] == list(get_args(enums.HostStatus))
