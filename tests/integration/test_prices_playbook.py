"""playbooks/prices.yml: prices, budgets, and costs that become known; nothing else, and nothing twice."""

from pathlib import Path

import mission_control_database as layer
import pytest
from host_plays import run_on_hosts
from schema_lab import PASSWORD, create_roles
from throwaway_cluster import ThrowawayCluster

PLAYBOOK = Path("playbooks/prices.yml")
INPUTS = {
    "mission_control_schema_prices": [{"provider": "openai", "model": "tts-1", "input": "1", "output": "2"}],
    "mission_control_schema_budgets": [{"name": "all", "usd": 100}],
}
UNPRICED = "INSERT INTO token_usage (provider, model, input_tokens) VALUES ('openai', 'tts-1', 3000000), ('openai', 'nobody', 1)"


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster() as server:
        create_roles(server)
        yield server


@pytest.fixture(scope="module")
def databases(cluster):
    """Two provisioned databases with usage without a price; the second is a version behind."""
    first = layer.create_database(cluster, "current")
    layer.provision(first)
    first.session().run(UNPRICED)
    first.close()
    second = layer.create_database(cluster, "behind", "current")
    second.session().run("DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)")
    second.close()
    yield first, second
    first.close()
    second.close()


@pytest.fixture(scope="module")
def plays(cluster, databases, tmp_path_factory):
    """What a dry run says, then a run and another."""
    home = tmp_path_factory.mktemp("home")
    hosts = [
        {
            "mission_control_postgresql_mode": "existing",
            "mission_control_login_host": "127.0.0.1",
            "mission_control_postgresql_port": cluster.port,
            "mission_control_login_password": PASSWORD,
            "mission_control_database_name": database.name,
            **INPUTS,
        }
        for database in databases
    ]
    reader = databases[0].session()
    costs = "SELECT model, cost_source, estimated_cost_usd::float8 AS usd FROM token_usage ORDER BY id"
    dry = run_on_hosts(PLAYBOOK, hosts[:1], "--check", home=home)
    untouched = reader.rows(costs)
    first = run_on_hosts(PLAYBOOK, hosts, home=home)
    filled = reader.rows(costs)
    second = run_on_hosts(PLAYBOOK, hosts[:1], home=home)
    databases[0].session("owner").run("UPDATE llm_budgets SET amount_usd = 1")
    mended = run_on_hosts(PLAYBOOK, hosts[:1], home=home)
    return {
        "dry": dry[0],
        "first": first[0],
        "behind": first[1],
        "second": second[0],
        "mended": mended[0],
        "untouched": untouched,
        "filled": filled,
    }


def test_a_dry_run_says_what_it_would_do_and_does_not(plays):
    assert plays["dry"].succeeded().recap["changed"] > 0
    assert "prices:user" in plays["dry"].told
    assert "budget all" in plays["dry"].told
    assert [each["cost_source"] for each in plays["untouched"]] == ["unpriced", "unpriced"]


def test_a_run_fills_in_what_has_become_known(plays, databases):
    assert plays["first"].succeeded().recap["changed"] > 0
    assert plays["filled"] == [
        {"model": "tts-1", "cost_source": "computed", "usd": 3.0},
        {"model": "nobody", "cost_source": "unpriced", "usd": None},
    ]
    assert databases[0].session().values("SELECT name FROM llm_budgets") == ["all"]
    # Tools wait for a run of everything.
    assert databases[0].session().values("SELECT name FROM tool_definitions") == []


def test_a_second_run_changes_nothing(plays):
    assert plays["second"].succeeded().recap["changed"] == 0


def test_a_run_that_mends_nothing_but_a_budget_says_that_it_changed_something(plays, databases):
    assert plays["mended"].succeeded().recap["changed"] == 1
    assert databases[0].session().value("SELECT amount_usd FROM llm_budgets") == 100


def test_where_more_is_pending_it_says_what_to_do_and_stops(plays, databases):
    run = plays["behind"]
    assert run.failed
    last = max(path.name for path in (layer.SQL / "migrations").iterdir())
    assert f"is pending ({last}): run site.yml or playbooks/migrate.yml first." in run.sentence
    assert databases[1].session().value("SELECT count(*) FROM llm_budgets") == 0
