"""Functions of our names and of PostgreSQL's that a site-local migration has created: no program of ours calls them where a token could be read."""

from __future__ import annotations

import re

import psycopg2
import pytest
from library_client import client_of
from mission_control_service.access import COOKIE
from mission_control_service.sessions import form_key
from service_lab import application, close_application
from test_attack_tool_sites import Site
from tool_field import TOKENS

ANSWER = "TABLE (accepted boolean, call_id uuid, status text, effect text, policy text, reason text)"
# Each fits an argument without a type, or of any type, better than what is meant.
FUNCTIONS = [
    ("tool_token_name", "text", "text"),
    ("decide_tool_call", "text, text, text", ANSWER),
    ("decide_tool_call", "text, text, text, text", ANSWER),
    ("request_tool_call", "text, text, jsonb, text, text", ANSWER),
    ("request_tool_call", "text, text, text, text, text", ANSWER),
    ("cancel_tool_call", "text, text", ANSWER),
    ("tool_policy_decision", "text, text, text", ANSWER),
    ("waiting_tool_calls", "varchar", "SETOF text"),
    ("current_setting", "varchar, boolean", "text"),
    ("to_json", "text", "json"),
    ("json_build_object", "text, text, text, text, text, text", "json"),
    ("json_build_object", "text, json, text, text, text, text", "json"),
]
FUNCTION = """
CREATE FUNCTION {name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'taken by {name}({arguments}): %', current_setting('mission_control.tool_token', true) USING ERRCODE = 'TRAP0';
END $$;
"""
AGGREGATE = """
CREATE FUNCTION site_step(json, json) RETURNS json LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'taken by json_agg: %', current_setting('mission_control.tool_token', true) USING ERRCODE = 'TRAP0'; END $$;
CREATE AGGREGATE json_agg(json) (SFUNC = site_step, STYPE = json);
"""


@pytest.fixture(scope="module")
def thieves(tool_field):
    body = "".join(
        FUNCTION.format(name=name, arguments=arguments, result=result) for name, arguments, result in FUNCTIONS
    )
    assert Site(tool_field).run(body + AGGREGATE) == ""
    # A run takes away what others may execute of the owner's; a SECURITY DEFINER trigger of the owner's gives it back whenever it likes.
    names = ", ".join(f"{name}({arguments})" for name, arguments, _ in FUNCTIONS)
    tool_field.database.session("owner").run(
        f"GRANT EXECUTE ON FUNCTION {names}, site_step(json, json), json_agg(json) TO PUBLIC"
    )
    return tool_field


def test_the_thieves_would_take(thieves):
    service = thieves.session("service")
    for statement in (
        "SELECT decide_tool_call('6c1d7e20-0000-0000-0000-000000000000', 'approve', 'x', 'token')",
        "SELECT to_json('x'::text)",
        "SELECT json_agg(to_json(1))",
    ):
        with pytest.raises(psycopg2.Error, match="taken by") as caught:
            service.run(statement)
        assert caught.value.pgcode == "TRAP0"


def test_attack_take_the_token_of_an_approver_on_the_command_line(thieves):
    call, other = thieves.checked(), thieves.checked()
    for role in ("application", "service"):
        with client_of(thieves.database, role, tool_token=TOKENS["carol", "approver"]) as client:
            assert call in {str(each.id) for each in client.tools.waiting()}
    with client_of(thieves.database, tool_token=TOKENS["carol", "approver"]) as client:
        assert client.tools.approve(call, "it hangs").accepted
        assert client.tools.deny(other, "no").accepted
        assert client.tools.call(call).approved_by == "carol"
        assert str(client.tools.find(call[:8])[0]) == call


def test_attack_take_the_token_of_a_requester(thieves):
    run = thieves.new_run()
    with client_of(thieves.database, tool_token=TOKENS["bot", "requester"]) as client:
        assert client.tools.caller() == "bot"
        answer = client.tools.request("restart", {}, task_run_id=run, key="key")
        assert (answer.status, client.tools.call(answer.call_id).requested_by) == ("pending", "bot")
        assert client.tools.decision("wipe").effect == "deny"
        assert set(client.tools.decisions()) == {tool.name for tool in client.tools.list()}
        assert client.tools.cancel(answer.call_id).accepted


def test_attack_take_the_token_of_an_approver_on_the_page(thieves, tmp_path):
    call = thieves.started("00000000-0000-4000-8000-000000000002", arguments='{"name": "plex"}')
    call = thieves.checked(arguments='{"name": "other"}')
    app = application(tmp_path, thieves.database)
    try:
        client = app.test_client()
        assert client.post("/login", data={"token": TOKENS["carol", "approver"]}).status_code == 303
        page = client.get("/tool-calls")
        assert page.status_code == 200
        assert re.search(r"<(del|ins)>[^<]*other", page.text), "what differs from the last call"
        form = {"decision": "approve", "reason": "", "key": form_key(client.get_cookie(COOKIE).value)}
        assert client.post(f"/tool-calls/{call}", data=form).status_code == 303
        assert thieves.calls()[call]["approved_by"] == "carol"
    finally:
        close_application(app)
