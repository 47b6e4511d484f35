"""Runs of playbooks over HTTP: the lists of the API, the section of the page, and the pages of a run and of a host."""

import html
import re
from types import SimpleNamespace

import pytest
from playbook_rows import add_playbook_run, play, result, task
from prometheus_client.parser import text_string_to_metric_families
from service_lab import AUTHORIZATION, REFRESH_TOKEN, TOKEN, application, close_application

API = "/api/v1"
SCRIPT = "<script>alert('é')</script>"
SITE, NEW, AGAIN = "homelab/site.yml", "homelab/new.yml", "homelab/again.yml"
SECRET = "hunter2-in-a-message"


@pytest.fixture(scope="module")
def lab(tmp_path_factory, shared_database):
    """A service, and the ids of what is in its database."""
    session = shared_database.session("admin")
    # In one transaction, so with one now().
    with session.transaction():
        host = session.insert(
            "hosts", name="web1", type="vm", status="offline", labels={"rack": SCRIPT}, metadata={"disks": [1]}
        )
        web1 = {"host_id": host["id"], "ok": 5}
        first = add_playbook_run(session, hosts={"web1": {**web1, "changed": 2}}, seconds_ago=9)
        failed = add_playbook_run(
            session,
            status="failed",
            seconds_ago=6,
            error="Copy it, on web2",
            limited_to="web*",
            tags=["web", "tls"],
            dropped_events=3,
            hosts={"web1": web1, "web2": {"ok": 1, "failed": 1}, SCRIPT: {"unreachable": 1}},
            steps=[
                play("Web servers"),
                task("Copy it"),
                result("Copy it", "web1", changed=True),
                result("Copy it", "web2", "failed", message=SECRET),
                task(SCRIPT, module=SCRIPT, path=SCRIPT),
                result(SCRIPT, SCRIPT, "unreachable", message=SECRET),
                ("log", {"event": "note", "name": SECRET}),
                *[result("Wait", "web1") for _ in range(150)],
            ],
        )
        dry = add_playbook_run(session, seconds_ago=3, check_mode=True, hosts={"web1": {**web1, "changed": 1}})
        running = add_playbook_run(session, NEW, "running", seconds_ago=2, run_by=SCRIPT)
        add_playbook_run(session, AGAIN, "failed", seconds_ago=15)
        add_playbook_run(session, AGAIN, "running", seconds_ago=14)
        used = {"task_run_id": failed, "provider": "lab", "model": "m"}
        session.insert("token_usage", **used, cost_source="provider", estimated_cost_usd="0.5")
        session.insert("token_usage", **used, input_tokens=1)
        for number in range(25):
            add_playbook_run(session, f"homelab/{number}.yml", "cancelled", seconds_ago=20 + number / 100)
    app = application(tmp_path_factory.mktemp("service"), shared_database, health_cache_seconds=60)
    # On a machine under load the figures may take longer than a caller waits.
    for _ in range(20):
        if 'figures_up{group="playbooks"} 1.0' in app.test_client().get("/metrics").text:
            break
    yield SimpleNamespace(
        app=app, session=session, host=host["id"], first=first, failed=failed, dry=dry, running=running
    )
    close_application(app)


@pytest.fixture
def items(lab):
    """A function that gives the items of a list of the API."""

    def ask(path, **query):
        answer = lab.app.test_client().get(API + path, query_string=query, headers=AUTHORIZATION)
        assert answer.status_code == 200, answer.text
        return answer.json["items"]

    return ask


@pytest.fixture
def page(lab):
    """A function that gives a page as a person sees it who is logged in."""
    client = lab.app.test_client()
    client.post("/login", data={"token": TOKEN})

    def ask(path, status=200, **query):
        answer = client.get(path, query_string=query or None, headers={"Accept": "text/html"})
        assert answer.status_code == status, answer.text
        assert SCRIPT not in answer.text
        assert SECRET not in answer.text
        return answer.text

    return ask


def section(text, identifier):
    return text.split(f'id="{identifier}"')[1].split("</section>")[0]


def first_column(text):
    """What the rows of a table begin with, without its tags."""
    found = re.findall(r'<th scope="row"[^>]*>(.*?)</th>', text)
    return [html.unescape(re.sub("<[^>]+>", "", each)).strip() for each in found]


