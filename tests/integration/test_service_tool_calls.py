"""Waiting calls of tools on the page: who sees what, who decides, and what an approver's token is worth to whom."""

import contextlib
import gc
import re

import mission_control_database as layer
import pytest
from mission_control_service import database as service_database
from mission_control_service import sessions
from mission_control_service.access import COOKIE
from mission_control_service.sessions import Approver, form_key
from prometheus_client.parser import text_string_to_metric_families
from service_lab import AUTHORIZATION, REFRESH_TOKEN, TOKEN, application, close_application
from tool_call_rows import APPROVER_TOKEN, BOTH_TOKENS, REQUESTER_TOKEN, TOKENS, ToolCalls

PAGE = "/tool-calls"
SCRIPT = "<script>alert(1)</script>"
SECRET_ARGUMENT = "only-an-approver-sees-this"


@pytest.fixture
def calls(database):
    return ToolCalls(database)


@pytest.fixture
def app(tmp_path, database, calls):
    app = application(tmp_path, database, health_cache_seconds=60)
    yield app
    close_application(app)


@pytest.fixture
def client(app):
    return app.test_client()


def log_in(client, *tokens):
    for token in tokens or (APPROVER_TOKEN,):
        assert client.post("/login", data={"token": token}).status_code == 303
    return client


def decide(client, call, decision="approve", reason="", key=None, **headers):
    form = {"decision": decision, "reason": reason, "key": own_key(client) if key is None else key}
    return client.post(f"{PAGE}/{call}", data=form, headers=headers)


def own_key(client):
    return form_key(client.get_cookie(COOKIE).value)


def notice_of(client):
    [notice] = re.findall(r'<p class="notice card" role="status">([^<]*)</p>', client.get(PAGE).text)
    return notice


def metric(client, name):
    families = text_string_to_metric_families(client.get("/metrics").text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def test_an_approver_sees_what_there_is_to_decide_by(client, calls):
    before = calls.ask({"namespace": "media", "name": "plex", "old": 1})
    log_in(client)
    decide(client, before)
    calls.carry_out(before)
    calls.ask({"namespace": "media", "name": SECRET_ARGUMENT, "dry_run": False})
    calls.ask({"name": "unchecked"}, checked=False)
    page = client.get(PAGE).text
    assert page.count('<article class="call"') == 1
    assert "restart_deployment" in page
    assert "Restart a deployment, pod by pod." in page
    assert "safe mutate" in page
    assert "claude, by the login mission_control" in page
    assert "no policy covers it, and a tool of risk SAFE_MUTATE requires an approval" in page
    shown = page.split("<pre")[1]
    assert f"    &#34;name&#34;: &#34;{SECRET_ARGUMENT}&#34;,\n    &#34;dry_run&#34;: false," in shown
    changes = re.findall("<(del|ins)>([^<]*)<", page)
    assert changes == [
        ("ins", "+ &#34;dry_run&#34;: false"),
        ("del", "- &#34;name&#34;: &#34;plex&#34;"),
        ("ins", f"+ &#34;name&#34;: &#34;{SECRET_ARGUMENT}&#34;"),
        ("del", "- &#34;old&#34;: 1"),
    ]
    assert "unchecked" not in page


def test_who_reads_sees_how_many_wait_and_no_argument(client, calls):
    calls.ask({"name": SECRET_ARGUMENT})
    log_in(client, TOKEN)
    assert ">1 tool call to approve<" in client.get("/").text
    page = client.get(PAGE).text
    waiting = page.split('id="waiting"')[1].split("</section>")[0]
    assert "restart_deployment" in waiting
    assert "claude" in waiting
    assert SECRET_ARGUMENT not in page
    assert 'name="decision"' not in page
    # With the other right the same session sees more, and keeps the list of all calls.
    page = log_in(client).get(PAGE).text
    assert SECRET_ARGUMENT in page
    assert 'id="calls"' in page
    assert 'id="calls"' not in log_in(client.application.test_client()).get(PAGE).text


def test_each_kind_of_token_opens_its_own_and_nothing_else(client, calls):
    call = calls.ask({"name": SECRET_ARGUMENT})
    assert client.post("/login", data={"token": REQUESTER_TOKEN}).status_code == 403
    for path in ("/api/v1/summary", "/api/v1/tool-calls"):
        assert client.get(path, headers={"Authorization": f"Bearer {APPROVER_TOKEN}"}).status_code == 401
    answer = client.post("/api/v1/inventory/refresh", headers={"Authorization": f"Bearer {APPROVER_TOKEN}"})
    assert answer.status_code == 401
    # An approver's token alone opens no other page.
    log_in(client)
    assert client.get("/").headers["Location"] == PAGE
    assert client.get("/runs").status_code == 403
    assert client.get(f"{PAGE}?status=pending").status_code == 400
    for tokens in ((TOKEN,), (REFRESH_TOKEN,), (TOKEN, REFRESH_TOKEN)):
        other = log_in(client.application.test_client(), *tokens)
        assert decide(other, call).status_code == 303
        assert calls.call(call)["status"] == "pending"
    assert log_in(client.application.test_client(), REFRESH_TOKEN).get(PAGE).status_code == 403
    both = log_in(client.application.test_client(), REFRESH_TOKEN, APPROVER_TOKEN)
    assert f'href="{PAGE}"' in both.get("/").text
    assert decide(both, call).status_code == 303
    assert calls.call(call)["approved_by"] == "carol"


def test_a_decision_is_told_and_kept_with_its_reason(client, calls):
    approved, denied = calls.ask({"name": "plex"}), calls.ask({"name": "sonarr"})
    log_in(client)
    answer = decide(client, approved, reason="  it hangs\n since noon ")
    assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)
    assert notice_of(client) == "Approved: the call of restart_deployment."
    decide(client, denied, "deny", "not before the film ends")
    assert notice_of(client) == "Denied: the call of restart_deployment."
    assert "No call waits." in client.get(PAGE).text
    for call, status, reason in (
        (approved, "approved", "it hangs since noon"),
        (denied, "denied", "not before the film ends"),
    ):
        row = calls.call(call)
        assert (row["status"], row["approved_by"], row["reason"]) == (status, "carol", reason)
    entries = calls.admin.rows(
        "SELECT actor, action, outcome, target_id FROM audit_entries WHERE action IN ('tool_call.approve', 'tool_call.deny') ORDER BY id"
    )
    assert [tuple(entry.values()) for entry in entries] == [
        ("carol", "tool_call.approve", "success", approved),
        ("carol", "tool_call.deny", "success", denied),
    ]


