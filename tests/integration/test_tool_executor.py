"""The executor as a process: calls are judged, carried out once, masked, bounded, and Mission Control's own tools tell what they should."""

import base64
import contextlib
import json
from urllib.parse import quote

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import ToolArgumentsError
from ansible_collections.homelab.mission_control.plugins.module_utils.tools.connectors.registry import SOURCE_CONNECTORS
from command import run_process
from executor_lab import DEAF_COMMAND, LIST, LOGS, RESTART, SEED, TOKEN, ExecutorLab, eventually
from library_client import client_of
from tool_lab import APPROVER


@pytest.fixture
def lab(database, tmp_path):
    made = ExecutorLab(database, tmp_path)
    yield made
    made.end()


@pytest.fixture
def alice(database):
    with client_of(database, tool_token=APPROVER) as client:
        yield client


def test_an_allowed_call_is_carried_out_once_at_once(lab):
    lab.start(command=[*DEAF_COMMAND[:-1], DEAF_COMMAND[-1].replace("'another', 0.3", "'mission_control_tools', 600")])
    lab.tell({"web": {"log": "ready\n"}})
    eventually(lambda: "The executor knows lab." in lab.log, "it is ready")
    call = lab.carried_out(LOGS, source="lab", container="web")
    assert (call.status, call.result, call.error) == ("succeeded", {"container": "web", "log": "ready\n"}, None)
    assert lab.acts == [("logs", "web")]


def test_a_call_that_needs_approval_is_judged_first_and_carried_out_after_it(database, tmp_path, alice):
    lab = ExecutorLab(database, tmp_path, policies=())
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(lab.end)
        call_id = lab.ask(RESTART, source="lab", container="web")
        assert not alice.tools.approve(call_id).accepted
        process = lab.start()
        eventually(lambda: [each.id for each in alice.tools.waiting()] == [call_id], "a person may decide")
        assert alice.tools.approve(call_id).accepted
        assert lab.ended(call_id).status == "succeeded"
        assert lab.acts == [("restart", "web")]
        assert f"Call {call_id} of {RESTART}: succeeded" in lab.stop(process)
        assert "web" not in lab.log


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        (RESTART, {"source": "attic", "container": "web"}, "The argument source names no source of docker that the executor has: there is lab."),
        ("query_prometheus", {"source": "lab", "query": "up"}, "The source lab is one of docker, and the tool needs one of prometheus."),
        (RESTART, {"source": "lab", "container": "../images"}, "The argument container must be the name of a container."),
        (RESTART, {"source": "lab", "container": 5}, "The argument container must be a text."),
        (RESTART, {"source": "lab"}, "The argument container is missing."),
    ],
)  # fmt: skip
def test_a_call_that_cannot_be_carried_out_is_denied_with_a_sentence(lab, application, tool, arguments, sentence):
    # As a program asks that is not the library, which would have refused some of them.
    call_id = application.value(
        "SELECT call_id FROM request_tool_call(%s, %s, %s::jsonb)", str(lab.run), tool, json.dumps(arguments)
    )
    lab.start()
    call = lab.ended(call_id)
    assert call.status == "denied"
    assert call.error.startswith(sentence)
    assert lab.acts == []


def test_the_library_says_it_before_anything_is_asked_for(lab):
    with pytest.raises(ToolArgumentsError, match="container"):
        lab.ask(RESTART, source="lab")