def test_runs_of_playbooks_come_with_the_newest_first_and_are_found_by_what_they_were(items, lab):
    newest = items("/playbook-runs", limit=4)
    assert [run["id"] for run in newest] == [lab.running, lab.dry, lab.failed, lab.first]
    run = newest[2]
    assert (run["playbook"], run["status"], run["seconds"], run["error"]) == (SITE, "failed", 12.5, "Copy it, on web2")
    assert (run["run_by"], run["controller"], run["tags"], run["limited_to"]) == (
        "sven",
        "laptop",
        ["web", "tls"],
        "web*",
    )
    assert (run["hosts"], run["changed_hosts"], run["failed_hosts"], run["dropped_events"]) == (3, 0, 2, 3)
    assert (run["llm_calls"], run["unpriced_llm_calls"], run["cost_usd"]) == (2, 1, "0.500000000000")
    assert (newest[0]["seconds"], newest[0]["llm_calls"], newest[0]["cost_usd"]) == (None, 0, None)
    for query, expected in (
        ({"playbook": SITE}, [lab.dry, lab.failed, lab.first]),
        ({"playbook": SITE, "status": "failed"}, [lab.failed]),
        ({"host": "web2"}, [lab.failed]),
        ({"check_mode": "true"}, [lab.dry]),
        ({"started_after": run["started_at"], "check_mode": "false"}, [lab.running, lab.failed]),
        ({"started_before": run["started_at"], "playbook": SITE}, [lab.first]),
        ({"host": "nowhere"}, []),
    ):
        assert [each["id"] for each in items("/playbook-runs", **query)] == expected, query


def test_hosts_and_steps_of_a_run_are_told_without_the_messages(items, lab):
    hosts = {each.pop("host_name"): each for each in items(f"/playbook-runs/{lab.failed}/hosts")}
    assert set(hosts) == {"web1", "web2", SCRIPT}
    assert (hosts["web1"]["host_id"], hosts["web2"]["host_id"]) == (lab.host, None)
    assert (hosts["web2"]["ok"], hosts["web2"]["failed"], hosts["web2"]["skipped"]) == (1, 1, 0)
    steps = items(f"/playbook-runs/{lab.failed}/steps", limit=1000)
    assert SECRET not in str(steps)
    assert [step["event"] for step in steps[:6]] == ["play", "task", "result", "result", "task", "result"]
    assert len(steps) == 156
    assert (steps[1]["name"], steps[1]["module"], steps[1]["host"], steps[1]["changed"]) == (
        "Copy it",
        "ansible.builtin.copy",
        None,
        None,
    )
    assert (steps[2]["name"], steps[2]["host"], steps[2]["outcome"], steps[2]["changed"], steps[2]["seconds"]) == (
        *("Copy it", "web1", "ok", True, 0.25),
    )
    path = f"/playbook-runs/{lab.failed}/steps"
    assert [step["host"] for step in items(path, outcome="failed")] == ["web2"]
    assert [step["outcome"] for step in items(path, host=SCRIPT)] == ["unreachable"]
    assert [step["name"] for step in items(path, event="play")] == ["Web servers"]


def test_runs_of_a_host_come_with_the_newest_first_and_page_by_page(items, lab):
    path = f"/inventory/hosts/{lab.host}/runs"
    runs = items(path)
    assert [(run["id"], run["changed"]) for run in runs] == [(lab.dry, 1), (lab.failed, 0), (lab.first, 2)]
    first = lab.app.test_client().get(f"{API}{path}?limit=2", headers=AUTHORIZATION).json
    assert [run["id"] for run in items(path, cursor=first["next_cursor"])] == [lab.first]


def test_a_task_run_says_of_which_playbook_it_is(items, lab):
    runs = items("/task-runs", playbook=SITE)
    assert {run["id"] for run in runs} == {lab.first, lab.failed, lab.dry}
    assert {run["playbook"] for run in runs} == {SITE}
    assert items("/task-runs", playbook="elsewhere/site.yml") == []


def test_the_page_shows_each_playbook_and_the_last_runs_of_all(page, lab):
    shown = section(page("/"), "playbooks")
    playbooks, runs = shown.split("Last runs")
    assert first_column(playbooks)[:4] == [NEW, SITE, AGAIN, "homelab/0.yml"]
    assert len(first_column(playbooks)) == 20
    assert "The 20 that were run last." in playbooks
    row = playbooks.split(SITE + "</a>")[1].split("</tr>")[0]
    # The dry run is newer, and neither the last run nor a success.
    assert f"/runs/{lab.failed}" in row
    for each in (">failed<", "sven on laptop", "12 s", '<span class="alert">2 failed</span>', "<time"):
        assert each in row
    assert first_column(runs)[:4] == [NEW, SITE, SITE, SITE]
    assert len(first_column(runs)) == 10
    assert "dry run" in runs.split("</tr>")[2]


