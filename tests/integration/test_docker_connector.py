"""How the Docker connector asks an engine, and what it makes of bad answers. What real engines answer is in test_engines.py."""

import datetime
import re
import tempfile
from pathlib import Path

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors import docker, http_lists
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.snapshot import FetchError
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.sync import sync
from answering_server import LOGIN_PAGE, Answer, AnsweringServer, as_json
from certificates import Authority
from inventory_lab import register
from library_client import client_of

ROOT = Path(__file__).parents[2]
NOW = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.timezone.utc)
INFO = {"ID": "7f0a", "Name": "nas", "NCPU": 4, "MemTotal": 8 * 2**30}
CONTAINERS = [{"Id": "1" * 64, "Names": ["/web"], "Image": "shop/web:1", "State": "running", "Status": "Up 5 minutes"}]
LIST = "/containers/json?all=1"


@pytest.fixture
def answers():
    """What the engine answers by path."""
    return {"/info": as_json(INFO), LIST: as_json(CONTAINERS), f"{LIST}&limit=1": as_json(CONTAINERS)}


@pytest.fixture
def engine(answers, tmp_path):
    """An engine behind the rule of the proxy that files/inventory ships."""
    (proxy,) = yaml.safe_load((ROOT / "files/inventory/docker-socket-proxy.yml").read_text())["services"].values()
    (rule,) = (each.partition("=")[2] for each in proxy["command"] if each.startswith("-allow") and "GET" in each)

    def answer(path, headers):
        allowed = re.fullmatch(rule, path.partition("?")[0])
        return answers.get(path, as_json({}, 404)) if allowed else as_json({"message": "not allowed"}, 403)

    with AnsweringServer(answer, tmp_path / "engine.sock") as server:
        yield server


def fetch(url, secrets=None, progress=lambda what, number: None, **options):
    return docker.fetch("nas", "home", {"url": url, **options}, secrets or {}, NOW, progress)


def test_two_requests_tell_everything(engine):
    told = []
    snapshot = fetch(engine.url, progress=lambda what, number: told.append((what, number)))
    assert engine.asked == ["/info", LIST]
    assert (snapshot.source, snapshot.connector, snapshot.identity, snapshot.cluster, snapshot.observed_at) == (
        "nas",
        "docker",
        "7f0a",
        "home",
        NOW,
    )
    assert [(each.kind, each.types, len(each.rows), each.problem) for each in snapshot.listings] == [
        ("hosts", ("docker-host",), 1, None),
        ("services", (), 0, None),
        ("workloads", ("docker-container",), 1, None),
    ]
    assert snapshot.listings[2].rows[0].host == snapshot.listings[0].rows[0].external_id == "engine/7f0a"
    assert told == [("containers", 1)]
    assert docker.preflight({"url": engine.url}, {}) == []


def test_the_surroundings_say_nothing_of_where_to_ask(engine, monkeypatch, tmp_path):
    for name in ("DOCKER_HOST", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "tcp://127.0.0.1:9")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "none"))
    assert fetch(engine.url).identity == "7f0a"


def test_a_list_that_is_refused_leaves_the_rest(engine, answers):
    answers[LIST] = answers[f"{LIST}&limit=1"] = as_json({"message": "not allowed"}, 403)
    hosts, services, workloads = fetch(engine.url).listings
    assert hosts.problem is None
    sentence = f"The list of containers (GET /containers/json) of the engine at {engine.url} answered 403 Forbidden: not allowed."
    assert (services.problem, workloads.problem) == (sentence, sentence)
    assert docker.preflight({"url": engine.url}, {}) == [
        f"GET /containers/json of the engine at {engine.url} answered 403 Forbidden: not allowed: "
        "allow it in the proxy or the plugin that decides which requests the engine takes."
    ]


