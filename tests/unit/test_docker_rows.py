"""What Docker and Podman say of themselves and of their containers becomes rows: written from their references, and what real ones said."""

from decimal import Decimal

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors import docker
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.registry import (
    check_source_options,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.snapshot import FetchError
from hypothesis import given
from hypothesis import strategies as st

ID = "5c74e8b08e2e213981db46ddcb9e13eb23fb1fe459c67af1ca9bc63a874ad29a"
OTHER = "e8bce8e7656a2a4277c1e5d0b5d9062f63f64ac6ad8c1972e19554286609ba68"
LABELS = docker.OPTIONS["labels"].default
COMPOSE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
DOCKER_INFO = {
    "ID": "SE2M:UOJ7:WSYV:OFLL:RUIB:HHAT:GKTH:X7TK:DEP3:25QG:D4YF:GD2D",
    "Name": "nas",
    "NCPU": 4,
    "MemTotal": 8123456789,
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "OSVersion": "12",
    "Architecture": "x86_64",
    "KernelVersion": "6.1.0",
    "ServerVersion": "20.10.24",
    "DockerRootDir": "/var/lib/docker",
    "HttpProxy": "http://user:hunter2@proxy",
    "Labels": ["secret=hunter2"],
}
PODMAN_INFO = {
    **DOCKER_INFO,
    "ID": "f956780e-19bf-4e8d-90f4-49eb530b09d8",
    "OperatingSystem": "debian",
    "BuildahVersion": "1.28.2",
    "DockerRootDir": "/var/lib/containers/storage",
}


def container(name="web", **fields):
    return {
        "Id": ID,
        "Names": [f"/{name}"],
        "Image": "shop/web:1",
        "ImageID": "sha256:fb3ceb5414a05974a3a3dd97d3cf7e703ef56cabd0eda454f71e1c5144244184",
        "Command": "serve --password hunter2",
        "Created": 1,
        "Labels": {},
        "State": "running",
        "Status": "Up 5 seconds",
        **fields,
    }


def rows(*containers, labels=LABELS):
    services, workloads = docker.container_listings(list(containers), "engine/E", labels)
    return services.rows, workloads.rows


def skipped(*containers):
    return docker.container_listings(list(containers), "engine/E", LABELS)[1].skipped


@pytest.mark.parametrize(
    ("state", "words", "status", "further"),
    [
        ("created", "Created", "stopped", {}),
        ("running", "Up 5 seconds", "running", {}),
        ("running", "Up 5 seconds (healthy)", "running", {"health": "healthy"}),
        ("running", "Up 5 seconds (unhealthy)", "running", {"health": "unhealthy"}),
        ("running", "Up 1 second (health: starting)", "running", {"health": "starting"}),
        ("paused", "Up 5 seconds (Paused)", "stopped", {}),
        ("restarting", "Restarting (1) 1 second ago", "pending", {}),
        ("removing", "Removal In Progress", "stopped", {}),
        ("dead", "Dead", "failed", {}),
        ("exited", "Exited (0) 7 seconds ago", "stopped", {"exit_code": 0}),
        ("exited", "Exited (1) 6 seconds ago", "failed", {"exit_code": 1}),
        ("exited", "Exited (137) 6 seconds ago", "failed", {"exit_code": 137}),
        ("exited", "Exited (143) 6 seconds ago", "stopped", {"exit_code": 143}),
        ("exited", "Exited (130) 2 days ago", "stopped", {"exit_code": 130}),
        ("exited", "", "stopped", {}),
        # Podman's words
        ("stopped", "Exited (1) Less than a second ago", "failed", {"exit_code": 1}),
        ("stopping", "Up 5 seconds", "running", {}),
        ("configured", "Created", "stopped", {}),
        ("initialized", "Created", "pending", {}),
        ("something new", "Up", "unknown", {}),
        (None, None, "unknown", {}),
    ],
)
def test_status_of_a_container(state, words, status, further):
    (row,) = rows(container(State=state, Status=words))[1]
    assert row.status == status
    told = {"uid": ID, "image_id": "fb3ceb5414a0", **({"state": state} if state else {}), **further}
    assert row.metadata == told


def test_a_container_of_compose_is_a_workload_of_its_service():
    services, workloads = rows(
        container("shop-web-1", Labels=COMPOSE),
        container("shop-web-2", Labels=COMPOSE),
        container("alone", Labels={"com.docker.compose.project": "shop"}),
    )
    (service,) = services
    assert (service.external_id, service.name, service.namespace) == ("shop/web", "web", "shop")
    assert [(each.external_id, each.name, each.namespace, each.service, each.host) for each in workloads] == [
        ("container/shop-web-1", "shop-web-1", "shop", "shop/web", "engine/E"),
        ("container/shop-web-2", "shop-web-2", "shop", "shop/web", "engine/E"),
        ("container/alone", "alone", "shop", None, "engine/E"),
    ]
    assert {(each.type, each.image) for each in workloads} == {("docker-container", "shop/web:1")}


def test_only_labels_on_the_list_are_stored():
    labels = {**COMPOSE, "org.opencontainers.image.version": "1.2", "com.example.token": "hunter2"}
    (row,) = rows(container(Labels=labels))[1]
    assert row.labels == {**COMPOSE, "org.opencontainers.image.version": "1.2"}
    (row,) = rows(container(Labels=labels), labels=["com.example.*"])[1]
    assert row.labels == {"com.example.token": "hunter2"}
    assert row.service == "shop/web"


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        # The old one is renamed after itself, the new one has its name.
        ([container(f"{ID[:12]}_web"), container("web", Id=OTHER)], OTHER),
        # The new one is named after the old one until that is gone.
        ([container("web"), container(f"{ID[:12]}_web", Id=OTHER, Labels=COMPOSE)], ID),
        ([container(f"{ID[:12]}_web", Id=OTHER, Labels=COMPOSE)], OTHER),
        ([container(f"{ID[:12]}_web", Created=1), container(f"{OTHER[:12]}_web", Id=OTHER, Created=2)], OTHER),
        ([container(f"{OTHER[:12]}_web", Id=OTHER, Created=2), container(f"{ID[:12]}_web", Created=1)], OTHER),
    ],
)
def test_a_container_that_is_recreated_is_one(containers, expected):
    for order in (containers, containers[::-1]):
        (row,) = rows(*order)[1]
        assert (row.external_id, row.name, row.metadata["uid"]) == ("container/web", "web", expected)