def test_who_asked_for_a_call_decides_nothing_about_it(client, calls):
    own = calls.ask({"name": "plex"}, token=BOTH_TOKENS[0])
    log_in(client, BOTH_TOKENS[1])
    page = client.get(PAGE).text
    assert "You have asked for this call yourself" in page
    assert 'value="approve"' not in page
    decide(client, own)
    assert "dave asked for this call: somebody else has to decide about it." in notice_of(client)
    assert calls.call(own)["status"] == "pending"
    decide(log_in(client.application.test_client()), own)
    assert calls.call(own)["approved_by"] == "carol"


def test_the_second_decision_is_told_that_it_came_too_late(client, calls):
    call = calls.ask({"name": "plex"})
    other = log_in(client.application.test_client(), BOTH_TOKENS[1])
    log_in(client)
    decide(client, call)
    decide(other, call, "deny")
    assert notice_of(other) == "Nothing was decided about the call of restart_deployment: the call is approved."
    assert calls.call(call)["approved_by"] == "carol"


def test_a_call_that_has_expired_is_not_shown_and_not_approved(client, calls):
    call = calls.ask({"name": "plex"})
    log_in(client, TOKEN, APPROVER_TOKEN)
    calls.rewrite(call, "created_at = now() - interval '25 hours'")
    assert "No call waits." in client.get(PAGE).text
    decide(client, call)
    assert "nobody decided about the call within 24 hours" in notice_of(client)
    assert calls.call(call)["status"] == "expired"
    assert decide(client, "00000000-0000-0000-0000-000000000000").status_code == 404


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}]
)
def test_a_form_of_another_site_decides_nothing(client, calls, headers):
    call = calls.ask({"name": "plex"})
    assert decide(log_in(client), call, **headers).status_code == 403
    assert calls.call(call)["status"] == "pending"


def test_a_form_without_the_key_of_its_session_or_a_decision_decides_nothing(client, calls):
    call = calls.ask({"name": "plex"})
    other = log_in(client.application.test_client())
    log_in(client)
    for key in ("", "0" * 64, own_key(other)):
        assert decide(client, call, key=key).status_code == 403
    for form in ({"decision": "Approve"}, {"decision": ""}, {"reason": "x" * 501}, {"reason": "\0"}):
        assert decide(client, call, **form).status_code == 400
    assert client.post(f"{PAGE}/1", data={"key": own_key(client)}).status_code == 404
    assert client.get(f"{PAGE}/{call}").status_code == 405
    assert decide(client.application.test_client(), call, key="").headers["Location"] == "/login"
    assert calls.call(call)["status"] == "pending"


