# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Docker and Podman: containers, their logs, and the restart of one, by the engine's own API. No shell is involved."""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ...inventory.connectors.docker import DEBIAN_PACKAGE, LIBRARY, NAME, OPTIONS, SECRETS, check, connected, names_of
from ...inventory.connectors.http_lists import NoList, ask, json_of
from ...inventory.values import text_or_none, whole_number
from .call import Call, CallError, failure_of, in_words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["CALLS", "DEBIAN_PACKAGE", "LIBRARY", "NAME", "OPTIONS", "SECRETS", "check", "text_of_log"]

_ID = re.compile(r"[0-9a-f]{12,64}")
_MOST_READ = 64 * 2**20  # of a log
_CHUNK = 2**16
_FRAME = 8  # bytes before each part of a log, of which the last four are its length
_SLACK = 2**16  # so that what is masked is whole


def _list_containers(call: Call) -> dict[str, Any]:
    given = call.arguments
    with _engine(call, f"The containers of {call.source}") as (session, address):
        found = json_of(
            ask(session, "GET", f"{address}/containers/json?all={int(given['all'])}", read_seconds=call.seconds)
        )
    if not isinstance(found, list):
        raise CallError(f"The containers of {call.source}: the engine answered JSON of another form.")
    rows = sorted((_container(each) for each in found if isinstance(each, dict)), key=lambda each: each["name"] or "")
    return {"containers": rows[: given["limit"]], "more": len(rows) > given["limit"]}


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    ports = container.get("Ports")
    return {
        "name": next(iter(names_of(container)), None),
        "id": text_or_none(container.get("Id"), 12),
        "image": text_or_none(container.get("Image")),
        "state": text_or_none(container.get("State")),
        "status": text_or_none(container.get("Status")),
        "created": whole_number(container.get("Created")),
        "ports": [_port(each) for each in (ports if isinstance(ports, list) else ())[:50] if isinstance(each, dict)],
    }


def _port(port: Mapping[str, Any]) -> str:
    inner = f"{port.get('PrivatePort')}/{port.get('Type')}"
    outer = f"{port.get('IP', '')}:{port['PublicPort']} -> " if port.get("PublicPort") else ""
    return f"{outer}{inner}"[:100]


def _container_logs(call: Call) -> dict[str, Any]:
    given = call.arguments
    parameters: dict[str, Any] = {"stdout": 1, "stderr": 1, "tail": given["tail_lines"]}
    if given["since_seconds"]:
        parameters["since"] = int(time.time()) - given["since_seconds"]
    name = given["container"]
    with _container_named(call) as (session, path):
        response = ask(session, "GET", f"{path}/logs?{urlencode(parameters)}", read_seconds=call.seconds, stream=True)
        with contextlib.closing(response):
            text, whole = text_of_log(response.iter_content(_CHUNK), call.most_bytes + _SLACK)
    return {"container": name, "log": text, **({} if whole else {"begins_later": True})}


def text_of_log(chunks: Iterable[bytes], most: int) -> tuple[str, bool]:
    """The end of a log, and whether it is all of it.

    Args:
        chunks: as an engine sends it: the bytes as they are where the container has a terminal, else in frames that say where each is from.
        most: bytes of the end that are kept.
    """
    kept, waiting = bytearray(), bytearray()
    framed: bool | None = None
    left = read = 0
    whole = True
    for chunk in chunks:
        read += len(chunk)
        waiting += chunk
        if framed is None and len(waiting) >= _FRAME:
            # No text begins with one of the first three characters and three zeros.
            framed = waiting[0] < 3 and not any(waiting[1:4])
        while framed is not None and waiting:
            if framed and not left:
                if len(waiting) < _FRAME:
                    break
                left = int.from_bytes(waiting[4:_FRAME], "big")
                del waiting[:_FRAME]
            take = min(left, len(waiting)) if framed else len(waiting)
            kept += waiting[:take]
            del waiting[:take]
            left -= take if framed else 0
        if len(kept) > 2 * most:
            del kept[:-most]
            whole = False
        if read > _MOST_READ:
            whole = False
            break
    if framed is None:
        kept += waiting
    return kept[-most:].decode("utf-8", "replace"), whole and len(kept) <= most


def _restart_container(call: Call) -> dict[str, Any]:
    given = call.arguments
    name = given["container"]
    if given["stop_seconds"] >= call.seconds:
        raise CallError(
            f"The container {name} of {call.source} may take {given['stop_seconds']} s to stop, which is longer than the call "
            "may take: give a smaller stop_seconds, or the tool a higher timeout_seconds."
        )
    with _container_named(call) as (session, path):
        url = f"{path}/restart?t={int(given['stop_seconds'])}"
        ask(session, "POST", url, read_seconds=call.seconds, expected=(204,))
    return {"container": name, "restarted": True}


@contextlib.contextmanager
def _container_named(call: Call) -> Iterator[tuple[Any, str]]:
    """A session, and the address of the container that has the name that the call gives.

    Engines also take any beginning of an identifier for a name: a policy that names a container would not cover it.
    """
    name = call.arguments["container"]
    with _engine(call, f"The container {name} of {call.source}") as (session, address):
        filters = urlencode({"all": 1, "filters": json.dumps({"name": [name]})})
        found = json_of(ask(session, "GET", f"{address}/containers/json?{filters}", read_seconds=call.seconds))
        # The filter takes it for a part of a name.
        fitting = [
            each["Id"]
            for each in (found if isinstance(found, list) else ())
            if isinstance(each, dict) and name in names_of(each) and _ID.fullmatch(str(each.get("Id")))
        ]
        if len(fitting) != 1:
            raise CallError(f"There is no container of the name {name} at {call.source}.")
        yield session, f"{address}/containers/{fitting[0]}"


@contextlib.contextmanager
def _engine(call: Call, subject: str) -> Iterator[tuple[Any, str]]:
    with in_words_of(call), connected(call.options, call.secrets) as (session, address):
        try:
            yield session, address
        except NoList as error:
            raise failure_of(call, subject, "the engine", error) from None


CALLS: dict[str, Callable[[Call], dict[str, Any]]] = {
    "list_containers": _list_containers,
    "container_logs": _container_logs,
    "restart_container": _restart_container,
}
