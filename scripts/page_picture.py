"""Photograph the service's pages with the data of an invented homelab (needs Chromium and PostgreSQL's server programs).

scripts/page_picture.py [WIDTH [HEIGHT [DIRECTORY [light|dark]]]] writes service-page.png and service-tool-calls.png, into docs/ if no other is named.
"""

import pathlib
import random
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("collections", "tests/packages", "tests/integration")]

import mission_control_database as layer  # noqa: E402
import test_service_browser as lab  # noqa: E402
from inventory_rows import add_source  # noqa: E402
from playbook_rows import add_playbook_run  # noqa: E402
from service_lab import Service  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402
from tool_call_rows import APPROVER_TOKEN, ToolCalls  # noqa: E402

MODELS = {"claude-opus-5": "claude", "gpt-5.5": "openai", "gemini-4-argon": "gemini", "llama3.3": "ollama"}
PROJECTS = ("homelab", "media", None)
BUDGETS = {"all": (60, {}), "media": (25, {"project": "media"})}
HOSTS = ["pve1", "pve2", "nas", "k8s1", "k8s2", "k8s3", "docker1", "media1", "backup1", "router", "edge1"]
RUNS = {"Update the media stack": "running", "Rotate backups": "queued", "Restart Plex": "waiting_approval"}
SOURCES = {"k8s-main": "kubernetes", "pve": "proxmox"}
PLAYBOOKS = {
    "homelab/update.yml": ("failed", 5_400, {"pve1": {"changed": 3}, "nas": {"changed": 1}, "media1": {"failed": 1}}),
    "homelab/site.yml": ("succeeded", 9_000, {name: {"changed": number % 2} for number, name in enumerate(HOSTS)}),
    "homelab/backup.yml": ("succeeded", 40_000, {"nas": {"changed": 1}, "backup1": {"changed": 2}}),
}
ENDED = {"succeeded": "now", "failed": "now"}
TOOLS = {"list_docker_containers": 96, "restart_k8s_deployment": 31, "get_k8s_pod_logs": 140, "start_proxmox_guest": 12}
WAITING = (
    {"name": "plex", "namespace": "media", "source": "k8s-main", "grace_period_seconds": 30},
    {"name": "home-assistant", "namespace": "home", "source": "k8s-main"},
)


def fill(session):
    dice = random.Random(4)
    add_source(
        session,
        "docker-nas",
        "docker",
        complete_minutes_ago=200,
        error="The engine at https://nas:2376 does not answer.",
    )
    for name, connector in SOURCES.items():
        add_source(session, name, connector, complete_minutes_ago=2, interval_seconds=300)
    hosts = [session.insert("hosts", name=name, type="vm", status="online", source="pve") for name in HOSTS]
    session.run("UPDATE hosts SET status = 'degraded' WHERE name = 'docker1'")
    for name in ("photos", "media", "home-automation", "git"):
        session.insert("services", name=name, owner="me")
    for number in range(34):
        status = "failed" if number == 7 else "running"
        name = "plex" if number == 7 else f"app-{number}"
        session.insert(
            "workloads",
            name=name,
            type="docker-container",
            host_id=hosts[number % 9]["id"],
            status=status,
            source="k8s-main",
        )
    for name, (usd, scope) in BUDGETS.items():
        session.insert("llm_budgets", name=name, amount_usd=usd, **scope)
    for days_ago in range(30):
        for number, (model, provider) in enumerate(MODELS.items()):
            session.run(
                "INSERT INTO token_usage (provider, model, project, input_tokens, output_tokens, occurred_at)"
                " VALUES (%s, %s, %s, %s, %s, greatest(reporting_day_start(%s), now() - make_interval(days => %s)))",
                *(provider, model, PROJECTS[(number + days_ago) % 3]),
                *(dice.randrange(9_000, 190_000), dice.randrange(900, 19_000), days_ago, days_ago),
            )
    runs = []
    for title, status in (*RUNS.items(), *[("Nightly check", "succeeded")] * 19, ("Nightly check", "failed")):
        task = session.insert("tasks", title=title, created_by="me")
        runs.append(session.insert("task_runs", task_id=task["id"], status=status, finished_at=ENDED.get(status)))
        session.insert("task_events", task_run_id=runs[-1]["id"], sequence=1, type="log")
    for playbook, (status, seconds_ago, each) in PLAYBOOKS.items():
        for days in (3, 2, 1, 0):
            ended = "succeeded" if days else status
            add_playbook_run(
                session, playbook, ended, days * 86_400 + seconds_ago, each if ended == status else {"nas": {}}
            )
    for name, calls in TOOLS.items():
        tool = session.row("SELECT id FROM tool_definitions WHERE name = %s", name)
        for number in range(calls):
            status = "failed" if number % 40 == 7 else "succeeded"
            session.run(
                "INSERT INTO tool_call_records (task_run_id, tool_id, status, requested_by, created_at, started_at, finished_at) "
                "VALUES (%s, %s, %s, 'claude', now() - %s * interval '5 hours', now(), now() + make_interval(secs => %s))",
                *(runs[0]["id"], tool["id"], status, 1 + number, dice.uniform(0.05, 1.5)),
            )


def fill_calls(database):
    """Tools with a description, of which one is asked for twice; before that with other arguments."""
    tools = [{"name": name, "risk_level": "SAFE_MUTATE", "connector": "kubernetes"} for name in TOOLS]
    tools[1]["description"] = "Restart the pods of a deployment, one after the other."
    calls = ToolCalls(database, tools)
    before = calls.ask({**WAITING[0], "name": "sonarr", "replicas": 2}, tool=tools[1]["name"])
    database.session("application").run("SELECT decide_tool_call(%s, 'approve', NULL, %s)", before, APPROVER_TOKEN)
    calls.carry_out(before)
    for arguments in WAITING:
        calls.ask(arguments, tool=tools[1]["name"])


def main(width="1180", height="965", directory=str(ROOT / "docs"), scheme="light"):
    browser = next(lab.driver.__wrapped__())
    with ThrowawayCluster() as cluster, tempfile.TemporaryDirectory() as own:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "picture")
        layer.provision(database)
        fill_calls(database)
        fill(database.session("admin"))
        with Service(own, database, ENVIRONMENT="homelab") as service:
            service.wait_for("/api/v1/summary", 200)
            lab.look(browser, int(width), int(height), scheme)
            browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
            browser.get(f"http://127.0.0.1:{service.port}/")
            lab.log_in(browser)
            lab.wait_for_page(browser)
            browser.save_screenshot(f"{directory}/service-page.png")
            lab.become_approver(browser, service, APPROVER_TOKEN)
            browser.save_screenshot(f"{directory}/service-tool-calls.png")
        database.close()
    browser.quit()


if __name__ == "__main__":
    main(*sys.argv[1:])
