"""Sources of the configured kind in the database, and what the inventory is asked for."""

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.report import (
    list_hosts,
    list_sources,
    list_workloads,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.sources import (
    Source,
    SourcesError,
    register_sources,
)
from library_client import client_of

COLUMNS = "SELECT name, connector, cluster, enabled, interval_seconds FROM inventory_sources ORDER BY name"


def source(name, connector="docker", cluster=None, interval=300, enabled=True):
    return Source(name, connector, cluster, interval, 120, 512, enabled, {}, "/nowhere", ())


@pytest.fixture
def client(database):
    with client_of(database) as client:
        yield client


def test_sources_are_told_with_their_tasks_once(client, application):
    register_sources(client, [source("a", cluster="rack"), source("b", "proxmox", interval=0, enabled=False)])
    before = application.rows("SELECT xmin::text, * FROM inventory_sources ORDER BY name")
    assert [tuple(row.values()) for row in application.rows(COLUMNS)] == [
        ("a", "docker", "rack", True, 300),
        ("b", "proxmox", None, False, None),
    ]
    titles = "SELECT t.title FROM inventory_sources AS s JOIN tasks AS t ON t.id = s.task_id ORDER BY s.name"
    assert application.values(titles) == ["inventory sync a", "inventory sync b"]
    register_sources(client, [source("a", cluster="rack"), source("b", "proxmox", interval=0, enabled=False)])
    assert application.rows("SELECT xmin::text, * FROM inventory_sources ORDER BY name") == before, "not written"
    assert application.value("SELECT count(*) FROM tasks") == 2


def test_what_is_not_configured_any_more_is_disabled_but_for_what_ansible_tells(client, application):
    register_sources(client, [source("a"), source("b"), source("c")])
    application.run("UPDATE inventory_sources SET connector = 'ansible' WHERE name = 'c'")
    register_sources(client, [source("a", interval=60)], complete=False)
    assert application.values("SELECT name FROM inventory_sources WHERE enabled ORDER BY name") == ["a", "b", "c"]
    register_sources(client, [source("a", interval=60)])
    assert application.values("SELECT name FROM inventory_sources WHERE enabled ORDER BY name") == ["a", "c"]
    assert application.value("SELECT interval_seconds FROM inventory_sources WHERE name = 'a'") == 60
    register_sources(client, [source("a"), source("b")])
    assert application.value("SELECT enabled FROM inventory_sources WHERE name = 'b'")


def test_the_name_of_a_source_of_ansible_is_refused_and_nothing_is_written(client, application):
    register_sources(client, [source("play")])
    application.run("UPDATE inventory_sources SET connector = 'ansible'")
    with pytest.raises(
        SourcesError, match=r"^The source play is in the database as one that Ansible tells of: give it "
    ):
        register_sources(client, [source("new"), source("play")])
    assert [tuple(row.values()) for row in application.rows(COLUMNS)] == [("play", "ansible", None, True, 300)]
    assert application.value("SELECT count(*) FROM tasks") == 1


@pytest.fixture
def rows(client, application):
    """Two hosts, of people and of a source, three workloads of which one is gone."""
    register_sources(client, [source("lab")])
    application.run(
        """UPDATE inventory_sources SET last_complete_at = '{"hosts": "2026-03-02T00:00:00Z", "workloads": "2026-03-02T00:00:00Z"}'"""
    )
    application.insert("hosts", name="nas", type="vm", status="online")
    seen = {"source": "lab", "last_seen_at": "2026-03-01 00:00Z"}
    host = application.insert("hosts", name="node", type="docker-host", status="offline", external_id="n", **seen)
    service = application.insert("services", name="blog")
    web = {"name": "web", "type": "docker-container", "status": "running", "namespace": "blog", "host_id": host["id"]}
    application.insert("workloads", **web, service_id=service["id"], external_id="w", **seen)
    application.insert("workloads", name="old", type="k8s-pod", external_id="o", gone_at="2026-03-01 12:00Z", **seen)
    application.insert("workloads", name="cron", type="systemd-service", status="failed")


def test_lists_are_of_what_is_there_and_filtered(client, rows):
    def names(found):
        return [row["name"] for row in found]

    hosts = list_hosts(client, {})
    assert names(hosts) == ["nas", "node"]
    assert hosts[0]["last_seen_at"] is None
    assert f"{hosts[1]['last_seen_at']:%Y-%m-%d}" == "2026-03-02", "confirmed by the last complete list"
    assert names(list_hosts(client, {"type": ["vm"], "status": [], "source": ["manual"]})) == ["nas"]
    assert names(list_hosts(client, {"status": ["online", "offline"]})) == ["nas", "node"]
    workloads = list_workloads(client, {})
    assert [(row["name"], row["host"], row["service"]) for row in workloads] == [
        ("cron", None, None),
        ("web", "node", "blog"),
    ]
    assert names(list_workloads(client, {"namespace": ["blog"]})) == ["web"]
    (gone,) = list_workloads(client, {}, gone=True)
    assert (gone["name"], f"{gone['last_seen_at']:%Y-%m-%d}") == ("old", "2026-03-01")


def test_sources_are_listed_with_their_rows(client, rows):
    (lab,) = list_sources(client)
    counts = {name: lab[name] for name in ("hosts", "services", "workloads", "gone", "last_run_status")}
    assert counts == {"hosts": 1, "services": 0, "workloads": 1, "gone": 1, "last_run_status": None}