def test_the_page_of_a_run_begins_with_what_is_not_well_and_shows_its_steps_in_pages(page, lab):
    text = page(f"/runs/{lab.failed}")
    assert f"<title>Run of {SITE} · Mission Control</title>" in text
    assert "Copy it, on web2" in text
    assert "3 events, for want of space" in text
    assert first_column(section(text, "not-ok")) == ["Copy it", SCRIPT]
    assert first_column(section(text, "recap")) == [SCRIPT, "web2", "web1 in the inventory"]
    steps = section(text, "steps")
    assert text.index('id="not-ok"') < text.index('id="recap"') < text.index('id="steps"')
    assert first_column(steps)[0] == "Play: Web servers"
    assert steps.count("<tr>") == 101
    address = html.unescape(re.search(r'<a href="(\?[^#]+)#steps" class="button">Next steps', steps)[1])
    assert section(page(f"/runs/{lab.failed}{address}"), "steps").count("<tr>") == 57
    of_one = section(page(f"/runs/{lab.failed}", host="web2", outcome="failed"), "steps")
    assert "Steps of web2: failed" in of_one
    assert of_one.count("<tr>") == 2


def test_pages_say_what_language_models_cost_where_a_run_called_some(page, lab):
    said = "2 calls of language models, $0.5000, 1 without a known price"
    assert said in page(f"/runs/{lab.failed}")
    assert "language models" not in page(f"/runs/{lab.first}")
    rows = page("/runs", playbook=SITE).split("<tbody>")[1].split("</tr>")
    assert ["$0.5000" in row for row in rows[:3]] == [False, True, False]
    assert "Models" not in page("/runs", playbook=NEW)


def test_the_page_of_a_host_has_its_facts_and_its_last_runs(page, lab):
    text = page("/")
    assert f'href="/hosts/{lab.host}"' in section(text, "unwell")
    text = page(f"/hosts/{lab.host}")
    assert "<dt>rack</dt>" in text
    assert "<dt>disks</dt><dd>[1]</dd>" in text
    runs = section(text, "host-runs")
    assert re.findall(r"/runs/([0-9a-f-]{36})", runs) == [lab.dry, lab.failed, lab.first]
    assert "5 ok, 2 changed" in runs


def test_all_runs_of_a_playbook_are_found_from_the_page(page, lab):
    text = page("/runs", playbook=SITE)
    assert re.findall(r"/runs/([0-9a-f-]{36})", text) == [lab.dry, lab.failed, lab.first]
    address = html.unescape(re.search(r'<a href="(\?[^"]+)" class="button">Older', page("/runs", limit=20))[1])
    assert len(first_column(page(f"/runs{address}"))) == 11
    assert "There is none." in page("/runs", playbook=SCRIPT)


@pytest.mark.parametrize("path", ["/runs", "/runs/{failed}", "/hosts/{host}"])
def test_only_who_may_read_sees_runs_and_hosts(lab, path):
    path = path.format(**vars(lab))
    client = lab.app.test_client()
    assert client.get(path, headers=AUTHORIZATION).headers["Location"] == "/login"
    client.post("/login", data={"token": REFRESH_TOKEN})
    assert client.get(path).status_code == 403


@pytest.mark.parametrize("path", ["/runs/{host}", "/hosts/{failed}", "/runs/1", "/hosts/web1"])
def test_what_is_not_there_is_said_on_a_page(page, lab, path):
    assert '<p role="alert">' in page(path.format(**vars(lab)), 404)


def test_metrics_tell_of_each_playbook_how_its_runs_end(lab):
    text = lab.app.test_client().get("/metrics").text
    found = {
        (
            sample.name.removeprefix("mission_control_playbook_"),
            *map(sample.labels.get, sorted(sample.labels)),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("mission_control_playbook_")
    }
    assert found["runs_total", SITE, "succeeded"] == 1
    assert found["runs_total", SITE, "failed"] == 1
    assert found["runs_total", NEW, "succeeded"] == 0
    assert found["runs_total", "homelab/0.yml", "cancelled"] == 1
    assert found["last_run_failed", SITE] == 1
    assert found["last_run_failed", "homelab/0.yml"] == 0
    assert found["last_run_duration_seconds", SITE] == 12.5
    ended = lab.session.value("SELECT extract(epoch FROM finished_at)::float8 FROM task_runs WHERE id = %s", lab.first)
    assert found["last_success_timestamp_seconds", SITE] == pytest.approx(ended)
    # While it runs again its failure stays: it would come and go with every run otherwise.
    assert found["last_run_failed", AGAIN] == 1
    # It runs for the first time: nothing is known of how it ends.
    assert found["last_run_timestamp_seconds", NEW] > found["last_run_timestamp_seconds", SITE]
    assert not {("last_run_failed", NEW), ("last_success_timestamp_seconds", NEW)} & set(found)
