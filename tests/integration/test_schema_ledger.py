"""What the schema role plans for prices, budgets and the days of token usage, carried out without a play."""

import mission_control_database as layer
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.schema import (
    plan_schema,
    read_history_statements,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.tools import token_step
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.runner import script_with

SQL = str(layer.SQL)
ALL = {"name": "all", "usd": 100}
AGENT = {"name": "the agent's", "usd": "2.50", "provider": "claude", "project": None, "agent": "nightly"}


class Run:
    """Plans and applies as an administrator does, each time in a session of its own; with a registry its tokens too."""

    def __init__(self, database, user="postgres"):
        self.database = database
        self._user = user

    def _session(self):
        return layer.Session(self.database.cluster.connect(self.database.name, self._user))

    def plan(self, problems=0, **options):
        session = self._session()
        *first, last = read_history_statements(SQL, layer.SETTINGS, options.get("registry") is not None)
        for statement in first:
            session.run(statement)
        plan = plan_schema(SQL, session.value(last), layer.SETTINGS, **options)
        session.close()
        assert len(plan["problems"]) == problems, plan["problems"]
        return plan

    def apply(self, **options):
        """The lines of the plan that it carries out, of which nothing is left."""
        plan = self.plan(**options)
        session = self._session()
        script = plan["repeatable_script"]
        if options.get("registry"):
            script = script_with(script, token_step(options["registry"], layer.SETTINGS), layer.SETTINGS)
        session.run(script)
        session.close()
        assert self.plan(**options)["pending_repeatables"] == []
        return plan["pending_repeatables"]


@pytest.fixture
def run(database):
    run = Run(database)
    assert run.apply() == ["prices:user"]
    return run


@pytest.fixture
def budgets(run):
    """A function that returns the budgets that there are, as name, amount and what they are limited to."""
    admin = run.database.session()
    return lambda: admin.rows(
        "SELECT name, amount_usd::float8 AS usd, provider, model, project, agent, origin FROM llm_budgets ORDER BY name"
    )


def test_budgets_become_what_the_list_says(run, budgets):
    assert run.apply(budgets=[ALL, AGENT]) == ["budget all", "budget the agent's"]
    nothing = {"provider": None, "model": None, "project": None, "agent": None, "origin": "role"}
    assert budgets() == [
        {"name": "all", "usd": 100.0, **nothing},
        {"name": "the agent's", "usd": 2.5, **nothing, "provider": "claude", "agent": "nightly"},
    ]
    assert run.apply(budgets=[{**ALL, "usd": "200"}, AGENT]) == ["budget all"]
    assert run.apply(budgets=[AGENT]) == ["budget all"]
    assert [each["name"] for each in budgets()] == ["the agent's"]
    assert run.apply() == ["budget the agent's"]
    assert budgets() == []


def test_the_same_budget_written_otherwise_is_no_change(run):
    run.apply(budgets=[ALL, AGENT])
    same = [{**AGENT, "usd": 2.5, "model": ""}, {**ALL, "usd": "100.00"}]
    assert run.plan(budgets=same)["is_current"] == run.plan(budgets=[ALL, AGENT])["is_current"]
    assert run.plan(budgets=same)["pending_repeatables"] == []


def test_what_somebody_changed_is_mended(run, budgets):
    run.apply(budgets=[ALL])
    admin = run.database.session("owner")
    admin.run("UPDATE llm_budgets SET amount_usd = 1")
    admin.run("INSERT INTO llm_budgets (name, amount_usd, origin) VALUES ('more', 1, 'role')")
    assert run.apply(budgets=[ALL]) == ["budget all", "budget more"]
    assert [(each["name"], each["usd"]) for each in budgets()] == [("all", 100.0)]


def test_budgets_of_others_stay_and_are_not_taken_over(run, budgets):
    run.database.session("application").run("INSERT INTO llm_budgets (name, amount_usd) VALUES ('all', 5)")
    assert run.plan()["pending_repeatables"] == []
    (problem,) = run.plan(problems=1, budgets=[ALL, AGENT])["problems"]
    assert problem.startswith(
        "mission_control_schema_budgets has a budget 'all', and somebody has made one of this name: "
    )
    assert [(each["name"], each["usd"], each["origin"]) for each in budgets()] == [("all", 5.0, "user")]


def test_the_list_in_force_is_noted(run):
    reader = run.database.session("readonly")
    noted = "SELECT origin, source, read_on::text AS read_on FROM price_lists"
    prices = reader.rows("SELECT * FROM provider_pricing ORDER BY id")
    admin = run.database.session()
    admin.run("UPDATE price_lists SET source = 'an older one', read_on = '2026-01-01'")
    admin.run("UPDATE schema_repeatables SET checksum = 'x' WHERE name = 'prices:seed'")
    assert run.apply() == ["prices:seed"]
    assert reader.rows("SELECT * FROM provider_pricing ORDER BY id") == prices
    seed = layer.seed_list()
    assert reader.row(noted) == {"origin": "seed", "source": seed.source, "read_on": seed.read_on}
    assert set(reader.values("SELECT DISTINCT source FROM provider_pricing WHERE provider = 'claude'")) == {seed.source}


def test_the_collections_list_may_be_left_out(run):
    admin = run.database.session()
    admin.run("UPDATE schema_repeatables SET checksum = 'x' WHERE name = 'prices:seed'")
    admin.run("DELETE FROM provider_pricing WHERE provider = 'claude'")
    own = {"provider": "claude", "model": "claude-opus-5", "input": "1", "output": "2"}
    assert run.apply(seed_prices=False, prices=[own]) == ["prices:user"]
    assert admin.values("SELECT model FROM provider_pricing WHERE provider = 'claude'") == ["claude-opus-5"]


def test_the_days_of_usage_follow_the_reporting_time_zone(run):
    admin = run.database.session()
    admin.run(
        "INSERT INTO token_usage (provider, model, input_tokens, occurred_at) VALUES ('ollama', 'x', 1, '2026-06-01T22:30:00Z')"
    )
    admin.run(f"ALTER DATABASE {run.database.name} SET mission_control.reporting_time_zone = 'Europe/Amsterdam'")
    assert run.apply() == ["days of the token usage, in the time zone Europe/Amsterdam"]
    assert admin.value("SELECT time_zone FROM token_usage_rollup") == "Europe/Amsterdam"
    assert admin.value("SELECT day::text FROM token_usage_days") == "2026-06-02"


def test_bookkeeping_that_runs_foreign_code_is_not_read(run):
    run.database.session("owner").run("ALTER TABLE llm_budgets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    session = run.database.session()
    *first, last = read_history_statements(SQL, layer.SETTINGS)
    for statement in first:
        session.run(statement)
    with pytest.raises(psycopg2.Error, match="llm_budgets"):
        session.run(last)
