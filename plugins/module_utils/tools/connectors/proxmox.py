# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Proxmox VE: guests, and their start and shutdown. What changes something is a task of a node, whose end is waited for."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...inventory.connectors.http_lists import NoList, ask, json_of
from ...inventory.connectors.proxmox import (
    DEBIAN_PACKAGE,
    LIBRARY,
    NAME,
    OPTIONS,
    SECRETS,
    check,
    connected,
    data_of,
    objects_of,
    token_id,
)
from ...inventory.values import text_or_none, whole_number
from .call import Call, CallError, failure_of, in_words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["CALLS", "DEBIAN_PACKAGE", "LIBRARY", "NAME", "OPTIONS", "SECRETS", "check"]

_GUESTS = "/cluster/resources?type=vm"
_LOOK = 1.0  # second between two looks at a task
_UPID = re.compile(r"UPID:[A-Za-z0-9-]{1,63}:[A-Za-z0-9:@!._-]{1,300}")


def _list_guests(call: Call) -> dict[str, Any]:
    given = call.arguments
    with _cluster(call, f"The guests of {call.source}") as request:
        found = objects_of(request("GET", _GUESTS))
    rows = sorted(
        (
            _guest(each)
            for each in found
            if each.get("type") in ("qemu", "lxc")
            and each.get("template") not in (1, "1")
            and all(given[name] in (None, each.get(name)) for name in ("node", "type", "status"))
        ),
        key=lambda each: each["vmid"] or 0,
    )
    return {"guests": rows[: given["limit"]], "more": len(rows) > given["limit"]}


def _guest(guest: Mapping[str, Any]) -> dict[str, Any]:
    cores = guest.get("maxcpu")
    return {
        "vmid": whole_number(guest.get("vmid"), 1),
        "name": text_or_none(guest.get("name")),
        "type": text_or_none(guest.get("type")),
        "node": text_or_none(guest.get("node")),
        "status": text_or_none(guest.get("status")),
        "cpu_cores": cores if isinstance(cores, (int, float)) else None,
        "memory_bytes": whole_number(guest.get("maxmem"), 1),
        "uptime_seconds": whole_number(guest.get("uptime")),
    }


def _start_guest(call: Call) -> dict[str, Any]:
    return _task(call, "start", {})


def _shut_down_guest(call: Call) -> dict[str, Any]:
    seconds = call.arguments["shutdown_seconds"]
    if seconds >= call.seconds:
        raise CallError(
            f"The guest {call.arguments['vmid']} of {call.source} may take {seconds} s to shut down, which is longer than the call "
            "may take: give a smaller shutdown_seconds, or the tool a higher timeout_seconds."
        )
    return _task(call, "shutdown", {"timeout": int(seconds), "forceStop": 0})


def _task(call: Call, what: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Have a node begin a task for a guest, and wait for its end."""
    vmid = int(call.arguments["vmid"])
    subject = f"The guest {vmid} of {call.source}"
    with _cluster(call, subject) as request:
        listed = objects_of(request("GET", _GUESTS))
        guest = next((each for each in listed if whole_number(each.get("vmid")) == vmid), None)
        node, kind = (text_or_none(guest.get(name)) for name in ("node", "type")) if guest else (None, None)
        if node is None or kind not in ("qemu", "lxc"):
            raise CallError(
                f"{subject} is not there, or the API token {token_id(call.options)} lacks VM.Audit on it: list the guests."
            )
        path = f"/nodes/{quote(node, safe='')}/{kind}/{vmid}/status/{what}"
        upid = request("POST", path, data=dict(parameters))
        if not isinstance(upid, str) or not _UPID.fullmatch(upid):
            raise CallError(f"{subject}: the node answered no task, so whether it took place is not known.", "unknown")
        result = {"vmid": vmid, "node": node, "type": kind, "task": upid}
        status = _end_of_task(call, request, node, upid)
    if status is None:
        raise CallError(
            f"{subject}: the task {upid} goes on, and its end was not seen within the time limit.", "timed_out", result
        )
    result["exit_status"] = status
    if status != "OK" and not status.startswith("WARNINGS"):
        raise CallError(f"{subject}: the task ended with {status}.", "failed", result)
    return result


def _end_of_task(call: Call, request: Callable[..., Any], node: str, upid: str) -> str | None:
    """How a task ended, None where it goes on when the time of the call is over."""
    path = f"/nodes/{quote(node, safe='')}/tasks/{quote(upid, safe='')}/status"
    while True:
        with contextlib.suppress(NoList):
            # A node that does not answer for a moment says nothing of its task.
            found = request("GET", path)
            if isinstance(found, dict) and found.get("status") == "stopped":
                return text_or_none(found.get("exitstatus"), 300) or "no exit status"
        if call.seconds <= _LOOK:
            return None
        time.sleep(_LOOK)


@contextlib.contextmanager
def _cluster(call: Call, subject: str) -> Iterator[Callable[..., Any]]:
    """A function that sends a request, and gives the data of the answer."""
    with in_words_of(call), connected(call.options, call.secrets) as (session, address):

        def request(method: str, path: str, **more: Any) -> Any:
            return data_of(
                json_of(ask(session, method, f"{address}{path}", read_seconds=min(30, call.seconds), **more))
            )

        try:
            yield request
        except NoList as error:
            raise failure_of(call, subject, "the node", error) from None


CALLS: dict[str, Callable[[Call], dict[str, Any]]] = {
    "list_guests": _list_guests,
    "start_guest": _start_guest,
    "shut_down_guest": _shut_down_guest,
}
