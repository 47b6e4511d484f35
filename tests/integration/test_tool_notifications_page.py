"""The program of docs/tool-notifications.md, against a server that stands for ntfy."""

import http.server
import os
import queue
import re
import subprocess
import sys
import threading

import pytest
from mission_control_database import ROLES
from playbook import ROOT
from tool_call_rows import APPROVER_TOKEN, ToolCalls

PAGE = "https://mission-control.home.arpa"


@pytest.fixture
def ntfy():
    """Address of a server, and a queue of the messages that it is sent: headers and text. The first it cannot take."""
    messages = queue.Queue()
    refuse = iter((True,))

    class Topic(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            refused = next(refuse, False)
            if not refused:
                messages.put((dict(self.headers), text))
            self.send_response(503 if refused else 200)
            self.end_headers()

        def log_message(self, *_arguments):
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Topic) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/a-topic", messages
        server.shutdown()


@pytest.fixture
def program(tmp_path, database, ntfy):
    page = (ROOT / "docs/tool-notifications.md").read_text(encoding="utf-8")
    [source] = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    file = tmp_path / "tell_ntfy.py"
    file.write_text(source.replace("time.sleep(5)", "time.sleep(0.1)"), encoding="utf-8")
    variables = {
        "PGHOST": database.cluster.socket_directory,
        "PGPORT": str(database.cluster.port),
        "PGDATABASE": database.name,
        "PGUSER": ROLES["readonly"],
        "NTFY_URL": ntfy[0],
        "MISSION_CONTROL_URL": PAGE,
    }
    process = subprocess.Popen([sys.executable, str(file)], env={**os.environ, **variables}, stderr=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_each_call_that_begins_to_wait_is_told_once_without_its_arguments(database, ntfy, request):
    messages = ntfy[1]
    calls = ToolCalls(database)
    # Before the program is there, and ntfy refuses the first message about it.
    first = calls.ask({"name": "plex"})
    program = request.getfixturevalue("program")
    headers, text = messages.get(timeout=30)
    assert text == "restart_deployment waits for an approval."
    assert (headers["Click"], headers["Title"]) == (f"{PAGE}/tool-calls", "Mission Control")
    calls.ask({"name": "unchecked"}, checked=False)
    calls.ask({}, tool="list_deployments")
    database.session("application").run("SELECT decide_tool_call(%s, 'deny', NULL, %s)", first, APPROVER_TOKEN)
    calls.ask({"name": "sonarr"})
    assert messages.get(timeout=30)[1] == text
    # Cut off, it goes on and says nothing twice.
    calls.admin.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", ROLES["readonly"])
    calls.ask({"name": "radarr"})
    headers, text = messages.get(timeout=30)
    assert "radarr" not in f"{headers} {text}"
    assert messages.empty()
    assert program.poll() is None
