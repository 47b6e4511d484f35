# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Proxmox VE: nodes and guests are hosts, and guests are workloads too.

GET /cluster/resources lists the whole cluster in one answer, guests of nodes that are offline included. GET /nodes and the lists below
it do not.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import re
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import quote, urlsplit

from ..snapshot import FetchError, HostRow, Listing, Skipped, Snapshot, WorkloadRow
from ..values import known, text_or_none, whole_number
from .http_lists import NoList, files_of, prepare, read_list
from .options import Option, with_defaults

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

NAME = "proxmox"
LIBRARY = "proxmoxer"
DEBIAN_PACKAGE = "python3-proxmoxer"

OPTIONS = {
    "url": Option("text", None, "Address of a node, https://name:8006.", required=True),
    "ca_certificate": Option(
        "text",
        None,
        "Certificates (PEM) of the authority that signed that of the node, a cluster's own is /etc/pve/pve-root-ca.pem; "
        "without it, the authorities that this host trusts count.",
    ),
    "user": Option(
        "text", None, "User that the API token belongs to, with its realm: mission-control@pve.", required=True
    ),
    "token_name": Option(
        "text", None, "Name of the API token, what stands behind the ! of its identifier.", required=True
    ),
    "addresses": Option(
        "flag",
        False,
        "Whether running guests are asked for their addresses, one request each: virtual machines by the QEMU guest agent.",
    ),
}
SECRETS = {"token": "Value of the API token, which Proxmox VE shows once, when it makes it."}

_STATUS, _RESOURCES, _PERMISSIONS = "/cluster/status", "/cluster/resources", "/access/permissions"
_GUESTS = {"qemu": ("vm", "proxmox-vm"), "lxc": ("lxc-container", "proxmox-lxc")}
# What lets a token ask the guest agent for addresses, since version 9 and before it.
_AGENT_RIGHTS = ("VM.GuestAgent.Audit", "VM.Monitor")
_NODE_STATUSES = {"online": "online", "offline": "offline"}
_GUEST_STATUSES = {"running": "running", "stopped": "stopped", "paused": "stopped", "suspended": "stopped"}
_HOST_STATUSES = {"running": "online", "stopped": "offline", "unknown": "unknown"}
_TAG_SEPARATORS = re.compile(r"[;,\s]+")
_MOST_TAGS = 100
_USER = re.compile(r"[^\s!:/@]+@[^\s!:/@]+")
_TOKEN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]+")
_TOKEN = re.compile(r"[\x21-\x7e]+")
# How much is asked for addresses: guests, seconds for one, seconds in all.
MOST_ADDRESSES = 500
ADDRESS_SECONDS = 5
ADDRESSES_SECONDS = 60
# Interfaces inside of a guest that nobody reaches it by.
_INNER_INTERFACES = re.compile(
    r"lo\d*|(docker|podman|veth|virbr|cni|flannel|cali|kube|tunl|dummy|br-).*", re.IGNORECASE
)

_Read = Callable[..., Any]


def check(options: Mapping[str, Any], secrets: Collection[str]) -> list[str]:
    """See Connector.check() in registry.py."""
    given = with_defaults(options, OPTIONS)
    problems = []
    if not _is_address(given["url"]):
        problems.append(f"The option url is {_without_login(given['url'])!r}, but it must be https://name:port.")
    if not _USER.fullmatch(given["user"]):
        problems.append(
            f"The option user is {given['user']!r}, but it must be a user with a realm, such as mission-control@pve."
        )
    if not _TOKEN_NAME.fullmatch(given["token_name"]):
        problems.append(
            f"The option token_name is {given['token_name']!r}, but it must be the name alone, such as inventory "
            "for the token mission-control@pve!inventory."
        )
    if "token" not in secrets:
        problems.append("The secret token is missing: give the value of the API token.")
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
    with _node(given, secrets) as read:
        members = objects_of(read(_STATUS))
        name = next((text_or_none(each.get("name")) for each in members if each.get("type") == "cluster"), None)
        identity = name or _identity_of_single_node(members, read)
        node_addresses = {
            each["name"]: _usable_address([each.get("ip")])
            for each in members
            if each.get("type") == "node" and isinstance(each.get("name"), str)
        }
        cluster = cluster or name
        try:
            resources = objects_of(read(_RESOURCES))
            progress("resources", len(resources))
            problem = None
        except NoList as error:
            resources = []
            problem = f"The list of nodes and guests (GET {_RESOURCES}) of {given['url']} {error}."
        nodes = node_listing(resources, cluster, node_addresses, problem)
        guests = [
            each for each in resources if each.get("type") in tuple(_GUESTS) and each.get("template") not in (1, "1")
        ]
        if problem is None and not guests:
            problem = _why_no_guests(given, read)
        addresses: dict[str, str | None] = {}
        if given["addresses"]:
            addresses = _addresses(guests, read, int(observed_at.timestamp()), progress)
    return Snapshot(
        source=source,
        connector=NAME,
        identity=identity,
        cluster=cluster,
        observed_at=observed_at,
        listings=(nodes, *guest_listings(guests, cluster, addresses, problem)),
    )