def test_the_right_to_decide_and_the_token_are_gone_after_an_hour(client, calls, monkeypatch):
    call = calls.ask({"name": SECRET_ARGUMENT})
    log_in(client, TOKEN, APPROVER_TOKEN)
    alone = log_in(client.application.test_client(), BOTH_TOKENS[1])
    kept = {each.name for each in gc.get_objects() if isinstance(each, Approver)}
    assert kept >= {"carol", "dave"}
    late = sessions.monotonic() + sessions.APPROVES_FOR
    monkeypatch.setattr(sessions, "monotonic", lambda: late)
    # Nobody looks at the page meanwhile.
    client.get("/live")
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, Approver)]
    decide(client, call)
    assert "this session may not decide, or no longer" in notice_of(client)
    page = client.get(PAGE).text
    assert SECRET_ARGUMENT not in page
    assert 'name="decision"' not in page
    assert decide(alone, call).headers["Location"] == "/login"
    assert alone.get(PAGE).headers["Location"] == "/login"
    assert calls.call(call)["status"] == "pending"


def test_a_token_that_the_database_no_longer_knows_decides_nothing(client, calls):
    call = calls.ask({"name": SECRET_ARGUMENT})
    log_in(client, TOKEN, APPROVER_TOKEN)
    other = log_in(client.application.test_client(), TOKEN, APPROVER_TOKEN)
    calls.keep_tokens({key: token for key, token in TOKENS.items() if key != ("carol", "approver")})
    assert SECRET_ARGUMENT not in client.get(PAGE).text
    decide(other, call)
    assert "the database knows no approver carol with this token any more" in notice_of(other)
    assert calls.call(call)["status"] == "pending"
    refusals = "SELECT actor FROM audit_entries WHERE action = 'tool_call.approve' AND outcome = 'denied'"
    assert calls.admin.values(refusals) == ["mission_control_service"]


def test_logging_out_ends_the_right_for_copies_of_the_cookie_too(client, calls):
    call = calls.ask({"name": SECRET_ARGUMENT})
    log_in(client)
    copy = client.application.test_client()
    copy.set_cookie(COOKIE, client.get_cookie(COOKIE).value)
    assert SECRET_ARGUMENT in copy.get(PAGE).text
    client.post("/logout")
    assert decide(copy, call).headers["Location"] == "/login"
    assert calls.call(call)["status"] == "pending"


def test_a_wrong_token_is_counted_and_asked_of_the_database_in_the_right_form_only(client, calls):
    rejected = metric(client, "mission_control_rejected_tokens_total")
    database = client.application.extensions["mission_control_database"]
    counts, _seconds = database.counts()
    for token in ("short", "x" * 31, "x" * 513, "ä" * 40, "x" * 40 + " y", APPROVER_TOKEN + "\\"):
        assert client.post("/login", data={"token": token}).status_code == 403
    assert database.counts()[0] == counts
    for token in ("x" * 32, APPROVER_TOKEN[:-1] + "1", APPROVER_TOKEN.upper()):
        answer = client.post("/login", data={"token": token})
        assert (answer.status_code, "Set-Cookie" in answer.headers) == (403, False)
        assert token not in answer.text
    assert database.counts()[0] == {**counts, "succeeded": counts["succeeded"] + 3}
    assert metric(client, "mission_control_rejected_tokens_total") == rejected + 9


def test_what_others_wrote_is_escaped_and_shown_as_it_is(client, calls):
    # By the application's own login, whose arguments may hold anything.
    number = "12345678901234567890.000000000000000000001"
    turned = "\u202egnidaelsim"
    calls.ask(f'{{"{SCRIPT}": "{SCRIPT}", "number": {number}, "turned": "{turned}", "deep": {"[" * 60}{"]" * 60}}}')
    old = calls.admin.insert("tool_definitions", name=f"{SCRIPT}{turned}", risk_level="SAFE_MUTATE", description=SCRIPT)
    tool = calls.admin.value("SELECT tool_id FROM tool_call_records")
    calls.admin.run(
        "INSERT INTO tool_call_records (task_run_id, tool_id, arguments, requested_by, requested_login, policy, reason, checked_at) "
        "VALUES (%s, %s, '{}', %s, %s, %s, %s, now())",
        *(calls.run, old["id"], SCRIPT, SCRIPT, SCRIPT, SCRIPT),
    )
    calls.admin.run("UPDATE tool_call_records SET requested_by = %s WHERE tool_id = %s", SCRIPT, tool)
    log_in(client, TOKEN, APPROVER_TOKEN)
    for path in (PAGE, "/", f"{PAGE}?tool={SCRIPT}"):
        page = client.get(path).text
        assert "<script" not in page
        assert turned not in page
    page = client.get(PAGE).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202egnidaelsim" in page
    assert "\\u202egnidaelsim" in page
    assert f"&#34;number&#34;: {number}" in page


