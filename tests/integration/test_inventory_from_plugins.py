"""inventory_sync with an inventory plugin of a real engine, and with 200 secrets where variables and facts may hold them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_sync import run_play, sync_task, write_inventory
from engine_lab import DockerEngine
from playbook import ROOT
from secret_forms import leaks

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
SHARE = 40


@pytest.fixture
def dump(database):
    """A function that returns everything that is in the database as text."""

    def whole():
        command = [f"{database.cluster.bindir}/pg_dump", "--data-only", "--host", database.cluster.socket_directory]
        command += ["--port", str(database.cluster.port), "--username", "postgres", "--dbname", database.name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return whole


def test_containers_by_the_inventory_plugin_of_docker(database, admin, dump, tmp_path):
    canary = secrets.token_hex(12)
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [sync_task("sync", {"source": "nas", "labels_from": ["kind"]}, database)],
    }

    def rows():
        found = admin.rows("SELECT id, name, type, labels, gone_at FROM hosts WHERE source = 'nas'")
        return {row["name"]: row for row in found}

    with DockerEngine() as engine:
        for name in ("web", "db", "cache"):
            engine.run(name, environment={"TOKEN": canary}, labels={"kind": name})
        options = {
            "plugin": "community.docker.docker_containers",
            "docker_host": engine.url,
            "verbose_output": True,  # with which it hands out the environment of the containers
            "compose": {"mission_control_host_type": "'lxc-container'", "kind": "docker_config.Labels.kind"},
            "keyed_groups": [{"key": "docker_state.Status", "prefix": "state"}],
        }
        inventory = [write_inventory(tmp_path / "nas.docker.yml", options)]
        assert run_play(play, inventory, home=tmp_path).returncode == 0
        first = rows()
        assert set(first) == {"web", "db", "cache"}
        assert {row["type"] for row in first.values()} == {"lxc-container"}
        assert first["web"]["labels"] == {"kind": "web", "groups": first["web"]["labels"]["groups"]}
        assert "state_running" in first["web"]["labels"]["groups"]

        engine.remove("db")
        engine.remove("web")
        engine.run("web", labels={"kind": "web"})
        run = run_play(play, inventory, home=tmp_path)
        assert run.tasks["sync"]["counts"]["gone"] == 1, run.output
        assert rows()["web"]["id"] == first["web"]["id"]
        live = {name for name, row in rows().items() if row["gone_at"] is None}
        assert live == {"web", "cache"}

    # The engine is not there: Ansible goes on with the other source, and the containers stay.
    beside = write_inventory(tmp_path / "beside.yml", {"all": {"hosts": {"beside": LOCAL}}})
    run = run_play(play, [*inventory, beside], home=tmp_path)
    assert run.returncode == 2
    assert "Ansible could not read the inventory source" in run.tasks["sync"]["msg"]
    assert {name for name, row in rows().items() if row["gone_at"] is None} == {"web", "cache", "beside"}
    assert canary not in dump()


def test_domains_by_the_inventory_plugin_of_libvirt(database, admin, tmp_path):
    subprocess.run([ROOT / "scripts/libvirt-binding"], check=True)
    libvirt = ROOT / ".cache/libvirt"
    libraries = [str(path) for path in libvirt.glob("root/**/*-linux-gnu")]
    environment = {"PYTHONPATH": str(libvirt / "python"), "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    # The driver for tests: a hypervisor within the library, with one domain.
    options = {
        "plugin": "community.libvirt.libvirt",
        "uri": "test:///default",
        "compose": {"mission_control_host_type": "'vm'", "state": "info.state"},
    }
    inventory = write_inventory(tmp_path / "hypervisor.libvirt.yml", options)
    task = sync_task("sync", {"source": "hypervisor", "labels_from": ["state"]}, database)
    run = run_play({"hosts": "all", "gather_facts": False, "tasks": [task]}, [inventory], home=tmp_path, **environment)
    assert run.returncode == 0, run.output
    [row] = admin.rows("SELECT name, type, status, labels FROM hosts WHERE source = 'hypervisor'")
    assert (row["name"], row["type"], row["status"], row["labels"]["state"]) == ("test", "vm", "unknown", "running")


def test_no_secret_of_variables_vault_facts_and_environment_is_stored(database, admin, dump, tmp_path):
    canaries = {
        kind: [secrets.token_hex(10) for _ in range(SHARE)]
        for kind in ("plain", "vault", "file", "facts", "environment")
    }
    password = tmp_path / "vault-password"
    password.write_text("password", encoding="utf-8")
    vault = VaultLib([("default", VaultSecret(b"password"))])
    plain = {f"variable_{number}": value for number, value in enumerate(canaries["plain"])}
    plain |= {"ansible_password": canaries["plain"][0], "ansible_become_password": canaries["plain"][1], "site": "home"}
    inventory = tmp_path / "inventory"
    hosts = {"all": {"hosts": {"here": {**LOCAL, **plain}}}}
    write_inventory(inventory / "hosts.yml", hosts)
    variables = inventory / "group_vars/all"
    file = write_inventory(
        variables / "file.yml", {f"file_{number}": value for number, value in enumerate(canaries["file"])}
    )
    file.write_bytes(vault.encrypt(file.read_bytes()))
    sealed = [vault.encrypt(value).decode().replace("\n", "\n  ") for value in canaries["vault"]]
    texts = [f"sealed_{number}: !vault |\n  {text.rstrip()}\n" for number, text in enumerate(sealed)]
    (variables / "sealed.yml").write_text("".join(texts), encoding="utf-8")
    facts = tmp_path / "facts"
    facts.mkdir()
    (facts / "site.fact").write_text(json.dumps(canaries["facts"]), encoding="utf-8")
    environment = {f"CANARY_{number}": value for number, value in enumerate(canaries["environment"])}

    named = ["site", "again", "evaluated"]
    named += [f"{kind}_{number}" for kind in ("file", "sealed") for number in range(SHARE)]
    play = {
        "hosts": "all",
        "gather_facts": True,
        "fact_path": str(facts),
        "environment": environment,
        "vars": {"evaluated": "{{ sealed_0 }}"},
        "tasks": [
            {"name": "keep", "ansible.builtin.set_fact": {"again": "{{ sealed_1 }}"}, "no_log": True},
            sync_task("sync", {"source": "lab", "labels_from": named}, database),
        ],
    }
    run = run_play(play, [inventory], "--vault-password-file", str(password), home=tmp_path, **environment)
    assert run.returncode == 0, run.output
    [row] = admin.rows("SELECT * FROM hosts")
    assert row["labels"] == {"site": "home", "groups": []}
    assert row["status"] == "online"
    assert "What Ansible Vault encrypts does not become a label, so again, file_0" in run.output
    every = [value for values in canaries.values() for value in values]
    assert len(every) == 200
    assert leaks(every, {"the database": dump(), "the output": run.output}) == []
