"""The module query as a user runs it, by the ad hoc program and in a play."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from ad_hoc import ad_hoc
from ansible_collections.homelab.mission_control.plugins.modules import health, query
from playbook import ROOT, run_playbook

PAGE = (ROOT / "docs/modules.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ask(shared_database, tmp_path_factory):
    """Run the module as the application, over the socket of the test's server."""
    home = tmp_path_factory.mktemp("home")

    def ask(options, *arguments):
        login = {
            "login_unix_socket": shared_database.cluster.socket_directory,
            "login_port": shared_database.cluster.port,
            "login_db": shared_database.name,
            "login_user": "mission_control",
        }
        return ad_hoc("query", {**login, **options}, *arguments, home=home)

    return ask


@pytest.fixture
def admin(shared_database):
    return shared_database.session("admin")


def test_rows_by_positional_and_named_parameters(ask, admin):
    admin.run("INSERT INTO hosts (name, type, address) VALUES ('pve1', 'proxmox-node', '192.0.2.1')")
    asked = "SELECT name, address, created_at, labels FROM hosts WHERE name = "
    for options in (
        {"query": asked + "%s", "positional_args": ["pve1"]},
        {"query": asked + "%(name)s", "named_args": {"name": "pve1"}},
    ):
        run = ask(options)
        assert run.returncode == 0, run.output
        assert run.result["changed"] is False
        assert run.result["row_count"] == 1
        assert run.result["columns"] == ["name", "address", "created_at", "labels"]
        [row] = run.result["rows"]
        assert (row["name"], row["address"], row["labels"]) == ("pve1", "192.0.2.1", {})


def test_a_list_is_one_transaction(ask, admin):
    queries = [
        {"query": "INSERT INTO tasks (title, created_by) VALUES (%s, %s)", "positional_args": ["Deploy", "test"]},
        {"query": "SELECT count(*) AS n FROM tasks WHERE created_by = %(by)s", "named_args": {"by": "test"}},
    ]
    run = ask({"queries": queries})
    assert run.result["changed"] is True
    assert [each["status"] for each in run.result["results"]] == ["INSERT 0 1", "SELECT 1"]
    assert run.result["rows"] == [{"n": 1}]

    failing = ask({"queries": [*queries, {"query": "INSERT INTO tasks (title) VALUES (NULL)"}]})
    assert failing.returncode == 2
    assert failing.result["msg"].startswith("Statement 3 of 3 failed: ")
    assert "Nothing of the list was kept" in failing.result["msg"]
    assert (failing.result["sqlstate"], failing.result["statement_number"]) == ("23502", 3)
    assert admin.value("SELECT count(*) FROM tasks WHERE created_by = 'test'") == 1
    assert "Traceback" not in failing.output


def test_each_way_to_fetch(ask):
    query = "SELECT name, risk FROM (VALUES ('a', 1)) AS t (name, risk)"
    assert ask({"query": query, "fetch": "one"}).result["row"] == {"name": "a", "risk": 1}
    assert ask({"query": "SELECT 1.50 AS price", "fetch": "value"}).result["value"] == "1.50"
    assert ask({"query": "SELECT 1 WHERE false", "fetch": "one"}).result["row"] is None
    nothing = ask({"query": query, "fetch": "none"}).result
    assert nothing["row_count"] == 1
    assert "rows" not in nothing
    many = ask({"query": "SELECT 1 AS a UNION ALL SELECT 2", "fetch": "value"})
    assert many.returncode == 2
    assert "2 rows where fetch value" in many.result["msg"]


def test_check_mode_tells_and_leaves_nothing(ask, admin):
    insert = {"query": "INSERT INTO hosts (name, type) VALUES ('dry', 'vm')"}
    dry = ask(insert, "--check")
    assert (dry.returncode, dry.result["changed"], dry.result["row_count"]) == (0, True, 1)
    assert admin.value("SELECT count(*) FROM hosts WHERE name = 'dry'") == 0
    assert ask(insert).result["changed"] is True
    again = {"query": insert["query"] + " ON CONFLICT DO NOTHING"}
    assert ask(again).result["changed"] is False
    assert ask(again, "--check").result["changed"] is False


