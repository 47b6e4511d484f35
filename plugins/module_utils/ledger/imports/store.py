# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write imported calls, and how far their files are read, in one transaction. What is there already stays as it is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from ...database.driver import Json
from ...errors import QueryError, SerializationError
from ..buckets import TokenBuckets
from ..calls import record_llm_call
from .calls import Bodies, instant
from .files import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ...client.client import Client
    from ...client.transaction import Transaction
    from ...models.enums import BodyStorage
    from .calls import ImportedCall

_BUCKETS = tuple(each.name for each in dataclasses.fields(TokenBuckets))
_ATTEMPTS = 10
# Of each column an array in PostgreSQL's own writing: made and read in a tenth of the time that a parameter for each value takes.
_COLUMNS = {
    "source": "text",
    "external_id": "text",
    "occurred_at": "timestamptz",
    "provider": "text",
    "model": "text",
    "billing_mode": "text",
    "cost_source": "text",
    "estimated_cost_usd": "numeric",
    "project": "text",
    "agent": "text",
    "task_run_id": "uuid",
    **dict.fromkeys(_BUCKETS, "bigint"),
}
# As a subquery for each: EXISTS would be planned as a join that reads the whole table.
_KNOWN = """
SELECT g.number FROM unnest(%(source)s::text[], %(external_id)s::text[]) WITH ORDINALITY AS g (source, external_id, number)
WHERE (SELECT true FROM token_usage AS u WHERE u.source = g.source AND u.external_id = g.external_id)
"""
# A run of a task that is not there, or there no more, keeps no call out of the ledger.
_TASK_RUN = "(SELECT t.id FROM task_runs AS t WHERE t.id = g.task_run_id)"
_ADD = f"""
WITH added AS (
    INSERT INTO token_usage ({", ".join(_COLUMNS)})
    SELECT {", ".join(_TASK_RUN if name == "task_run_id" else f"g.{name}" for name in _COLUMNS)}
    FROM unnest({", ".join(f"%({name})s::{type_}[]" for name, type_ in _COLUMNS.items())}) AS g ({", ".join(_COLUMNS)})
    ON CONFLICT DO NOTHING
    RETURNING cost_source
)
SELECT count(*) AS added, count(*) FILTER (WHERE cost_source = 'unpriced') AS unpriced FROM added
"""  # noqa: S608 - the columns are those of this file and of TokenBuckets
_READ_PLACES = """
SELECT path, fingerprint, position, state FROM usage_import_files WHERE source = %s AND host = %s AND path = ANY (%s)
"""
_KEEP_PLACES = """
INSERT INTO usage_import_files AS f (source, host, path, fingerprint, position, state, calls, updated_at)
SELECT %s, %s, g.path, g.fingerprint, g.position, g.state, g.calls, now()
FROM jsonb_to_recordset(%s::jsonb) AS g (path text, fingerprint text, position bigint, state jsonb, calls bigint)
ON CONFLICT (source, host, path) DO UPDATE SET
    fingerprint = excluded.fingerprint, position = excluded.position, state = excluded.state,
    calls = CASE WHEN f.position <= excluded.position THEN f.calls ELSE 0 END + excluded.calls, updated_at = excluded.updated_at
"""


class Remembered(NamedTuple):
    """How far a file was read."""

    fingerprint: str
    place: Place
    state: dict[str, Any]


class Written(NamedTuple):
    """What became of calls: new rows, those of them without a price, calls that the database refused, and those that it knew."""

    added: int = 0
    unpriced: int = 0
    refused: int = 0
    known: int = 0


@dataclass
class Batch:
    """What is written together.

    Attributes:
        calls: by source and identifier; of a call that is there twice the later one counts.
        places: how far each file is read with these calls, by its path, with the number of calls.
    """

    calls: dict[tuple[str, str], ImportedCall] = field(default_factory=dict)
    places: dict[str, tuple[Remembered, int]] = field(default_factory=dict)


