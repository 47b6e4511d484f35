# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The writer of the inventory: what a source listed at one moment becomes its rows in hosts, services and workloads.

One transaction, which holds the row of the source, and in it one statement for each kind. The server compares, so that rows which are
as they were cost no write. What is gone is marked and stays. See docs/inventory.md.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Literal

from ..database.driver import Json
from ..errors import ConnectionLostError, ConstraintError, LockTimeoutError, MissionControlError, SerializationError
from .acceptable import SnapshotError, acceptable_rows, refuse_contradictions
from .runs import UnknownSourceError, begin_run, fail_run, finish_run
from .snapshot import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from ..client.client import Client
    from ..client.transaction import Transaction
    from .snapshot import Kind, Skipped, Snapshot

Outcome = Literal["succeeded", "failed", "superseded"]
# These get new names each time they are made anew. Of them a list is believed that is about as long as it was, whatever the names in it.
FLEETING = frozenset({"k8s-pod", "k8s-job", "docker-container"})
# Of differences and of skipped rows, for each kind: those that are named.
MOST_NAMED = 100
# Where a person deletes or adds what is just being written; the server then undoes all of it.
_ATTEMPTS = 3
# For the transaction. Of a source that has just got its first rows the statistics know nothing: without the last one a plan may go through
# all of them for each row that is given.
_SETTINGS = """
SELECT set_config(s.name, s.value, true) FROM (
    VALUES ('lock_timeout', '10s'), ('statement_timeout', '10min'), ('work_mem', '64MB'), ('jit', 'off'), ('enable_nestloop', 'off')
) AS s (name, value)
"""
_SOURCE = """
SELECT s.connector, s.identity, s.last_complete_at, s.last_observed_at,
    -- A time that lies in the future is of a clock that was set back since: it says nothing about order.
    s.last_observed_at > %(observed_at)s::timestamptz AND s.last_observed_at <= clock_timestamp() AS is_newer,
    %(run_id)s::uuid IS NULL OR EXISTS (
        SELECT FROM task_runs AS r WHERE r.id = %(run_id)s::uuid AND r.task_id = s.task_id AND r.status IN ('queued', 'running')
    ) AS is_its_run
FROM inventory_sources AS s
WHERE s.name = %(source)s
FOR UPDATE
"""
_NOTE_SOURCE = """
UPDATE inventory_sources AS s
SET identity = %(identity)s, cluster = coalesce(s.cluster, %(cluster)s), last_observed_at = %(observed_at)s,
    last_complete_at = s.last_complete_at || %(complete)s::jsonb
WHERE s.name = %(source)s
"""


@dataclass(frozen=True)
class Counts:
    """Numbers of rows of one kind. `unchanged` counts those that are listed as they are stored; `back` those that had been gone."""

    added: int = 0
    changed: int = 0
    gone: int = 0
    back: int = 0
    unchanged: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Difference:
    """A row that a sync adds, changes, marks as gone or brings back.

    Attributes:
        columns: that change.
        recreated: another object has its identifier now, as its uid tells.
    """

    kind: Kind
    change: Literal["added", "changed", "gone", "back"]
    external_id: str
    name: str
    columns: tuple[str, ...] = ()
    recreated: bool = False


