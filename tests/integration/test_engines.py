"""The Docker connector against real engines: Debian's Docker engine and Podman's service."""

import datetime
import secrets
import threading
import time

import pytest
from certificates import Authority
from engine_lab import IMAGE, PROXY_PASSWORD, DockerEngine, PodmanEngine
from mission_control.inventory.connectors import docker
from mission_control.inventory.snapshot import FetchError

NOW = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.timezone.utc)
COMPOSE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}


@pytest.fixture(scope="module", params=[DockerEngine, PodmanEngine], ids=lambda engine: engine.name)
def running(request):
    with request.param() as engine:
        yield engine


@pytest.fixture
def engine(running):
    """An engine without containers."""
    yield running
    running.remove_all()


def fetch(url, secrets=None, **options):
    return docker.fetch("engine", None, {"url": url, **options}, secrets or {}, NOW, lambda what, number: None)


def rows(snapshot, kind="workloads"):
    """Rows of a kind, by external_id without what all of them begin with."""
    (listing,) = (each for each in snapshot.listings if each.kind == kind)
    assert (listing.problem, listing.skipped) == (None, ())
    return {row.external_id.partition("/")[2]: row for row in listing.rows}


def test_every_state_of_a_container(engine):
    engine.create("created", "true")
    engine.run("running", labels={**COMPOSE, "org.opencontainers.image.version": "1.2"})
    engine.run("paused")
    engine.api.pause("paused")
    for name, command, status in (("done", "true", 0), ("broken", "false", 1)):
        engine.run(name, command)
        assert engine.api.wait(name)["StatusCode"] == status
    expected = {"created": "stopped", "running": "running", "paused": "stopped", "done": "stopped", "broken": "failed"}
    if engine.name == "docker":  # Podman restarts at once and has no such state
        engine.run("restarting", "false", restart="always")
        expected["restarting"] = "pending"
        # It runs for a moment each time that it is tried again, and waits twice as long as the time before.
        while not (
            (state := engine.api.inspect_container("restarting"))["RestartCount"] > 3 and state["State"]["Restarting"]
        ):
            time.sleep(0.05)
    snapshot = fetch(engine.url)
    workloads = rows(snapshot)
    assert {name: row.status for name, row in workloads.items()} == expected
    assert {
        name: row.metadata.get("exit_code")
        for name, row in workloads.items()
        if row.metadata.get("exit_code") is not None
    } == {
        "done": 0,
        "broken": 1,
    }
    row = workloads["running"]
    assert row.image.endswith(IMAGE)
    assert (row.namespace, row.service) == ("shop", "shop/web")
    assert row.labels == {**COMPOSE, "org.opencontainers.image.version": "1.2"}
    inspected = engine.api.inspect_container("running")
    assert row.metadata["uid"] == inspected["Id"]
    assert row.metadata["image_id"] in inspected["Image"]
    # Services have no prefix: what is before the slash is the project.
    assert {each.external_id: each.name for each in rows(snapshot, "services").values()} == {"shop/web": "web"}
    (host,) = rows(snapshot, "hosts").values()
    assert (host.type, host.status, host.metadata["engine"]) == ("docker-host", "online", engine.name)
    assert {each.host for each in workloads.values()} == {host.external_id}
    assert host.cpu_cores > 0
    assert host.memory_bytes > 0
    assert docker.preflight({"url": engine.url}, {}) == []


def test_who_an_engine_is_survives_its_restart(engine):
    first = fetch(engine.url)
    assert fetch(engine.url).identity == first.identity
    engine.stop()
    with pytest.raises(FetchError, match=f"^The engine at {engine.url} could not be read: "):
        fetch(engine.url)
    engine.start()
    assert fetch(engine.url).identity == first.identity


def test_a_container_that_is_recreated_again_and_again_stays_one(engine):
    times = {"docker": 50, "podman": 10}[engine.name]  # which takes many times as long

    def listed():
        (row,) = rows(fetch(engine.url)).values()
        assert (row.external_id, row.name) == ("container/web", "web")
        return row.metadata["uid"]

    seen = [engine.create("web", "true", labels=COMPOSE)]
    while len(seen) < times:
        old = seen[-1]
        if len(seen) % 2:
            # Compose 1 renames the old one, Compose 2 creates the new one with another name. Both are there for a while.
            engine.api.rename(old, f"{old[:12]}_web")
            new = engine.create("web", "true", labels=COMPOSE)
            assert listed() == new
            engine.remove(old)
        else:
            new = engine.create(f"{old[:12]}_web", "true", labels=COMPOSE)
            assert listed() == old
            engine.remove(old)
            assert listed() == new
            engine.api.rename(new, "web")
        assert listed() == new
        seen.append(new)
    assert len(set(seen)) == times


def test_60_lists_while_containers_come_and_go(engine):
    engine.create("lasting", "true")
    done, made = threading.Event(), []

    def churn():
        while not done.is_set():
            made.append(engine.create(f"passing-{len(made)}", "true"))
            engine.remove(made[-1])

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        listed = [rows(fetch(engine.url)) for _ in range(60)]
    finally:
        done.set()
        thread.join()
    assert all("lasting" in each for each in listed)
    assert len(made) > 10


def test_no_secret_of_a_container_gets_into_the_snapshot(engine):
    canaries = [secrets.token_hex(8) for _ in range(6)]
    environment, argument, entry, label, directory, name_of_label = canaries
    engine.create(
        "web",
        "true",
        argument,
        environment={"TOKEN": environment},
        entrypoint=["sh", "-c", entry],
        labels={**COMPOSE, "com.example.token": label, name_of_label: "x"},
        working_dir=f"/{directory}",
    )
    inspected = str(engine.api.inspect_container("web"))
    assert all(each in inspected for each in canaries)
    snapshot = repr(fetch(engine.url))
    assert [each for each in (*canaries, PROXY_PASSWORD) if each in snapshot] == []


@pytest.mark.parametrize("running", [DockerEngine], indirect=True, ids=["docker"])  # Podman's service has no TLS
def test_certificates_on_both_sides(engine, tmp_path):
    certificate, key = engine.authority.issue(f"client-{secrets.token_hex(4)}")
    ours = {"client_certificate": certificate.read_text(), "client_key": key.read_text()}
    authority = engine.authority.path.read_text()
    assert fetch(engine.tls_url, ours, ca_certificate=authority).identity == fetch(engine.url).identity
    other = Authority(tmp_path, "other")
    certificate, key = other.issue("stranger")
    strangers = {"client_certificate": certificate.read_text(), "client_key": key.read_text()}
    for given, trusted, cause in (
        (ours, other.path.read_text(), "its certificate is not trusted"),
        (ours, None, "its certificate is not trusted"),
        (strangers, authority, "it wants another client certificate"),
        ({}, authority, "it wants another client certificate"),
    ):
        with pytest.raises(FetchError, match=f"^The engine at {engine.tls_url} could not be read: {cause}"):
            fetch(engine.tls_url, given, ca_certificate=trusted)