class Store:
    """Where the calls of one import go.

    Args:
        client: of a login that may write usage.
        source: under which places in files are remembered.
        host: name of the machine whose files they are.
    """

    def __init__(self, client: Client, source: str, host: str, bodies: BodyStorage) -> None:
        self._client = client
        self._source = source
        self._host = host
        self._bodies = bodies

    def remembered(self, paths: Sequence[str]) -> dict[str, Remembered]:
        """How far the files with these paths were read."""
        found = {}
        for row in self._client.query_many(_READ_PLACES, [self._source, self._host, list(paths)]):
            state = dict(row["state"] or {})
            found[row["path"]] = Remembered(row["fingerprint"], Place(row["position"], state.pop("line", 0)), state)
        return found

    def write(self, batch: Batch) -> Written:
        """Store a batch, all of it or nothing.

        Raises:
            MissionControlError: the database cannot be asked, or refuses what is no fault of a call.
        """
        for _attempt in range(_ATTEMPTS):
            try:
                return self._write(batch, _add)
            except SerializationError:
                # Another import of the same calls, in another order.
                continue
            except QueryError as error:
                if not error.is_of_content:
                    raise
                # Some call is what the database does not take: the others are.
                return self._write(batch, _add_acceptable)
        return self._write(batch, _add)

    def _write(self, batch: Batch, add: Any) -> Written:
        # In the same order in each import, so that two of them wait for each other and do not block each other.
        calls = [batch.calls[key] for key in sorted(batch.calls)]
        with self._client.transaction() as transaction:
            # First, so that a second import of the same files waits here, and then knows the calls.
            self._keep_places(transaction, batch)
            recorded = sum_up(*(self._record(transaction, call) for call in calls if call.bodies is not None))
            fresh = _without_known(
                transaction, [call for call in calls if call.bodies is None and call.buckets is not None]
            )
            written = sum_up(recorded, add(transaction, fresh) if fresh else Written())
        with_usage = sum(call.buckets is not None for call in calls)
        return written._replace(known=max(with_usage - written.added - written.refused, 0))

    def _keep_places(self, transaction: Transaction, batch: Batch) -> None:
        rows = [
            {
                "path": path,
                "fingerprint": each.fingerprint,
                "position": each.place.position,
                "state": {**each.state, "line": each.place.line},
                "calls": calls,
            }
            for path, (each, calls) in sorted(batch.places.items())
        ]
        if rows:
            transaction.query(_KEEP_PLACES, [self._source, self._host, Json(rows)])

    def _record(self, transaction: Transaction, call: ImportedCall) -> Written:
        """Store a call with its bodies, without its run where that is not there."""
        try:
            return self._record_in_part(transaction, call)
        except QueryError as error:
            if error.is_missing_reference and call.task_run_id is not None:
                return self._record(transaction, call._replace(task_run_id=None))
            if not error.is_of_content:
                raise
            return Written(refused=1)

    def _record_in_part(self, transaction: Transaction, call: ImportedCall) -> Written:
        bodies = call.bodies or Bodies()
        with transaction.transaction() as part:
            stored = record_llm_call(
                part,
                provider=call.provider,
                model=call.model,
                usage=call.buckets,
                messages=bodies.messages,
                content=bodies.content,
                finish_reason=bodies.finish_reason,
                error=bodies.error,
                latency_ms=bodies.latency_ms,
                occurred_at=datetime.fromtimestamp(instant(call.at), timezone.utc),
                task_run_id=call.task_run_id,
                billing_mode=call.billing_mode,
                cost_source=call.cost_source,
                cost_usd=call.cost_usd,
                project=call.project,
                agent=call.agent,
                source=call.source,
                external_id=call.external_id,
                body_storage=self._bodies,
            )
        usage = stored.usage
        if usage is None or not stored.newly_recorded or usage.request_id != stored.request.id:
            return Written()
        return Written(1, int(usage.cost_source == "unpriced"))


def _without_known(transaction: Transaction, calls: list[ImportedCall]) -> list[ImportedCall]:
    """The calls that are not stored yet: a price takes longer to find than a row, also for one that is not written then."""
    if not calls:
        return []
    arrays = {
        "source": _array(call.source for call in calls),
        "external_id": _array(call.external_id for call in calls),
    }
    known = {row["number"] for row in transaction.query_many(_KNOWN, arrays)}
    return [call for number, call in enumerate(calls, 1) if number not in known] if known else calls


def _add(transaction: Transaction, calls: list[ImportedCall]) -> Written:
    columns = list(
        zip(
            *(
                (
                    call.source,
                    call.external_id,
                    call.at,
                    call.provider,
                    call.model,
                    call.billing_mode,
                    call.cost_source,
                    None if call.cost_usd is None else f"{call.cost_usd:f}",
                    call.project,
                    call.agent,
                    call.task_run_id,
                )
                for call in calls
            )
        )
    )
    values = dict(zip(_COLUMNS, map(_array, columns)))
    for name in _BUCKETS:
        values[name] = f"{{{','.join([str(getattr(call.buckets, name)) for call in calls])}}}"
    row = transaction.query_one(_ADD, values)
    return Written() if row is None else Written(row["added"], row["unpriced"])


def _add_acceptable(transaction: Transaction, calls: list[ImportedCall]) -> Written:
    """The same in halves of halves, so that only single calls are refused."""
    try:
        with transaction.transaction() as part:
            return _add(part, calls)
    except QueryError as error:
        if not error.is_of_content:
            raise
    if len(calls) == 1:
        return Written(refused=1)
    middle = len(calls) // 2
    return sum_up(_add_acceptable(transaction, calls[:middle]), _add_acceptable(transaction, calls[middle:]))


def sum_up(*parts: Written) -> Written:
    return Written(*map(sum, zip(Written(), *parts)))


def _array(values: Iterable[str | None]) -> str:
    """An array of texts in PostgreSQL's writing."""
    quoted = [
        "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values
    ]
    return f"{{{','.join(quoted)}}}"
