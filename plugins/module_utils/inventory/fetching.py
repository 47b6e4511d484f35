# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask a source for its lists in a process of its own (children.py), which says progress, then a snapshot or a sentence."""

from __future__ import annotations

import decimal
import importlib
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable

from ..children import Child, ChildError, ChildStoppedError, meet_parent
from ..errors import place_of
from . import snapshot as rows
from .connectors.registry import CONNECTORS
from .snapshot import KINDS, FetchError, Listing, Skipped, Snapshot
from .sources import read_secrets

if TYPE_CHECKING:
    import threading

    from .sources import Source

    Progress = Callable[[str, int], None]

_ROWS = {"hosts": rows.HostRow, "services": rows.ServiceRow, "workloads": rows.WorkloadRow}


class StoppedError(FetchError):
    """The work was to stop before the source had told everything."""


def fetch(
    source: Source,
    observed_at: datetime,
    progress: Progress = lambda _list, _number: None,
    stop: threading.Event | None = None,
) -> Snapshot:
    """What a source lists now, fetched in a process of its own.

    Args:
        source: its secrets are read now.
        observed_at: the database server's time before the first list is fetched.
        progress: called with the name of a list and the number of its objects so far.
        stop: set to end the fetch within a second.

    Raises:
        FetchError: nothing can be told of the source; also where the process ended in whatever way, as one sentence.
        StoppedError: `stop` was set.
    """
    said = _ask(source, "snapshot", progress, stop, observed_at=observed_at.isoformat())
    try:
        return _snapshot(said, source, observed_at)
    except (KeyError, TypeError, ValueError, AttributeError, decimal.DecimalException):
        raise FetchError(f"Fetching {source.name} failed: what its process handed over is no snapshot.") from None


def missing_rights(source: Source, stop: threading.Event | None = None) -> list[str]:
    """Which rights the login of a source lacks, as sentences; none where it has all. Asked in a process of its own, as `fetch` does.

    Args:
        source: its secrets are read now.
        stop: set to end within a second.

    Raises:
        FetchError: the source does not answer, or refuses the login; also where the process ended in whatever way.
        StoppedError: `stop` was set.
    """
    said = _ask(source, "rights", lambda _list, _number: None, stop)
    if not isinstance(said, list):
        raise FetchError(f"Fetching {source.name} failed: what its process handed over are no rights.")
    return [str(each) for each in said]


def _ask(source: Source, wanted: str, progress: Progress, stop: threading.Event | None, **more: str) -> Any:
    """What a process of its own answers: the snapshot or the rights, as they came through JSON."""
    connector: Any = CONNECTORS[source.connector]()
    task = {
        "wanted": wanted,
        "module": connector.__name__,
        "source": source.name,
        "cluster": source.cluster,
        "options": dict(source.options),
        "secrets": read_secrets(source),
        **more,
    }

    def heard(said: dict[str, Any]) -> bool:
        if "progress" in said:
            name, number = said["progress"]
            progress(str(name)[:100], int(number))
        elif not ("error" in said or wanted in said):
            raise ValueError
        return "progress" not in said

    try:
        with Child(__name__, source.memory_limit, stop) as child:
            answer = child.ask(task, source.deadline, heard)
    except ChildStoppedError:
        raise StoppedError(f"The sync of {source.name} was stopped before it had ended.") from None
    except ChildError as error:
        raise FetchError(f"Fetching {source.name} failed: {error}.") from None
    if "error" in answer:
        raise FetchError(str(answer["error"]))
    return answer[wanted]


def _snapshot(said: Any, source: Source, observed_at: datetime) -> Snapshot:
    """The snapshot of what a child said. Whatever it says, the source is the one that was asked."""
    return Snapshot(
        source=source.name,
        connector=source.connector,
        identity=_text(said["identity"]),
        cluster=None if said["cluster"] is None else _text(said["cluster"]),
        observed_at=observed_at,
        listings=tuple(_listing(each) for each in said["listings"]),
    )


def _listing(said: dict[str, Any]) -> Listing:
    kind = said["kind"]
    if kind not in KINDS:
        raise ValueError
    return Listing(
        kind=kind,
        types=tuple(map(_text, said["types"])),
        rows=tuple(_row(kind, each) for each in said["rows"]),
        problem=None if said["problem"] is None else _text(said["problem"]),
        skipped=tuple(Skipped(**each) for each in said["skipped"]),
    )


def _row(kind: str, said: dict[str, Any]) -> rows.Row:
    if said.get("cpu_cores") is not None:
        said["cpu_cores"] = decimal.Decimal(said["cpu_cores"])
    said["unknown"] = tuple(map(_text, said["unknown"]))
    _text(said["external_id"])
    row: rows.Row = _ROWS[kind](**said)
    return row


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _as_json(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "identity": snapshot.identity,
        "cluster": snapshot.cluster,
        "listings": [
            {**vars(each), "rows": [vars(row) for row in each.rows], "skipped": [vars(one) for one in each.skipped]}
            for each in snapshot.listings
        ],
    }


def main() -> None:
    """The child: read the task, ask the source, say the answer or why there is none."""
    met = meet_parent()
    if met is None:
        return
    parent, task = met
    try:
        connector = importlib.import_module(task["module"])
        if task["wanted"] == "rights":
            parent.say({"rights": connector.preflight(task["options"], task["secrets"])})
            return
        snapshot = connector.fetch(
            task["source"],
            task["cluster"],
            task["options"],
            task["secrets"],
            datetime.fromisoformat(task["observed_at"]),
            lambda name, number: parent.say({"progress": [name, number]}),
        )
        parent.say({"snapshot": _as_json(snapshot)})
    except FetchError as error:
        parent.say({"error": str(error)})
    except MemoryError:
        parent.say({"error": _failed(task, f"it took more than its memory limit of {task['memory_limit']} MiB")})
    except Exception as error:
        # A fault of the connector or its library.
        parent.say({"error": _failed(task, f"an error of its connector ({type(error).__name__}{place_of(error)})")})


def _failed(task: dict[str, Any], why: str) -> str:
    return f"Fetching {task['source']} failed: {why}."


if __name__ == "__main__":
    main()