def test_secrets_in_a_result_are_masked_in_every_encoding_and_never_stored(lab, admin):
    plain = TOKEN.encode()
    forms = {
        "plain": TOKEN,
        "base64": base64.b64encode(plain).decode(),
        "within base64": base64.b64encode(b"admin:" + plain + b"\n").decode(),
        "base64 for URLs": base64.urlsafe_b64encode(b"x" + plain).decode(),
        "base64 twice": base64.b64encode(base64.b64encode(plain)).decode(),
        "hexadecimal": plain.hex(),
        "URL": quote(TOKEN, safe=""),
        "every character of a URL": "".join(f"%{each:02X}" for each in plain),
        "JSON": json.dumps({"t": TOKEN}).replace("/", "\\/"),
        "escapes": "".join(f"\\x{each:02x}" for each in plain),
        "HTML": "".join(f"&#{each};" for each in plain),
        "base32": base64.b32encode(plain).decode(),
        "backwards": TOKEN[::-1],
    }
    log = "".join(f"{name} | {form} | end\n" for name, form in forms.items())
    more = {"labels": {"db_password": "hunter2hunter2", "app": "web"}}
    lab.tell(
        {
            "web": {
                "log": f"{log}Authorization: Bearer abc.def\npassword=hunter2hunter2\npod-7d9f8b6c5-x2x9z ok\n",
                "more": more,
            }
        }
    )
    lab.start()
    call = lab.carried_out(LOGS, source="lab", container="web")
    lines = call.result["log"].splitlines()
    assert all(form not in call.result["log"] for form in forms.values())
    assert {line.split(" | ")[0] for line in lines[: len(forms)]} == set(forms)
    assert lines[-3:] == ["Authorization: ***", "password=***", "pod-7d9f8b6c5-x2x9z ok"]
    assert call.result["labels"] == {"db_password": "***", "app": "web"}
    stored = json.dumps(admin.rows("SELECT r::text AS row FROM tool_call_records AS r"))
    assert not [name for name, form in forms.items() if form in stored]


def test_a_result_is_cut_to_the_limit_of_its_tool_and_says_so(lab):
    limit = next(each for each in SEED if each["name"] == LOGS)["output_limit_bytes"]
    lines = [f"line {number} é\n" for number in range(40_000)]
    lab.tell(
        {
            "web": {"log": "".join(lines)},
            "list": {"containers": [{"name": f"container-{number}"} for number in range(5000)]},
        }
    )
    lab.start()
    call = lab.carried_out(LOGS, source="lab", container="web")
    assert call.result["log"].endswith(lines[-1])
    assert call.result["log"].splitlines(keepends=True)[0] in lines
    assert len(json.dumps(call.result, ensure_ascii=False).encode()) <= limit
    assert f"characters are shown: the rest is over the tool's output limit of {limit} bytes." in call.result["cut"]
    call = lab.carried_out(LIST, source="lab")
    assert call.result["containers"][0] == {"name": "container-0"}
    assert call.result["cut"].startswith(f"{len(call.result['containers'])} of 5000 containers are shown")


def test_missions_own_tools_tell_what_the_login_may_read(lab, application):
    application.insert("hosts", name="nas", type="bare-metal", status="online")
    application.insert("hosts", name="old", type="vm", status="offline")
    application.insert("workloads", name="plex", type="docker-container", status="running")
    lab.start()
    calls = {each["name"]: lab.carried_out(each["name"]) for each in SEED if each["connector"] == "mission_control"}
    assert {name: (call.status, call.error) for name, call in calls.items()} == dict.fromkeys(
        calls, ("succeeded", None)
    )
    assert [each["name"] for each in calls["list_hosts"].result["hosts"]] == ["nas", "old"]
    assert [each["name"] for each in calls["list_workloads"].result["workloads"]] == ["plex"]
    assert calls["list_runs"].result["runs"][0]["title"] == "a test"
    assert calls["show_usage"].result["total"]["calls"] == 0
    assert {each["name"] for each in calls["show_health"].result["checks"]} >= {"connection", "migrations"}
    assert calls["list_backups"].result == {"backups": [], "more": False}
    call = lab.carried_out("list_hosts", status="offline", limit=1)
    assert ([each["name"] for each in call.result["hosts"]], call.result["more"]) == (["old"], False)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--concurrency", "65"), "64 calls at the same time are the most"),
        (("--concurrency", "0"), "a whole number is needed, 1 or more"),
        ((), "source lab: Its interval is 1, but"),
    ],
)
def test_wrong_settings_end_it_before_anything_is_connected(lab, words, sentence):
    lab.configure("lab", interval=1)
    result = run_process(lab.database, "tools", "worker", "--file", str(lab.file), *words, role="executor")
    assert (result.returncode, result.stdout) == (2, "")
    assert sentence in result.stderr


def test_without_a_file_it_carries_out_what_needs_no_source(lab):
    lab.file.unlink()
    lab.start()
    assert lab.carried_out("show_health").status == "succeeded"
    assert lab.carried_out(LOGS, source="lab", container="web").error.endswith("that the executor has: there is none.")


def test_every_connector_is_one_of_a_source():
    assert set(SOURCE_CONNECTORS) == {each["connector"] for each in SEED} - {"mission_control"}