def preflight(options: Mapping[str, Any], secrets: Mapping[str, str]) -> list[str]:
    """See Connector.preflight() in registry.py."""
    given = with_defaults(options, OPTIONS)
    with _node(given, secrets) as read:
        permissions = read(_PERMISSIONS)
    root = permissions.get("/") if isinstance(permissions, dict) else None
    missing = []
    if not isinstance(root, dict) or "Sys.Audit" not in root:
        missing.append("Sys.Audit on /")
    if not _has_anywhere(permissions, "VM.Audit"):
        missing.append("VM.Audit on /vms")
    if given["addresses"] and not any(_has_anywhere(permissions, each) for each in _AGENT_RIGHTS):
        missing.append(
            f"{_AGENT_RIGHTS[0]} on /vms (before Proxmox VE 9 {_AGENT_RIGHTS[1]}, which also allows to run commands in guests)"
        )
    return [
        f"The API token {token_id(given)} lacks {right}: give a role with this privilege there to its user "
        "and, where its privileges are separated, to the token too (pveum acl modify)."
        for right in missing
    ]


def node_listing(
    resources: Sequence[Mapping[str, Any]],
    cluster: str | None,
    addresses: Mapping[str, str | None],
    problem: str | None = None,
) -> Listing:
    """The nodes among the resources of a cluster.

    Args:
        resources: answer of GET /cluster/resources.
        cluster: its name.
        addresses: of nodes by their names; one that is missing or None is not known.
        problem: of the listing.
    """
    rows, skipped = [], []
    for each in resources:
        if each.get("type") != "node":
            continue
        name = text_or_none(each.get("node"))
        if name is None:
            skipped.append(Skipped(None, "a node", "it has no name"))
            continue
        cores, memory = _capacity(each)
        address = addresses.get(name)
        rows.append(
            HostRow(
                external_id=f"node/{name}",
                name=name,
                type="proxmox-node",
                cluster=cluster,
                status=_word(_NODE_STATUSES, each.get("status")),
                address=address,
                cpu_cores=cores,
                memory_bytes=memory,
                unknown=_untold(cpu_cores=cores, memory_bytes=memory, address=address),
            )
        )
    return Listing("hosts", ("proxmox-node",), tuple(rows), problem, tuple(skipped))


def guest_listings(
    guests: Sequence[Mapping[str, Any]],
    cluster: str | None,
    addresses: Mapping[str, str | None],
    problem: str | None = None,
) -> tuple[Listing, Listing]:
    """Guests as hosts, and as workloads.

    Args:
        guests: those among the resources of a cluster that are no templates.
        cluster: its name.
        addresses: of guests that told their addresses, by external_id; None: it has none.
        problem: of both listings.
    """
    hosts: dict[str, HostRow] = {}
    workloads: dict[str, WorkloadRow] = {}
    skipped = []
    for each in guests:
        vmid = whole_number(each.get("vmid"), 1)
        if vmid is None:
            skipped.append(
                Skipped(None, text_or_none(each.get("name")) or "a guest", f"its vmid is {each.get('vmid')!r:.60}")
            )
            continue
        external_id = f"{each['type']}/{vmid}"
        host_type, workload_type = _GUESTS[each["type"]]
        # A guest of a node that is offline has a number and a node alone.
        name, node = text_or_none(each.get("name")), text_or_none(each.get("node"))
        status = _word(_GUEST_STATUSES, each.get("status"))
        cores, memory = _capacity(each)
        labels = _tags(each.get("tags"))
        told = {"vmid": vmid, "pool": text_or_none(each.get("pool")), "ha_state": text_or_none(each.get("hastate"))}
        unknown = _untold(cpu_cores=cores, memory_bytes=memory)
        hosts[external_id] = HostRow(
            external_id=external_id,
            name=name,
            type=host_type,
            cluster=cluster,
            status=_HOST_STATUSES[status],
            address=addresses.get(external_id),
            cpu_cores=cores,
            memory_bytes=memory,
            labels=labels,
            metadata=known(told),
            unknown=unknown if external_id in addresses else (*unknown, "address"),
        )
        workloads[external_id] = WorkloadRow(
            external_id=external_id,
            name=name,
            type=workload_type,
            host=f"node/{node}" if node else None,
            status=status,
            labels=labels,
            metadata=known(told),
        )
    types = tuple(zip(*_GUESTS.values()))
    return (
        Listing("hosts", types[0], tuple(hosts.values()), problem, tuple(skipped)),
        Listing("workloads", types[1], tuple(workloads.values()), problem, tuple(skipped)),
    )


