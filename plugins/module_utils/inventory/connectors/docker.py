# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Docker and Podman: an engine is a host, its containers are workloads, and what Compose calls a service is a service.

Two requests, GET /info and GET /containers/json, tell all of it. Containers are never inspected: one that is removed between the
list and its inspection would fail the fetch, and the answer holds environment variables.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import urlsplit

from ..snapshot import FetchError, HostRow, Listing, ServiceRow, Skipped, Snapshot, WorkloadRow
from ..values import chosen_labels, known, text_or_none, whole_number
from .http_lists import REFUSED, NoList, cause_of, files_of, prepare, read_list
from .options import Option, with_defaults

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime

NAME = "docker"
LIBRARY = "docker"
DEBIAN_PACKAGE = "python3-docker"

_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"

OPTIONS = {
    "url": Option(
        "text",
        "unix:///var/run/docker.sock",
        "Address of the engine, unix:///path/of/socket or tcp://name:port; Podman's socket is unix:///run/podman/podman.sock.",
    ),
    "ca_certificate": Option(
        "text",
        None,
        "Certificates (PEM) of the authority that signed that of the engine; without it, the authorities that this host trusts count.",
    ),
    "unencrypted": Option(
        "flag",
        False,
        "Whether an engine at another host may be asked without TLS, where everybody on the way reads the answers and may change them.",
    ),
    "labels": Option(
        "texts",
        [_PROJECT, _SERVICE, "org.opencontainers.image.*"],
        "Labels of containers that are stored; one that ends with an asterisk stands for all that begin so.",
    ),
}
SECRETS = {
    "client_certificate": "Certificate (PEM) by which the engine lets us in.",
    "client_key": "Key (PEM) of the client certificate.",
}

_INFO = "/info"
_CONTAINERS = "/containers/json"
# What the states of Docker and of Podman mean. Those of an ended container depend on its exit code.
_STATUSES = {
    "created": "stopped",
    "configured": "stopped",
    "initialized": "pending",
    "running": "running",
    "stopping": "running",
    "paused": "stopped",
    "restarting": "pending",
    "removing": "stopped",
    "dead": "failed",
}
_ENDED = ("exited", "stopped")
# Without an error, or by SIGINT or SIGTERM as somebody wanted. SIGKILL (137) is also what the kernel sends when memory is short.
_WANTED_ENDS = (0, 130, 143)
_EXIT_CODE = re.compile(r"Exited \((-?\d{1,10})\)")
_HEALTH = re.compile(r"\((?:health: )?(healthy|unhealthy|starting)\)")
# While Compose recreates a container, one of the two is called after the identifier of one of them.
_TRANSIENT = re.compile(r"([0-9a-f]{12})_(.+)", re.DOTALL)
_SHORT_ID = 12


def check(options: Mapping[str, Any], secrets: Collection[str]) -> list[str]:
    """See Connector.check() in registry.py."""
    given = with_defaults(options, OPTIONS)
    url = given["url"]
    problem = _url_problem(url)
    if problem:
        return [problem]
    problems = []
    if len({"client_certificate", "client_key"}.intersection(secrets)) == 1:
        problems.append("The secrets client_certificate and client_key belong together: give both, or none.")
    certificates = given["ca_certificate"] is not None or bool(secrets)
    if certificates and url.startswith("unix://"):
        problems.append(f"The url {url} is a socket of this host, where certificates have no use: leave them out.")
    if certificates and given["unencrypted"]:
        problems.append(
            "The option unencrypted contradicts the certificates that are given: leave out the one or the other."
        )
    return problems


def fetch(
    source: str,
    cluster: str | None,
    options: Mapping[str, Any],
    secrets: Mapping[str, str],
    observed_at: datetime,
    progress: Callable[[str, int], None],
) -> Snapshot:
    """See Connector.fetch() in registry.py."""
    given = with_defaults(options, OPTIONS)
    with _engine(given, secrets) as read:
        info = read(_INFO)
        host = host_row(info, given["url"], cluster)
        try:
            containers = read(f"{_CONTAINERS}?all=1")
        except NoList as error:
            problem = f"The list of containers (GET {_CONTAINERS}) of the engine at {given['url']} {error}."
            rest: tuple[Listing, ...] = (
                Listing("services", (), problem=problem),
                Listing("workloads", ("docker-container",), problem=problem),
            )
        else:
            progress("containers", len(containers))
            rest = container_listings(containers, host.external_id, given["labels"])
    return Snapshot(
        source=source,
        connector=NAME,
        identity=host.external_id[len("engine/") :],
        cluster=cluster,
        observed_at=observed_at,
        listings=(Listing("hosts", ("docker-host",), (host,)), *rest),
    )


