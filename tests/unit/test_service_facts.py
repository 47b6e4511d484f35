"""What is read from a host for the service's role: sockets, files, answers."""

from __future__ import annotations

import contextlib
import getpass
import http.server
import os
import socket
import threading

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.facts import service as facts


@contextlib.contextmanager
def listener(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("held", "wanted", "conflict"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("::1", "::1", True),
        ("::", "127.0.0.1", True),
        ("::1", "127.0.0.1", False),
    ],
)
def test_a_port_is_held_where_the_addresses_meet(held, wanted, conflict):
    with listener(held) as port:
        holder = facts.address_holder(wanted, port, "somebody else")
        assert (holder or {}).get("pid") == (os.getpid() if conflict else None)


def test_the_services_own_process_holds_nothing_up():
    with listener("127.0.0.1") as port:
        assert facts.address_holder("127.0.0.1", port, getpass.getuser()) is None


def test_a_free_port_has_no_holder():
    with listener("127.0.0.1") as port:
        pass
    assert facts.address_holder("127.0.0.1", port, "anybody") is None


def test_a_unit_is_read_from_what_systemctl_prints(tmp_path, monkeypatch):
    printed = [
        "MainPID=42",
        "LoadState=loaded",
        "ActiveState=active",
        "UnitFileState=enabled",
        "NeedDaemonReload=no",
        "ExecMainStartTimestamp=Mon 2026-02-09 10:11:12.131415 UTC",
    ]
    monkeypatch.setattr(facts, "_output", lambda command: "\n".join(printed))
    unit = facts.describe_unit("mission-control.service")
    assert unit == {
        "loaded": True,
        "running": True,
        "enabled": True,
        "needs_reload": False,
        "started": 1770631872.131415,
    }
    printed[:] = [
        "MainPID=0",
        "LoadState=not-found",
        "ActiveState=inactive",
        "UnitFileState=",
        "ExecMainStartTimestamp=",
    ]
    unit = facts.describe_unit("mission-control.service")
    assert unit == {"loaded": False, "running": False, "enabled": False, "needs_reload": False, "started": 0.0}


@pytest.mark.parametrize(("state", "started"), [("active", 1770631872.131415), ("inactive", 0.0)])
def test_a_timer_which_has_no_process_was_started_when_it_became_active(monkeypatch, state, started):
    printed = f"ActiveState={state}\nUnitFileState=enabled\nActiveEnterTimestamp=Mon 2026-02-09 10:11:12.131415 UTC"
    monkeypatch.setattr(facts, "_output", lambda command: printed)
    assert facts.describe_unit("mission-control-maintenance.timer")["started"] == started


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503)
        self.end_headers()
        self.wfile.write(b'{"status": "unavailable"}' if self.path == "/ready" else b"<p>no JSON</p>")

    def log_message(self, *_arguments):
        pass


def test_answers_are_read_with_their_status():
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        assert facts.get("127.0.0.1", port, "/ready") == {"status": 503, "body": {"status": "unavailable"}}
        # A service on all addresses is asked on loopback.
        assert facts.get("0.0.0.0", port, "/live") == {"status": 503, "body": None}
        server.shutdown()
    assert facts.get("127.0.0.1", port, "/live") == {"status": 0, "body": None}