def test_many_and_large_arguments_make_no_page_without_end(client, calls):
    wide = [[[[[[[[[[[]]]]]]]]]]] * 2000
    for _each in range(3):
        calls.ask({"list": wide})
    for _each in range(55):
        calls.ask({"name": "plex"})
    page = log_in(client).get(PAGE).text
    assert len(page) < 2_000_000
    assert page.count('<article class="call"') == 50
    assert "The 50 that wait for longest of 58." in page


def test_while_the_database_is_away_nobody_logs_in_and_nobody_is_told_of_a_decision(client, calls, database):
    call = calls.ask({"name": "plex"})
    log_in(client, TOKEN, APPROVER_TOKEN)
    client.get("/health")
    with contextlib.closing(layer.Session(database.cluster.connect())) as server:
        server.run(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
        decide(client, call)
        answer = client.post("/login", data={"token": APPROVER_TOKEN})
        server.run(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")
    assert answer.status_code == 503
    assert "whether it is an approver&#39;s cannot be asked now" in answer.text
    client.get("/health")
    assert "nobody knows yet whether the call was decided" in notice_of(client)
    assert calls.call(call)["status"] == "pending"
    # A server that hangs in the middle of the decision.
    with calls.admin.transaction():
        calls.admin.run("LOCK TABLE tool_definitions IN ACCESS EXCLUSIVE MODE")
        client.application.extensions["mission_control_database"]._longest = 0.5
        decide(client, call)
    client.application.extensions["mission_control_database"]._longest = 10
    assert "nobody knows yet whether the call was decided" in notice_of(client)
    decide(client, call)
    assert notice_of(client) == "Approved: the call of restart_deployment."


def test_those_who_try_tokens_leave_the_others_their_connections(client, calls, monkeypatch):
    monkeypatch.setattr(service_database, "_POOL_TIMEOUT", 0.01)
    permits = client.application.extensions["mission_control_database"]._with_token
    assert permits.acquire(blocking=False)
    log_in(client)
    assert permits.acquire(blocking=False)
    assert not permits.acquire(blocking=False)
    answer = client.post("/login", data={"token": "x" * 40})
    assert (answer.status_code, "Too many ask for this at the same time" in answer.text) == (503, True)
    permits.release(2)


def test_an_older_schema_knows_no_approvers(client, calls):
    calls.admin.run("DROP FUNCTION tool_token_name(text, text)")
    answer = client.post("/login", data={"token": APPROVER_TOKEN})
    assert (answer.status_code, "This token is not known here." in answer.text) == (403, True)


def test_the_api_lists_the_calls_without_arguments(client, calls):
    first, second = calls.ask({"name": SECRET_ARGUMENT}), calls.ask({}, tool="list_deployments", checked=False)
    answer = client.get("/api/v1/tool-calls", headers=AUTHORIZATION)
    assert [each["id"] for each in answer.json["items"]] == [second, first]
    assert SECRET_ARGUMENT not in answer.text
    waiting = answer.json["items"][1]
    assert {name: waiting[name] for name in ("tool", "risk_level", "status", "waits_for_approval", "requested_by")} == {
        "tool": "restart_deployment",
        "risk_level": "SAFE_MUTATE",
        "status": "pending",
        "waits_for_approval": True,
        "requested_by": "claude",
    }
    assert not {"arguments", "result", "error", "reason"} & waiting.keys()
    for query, expected in (
        ("status=approved", [second]),
        ("tool=restart_deployment", [first]),
        ("tool=unknown", []),
        (f"task_run_id={calls.run}", [second, first]),
    ):
        answer = client.get(f"/api/v1/tool-calls?{query}", headers=AUTHORIZATION)
        assert [each["id"] for each in answer.json["items"]] == expected, query
    assert client.get("/api/v1/tool-calls?status=waiting", headers=AUTHORIZATION).status_code == 400
    assert client.get(f"/api/v1/tool-calls/{first}", headers=AUTHORIZATION).json == waiting