@pytest.mark.parametrize("name", [f"{OTHER[:12]}_web", "0123_web", f"{ID[:12]}_", f"{ID[:12]}"])
def test_a_name_that_only_looks_like_one_of_a_recreation_stays(name):
    (row,) = rows(container(name))[1]
    assert row.name == name


def test_the_name_of_a_link_is_none():
    (row,) = rows(container(Names=["/other/alias", "/web"]))[1]
    assert row.external_id == "container/web"


def test_what_says_not_who_it_is_keeps_the_others_from_being_marked_as_gone():
    assert [each.external_id for each in skipped(container(Names=[]), "text")] == [None, None]
    # One that is being removed has lost its name already.
    assert skipped(container(Names=None, State="removing"), container(Names=[], State="dead")) == ()


def test_an_engine_is_a_host():
    row = docker.host_row(DOCKER_INFO, "unix:///run/docker.sock", "home")
    assert (row.external_id, row.name, row.type, row.cluster, row.status, row.address) == (
        f"engine/{DOCKER_INFO['ID']}",
        "nas",
        "docker-host",
        "home",
        "online",
        None,
    )
    assert (row.os, row.cpu_cores, row.memory_bytes) == ("Debian GNU/Linux 12 (bookworm)", Decimal(4), 8123456789)
    assert row.labels == {}
    assert row.metadata == {
        "engine": "docker",
        "engine_version": "20.10.24",
        "architecture": "x86_64",
        "kernel": "6.1.0",
    }


