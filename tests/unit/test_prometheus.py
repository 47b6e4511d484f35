"""What Prometheus is given in files/prometheus, judged by promtool; every alert is seen to fire by a test of rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "files/prometheus/mission_control_alerts.yml"
CONFIGURATION = ROOT / "files/prometheus/prometheus.yml"
RULE_TESTS = sorted(ROOT.glob("tests/prometheus/*.yml"))
DASHBOARD = ROOT / "files/grafana/mission_control_service.json"
# What Grafana puts in before it asks Prometheus.
GRAFANA = {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m", "${instance:regex}": "db:3000"}


def promtool(*arguments: str) -> str:
    """What promtool prints; fails the test where it finds something wrong."""
    program = shutil.which("promtool") or ROOT / ".cache/promtool/promtool"
    assert Path(program).exists(), "There is no promtool: run scripts/install-test-packages."
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> list[dict]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_scrape_configuration_is_valid_and_finds_the_alerts():
    assert "1 rule files found" in promtool("check", "config", str(CONFIGURATION))


def test_the_alerts_are_valid():
    assert f"{len(alerts())} rules found" in promtool("check", "rules", str(ALERTS))


def test_the_alerts_come_and_stay_away_as_the_tests_of_rules_say():
    assert "SUCCESS" in promtool("test", "rules", *map(str, RULE_TESTS))


def test_the_rule_of_the_page_for_a_playbook_that_is_not_run_fires(tmp_path):
    """Two days after the last success, and also where the playbook is not among those that are told of."""
    page = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    [rules] = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "BackupPlaybookOverdue" in block]
    (tmp_path / "rules.yml").write_text(rules, encoding="utf-8")
    series = 'mission_control_playbook_last_success_timestamp_seconds{playbook="homelab/backup.yml"}'
    fired = [{"exp_labels": {"playbook": "homelab/backup.yml", "severity": "warning"}}]
    tests = [
        {
            "interval": "1h",
            "input_series": [{"series": series, "values": values}],
            "alert_rule_test": [
                {"alertname": "BackupPlaybookOverdue", "eval_time": time, "exp_alerts": alerts}
                for time, alerts in expected
            ],
        }
        for values, expected in (("0x60", [("48h", []), ("51h", fired)]), ("_x10", [("3h", fired)]))
    ]
    (tmp_path / "tests.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": tests}), encoding="utf-8")
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "tests.yml"))


def test_every_alert_is_seen_to_fire():
    seen = set()
    for test in [test for file in RULE_TESTS for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]]:
        seen |= {each["alertname"] for each in test.get("alert_rule_test", ()) if each["exp_alerts"]}
        samples = [sample for each in test.get("promql_expr_test", ()) for sample in each["exp_samples"]]
        seen |= {name for sample in samples for name in re.findall('alertname="(\\w+)"', sample["labels"])}
    assert seen == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule):
    assert rule["alert"].startswith("MissionControl")
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert all(text.endswith(".") for text in rule["annotations"].values())


def test_the_expressions_of_the_dashboard_are_valid(tmp_path):
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(expressions) > 10
    for placeholder, value in GRAFANA.items():
        expressions = [expression.replace(placeholder, value) for expression in expressions]
    rules = [{"record": f"dashboard:{number}", "expr": each} for number, each in enumerate(expressions)]
    file = tmp_path / "dashboard.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    assert f"{len(expressions)} rules found" in promtool("check", "rules", str(file))