@dataclass(frozen=True)
class SyncResult:
    """What became of a sync.

    Attributes:
        task_run_id: the run; None where nothing was to be changed.
        outcome: also of a failed one what could be taken over is taken over: the counts say what.
        error: sentences; None for none.
        counts: by kind; empty where nothing was compared.
        differences, skipped: by name, the first `MOST_NAMED` of each kind.
    """

    source: str
    task_run_id: UUID | None
    outcome: Outcome
    error: str | None = None
    counts: Mapping[Kind, Counts] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether a row is added, changed, gone or back."""
        return any(each.added or each.changed or each.gone or each.back for each in self.counts.values())

    @property
    def summary(self) -> str:
        """One clause, such as "succeeded, hosts: 3 added, 2 unchanged"."""
        parts = []
        for kind, counts in self.counts.items():
            numbers = [f"{number:,} {word}" for word, number in asdict(counts).items() if number]
            if numbers:
                parts.append(f"{kind}: {', '.join(numbers)}")
        return ", ".join([self.outcome, "; ".join(parts)]) if parts else self.outcome

    @property
    def sentences(self) -> list[str]:
        """What a person is told: the summary, what is wrong, what changes and what was skipped."""
        said = [f"{self.source}: {self.summary}."]
        said += [self.error] if self.error else []
        for each in self.differences:
            more = f" ({', '.join(each.columns)})" if each.columns and each.change == "changed" else ""
            said.append(f"{each.kind}: {each.name} [{each.external_id}] {each.change}{more}.")
        said += [f"Skipped: {each.name}, {each.reason}." for each in self.skipped]
        return said

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "source": self.source,
            "task_run_id": None if self.task_run_id is None else str(self.task_run_id),
            "succeeded": self.outcome != "failed",
            "outcome": self.outcome,
            "error": self.error,
            "counts": {kind: asdict(each) for kind, each in self.counts.items()},
            "differences": [{**asdict(each), "columns": list(each.columns)} for each in self.differences],
            "skipped": [asdict(each) for each in self.skipped],
        }


def sync(
    client: Client,
    snapshot: Snapshot,
    *,
    task_run_id: UUID | None = None,
    check: bool = False,
    accept_disappearance: bool = False,
    accept_identity: bool = False,
    requested_by: str | None = None,
    register: Callable[[Transaction], None] | None = None,
) -> SyncResult:
    """Make the rows of a source what it listed, all of it in one transaction, and close the run.

    Args:
        client: of the application's login.
        snapshot: what the source listed, and when that was begun.
        task_run_id: a run of this source that goes on; without it one is begun.
        check: write nothing, and say what would change.
        accept_disappearance: mark as gone also what is too much to be true.
        accept_identity: take over what is listed also where the source is another one than before.
        requested_by: for the log of a run that is begun here, and for the audit log.
        register: with `check`, called at the beginning of the transaction that is undone, for a source that may not be known yet.

    Returns:
        The result. An outcome other than succeeded has an error.

    Raises:
        UnknownSourceError: the source is not registered, or the run is none of it that goes on.
        SnapshotError: the snapshot contradicts itself.
        MissionControlError: the database could not be written; the run is closed as failed where it could be reached.
    """
    if check:
        return _tried(client, snapshot, accept_disappearance, accept_identity, register)
    run_id = task_run_id or begin_run(client, snapshot.source, requested_by=requested_by)
    try:
        writer = _Writer(snapshot, run_id, accept_disappearance, accept_identity, requested_by)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with client.transaction("read committed") as transaction:
                    result = writer.write(transaction)
                    writer.close(transaction, result)
                return result
            except (ConstraintError, SerializationError):
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")
    except UnknownSourceError:
        raise
    except MissionControlError as error:
        with contextlib.suppress(MissionControlError):
            is_closed = not fail_run(client, run_id, _why(error, snapshot.source))
            if is_closed and isinstance(error, ConnectionLostError) and error.in_commit:
                # It was committed, and only the answer was lost.
                return result
        raise


def _why(error: MissionControlError, source: str) -> str:
    if isinstance(error, SnapshotError):
        return str(error)
    if isinstance(error, LockTimeoutError):
        return f"Another sync of {source} has been writing for more than 10 seconds: try again when it has ended."
    return f"The database could not be written: {error}"


class _Undo(Exception):  # noqa: N818 - no error, but what ends a transaction that writes nothing
    pass


def _tried(
    client: Client,
    snapshot: Snapshot,
    accept_disappearance: bool,
    accept_identity: bool,
    register: Callable[[Transaction], None] | None,
) -> SyncResult:
    """What a sync would do: it is done and undone, so that both tell the same."""
    writer = _Writer(snapshot, None, accept_disappearance, accept_identity, None)
    with contextlib.suppress(_Undo), client.transaction("read committed") as transaction:
        if register is not None:
            register(transaction)
        result = writer.write(transaction)
        raise _Undo
    return result


class _Writer:
    """One snapshot on its way into the tables; it may be written again where a transaction was undone."""

    def __init__(
        self,
        snapshot: Snapshot,
        run_id: UUID | None,
        accept_disappearance: bool,
        accept_identity: bool,
        requested_by: str | None,
    ) -> None:
        refuse_contradictions(snapshot)
        self._snapshot = snapshot
        self._run_id = run_id
        self._accept_disappearance = accept_disappearance
        self._accept_identity = accept_identity
        self._requested_by = requested_by
        self._kinds = tuple(kind for kind in KINDS if any(each.kind == kind for each in snapshot.listings))
        # Before the row of the source is held.
        self._acceptable = {kind: acceptable_rows(snapshot, kind) for kind in self._kinds}
        self._new_identity: dict[str, Any] = {}

    def write(self, transaction: Transaction) -> SyncResult:
        """Compare and write the rows, under the lock on the source."""
        snapshot = self._snapshot
        transaction.query(_SETTINGS)
        source = transaction.query_one(
            _SOURCE, {"source": snapshot.source, "observed_at": snapshot.observed_at, "run_id": self._run_id}
        )
        if source is None:
            raise UnknownSourceError(f"The database knows no source {snapshot.source!r}: register it first.")
        if not source["is_its_run"]:
            raise UnknownSourceError(f"The run {self._run_id} is none of {snapshot.source} that goes on.")
        if source["is_newer"]:
            return self._result(
                "superseded",
                f"A snapshot of {snapshot.source} that was begun later, at {source['last_observed_at']:%Y-%m-%d %H:%M:%S %Z}, "
                "is in the tables already.",
            )
        refusal = self._refusal(source)
        if refusal:
            return self._result("failed", refusal)
        counts: dict[Kind, Counts] = {}
        differences: list[Difference] = []
        problems = [each.problem for each in snapshot.listings if each.problem is not None]
        complete = {}
        for kind in self._kinds:
            row = transaction.query_one(_STATEMENTS[kind], self._parameters(kind, source["last_complete_at"].get(kind)))
            if row is None:
                raise AssertionError("the statement has one row")
            counts[kind] = self._counts(kind, row["counts"] or {})
            differences += (
                Difference(kind, change, external_id, name, tuple(columns or ()), bool(recreated))
                for change, external_id, name, columns, recreated in row["differences"] or ()
            )
            refused = [self._too_much(kind, *each) for each in row["refused"] or ()]
            problems += refused
            if not refused and len(self._acceptable[kind].whole) == sum(
                each.kind == kind for each in snapshot.listings
            ):
                complete[kind] = snapshot.observed_at.isoformat()
        transaction.query(
            _NOTE_SOURCE,
            {
                "source": snapshot.source,
                "identity": snapshot.identity,
                "cluster": snapshot.cluster,
                "observed_at": snapshot.observed_at,
                "complete": complete,
            },
        )
        return self._result(
            "failed" if problems else "succeeded", " ".join(problems) or None, counts, tuple(differences)
        )

    def close(self, transaction: Transaction, result: SyncResult) -> None:
        """End the run, and note in the audit log what came or went."""
        details = result.as_dict()
        log = {name: details[name] for name in ("counts", "differences", "skipped") if details[name]}
        status = "cancelled" if result.outcome == "superseded" else result.outcome
        if self._run_id is None or not finish_run(
            transaction, self._run_id, status, result.error, [("log", log)] if log else []
        ):
            raise UnknownSourceError(f"The run {self._run_id} of {result.source} has been closed meanwhile.")
        if self._new_identity or any(each.added or each.gone or each.back for each in result.counts.values()):
            transaction.audit(
                self._requested_by or "mission-control inventory",
                "inventory.sync",
                ("inventory_sources", result.source),
                "success" if result.outcome == "succeeded" else "failure",
                {
                    "task_run_id": str(self._run_id),
                    "counts": details["counts"],
                    **({"accept_disappearance": True} if self._accept_disappearance else {}),
                    **self._new_identity,
                },
            )

    def _refusal(self, source: Mapping[str, Any]) -> str | None:
        """Why nothing is compared at all."""
        snapshot = self._snapshot
        name = snapshot.source
        if source["connector"] != snapshot.connector:
            return (
                f"The source {name} is one of the connector {source['connector']}, not {snapshot.connector}: "
                "give what another connector lists a name of its own."
            )
        known = source["identity"]
        if known in (None, snapshot.identity):
            return None
        if self._accept_identity:
            self._new_identity = {"identity_before": known, "identity": snapshot.identity}
            return None
        return (
            f"The source {name} was {known} and is {snapshot.identity} now, so nothing was taken over: if it is to be this one "
            f"from now on, {self._how_to('accept-identity')}."
        )

    def _parameters(self, kind: Kind, complete_before: str | None) -> dict[str, Any]:
        acceptable = self._acceptable[kind]
        return {
            "source": self._snapshot.source,
            "observed_at": self._snapshot.observed_at,
            "complete_before": complete_before,
            "rows": f"[{','.join(acceptable.rows)}]",
            "kept": [each.external_id for each in acceptable.skipped if each.external_id is not None],
            "lists": Json(
                [
                    {
                        "types": list(each.types or ("",)),
                        "listed": len(each.rows) + len(each.skipped),
                        "fleeting": bool(each.types) and FLEETING.issuperset(each.types),
                    }
                    for each in acceptable.whole
                ]
            ),
            "accept": self._accept_disappearance,
            "most_named": MOST_NAMED,
        }

    def _counts(self, kind: Kind, found: Mapping[str, int]) -> Counts:
        acceptable = self._acceptable[kind]
        told = sum(found.get(each, 0) for each in ("added", "changed", "back"))
        return Counts(**found, unchanged=len(acceptable.rows) - told, skipped=len(acceptable.skipped))

    def _too_much(self, kind: Kind, types: list[str], missing: int, live: int) -> str:
        source = self._snapshot.source
        what = ", ".join(each for each in types if each) or kind
        return (
            f"The list of {what} of {source} would mark {missing:,} of {live:,} as gone, so none was: if it is true, "
            f"{self._how_to('accept-disappearance')}."
        )

    def _how_to(self, option: str) -> str:
        if self._snapshot.connector == "ansible":
            return f"set {option.replace('-', '_')} of the task that syncs it"
        return f"run `mission-control inventory sync --source {self._snapshot.source} --{option}`"

    def _result(
        self,
        outcome: Outcome,
        error: str | None,
        counts: Mapping[Kind, Counts] | None = None,
        differences: tuple[Difference, ...] = (),
    ) -> SyncResult:
        skipped = tuple(each for kind in self._kinds for each in self._acceptable[kind].skipped[:MOST_NAMED])
        return SyncResult(self._snapshot.source, self._run_id, outcome, error, counts or {}, differences, skipped)


# Columns with their types, as a source tells them, and what a row begins with that does not tell one.
_COLUMNS: dict[Kind, dict[str, str]] = {
    "hosts": {
        "name": "text",
        "type": "text",
        "cluster": "text",
        "status": "text",
        "address": "text",
        "os": "text",
        "cpu_cores": "numeric(10, 3)",
        "memory_bytes": "bigint",
        "labels": "jsonb",
        "metadata": "jsonb",
    },
    "services": {"name": "text", "namespace": "text", "labels": "jsonb", "metadata": "jsonb"},
    "workloads": {
        "name": "text",
        "type": "text",
        "namespace": "text",
        "host_id": "uuid",
        "service_id": "uuid",
        "status": "text",
        "image": "text",
        "replicas_wanted": "bigint",
        "replicas_ready": "bigint",
        "labels": "jsonb",
        "metadata": "jsonb",
    },
}
_DEFAULTS = {"name": "g.external_id", "status": "'unknown'", "labels": "'{}'", "metadata": "'{}'"}
_GIVEN = {
    # A name that is not told stays, and a cluster may be a person's.
    "name": "coalesce(g.name, t.name)",
    "cluster": "coalesce(g.cluster, t.cluster)",
    # Only hosts and services of the same source; which service of another one it belongs to is a person's to say.
    "host_id": "gh.id",
    "service_id": "coalesce(gs.id, os.id)",
}
_JOINS = """
    LEFT JOIN hosts AS gh ON gh.source = %(source)s AND gh.external_id = g.host
    LEFT JOIN services AS gs ON gs.source = %(source)s AND gs.external_id = g.service
    LEFT JOIN services AS os ON os.id = t.service_id AND (os.source <> %(source)s OR os.external_id IS NULL)"""


def _statement(kind: Kind) -> str:
    """The statement that compares and writes one kind.

    Its row: numbers by change, the named differences, and of each list that is refused its types, the number of rows that are
    missing in it, and of those that are there.
    """
    columns = _COLUMNS[kind]
    links = {"host_id": "host text", "service_id": "service text"}
    told = ", ".join(links.get(name, f"{name} {kind_of}") for name, kind_of in columns.items())

    def value(name: str) -> str:
        kept = f"CASE WHEN '{name}' = ANY (g.unknown) THEN t.{name} ELSE {_GIVEN.get(name, f'g.{name}')} END"
        return f"coalesce({kept}, {_DEFAULTS[name]})" if name in _DEFAULTS else kept

    names = ", ".join(columns)
    values = ",\n            ".join(f"{value(name)} AS {name}, t.{name} AS old_{name}" for name in columns)
    old = ", ".join(f"n.old_{name}" for name in columns)
    new = ", ".join(f"n.{name}" for name in columns)
    differing = ", ".join(f"CASE WHEN n.old_{name} IS DISTINCT FROM n.{name} THEN '{name}' END" for name in columns)
    setting = ", ".join(f"{name} = n.{name}" for name in columns)
    type_of_row = "''" if kind == "services" else "t.type"
    return f"""
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS g (external_id text, {told}, unknown text[])
),
lists AS MATERIALIZED (
    SELECT each.type, l.types, l.listed, l.fleeting
    FROM jsonb_to_recordset(%(lists)s::jsonb) AS l (types text[], listed bigint, fleeting boolean), unnest(l.types) AS each (type)
),
differing AS MATERIALIZED (
    SELECT n.external_id, n.id, {new},
        CASE WHEN n.id IS NULL THEN 'added' WHEN n.gone_at IS NULL THEN 'changed' ELSE 'back' END AS change,
        CASE WHEN n.id IS NOT NULL THEN array_remove(ARRAY[{differing}], NULL) END AS columns,
        n.old_metadata ->> 'uid' <> n.metadata ->> 'uid' AS recreated
    FROM (
        SELECT g.external_id, t.id, t.gone_at,
            {values}
        FROM given AS g
        LEFT JOIN {kind} AS t ON t.source = %(source)s AND t.external_id = g.external_id{_JOINS if kind == "workloads" else ""}
    ) AS n
    WHERE n.id IS NULL OR n.gone_at IS NOT NULL OR ({old}) IS DISTINCT FROM ({new})
),
missing AS MATERIALIZED (
    SELECT t.id, t.external_id, t.name, l.types, l.listed, l.fleeting
    FROM {kind} AS t
    JOIN lists AS l ON l.type = {type_of_row}
    WHERE t.source = %(source)s AND t.external_id IS NOT NULL AND t.gone_at IS NULL
        AND NOT EXISTS (SELECT FROM given AS g WHERE g.external_id = t.external_id)
        AND NOT EXISTS (SELECT FROM unnest(%(kept)s::text[]) AS k (external_id) WHERE k.external_id = t.external_id)
),
judged AS MATERIALIZED (
    SELECT m.types, m.missing, m.live, NOT %(accept)s AND (m.listed = 0 OR (m.fewer > 5 AND m.fewer * 10 > m.live * 3)) AS refused
    FROM (
        SELECT m.*, CASE WHEN m.fleeting THEN m.live - m.listed ELSE m.missing END AS fewer
        FROM (
            SELECT m.types, m.fleeting, min(m.listed) AS listed, count(*) AS missing, (
                SELECT count(*) FROM {kind} AS t
                WHERE t.source = %(source)s AND t.external_id IS NOT NULL AND t.gone_at IS NULL AND {type_of_row} = ANY (m.types)
            ) AS live
            FROM missing AS m GROUP BY m.types, m.fleeting
        ) AS m
    ) AS m
),
added AS (
    INSERT INTO {kind} (source, external_id, last_seen_at, {names})
    SELECT %(source)s, n.external_id, %(observed_at)s::timestamptz, {new} FROM differing AS n WHERE n.change = 'added'
    -- Nobody but a person writes beside a sync.
    ON CONFLICT DO NOTHING
    RETURNING 1
),
changed AS (
    UPDATE {kind} AS t SET {setting}, last_seen_at = %(observed_at)s::timestamptz, gone_at = NULL
    FROM differing AS n
    WHERE t.id = n.id
    RETURNING n.change
),
gone AS (
    UPDATE {kind} AS t
    SET gone_at = %(observed_at)s::timestamptz, last_seen_at = greatest(t.last_seen_at, %(complete_before)s::timestamptz)
    FROM missing AS m JOIN judged AS j ON j.types = m.types
    WHERE t.id = m.id AND NOT j.refused AND t.gone_at IS NULL
    RETURNING 1
)
SELECT
    (
        SELECT jsonb_object_agg(c.change, c.number) FROM (
            SELECT 'added' AS change, count(*) AS number FROM added
            UNION ALL SELECT change, count(*) FROM changed GROUP BY change
            UNION ALL SELECT 'gone', count(*) FROM gone
        ) AS c
    ) AS counts,
    (
        SELECT jsonb_agg(jsonb_build_array(d.change, d.external_id, d.name, d.columns, d.recreated) ORDER BY d.change, d.external_id)
        FROM (
            SELECT change, external_id, name, columns, recreated FROM differing
            UNION ALL
            SELECT 'gone', m.external_id, m.name, NULL, NULL FROM missing AS m JOIN judged AS j ON j.types = m.types WHERE NOT j.refused
            ORDER BY 1, 2
            LIMIT %(most_named)s
        ) AS d
    ) AS differences,
    (SELECT jsonb_agg(jsonb_build_array(types, missing, live)) FROM judged WHERE refused) AS refused
"""  # noqa: S608 - constants of this file


_STATEMENTS = {kind: _statement(kind) for kind in KINDS}