def _capacity(resource: Mapping[str, Any]) -> tuple[Decimal | None, int | None]:
    """Cores, which may be a fraction, and bytes of memory. 0 says that it is not known."""
    cores = resource.get("maxcpu")
    right = (
        isinstance(cores, (int, float))
        and not isinstance(cores, bool)
        and math.isfinite(cores)
        and 0.001 <= cores < 10**6
    )
    return Decimal(str(cores)) if right else None, whole_number(resource.get("maxmem"), 1)


def _untold(**columns: object) -> tuple[str, ...]:
    return tuple(name for name, value in columns.items() if value is None)


def _word(words: Mapping[str, str], value: object) -> str:
    return words.get(value, "unknown") if isinstance(value, str) else "unknown"


def _tags(tags: object) -> dict[str, str]:
    names = sorted(
        {text for each in _TAG_SEPARATORS.split(tags) if (text := text_or_none(each))} if isinstance(tags, str) else ()
    )
    return dict.fromkeys(names[:_MOST_TAGS], "true")


def _why_no_guests(given: Mapping[str, Any], read: _Read) -> str | None:
    """A cluster shows only the guests that the token may audit: none is what a token without rights sees, too."""
    try:
        permissions = read(_PERMISSIONS)
    except NoList as error:
        return f"The list of guests is empty, and whether the API token {token_id(given)} may see any is not known: GET {_PERMISSIONS} {error}."
    if _has_anywhere(permissions, "VM.Audit"):
        return None
    return f"The list of guests is empty, as the API token {token_id(given)} has VM.Audit nowhere: give it a role with VM.Audit on /vms."


def _has_anywhere(permissions: object, right: str) -> bool:
    """Whether a token has a right at all: on every guest, on those of a pool, or on single ones."""
    paths = permissions.values() if isinstance(permissions, dict) else ()
    return any(isinstance(each, dict) and right in each for each in paths)


def _identity_of_single_node(members: Sequence[Mapping[str, Any]], read: _Read) -> str:
    """What tells a node without a cluster from others: its name, and the authority that it made when it was installed."""
    name = next((text_or_none(each.get("name")) for each in members if each.get("type") == "node"), None)
    if name is None:
        raise NoList(f"does not say who it is: its answer to GET {_STATUS} names neither a cluster nor a node")
    path = f"/nodes/{quote(name, safe='')}/certificates/info"
    for each in objects_of(read(path)):
        fingerprint = text_or_none(each.get("fingerprint"))
        if fingerprint and str(each.get("filename", "")).endswith("pve-root-ca.pem"):
            return f"{name} {fingerprint}"
    raise NoList(f"does not say who it is: its answer to GET {path} has no fingerprint of pve-root-ca.pem")


def _addresses(
    guests: Sequence[Mapping[str, Any]], read: _Read, turn: int, progress: Callable[[str, int], None]
) -> dict[str, str | None]:
    """Addresses of running guests, by external_id, as far as they tell them. One that does not is left out.

    Args:
        guests: as resources.
        read: asks the node.
        turn: where in the list it begins, another one each time, so that each guest has its turn where there is not enough time for all.
        progress: told the number of guests asked.
    """
    running = [each for each in guests if each.get("status") == "running" and each.get("node") and each.get("vmid")]
    if not running:
        return {}
    begin = turn % len(running)
    found: dict[str, str | None] = {}
    end = time.monotonic() + ADDRESSES_SECONDS
    for number, each in enumerate((running[begin:] + running[:begin])[:MOST_ADDRESSES], 1):
        left = end - time.monotonic()
        if left <= 0:
            break
        guest = f"/nodes/{quote(str(each['node']), safe='')}/{each['type']}/{quote(str(each['vmid']), safe='')}"
        path = f"{guest}/agent/network-get-interfaces" if each["type"] == "qemu" else f"{guest}/interfaces"
        with contextlib.suppress(NoList):
            found[f"{each['type']}/{each['vmid']}"] = address_of(read(path, min(ADDRESS_SECONDS, left)))
        progress("addresses", number)
    return found


