"""What tools do at real engines: Debian's Docker engine and Podman's service."""

import pytest
from engine_lab import IMAGE, DockerEngine, PodmanEngine
from executor_lab import carry_out, result_of


@pytest.fixture(scope="module", params=[DockerEngine, PodmanEngine], ids=lambda engine: engine.name)
def running(request):
    with request.param() as engine:
        yield engine


@pytest.fixture
def engine(running):
    yield running
    running.remove_all()


def test_containers_are_listed(engine):
    engine.create("created", "true")
    engine.run("running")
    found = result_of("docker.list_containers", {"url": engine.url})
    assert {each["name"]: each["state"] for each in found["containers"]} == {
        "created": "created",
        "running": "running",
    }
    assert all(each["image"].endswith(IMAGE) for each in found["containers"])
    few = result_of("docker.list_containers", {"url": engine.url}, limit=1)
    assert (len(few["containers"]), few["more"]) == (1, True)
    only = result_of("docker.list_containers", {"url": engine.url}, all=False)
    assert [each["name"] for each in only["containers"]] == ["running"]


@pytest.mark.parametrize("terminal", [False, True])
def test_logs_are_the_end_of_what_the_container_wrote(engine, terminal):
    # Two streams of a container keep their order only where there is time between them.
    script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; done; sleep 0.5; echo token=hunter2hunter2 >&2; sleep 0.5; echo é"
    engine.run("talks", "sh", "-c", script, tty=terminal)
    engine.api.wait("talks")
    found = result_of("docker.container_logs", {"url": engine.url}, container="talks", tail_lines=3)
    assert sorted(found["log"].replace("\r", "").splitlines()) == ["line 300", "token=***", "é"]
    everything = result_of("docker.container_logs", {"url": engine.url}, container="talks", tail_lines=5000)
    assert "line 1" in everything["log"].replace("\r", "").splitlines()
    assert "begins_later" not in everything
    limited = result_of(
        "docker.container_logs", {"url": engine.url}, most_bytes=1024, container="talks", tail_lines=5000
    )
    assert limited["log"].count("line") < 100
    assert "cut" in limited


def test_a_restart_stops_and_starts_the_container(engine):
    engine.run("web", "sleep", "1000")
    before = engine.api.inspect_container("web")["State"]
    found = result_of("docker.restart_container", {"url": engine.url}, container="web", stop_seconds=1)
    after = engine.api.inspect_container("web")["State"]
    assert found == {"container": "web", "restarted": True}
    assert (after["Running"], after["Pid"] != before["Pid"]) == (True, True)


def test_what_is_not_there_and_an_identifier_is_one_sentence(engine):
    """A policy that names a container must not be passed by what else the engine takes for its name."""
    identifier = engine.run("web")
    for operation in ("docker.container_logs", "docker.restart_container"):
        for name in ("nobody", "we", identifier, identifier[:12], identifier[:4]):
            status, result, error = carry_out(operation, {"url": engine.url}, container=name)
            assert (status, result) == ("failed", None)
            assert error == f"There is no container of the name {name} at lab."
