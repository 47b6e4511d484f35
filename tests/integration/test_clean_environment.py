"""The caller's variables for PostgreSQL clients do not lead a task of the mode `package` to another server."""

from __future__ import annotations

import ctypes
import ctypes.util

import yaml
from ansible_collections.homelab.mission_control.plugins.lookup.clean_environment import NAMES, clean_environment
from playbook import run_playbook
from throwaway_cluster import ThrowawayCluster

# Each of these alone makes a connection fail, or reach another server, or run with other settings.
_POISON = {
    "PGHOST": "/nowhere",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGDATABASE": "nowhere",
    "PGUSER": "nobody",
    "PGSERVICE": "elsewhere",
    "PGSERVICEFILE": "/nowhere",
    "PGOPTIONS": "-c no_such_setting=on",
    "PGSSLMODE": "nonsense",
    "PGREQUIREPEER": "nobody",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCHANNELBINDING": "require",
    "PGCLIENTENCODING": "nonsense",
    "PGCONNECT_TIMEOUT": "nonsense",
    "PGTZ": "nonsense",
    "PGCLUSTER": "99/nowhere",
    "DATABASE_URL": "postgresql://192.0.2.1/nowhere",
    "POSTGRES_HOST": "192.0.2.1",
    "MISSION_CONTROL_ENV_FILE": "/nowhere",
}


class _Option(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label", "dispchar")),
        ("dispsize", ctypes.c_int),
    )


def test_every_variable_that_libpq_knows_is_taken_away():
    libpq = ctypes.CDLL(ctypes.util.find_library("pq"))
    libpq.PQconndefaults.restype = ctypes.POINTER(_Option)
    options = libpq.PQconndefaults()
    known = set()
    for option in options:
        if not option.keyword:
            break
        if option.envvar:
            known.add(option.envvar.decode())
    assert {"PGHOST", "PGSERVICE"} <= known <= set(NAMES)
    assert set(_POISON) <= set(NAMES)


def test_a_server_that_is_there_is_reached_as_the_caller_says():
    assert clean_environment("existing") == {}


def test_a_task_reaches_its_server_whatever_the_caller_exports(monkeypatch, tmp_path, cluster):
    """By a module of another collection, by one of ours, and by a program; the same fails where nothing is taken away."""
    with ThrowawayCluster() as other:
        for name, value in {**_POISON, "PGHOST": other.socket_directory, "PGPORT": str(other.port)}.items():
            monkeypatch.setenv(name, value)
        login = {
            "login_unix_socket": cluster.socket_directory,
            "login_port": cluster.port,
            "login_user": "postgres",
            "login_db": "postgres",
        }
        tasks = [
            {"community.postgresql.postgresql_query": {**login, "query": "SELECT current_setting('port') AS port"}},
            {"homelab.mission_control.query": {**login, "query": "SELECT current_setting('port') AS port"}},
            {
                "ansible.builtin.command": {
                    "cmd": f"psql -XAtqc 'SHOW port' -h {cluster.socket_directory} -p {cluster.port} -U postgres -d postgres"
                }
            },
        ]
        for number, task in enumerate(tasks):
            task.update(name=f"Ask {number}", register=f"answer{number}", changed_when=False)
        clean = "{{ lookup('homelab.mission_control.clean_environment', 'package') }}"
        # A name of the task's own stays beside it.
        block = {
            "name": "Ask",
            "environment": clean,
            "block": [*tasks, {"name": "Look", "environment": {"OWN": "1"}, "ansible.builtin.command": "printenv OWN"}],
        }
        as_it_is = {**tasks[0], "name": "Ask as it is", "register": "unclean", "failed_when": False}
        told = {
            "name": "Say",
            "ansible.builtin.debug": {
                "msg": "ports={{ answer0.query_result[0].port }} {{ answer1.rows[0].port }} {{ answer2.stdout }} "
                "unclean={{ unclean.query_result is defined }}"
            },
        }
        play = {"name": "Ask", "hosts": "all", "gather_facts": False, "tasks": [block, as_it_is, told]}
        playbook = tmp_path / "ask.yml"
        playbook.write_text(yaml.safe_dump([play]), encoding="utf-8")
        run = run_playbook(playbook, {}, home=tmp_path).succeeded()
    assert f"ports={cluster.port} {cluster.port} {cluster.port} unclean=False" in run.output
