"""`mission-control budgets`: the list, and making, changing and removing one."""

import csv
import io
import json
import re

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.budgets import COLUMNS
from command import ROOT, on_terminal, run_command

HOSTILE = "evil\x1b]0;owned\x07"


@pytest.fixture
def budgets(database, application):
    """Three budgets, and use of this month; one of them is the role's."""
    owner = database.session("admin")
    owner.run("SELECT apply_llm_budgets(%s)", json.dumps([{"name": "of-the-role", "usd": 100}]))
    application.insert("llm_budgets", name="plex", amount_usd=4, project="plex")
    application.insert("llm_budgets", name="spent", amount_usd="0.5", provider="lab", project="plex")
    for project, cost in (("plex", "1.5"), ("plex", "2"), (None, "3")):
        application.insert(
            "token_usage", provider="lab", model="m", project=project, cost_source="provider", estimated_cost_usd=cost
        )
    application.insert("token_usage", provider="lab", model="nobody knows", input_tokens=1)
    return database


def names(database):
    result = run_command(database, "budgets", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    return [budget["name"] for budget in json.loads(result.stdout)]


def test_the_list_is_for_people_the_one_that_is_spent_most_first(budgets):
    result = run_command(budgets, "budgets", role="readonly")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert re.fullmatch(r"spent +provider lab, project plex +3\.5000 +0\.5000 +700\.0 % +█{12} +\d.* +spent", lines[1])
    assert re.fullmatch(r"plex +project plex +3\.5000 +4\.0000 +87\.5 % +█+.? +\d.* +near", lines[2])
    assert re.fullmatch(r"of-the-role +everything +6\.5000 +100\.0000 +6\.5 % +█*.? +\d.* +ok", lines[3])
    assert lines[-1] == "1 call this month without a price, which no budget counts."


def test_on_a_terminal_no_name_moves_anything_and_nothing_is_too_wide(budgets, application):
    application.insert("llm_budgets", name=HOSTILE, amount_usd=5, model="a-model-with-a-rather-long-name-2026-11-23")
    code, shown = on_terminal(budgets, "budgets", columns=100)
    assert code == 0
    assert "\x1b]0" not in shown
    assert "\x1b[31mspent" in shown


def test_csv_and_json_have_exact_amounts(budgets):
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(run_command(budgets, "budgets", "--csv").stdout))}
    listed = {row["name"]: row for row in json.loads(run_command(budgets, "budgets", "--json").stdout)}
    for found, nothing in ((rows, ""), (listed, None)):
        assert found["plex"]["spent_usd"] == "3.500000000000"
        assert (found["plex"]["amount_usd"], found["plex"]["level"]) == ("4.000000", "near")
        assert (found["of-the-role"]["origin"], found["of-the-role"]["project"]) == ("role", nothing)
    assert listed["of-the-role"]["unpriced_calls"] == 1


def test_one_is_made_changed_and_removed(database):
    assert "There is no budget" in run_command(database, "budgets").stdout
    made = run_command(database, "budgets", "set", "homelab", "--usd", "25", "--project", "homelab")
    assert (made.returncode, made.stdout) == (0, "The budget homelab is 25.0000 USD a month.\n")
    changed = run_command(database, "budgets", "set", "homelab", "--usd", "12.50", "--model", "gpt-5.5")
    assert changed.returncode == 0
    [row] = database.session("admin").rows("SELECT * FROM llm_budgets")
    assert (str(row["amount_usd"]), row["project"], row["model"], row["origin"]) == (
        "12.500000",
        None,
        "gpt-5.5",
        "user",
    )
    removed = run_command(database, "budgets", "remove", "homelab")
    assert (removed.returncode, removed.stdout) == (0, "The budget homelab is removed.\n")
    assert names(database) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["set", "of-the-role", "--usd", "5"],
            "The budget 'of-the-role' comes from the variable mission_control_schema_budgets: change it there, and run the playbook.",
        ),
        (["remove", "of-the-role"], "The budget 'of-the-role' comes from the variable mission_control_schema_budgets"),
        (["remove", "none"], "There is no budget 'none': mission-control budgets lists those that there are."),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(budgets, arguments, sentence):
    before = budgets.session("admin").rows("SELECT * FROM llm_budgets ORDER BY name")
    result = run_command(budgets, "budgets", *arguments)
    assert (result.returncode, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert budgets.session("admin").rows("SELECT * FROM llm_budgets ORDER BY name") == before


@pytest.mark.parametrize("amount", ["0", "0.0000001", "-5", "NaN", "1e3", "100000000.1234567", "$5", ""])
def test_an_amount_that_is_none_is_wrong_usage(database, amount):
    result = run_command(database, "budgets", "set", "homelab", f"--usd={amount}")
    assert (result.returncode, result.stdout) == (2, "")
    assert "an amount in USD above 0 is needed" in result.stderr


def test_a_provider_that_usage_never_names_is_wrong_usage(database):
    result = run_command(database, "budgets", "set", "homelab", "--usd", "5", "--provider", "OpenAI")
    assert (result.returncode, result.stdout) == (2, "")
    assert (
        "a provider is written in lower case, as usage names it, such as openai or claude, not 'OpenAI'"
        in result.stderr
    )


def test_who_may_only_read_lists_them_and_sets_none(budgets):
    assert run_command(budgets, "budgets", role="monitor").returncode == 0
    result = run_command(budgets, "budgets", "set", "mine", "--usd", "5", role="readonly")
    assert result.returncode in (1, 3)
    assert "permission denied for table llm_budgets" in result.stderr


def test_a_database_without_budgets_is_told_from_one_that_is_broken(database):
    database.session("admin").run("DROP TABLE llm_budgets CASCADE")
    result = run_command(database, "budgets")
    assert result.returncode == 3
    assert "The database's schema is too old for this command: apply its pending migrations" in result.stderr


def test_the_examples_of_the_page_are_taken(database, application):
    page = (ROOT / "docs" / "budgets.md").read_text(encoding="utf-8")
    [given] = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    budgets = yaml.safe_load(given)["mission_control_schema_budgets"]
    assert database.session("admin").value("SELECT apply_llm_budgets(%s)", json.dumps(budgets)) == 3
    [made, shown] = re.findall(r"^```sql\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    application.run(made)
    assert {row["name"]: row["level"] for row in application.rows(shown)} == dict.fromkeys(
        ("all", "homelab", "opus", "plex"), "ok"
    )
    columns = {
        name for cells in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", cells)
    }
    assert columns >= {"spent_usd", "projected_share", "unpriced_calls", "level"}
    assert columns <= {*COLUMNS, "budgets"}
