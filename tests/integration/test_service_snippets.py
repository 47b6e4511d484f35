"""What docs/monitoring.md says of Prometheus, Homepage and Uptime Kuma, tried with what the service answers."""

from __future__ import annotations

import re
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
import yaml
from mission_control import Client
from mission_control.schema.manifest import Manifest
from mission_control_database import ROLES
from mission_control_service.app import create_app
from mission_control_service.configuration import Configuration
from mission_control_service.credentials import Credentials
from mission_control_service.database import Database
from mission_control_service.tokens import Tokens
from playbook import ROOT
from sample_rows import fill_every_table, insert_as_superuser

PAGE = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
TOKEN = "a-token-for-homepage-0123456789"
# What Homepage's widget knows to do with a value; the others take text.
NUMERIC = {"number", "float", "percent"}


def application(client):
    credentials = Credentials(tokens=Tokens.parse(TOKEN))
    manifest = Manifest.of_directory(str(ROOT / "files/sql"), "1.2.3")
    return create_app(Configuration(budget_usd=Decimal(25)), credentials, Database(client, 5.0), manifest).test_client()


@pytest.fixture(scope="module")
def service(shared_database):
    writer = shared_database.session("application")
    rows = fill_every_table(writer)
    run, tool = rows["task_runs"]["id"], rows["tool_definitions"]["id"]
    ended = {"status": "failed", "finished_at": "2026-01-01T00:00:00Z"}
    insert_as_superuser(writer, "tool_call_records", task_run_id=run, tool_id=tool, **ended)
    options = {"host": shared_database.cluster.socket_directory, "port": shared_database.cluster.port}
    with Client(database=shared_database.name, user=ROLES["service"], **options) as client:
        yield application(client)


@pytest.fixture(scope="module")
def service_without_database(tmp_path_factory):
    """Nobody listens in an empty directory."""
    nowhere = str(tmp_path_factory.mktemp("nobody"))
    client = Client(host=nowhere, database="mission_control", user=ROLES["service"])
    yield application(client)
    client.disconnect()


def snippet(word):
    """The one YAML block of the page that holds the word."""
    (block,) = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if word in block]
    return block


def monitors():
    """Rows of the table of Uptime Kuma: kind, path, and what else is to be filled in."""
    rows = re.findall(r"^\| (HTTP\(s\)[^|]*?) \| URL `([^`]+)`(.*?) \|$", PAGE, re.MULTILINE)
    return {kind: (urlsplit(url).path, re.findall(r"`([^`]+)`", rest)) for kind, url, rest in rows}


def is_up(service, kind):
    """What Uptime Kuma makes of the answer: a status of 200 to 299, and the word or the value in it."""
    path, words = monitors()[kind]
    answer = service.get(path)
    if answer.status_code // 100 != 2:
        return False
    if kind == "HTTP(s) - Keyword":
        (keyword,) = words
        return keyword in answer.text
    if kind == "HTTP(s) - Json Query":
        query, condition, expected = words
        assert condition == "=="
        return str(answer.json[query]) == expected
    return True


def test_the_scrape_configuration_is_that_of_the_file():
    file = (ROOT / "files/prometheus/prometheus.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(snippet("scrape_configs")) == yaml.safe_load(file)


def test_every_alert_is_on_the_page():
    groups = yaml.safe_load((ROOT / "files/prometheus/mission_control_alerts.yml").read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in groups["groups"] for rule in group["rules"]}
    assert set(re.findall(r"`(MissionControl\w+)`", PAGE)) == alerts


def test_homepage_gets_every_field_of_its_widget(service):
    text = snippet("customapi").replace("{{HOMEPAGE_VAR_MISSION_CONTROL_TOKEN}}", TOKEN)
    [entry] = yaml.safe_load(text)[0]["Homelab"]
    widget = entry["Mission Control"]["widget"]
    path = urlsplit(widget["url"]).path
    assert service.get(path).status_code == 401
    answer = service.get(path, headers=widget["headers"])
    assert answer.status_code == 200
    for mapping in widget["mappings"]:
        value = answer.json[mapping["field"]]
        assert isinstance(value, (int, float) if mapping.get("format") in NUMERIC else str), mapping
        assert mapping["label"]


def test_uptime_kuma_sees_that_all_is_well(service):
    assert len(monitors()) == 3
    assert {kind: is_up(service, kind) for kind in monitors()} == dict.fromkeys(monitors(), True)


def test_uptime_kuma_sees_that_the_database_is_gone(service_without_database):
    down = {kind: is_up(service_without_database, kind) for kind in monitors()}
    assert down == dict.fromkeys(monitors(), False)
    assert service_without_database.get("/live").status_code == 200