def preflight(options: Mapping[str, Any], secrets: Mapping[str, str]) -> list[str]:
    """See Connector.preflight() in registry.py."""
    given = with_defaults(options, OPTIONS)
    missing = []
    with _engine(given, secrets) as read:
        for path in (_INFO, f"{_CONTAINERS}?all=1&limit=1"):
            try:
                read(path)
            except NoList as error:
                if error.status not in REFUSED:
                    raise
                endpoint = path.partition("?")[0]
                missing.append(
                    f"GET {endpoint} of the engine at {given['url']} {error}: allow it in the proxy or the plugin that "
                    "decides which requests the engine takes."
                )
    return missing


def host_row(info: Mapping[str, Any], url: str, cluster: str | None) -> HostRow:
    """The engine as a host.

    Args:
        info: answer of GET /info.
        url: where it was asked; a name or an address of another machine is that of the host.
        cluster: as the source is configured.

    Raises:
        FetchError: the answer does not tell one engine from another.
    """
    podman = "BuildahVersion" in info
    name = text_or_none(info.get("Name"))
    engine_id = text_or_none(info.get("ID"))
    if podman or engine_id is None:
        # Podman makes up another ID for every answer. Its storage, on one machine, is what there is only once.
        root = text_or_none(info.get("DockerRootDir"))
        engine_id = f"podman:{name}:{root}" if name and root else None
    if engine_id is None:
        raise FetchError(f"The engine at {url} does not say who it is: its answer to GET {_INFO} has no ID.")
    address = urlsplit(url).hostname if url.startswith("tcp://") else None
    system, version = text_or_none(info.get("OperatingSystem")), text_or_none(info.get("OSVersion"))
    return HostRow(
        external_id=f"engine/{engine_id}",
        name=name,
        type="docker-host",
        cluster=cluster,
        status="online",
        address=None if address is None or _is_loopback(address) else address,
        os=f"{system} {version}" if system and version and version not in system else system,
        cpu_cores=Decimal(cores) if (cores := whole_number(info.get("NCPU"), 1)) and cores < 10**6 else None,
        memory_bytes=whole_number(info.get("MemTotal"), 1),
        metadata=known(
            {
                "engine": "podman" if podman else "docker",
                "engine_version": info.get("ServerVersion") if isinstance(info.get("ServerVersion"), str) else None,
                "architecture": info.get("Architecture") if isinstance(info.get("Architecture"), str) else None,
                "kernel": info.get("KernelVersion") if isinstance(info.get("KernelVersion"), str) else None,
            }
        ),
    )


def container_listings(containers: list[Any], host: str, labels: Collection[str]) -> tuple[Listing, Listing]:
    """The services and the workloads of a list of containers.

    Args:
        containers: answer of GET /containers/json.
        host: external_id of the engine.
        labels: those that are stored.
    """
    rows: dict[str, tuple[tuple[bool, int], WorkloadRow]] = {}
    services: dict[str, ServiceRow] = {}
    skipped = []
    for container in containers:
        if not isinstance(container, dict):
            skipped.append(Skipped(None, "a container", "it is no object"))
            continue
        names = names_of(container)
        if not names:
            # The engine frees the name of a container first when it removes it.
            if container.get("State") not in ("removing", "dead"):
                skipped.append(Skipped(None, text_or_none(container.get("Id")) or "a container", "it has no name"))
            continue
        name, transient = _lasting_name(names[0], container)
        row = _workload(name, container, host, labels)
        # Where two are one, the one whose name will last, else the newer one.
        rank = (not transient, whole_number(container.get("Created")) or 0)
        if row.external_id not in rows or rows[row.external_id][0] < rank:
            rows[row.external_id] = (rank, row)
        if row.service is not None:
            services[row.service] = ServiceRow(
                row.service, text_or_none(_labels(container).get(_SERVICE)), namespace=row.namespace
            )
    return (
        Listing("services", (), tuple(services.values()), skipped=tuple(skipped)),
        Listing("workloads", ("docker-container",), tuple(row for rank, row in rows.values()), skipped=tuple(skipped)),
    )