def test_podmans_id_is_another_each_time_so_its_storage_counts():
    row = docker.host_row(PODMAN_INFO, "unix:///run/podman/podman.sock", None)
    assert row.external_id == "engine/podman:nas:/var/lib/containers/storage"
    assert row.os == "debian 12"
    assert row.metadata["engine"] == "podman"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("tcp://nas.example:2376", "nas.example"),
        ("tcp://[2001:db8::5]:2376", "2001:db8::5"),
        ("tcp://127.0.0.1:2375", None),
        ("tcp://localhost:2375", None),
    ],
)
def test_an_engine_elsewhere_has_the_address_where_it_was_asked(url, address):
    assert docker.host_row(DOCKER_INFO, url, None).address == address


@pytest.mark.parametrize("info", [{}, {"ID": ""}, {**PODMAN_INFO, "Name": ""}, {**PODMAN_INFO, "DockerRootDir": None}])
def test_an_engine_that_says_not_who_it_is_is_refused(info):
    with pytest.raises(FetchError, match="does not say who it is"):
        docker.host_row(info, "unix:///run/docker.sock", None)


@pytest.mark.parametrize("value", [0, -1, True, "4", None, 1e300, 10**30])
def test_a_capacity_that_is_none_is_not_stored(value):
    row = docker.host_row({**DOCKER_INFO, "NCPU": value, "MemTotal": value}, "unix:///run/docker.sock", None)
    assert (row.cpu_cores, row.memory_bytes) == (None, None)


BOTH = ("client_certificate", "client_key")


@pytest.mark.parametrize(
    ("options", "secrets", "expected"),
    [
        ({}, (), None),
        ({"url": "unix:///run/podman/podman.sock"}, (), None),
        ({"url": "tcp://nas.example:2376", "ca_certificate": "PEM"}, BOTH, None),
        ({"url": "tcp://nas.example:2375", "unencrypted": True}, (), None),
        ({"url": "tcp://[::1]:2375"}, (), None),
        ({"url": "/run/docker.sock"}, (), "it must be unix:///path/of/socket or tcp://name:port."),
        ({"url": "unix://run/docker.sock"}, (), "it must be unix:///path/of/socket or tcp://name:port."),
        ({"url": "tcp://nas.example"}, (), "it must be unix:///path/of/socket or tcp://name:port."),
        ({"url": "tcp://nas.example:99999"}, (), "it must be unix:///path/of/socket or tcp://name:port."),
        ({"url": "ssh://nas.example"}, (), "it must be unix:///path/of/socket or tcp://name:port."),
        ({"url": "tcp://me:hunter2@nas.example:2376"}, (), "holds a user or a password"),
        ({"url": "tcp://nas.example:2376"}, ("client_key",), "belong together"),
        ({"ca_certificate": "PEM"}, (), "where certificates have no use"),
        ({"url": "tcp://nas.example:2376", "unencrypted": True}, BOTH, "contradicts the certificates"),
    ],
)
def test_options_are_judged(options, secrets, expected):
    problems = check_source_options("docker", options, secrets)
    assert problems == [] if expected is None else expected in problems[0]
    assert "hunter2" not in "".join(problems)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["exited", "/web"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def texts_of(value):
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        return [text for each in value for text in texts_of(each)]
    return [value] if isinstance(value, str) else []


@given(
    st.lists(
        json_values
        | st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(
                ("Id", "Names", "Image", "ImageID", "Labels", "State", "Status", "Created"), json_values
            ),
        ),
        max_size=5,
    )
)
def test_whatever_an_engine_answers_becomes_rows_or_is_skipped(containers):
    services, workloads = docker.container_listings(containers, "engine/E", LABELS)
    identifiers = [each.external_id for each in workloads.rows]
    assert len(identifiers) == len(set(identifiers))
    assert {each.service for each in workloads.rows} - {None} == {each.external_id for each in services.rows}
    assert "\0" not in "".join(texts_of([vars(each) for each in workloads.rows]))


@given(st.dictionaries(st.sampled_from([*PODMAN_INFO]), json_values))
def test_whatever_an_engine_says_of_itself_becomes_a_host_or_a_sentence(info):
    try:
        row = docker.host_row(info, "unix:///run/docker.sock", None)
    except FetchError:
        return
    assert row.external_id.startswith("engine/")
