"""What the tool of Prometheus does at a real server."""

import base64
import contextlib
import json
import subprocess
import urllib.request
from urllib.parse import parse_qs

import pytest
from answering_server import Answer, AnsweringServer, as_json
from certificates import Authority
from executor_lab import ROOT, carry_out, result_of
from kubernetes_server import _free_port
from processes import wait_for

PROMETHEUS = ROOT / ".cache/promtool/prometheus"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    directory = tmp_path_factory.mktemp("prometheus")
    subprocess.run([ROOT / "scripts/install-test-packages"], check=True, capture_output=True)
    port = _free_port()
    (directory / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: own, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
    command = [
        *("setpriv", "--pdeathsig", "KILL", PROMETHEUS, f"--config.file={directory}/prometheus.yml"),
        *(f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{port}"),
    ]
    with open(directory / "log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        address = f"http://127.0.0.1:{port}"

        def scraped():
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/api/v1/query?query=up") as answer:
                return bool(json.load(answer)["data"]["result"])
            return False

        try:
            wait_for(scraped, 60)
            yield address
        finally:
            process.kill()


def test_an_expression_is_evaluated(url):
    found = result_of("prometheus.query", {"url": url}, query="up == 1")
    assert (found["type"], found["more"]) == ("vector", False)
    assert found["series"][0]["metric"]["job"] == "own"
    assert found["series"][0]["value"][1] == "1"
    assert result_of("prometheus.query", {"url": url}, query="1 + 1")["value"][1] == "2"
    assert result_of("prometheus.query", {"url": url}, query='"é&limit=0#"')["value"][1] == "é&limit=0#"
    few = result_of("prometheus.query", {"url": url}, query='{job="own"}', limit=2)
    assert (len(few["series"]), few["more"]) == (2, True)
    cut = result_of("prometheus.query", {"url": url}, query='{job="own"}', limit=1000, most_bytes=4096)
    assert "series are shown: the rest is over the tool's output limit of 4096 bytes." in cut["cut"]


def test_an_expression_that_is_none_is_one_sentence(url):
    status, _result, error = carry_out("prometheus.query", {"url": url}, query="up ==")
    assert status == "failed"
    assert error.startswith("The query at lab answered 400: ")


def test_a_login_is_sent_and_a_refused_one_is_one_sentence(tmp_path):
    seen = []
    authority = Authority(tmp_path, "prometheus")
    data = {"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}

    def answer(_path, headers, body):
        seen.append((headers.get("Authorization"), parse_qs(body.decode())["query"]))
        return as_json(data) if headers.get("Authorization") != "Bearer wrong" else Answer(b"no", 401, "text/plain")

    with AnsweringServer(None, None, *authority.issue("prometheus", "127.0.0.1"), answer_post=answer) as server:
        options = {"url": f"{server.url}/behind/", "ca_certificate": authority.path.read_text()}
        assert result_of("prometheus.query", options, {"token": "right"}, query="up")["value"] == [1, "2"]
        result_of("prometheus.query", {**options, "user": "mé"}, {"password": "pä:ss"}, query="up")
        _status, _result, error = carry_out("prometheus.query", options, {"token": "wrong"}, query="up")
        assert server.asked[0] == "/behind/api/v1/query"
    assert (
        error
        == "The source lab refuses the login (answered 401 Unauthorized): give the source tool_credentials that are valid."
    )
    basic = base64.b64encode("mé:pä:ss".encode()).decode()
    assert seen[:2] == [("Bearer right", ["up"]), (f"Basic {basic}", ["up"])]