def _workload(name: str, container: Mapping[str, Any], host: str, labels: Collection[str]) -> WorkloadRow:
    given = _labels(container)
    project, service = text_or_none(given.get(_PROJECT)), text_or_none(given.get(_SERVICE))
    state = container.get("State") if isinstance(container.get("State"), str) else None
    words = container.get("Status") if isinstance(container.get("Status"), str) else ""
    found = _EXIT_CODE.search(words or "")
    exit_code = int(found.group(1)) if found and state in _ENDED else None
    health = _HEALTH.search(words or "")
    image_id = text_or_none(container.get("ImageID"))
    return WorkloadRow(
        external_id=f"container/{name}",
        name=name,
        type="docker-container",
        namespace=project,
        host=host,
        service=f"{project}/{service}" if project and service else None,
        status=_status(state, exit_code),
        image=text_or_none(container.get("Image")),
        labels=chosen_labels(given, labels),
        metadata=known(
            {
                "uid": text_or_none(container.get("Id")),
                "image_id": image_id.rpartition(":")[2][:_SHORT_ID] if image_id else None,
                "state": state,
                "exit_code": exit_code,
                "health": health.group(1) if health else None,
            }
        ),
    )


def _status(state: str | None, exit_code: int | None) -> str:
    if state in _ENDED:
        return "stopped" if exit_code is None or exit_code in _WANTED_ENDS else "failed"
    return _STATUSES.get(state or "", "unknown")


def names_of(container: Mapping[str, Any]) -> list[str]:
    """The own names of a container of the list. That of a link to it, /other/alias, is none."""
    given = container.get("Names")
    texts = (text_or_none(each) for each in given) if isinstance(given, list) else ()
    names = (each[1:] if each.startswith("/") else each for each in texts if each)
    return [each for each in names if each and "/" not in each]


def _lasting_name(name: str, container: Mapping[str, Any]) -> tuple[str, bool]:
    """The name that a container has or will have, and whether it is called otherwise at the moment."""
    found = _TRANSIENT.fullmatch(name)
    if found is None:
        return name, False
    own = str(container.get("Id", "")).startswith(found.group(1))
    return (found.group(2), True) if own or _PROJECT in _labels(container) else (name, False)


def _labels(container: Mapping[str, Any]) -> dict[str, Any]:
    labels = container.get("Labels")
    return labels if isinstance(labels, dict) else {}


def _url_problem(url: str) -> str | None:
    cure = "it must be unix:///path/of/socket or tcp://name:port."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"The option url is not the address of an engine: {cure}"
    if parts.username is not None or parts.password is not None:
        return "The option url holds a user or a password, which an engine does not know: leave it out."
    if parts.query or parts.fragment or any(character.isspace() for character in url):
        return f"The option url is {url!r}, but {cure}"
    if parts.scheme == "unix":
        right = not parts.netloc and parts.path.startswith("/") and parts.path != "/"
    else:
        right = parts.scheme == "tcp" and bool(parts.hostname) and port is not None and parts.path in ("", "/")
    return None if right else f"The option url is {url!r}, but {cure}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def _engine(given: Mapping[str, Any], secrets: Mapping[str, str]) -> Iterator[Callable[[str], Any]]:
    """A function that reads what a path of the engine answers. NoList that nobody catches becomes a FetchError."""
    with connected(given, secrets) as (session, address):

        def read(path: str) -> Any:
            answer = read_list(session, f"{address}{path}")
            wanted = dict if path == _INFO else list
            if not isinstance(answer, wanted):
                raise NoList("answered JSON of another form", 200)
            return answer

        try:
            yield read
        except NoList as error:
            raise FetchError(f"The engine at {given['url']} {error}.") from None


@contextlib.contextmanager
def connected(given: Mapping[str, Any], secrets: Mapping[str, str]) -> Iterator[tuple[Any, str]]:
    """A session of requests that the engine lets in, and the address before its paths.

    The paths name no version of the API: an engine then answers in its newest, and asking for it would be one request more that
    a proxy must allow.

    Args:
        given: all options of the connector, with defaults.
        secrets: as the source has them.

    Raises:
        FetchError: the library is missing, or cannot make use of what is given.
    """
    try:
        import docker
        import docker.constants
    except ImportError:
        raise FetchError(f"The connector {NAME} needs the library {LIBRARY} (Debian: {DEBIAN_PACKAGE}).") from None

    url = given["url"]
    contents = (given["ca_certificate"], secrets.get("client_certificate"), secrets.get("client_key"))
    with files_of(*contents) as (authority, certificate, key):
        tls: Any = False
        if url.startswith("tcp://"):
            plain = given["unencrypted"] or (_is_loopback(urlsplit(url).hostname or "") and not any(contents))
            if not plain:
                client = (certificate, key) if certificate and key else None
                tls = docker.tls.TLSConfig(client_cert=client, ca_cert=authority, verify=True)
        try:
            version = docker.constants.DEFAULT_DOCKER_API_VERSION
            with contextlib.closing(docker.APIClient(base_url=url.rstrip("/"), version=version, tls=tls)) as engine:
                prepare(engine)
                yield engine, engine.base_url
        except docker.errors.DockerException as error:
            raise FetchError(f"The engine at {url} cannot be asked: {cause_of(error)}.") from None
