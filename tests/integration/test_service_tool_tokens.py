"""A real service and a server that writes down all it can: an approver's token is left nowhere."""

import contextlib
import http.client
from urllib.parse import urlencode

import mission_control_database as layer
import pytest
from mission_control_service.access import COOKIE
from mission_control_service.sessions import form_key
from secret_watch import SecretWatch, files_below
from service_lab import TOKEN, Service
from throwaway_cluster import ThrowawayCluster
from tool_call_rows import APPROVER_TOKEN, ToolCalls

WRONG_TOKEN = "a-token-that-no-approver-has-0000000000"
REASON = "the-reason-is-no-secret"


@pytest.fixture(scope="module")
def database():
    with ThrowawayCluster(
        log_statement="all",
        log_min_duration_statement="0",
        log_min_error_statement="debug5",
        log_connections="on",
        log_disconnections="on",
    ) as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "loud")
        layer.provision(database)
        yield database
        database.close()


class Browser:
    """Keeps its cookie, and everything that it was answered."""

    def __init__(self, service):
        self._service = service
        self.cookie = ""
        self.answers = ""

    def ask(self, method, path, **form):
        headers = {"Cookie": f"{COOKIE}={self.cookie}", "Content-Type": "application/x-www-form-urlencoded"}
        with self._service.connection(timeout=30) as connection:
            connection.request(method, path, urlencode(form) if form else None, headers)
            answer = connection.getresponse()
            body = answer.read().decode()
        self.answers += f"{answer.headers}\n{body}"
        if "Set-Cookie" in answer.headers:
            self.cookie = http.client.HTTPMessage.get(answer.headers, "Set-Cookie").split("=", 1)[1].split(";")[0]
        return answer.status, body

    def decide(self, call):
        return self.ask("POST", f"/tool-calls/{call}", decision="approve", reason=REASON, key=form_key(self.cookie))


def test_a_token_is_in_no_statement_log_answer_or_file(tmp_path, database):
    calls = ToolCalls(database)
    first, second = calls.ask({"name": "plex"}), calls.ask({"name": "sonarr"})
    with (
        SecretWatch(database.cluster) as watch,
        Service(tmp_path, database, tokens=(TOKEN,), STATEMENT_TIMEOUT=1) as service,
    ):
        service.wait_for("/api/v1/summary", 200)
        browser = Browser(service)
        assert browser.ask("POST", "/login", token=TOKEN)[0] == 303
        assert browser.ask("POST", "/login", token=WRONG_TOKEN)[0] == 403
        assert browser.ask("POST", "/login", token=APPROVER_TOKEN)[0] == 303
        assert "plex" in browser.ask("GET", "/tool-calls")[1]
        assert browser.decide(first)[0] == 303
        assert "Approved" in browser.ask("GET", "/tool-calls")[1]
        # A statement that fails is written to the log with its text.
        with calls.admin.transaction():
            calls.admin.run("LOCK TABLE tool_call_records IN ACCESS EXCLUSIVE MODE")
            assert browser.decide(second)[0] == 303
        assert "nobody knows yet" in browser.ask("GET", "/tool-calls")[1]
        calls.keep_tokens({})
        assert "knows no approver carol" in browser.ask("GET", "/tool-calls")[1]
        service.wait_for("/metrics", 200)
        browser.ask("GET", "/metrics")
        watch_began = watch.looks
        service.terminate()
        service.process.wait(timeout=30)
    assert watch.looks > watch_began > 50
    with open(database.cluster.log_file, encoding="utf-8", errors="replace") as file:
        server_log = file.read()
    # What it is made to write down it does.
    assert "decide_tool_call(" in server_log
    assert REASON in server_log
    assert "canceling statement due to statement timeout" in server_log
    secrets = str(tmp_path / "secrets")
    places = {
        "the server's log": server_log,
        "pg_stat_activity": "\n".join(watch.activity),
        "the command lines": "\n".join(watch.command_lines),
        "the answers": browser.answers,
        **{path: text for path, text in files_below(tmp_path).items() if not path.startswith(secrets)},
    }
    assert any(path.endswith("service.log") for path in places)
    for token in (APPROVER_TOKEN, WRONG_TOKEN):
        assert [place for place, text in places.items() if token in text] == []
    with contextlib.suppress(FileNotFoundError):
        assert APPROVER_TOKEN not in (tmp_path / "service.log").read_text()