FAULTS = {
    "500": (
        as_json({"message": "the storage\nis full."}, 500),
        "answered 500 Internal Server Error: the storage is full.",
    ),
    "cut": (Answer(b'[{"Id": "1', missing=100), None),
    "half": (Answer(b'[{"Id": "1'), "answered 10 bytes that are no JSON (application/json)."),
    "page": (LOGIN_PAGE, f"answered {len(LOGIN_PAGE.body)} bytes that are no JSON (text/html; charset=utf-8)."),
    "elsewhere": (Answer(b"http://127.0.0.1:9/", 307), "answered 307 Temporary Redirect."),
    "text": (as_json("nothing"), None),
    "hang": (Answer(b"[", missing=100, hangs=True), "could not be read: the rest did not come in time."),
    "silence": (Answer(b"", missing=100, hangs=True), None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_that_is_none_says_why_and_is_no_empty_list(engine, answers, monkeypatch, fault):
    monkeypatch.setattr(http_lists, "READ_SECONDS", 0.3)
    answer, expected = FAULTS[fault]
    answers[LIST] = answer
    hosts, services, workloads = fetch(engine.url).listings
    begin = f"The list of containers (GET /containers/json) of the engine at {engine.url} "
    assert hosts.problem is None
    assert workloads.problem == services.problem
    assert workloads.problem.startswith(begin)
    assert workloads.problem.endswith(".")
    if expected:
        assert workloads.problem == begin + expected
    answers["/info"] = answer
    for ask in (fetch, lambda url: docker.preflight({"url": url}, {})):
        with pytest.raises(FetchError, match=f"^The engine at {engine.url} .*[^.]\\.$"):
            ask(engine.url)


def test_an_engine_that_is_not_there(tmp_path):
    for ask in (fetch, lambda url: docker.preflight({"url": url}, {})):
        with pytest.raises(FetchError) as refused:
            ask(f"unix://{tmp_path}/none.sock")
        assert (
            str(refused.value)
            == f"The engine at unix://{tmp_path}/none.sock could not be read: No such file or directory."
        )
    with pytest.raises(
        FetchError, match=r"^The engine at tcp://127\.0\.0\.1:9 could not be read: Connection refused\.$"
    ):
        fetch("tcp://127.0.0.1:9")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "authority")


@pytest.fixture
def tls(authority, answers):
    """An engine that lets in whom the authority knows, and what lay in the directory for temporary files meanwhile."""
    seen = []

    def answer(path, headers):
        seen.extend(Path(tempfile.gettempdir()).iterdir())
        return answers[path]

    certificate, key = authority.issue("engine", "127.0.0.1")
    with AnsweringServer(answer, None, certificate, key, authority.path) as server:
        yield server.url.replace("https", "tcp"), seen


def test_certificates_are_read_from_nowhere_but_the_configuration(tls, authority, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    # What the surroundings trust would let anybody in whom they trust.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.path))
    url, seen = tls
    certificate, key = authority.issue("client")
    secrets = {"client_certificate": certificate.read_text(), "client_key": key.read_text()}
    ours = authority.path.read_text()
    assert fetch(url, secrets, ca_certificate=ours).identity == "7f0a"
    # Not even a process that is killed leaves the key in a file.
    assert seen == []
    with pytest.raises(FetchError, match="could not be read: its certificate is not trusted"):
        fetch(url, secrets)
    with pytest.raises(FetchError, match=f"^The engine at {url} could not be read: "):
        fetch(url, ca_certificate=ours)
    stranger = Authority(tmp_path / "temporary", "stranger")
    certificate, key = stranger.issue("client-of-stranger")
    with pytest.raises(FetchError, match=f"^The engine at {url} could not be read: "):
        fetch(
            url,
            {"client_certificate": certificate.read_text(), "client_key": key.read_text()},
            ca_certificate=ours,
        )
    with pytest.raises(FetchError, match="could not be read: its certificate is not trusted"):
        fetch(url, secrets, ca_certificate=stranger.path.read_text())
    with pytest.raises(FetchError, match=f"^The engine at {url} could not be read: ") as refused:
        fetch(url, {**secrets, "client_key": "no key: hunter2"}, ca_certificate=ours)
    assert "hunter2" not in str(refused.value)


def test_a_container_that_is_recreated_keeps_its_row(engine, answers, database):
    session = database.session("application")
    register(session, "nas", "docker")
    compose = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}

    def synced(*containers):
        """The result, and the rows of workloads by their external_id."""
        listed = [{**CONTAINERS[0], "Id": each, "Names": [name], "Labels": compose} for name, each in containers]
        answers[LIST] = as_json(listed)
        result = sync(client, fetch(engine.url))
        found = session.rows("SELECT * FROM workloads WHERE source = 'nas'")
        return result, {row["external_id"]: row for row in found}

    old, new, newest = "1" * 64, "2" * 64, "3" * 64
    with client_of(database) as client:
        result, first = synced(("/web", old), ("/db", "d" * 64))
        assert result.outcome == "succeeded"
        (host,) = session.rows("SELECT * FROM hosts WHERE source = 'nas'")
        (service,) = session.rows("SELECT * FROM services WHERE source = 'nas'")
        assert (host["external_id"], service["external_id"], service["namespace"]) == (
            "engine/7f0a",
            "shop/web",
            "shop",
        )
        row = first["container/web"]
        assert (row["host_id"], row["service_id"]) == (host["id"], service["id"])
        # Renamed and created, renamed back and forth, and two that swap their names.
        for containers, expected in (
            ([(f"/{old[:12]}_web", old), ("/web", new), ("/db", "d" * 64)], new),
            ([("/web", new), ("/db", "d" * 64)], new),
            ([("/web", new), (f"/{new[:12]}_web", newest), ("/db", "d" * 64)], new),
            ([(f"/{new[:12]}_web", newest), ("/db", "d" * 64)], newest),
            ([("/db", newest), ("/web", "d" * 64)], "d" * 64),
        ):
            result, found = synced(*containers)
            assert result.outcome == "succeeded"
            assert {each: row["id"] for each, row in found.items()} == {each: row["id"] for each, row in first.items()}
            assert found["container/web"]["metadata"]["uid"] == expected
            assert {row["gone_at"] for row in found.values()} == {None}
        assert any(each.recreated for each in result.differences)
        answers[LIST] = as_json({"message": "not allowed"}, 403)
        result = sync(client, fetch(engine.url))
        assert (result.outcome, "answered 403 Forbidden: not allowed." in result.error) == ("failed", True)
        assert session.rows("SELECT FROM workloads WHERE gone_at IS NOT NULL") == []
