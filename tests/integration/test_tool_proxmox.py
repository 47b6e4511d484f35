"""What tools do at the fake of Proxmox VE, and at a proxy before Docker's socket."""

import contextlib
import re
import threading
import time
from urllib.parse import parse_qs

import pytest
import yaml
from answering_server import Answer, AnsweringServer, as_json
from executor_lab import FOLLOW, NO_RIGHT, ROOT, carry_out, result_of
from mission_control.tools.carrying import CallProcess
from proxmox_fake import TOKEN as PROXMOX_TOKEN
from proxmox_fake import ProxmoxFake


@pytest.fixture
def cluster(tmp_path):
    with ProxmoxFake(tmp_path) as fake:
        fake.add(100, "web", status="stopped")
        fake.add(101, "db", node="pve2", kind="lxc")
        fake.add(900, "template", template=1)
        fake.rights["/vms"]["VM.PowerMgmt"] = 1
        yield fake


def at(cluster, operation, **arguments):
    return carry_out(f"proxmox.{operation}", cluster.options, {"token": PROXMOX_TOKEN}, **arguments)


def test_guests_are_listed(cluster):
    status, found, error = at(cluster, "list_guests")
    assert (status, error) == ("succeeded", None)
    assert [(each["vmid"], each["name"], each["status"]) for each in found["guests"]] == [
        (100, "web", "stopped"),
        (101, "db", "running"),
    ]
    for filters, expected in (
        ({"node": "pve2"}, [101]),
        ({"type": "qemu"}, [100]),
        ({"status": "running"}, [101]),
        ({"limit": 1}, [100]),
    ):
        assert [each["vmid"] for each in at(cluster, "list_guests", **filters)[1]["guests"]] == expected


@pytest.mark.parametrize(
    ("operation", "vmid", "path", "becomes"),
    [
        ("start_guest", 100, "/nodes/pve1/qemu/100/status/start", "running"),
        ("shut_down_guest", 101, "/nodes/pve2/lxc/101/status/shutdown", "stopped"),
    ],
)
def test_a_task_is_begun_once_and_its_end_is_seen(cluster, operation, vmid, path, becomes):
    status, result, error = at(cluster, operation, vmid=vmid)
    assert (status, error) == ("succeeded", None)
    assert (result["exit_status"], result["task"].split(":")[0]) == ("OK", "UPID")
    assert [each for each, _body in cluster.posted] == [path]
    assert cluster.guests[vmid]["status"] == becomes
    if operation == "shut_down_guest":
        assert parse_qs(cluster.posted[0][1]) == {"timeout": ["45"], "forceStop": ["0"]}


def test_a_task_that_fails_and_one_that_does_not_end_say_so(cluster):
    cluster.ends = {100: "VM 100 already running", 101: None}
    status, result, error = at(cluster, "start_guest", vmid=100)
    assert (status, error) == ("failed", "The guest 100 of lab: the task ended with VM 100 already running.")
    status, result, error = carry_out(
        "proxmox.shut_down_guest",
        cluster.options,
        {"token": PROXMOX_TOKEN},
        seconds=8,
        vmid=101,
        shutdown_seconds=2,
    )
    assert (status, result["task"] in error) == ("timed_out", True)
    assert error.endswith("goes on, and its end was not seen within the time limit.")


def test_a_login_that_only_reads_starts_nothing(cluster):
    del cluster.rights["/vms"]["VM.PowerMgmt"]
    status, _result, error = at(cluster, "start_guest", vmid=100)
    assert status == "failed"
    assert error.startswith(f"{NO_RIGHT} (answered 403 Permission check failed (/vms/100, VM.PowerMgmt)")
    assert error.endswith(f"it needs VM.Audit and VM.PowerMgmt on /vms; {FOLLOW}")
    assert cluster.guests[100]["status"] == "stopped"


def test_what_is_not_there_and_what_takes_too_long_is_one_sentence(cluster):
    assert "The guest 555 of lab is not there" in at(cluster, "start_guest", vmid=555)[2]
    assert "give a smaller shutdown_seconds" in at(cluster, "shut_down_guest", vmid=101, shutdown_seconds=100)[2]
    assert cluster.posted == []


@pytest.fixture
def proxy(tmp_path):
    """A callable: the address of an engine behind the rules of a proxy that files/inventory ships."""
    with contextlib.ExitStack() as stack:

        def start(name):
            (proxy,) = yaml.safe_load((ROOT / f"files/inventory/{name}.yml").read_text())["services"].values()
            rules = dict(
                each.removeprefix("-allow").split("=", 1) for each in proxy["command"] if each.startswith("-allow")
            )

            def answer(method, path, given):
                allowed = re.fullmatch(rules.get(method, "(?!)"), path.partition("?")[0])
                return given if allowed else Answer(b"Forbidden", 403, "text/plain")

            def get(path, _headers):
                listed = (
                    as_json(
                        [
                            {"Names": [f"/{name}"], "Id": str(number) * 64}
                            for number, name in enumerate(("web", "shop-web_1.a"))
                        ]
                    )
                    if "json" in path
                    else Answer(b"ready", kind="text/plain")
                )
                return answer("GET", path, listed)

            socket = tmp_path / "proxy.sock"
            stack.enter_context(
                AnsweringServer(
                    get, socket, answer_post=lambda path, _headers, _body: answer("POST", path, Answer(b"", 204))
                )
            )
            return f"unix://{socket}"

        yield start


def test_a_source_that_only_reads_restarts_nothing(proxy):
    url = proxy("docker-socket-proxy")
    assert result_of("docker.list_containers", {"url": url})["containers"][1]["name"] == "web"
    status, _result, error = carry_out("docker.restart_container", {"url": url}, container="web")
    assert status == "failed"
    assert (
        error
        == f"{NO_RIGHT} (answered 403 Forbidden): it needs GET /containers/json and POST /containers/ID/restart; {FOLLOW}"
    )


def test_the_proxy_for_tools_lets_through_what_they_do(proxy):
    url = proxy("docker-socket-proxy-tools")
    assert result_of("docker.list_containers", {"url": url})["containers"][1]["name"] == "web"
    assert result_of("docker.container_logs", {"url": url}, container="shop-web_1.a")["log"] == "ready"
    assert result_of("docker.restart_container", {"url": url}, container="shop-web_1.a")["restarted"] is True


def test_an_engine_that_is_away_is_one_sentence(tmp_path):
    status, _result, error = carry_out("docker.restart_container", {"url": f"unix://{tmp_path}/none"}, container="web")
    assert (status, "No such file or directory" in error) == ("failed", True)


def test_the_process_of_a_call_gets_no_secret_before_it_may_act():
    began = time.monotonic()
    with CallProcess(512, threading.Event()) as process:
        tool = {
            "connector": "docker",
            "operation": "list_containers",
            "risk_level": "READ_ONLY",
            "arguments_schema": {},
            "preset": {},
        }
        assert process.problem(tool, {"source": "lab", "al": True}) == "There is no argument 'al'; did you mean 'all'?"
    assert time.monotonic() - began < 60