def test_read_only_is_the_servers_word(ask):
    run = ask({"query": "DELETE FROM hosts", "read_only": True})
    assert run.returncode == 2
    assert run.result["sqlstate"] == "25006"


def test_a_constraint_is_named(ask):
    ask({"query": "INSERT INTO hosts (name, type) VALUES ('twice', 'vm')"})
    run = ask({"query": "INSERT INTO hosts (name, type) VALUES (%s, 'vm')", "positional_args": ["twice"]})
    assert run.result["sqlstate"] == "23505"
    assert run.result["constraint"] == "uq_hosts_type_cluster_name"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "one of the following is required: query, queries"),
        ({"queries": []}, "queries is empty"),
        ({"query": "SELECT 1", "queries": [{"query": "SELECT 1"}]}, "mutually exclusive: query|queries"),
        ({"query": "SELECT 1; DELETE FROM hosts"}, "holds 2 statements"),
        ({"query": "COMMIT"}, "controls the transaction (COMMIT)"),
        ({"query": "VACUUM"}, "community.postgresql.postgresql_query and autocommit"),
        ({"query": "SELECT pg_sleep(5)", "statement_timeout": 0.05}, "(SQLSTATE 57014)"),
        ({"query": "SELECT 1", "login_db": "no_such_database"}, 'database "no_such_database" does not exist'),
        ({"query": "SELECT %s", "positional_args": [1, 2]}, "number differs from that of the placeholders"),
    ],
)
def test_what_cannot_be_run_is_a_sentence(ask, options, words):
    run = ask(options)
    assert run.returncode == 2
    assert words in run.result["msg"]
    assert "Traceback" not in run.output


def test_parameters_are_in_no_output_and_in_no_log(shared_database, tmp_path):
    """Given by a variable: what stands in a play itself, Ansible prints when its task fails."""
    playbook = tmp_path / "play.yml"
    playbook.write_text(
        """
- name: Ask
  hosts: mission_control
  gather_facts: false
  module_defaults:
    group/homelab.mission_control.all:
      login_unix_socket: "{{ socket }}"
      login_port: "{{ port }}"
      login_user: mission_control
      login_db: "{{ database }}"
  tasks:
    - name: Give it as a position
      homelab.mission_control.query:
        query: SELECT length(%s) AS length
        positional_args: ["{{ secret }}"]
    - name: Give it where it does not fit
      homelab.mission_control.query:
        queries:
          - query: SELECT %(a)s::integer
            named_args: {a: "{{ secret }}"}
      register: outcome
      failed_when: outcome is not failed
""",
        encoding="utf-8",
    )
    secret = "not-for-the-journal"
    (tmp_path / "variables.json").write_text(
        json.dumps(
            {
                "socket": shared_database.cluster.socket_directory,
                "port": shared_database.cluster.port,
                "database": shared_database.name,
                "secret": secret,
            }
        ),
        encoding="utf-8",
    )
    run = run_playbook(playbook, {}, "-vvv", "-e", f"@{tmp_path / 'variables.json'}", home=tmp_path).succeeded()
    assert f'"length": {len(secret)}' in run.output or f"length: {len(secret)}" in run.output
    assert "22P02" in run.output
    assert secret not in run.output


def readme_tasks():
    """The block of docs/modules.md with tasks for the modules."""
    [block] = [text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "mission_control.query:" in text]
    return block


@pytest.mark.parametrize(
    ("text", "changed"),
    [(query.EXAMPLES, 2), (health.EXAMPLES, 0), (readme_tasks(), 1)],
    ids=["query", "health", "docs/modules.md"],
)
def test_the_examples_run(database, tmp_path, text, changed):
    """As they stand, but for the operating system's user, whom the test's server does not know."""
    unchanged = ("become", "become_user")
    tasks = [{key: value for key, value in task.items() if key not in unchanged} for task in yaml.safe_load(text)]
    login = {
        "login_unix_socket": database.cluster.socket_directory,
        "login_port": database.cluster.port,
        "login_user": "postgres",
        "login_db": database.name,
    }
    play = {
        "hosts": "mission_control",
        "gather_facts": False,
        "module_defaults": {"group/homelab.mission_control.all": login},
        "tasks": tasks,
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    run = run_playbook(tmp_path / "play.yml", {}, home=tmp_path).succeeded()
    assert run.recap["changed"] == changed, run.output