def address_of(answer: Any) -> str | None:
    """The address by which a guest is reached, of what the QEMU guest agent or a container says of its interfaces.

    IPv4 is preferred, then the order of the interfaces counts.

    Args:
        answer: {"result": [interface, ...]} or [interface, ...].

    Raises:
        NoList: it says nothing of interfaces.
    """
    interfaces = answer.get("result") if isinstance(answer, dict) else answer
    if not isinstance(interfaces, list):
        raise NoList("answered no interfaces", 200)
    candidates: list[Any] = []
    for each in interfaces:
        if not isinstance(each, dict) or _INNER_INTERFACES.fullmatch(str(each.get("name", ""))):
            continue
        listed = each.get("ip-addresses")
        candidates += (
            [one.get("ip-address") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        )
        candidates += [each.get("inet"), each.get("inet6")]
    return _usable_address(candidates)


def _usable_address(candidates: Sequence[object]) -> str | None:
    usable: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    for each in candidates:
        if not isinstance(each, str):
            continue
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_interface(each.partition("%")[0]).ip
            if not (address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast):
                usable.append(address)
    return next((str(each) for each in sorted(usable, key=lambda each: each.version)), None)


def objects_of(answer: Any) -> list[dict[str, Any]]:
    """The objects of a list.

    Raises:
        NoList: it is none.
    """
    if not isinstance(answer, list):
        raise NoList("answered JSON of another form", 200)
    return [each for each in answer if isinstance(each, dict)]


def token_id(given: Mapping[str, Any]) -> str:
    """Identifier of an API token, as Proxmox VE writes it."""
    return f"{given['user']}!{given['token_name']}"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme == "https"
        and bool(parts.hostname)
        and port is not None
        and not (parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"))
        and not any(character.isspace() for character in url)
    )


def _without_login(url: str) -> str:
    """An address without what may be a password in it."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


@contextlib.contextmanager
def _node(given: Mapping[str, Any], secrets: Mapping[str, str]) -> Iterator[_Read]:
    """A function that reads the data of a path of the API. NoList that nobody catches becomes a FetchError."""
    with connected(given, secrets) as (session, address):
        try:
            yield lambda path, seconds=None: data_of(read_list(session, f"{address}{path}", seconds))
        except NoList as error:
            cure = _cure(error, given)
            raise FetchError(f"Proxmox VE at {given['url'].rstrip('/')} {error}{cure}.") from None


@contextlib.contextmanager
def connected(given: Mapping[str, Any], secrets: Mapping[str, str]) -> Iterator[tuple[Any, str]]:
    """A session of requests that a node lets in, and the address before the paths of its API.

    What proxmoxer's own resources do with an answer is not used: they wait without end in Debian 12's version, and hand out a page of
    HTML as if it were data.

    Args:
        given: all options of the connector, with defaults.
        secrets: as the source has them.

    Raises:
        FetchError: a library is missing, or the token is none.
    """
    try:
        import requests  # noqa: F401  # without it proxmoxer ends the process
        from proxmoxer.backends.https import Backend
    except ImportError:
        raise FetchError(f"The connector {NAME} needs the library {LIBRARY} (Debian: {DEBIAN_PACKAGE}).") from None

    token = secrets["token"].strip()
    if not _TOKEN.fullmatch(token):
        raise FetchError("The secret token holds something that no API token has: give its value alone, on one line.")
    url = given["url"].rstrip("/")
    parts = urlsplit(url)
    with files_of(given["ca_certificate"]) as (authority,):
        # The port apart, and no name with colons: Debian 12's version takes what follows the first colon for the port.
        backend = Backend(
            "node",
            user=given["user"],
            token_name=given["token_name"],
            token_value=token,
            port=parts.port,
            verify_ssl=authority or True,
        )
        with contextlib.closing(backend.get_session()) as session:
            prepare(session)
            yield session, f"{url}/api2/json"


def _cure(error: NoList, given: Mapping[str, Any]) -> str:
    if error.status == 401:
        return f": the API token {token_id(given)} or its value is wrong, or it has expired"
    if error.status == 403:
        return f": the API token {token_id(given)} needs Sys.Audit on /"
    return ""


def data_of(answer: Any) -> Any:
    """What an answer of the API holds.

    Raises:
        NoList: it holds no data.
    """
    if not isinstance(answer, dict) or "data" not in answer:
        raise NoList("answered JSON without data", 200)
    return answer["data"]
