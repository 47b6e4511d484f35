# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the inventory holds, and where from: hosts, workloads and sources, as a login that may read them asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..client.queries import Queries

    Row = dict[str, Any]

# What a source still lists was there when all of its list was read last, though only a change is written to the row.
_LAST_SEEN = """
CASE WHEN t.gone_at IS NULL THEN greatest(t.last_seen_at, (s.last_complete_at ->> '{kind}')::timestamptz) ELSE t.last_seen_at END
"""
_HOSTS = f"""
SELECT t.id, t.name, t.type, t.status, t.cluster, t.address, t.os, t.cpu_cores, t.memory_bytes, t.labels, t.source, t.external_id,
    {_LAST_SEEN.format(kind="hosts")} AS last_seen_at, t.gone_at
FROM hosts AS t
LEFT JOIN inventory_sources AS s ON s.name = t.source
"""  # noqa: S608 - constants of this file
_WORKLOADS = f"""
SELECT t.id, t.name, t.type, t.status, t.namespace, h.name AS host, v.name AS service, t.image, t.replicas_wanted, t.replicas_ready,
    t.labels, t.source, t.external_id, {_LAST_SEEN.format(kind="workloads")} AS last_seen_at, t.gone_at
FROM workloads AS t
LEFT JOIN inventory_sources AS s ON s.name = t.source
LEFT JOIN hosts AS h ON h.id = t.host_id
LEFT JOIN services AS v ON v.id = t.service_id
"""  # noqa: S608 - constants of this file
_SOURCES = """
SELECT s.name, s.connector, s.cluster, s.enabled, s.interval_seconds, s.last_observed_at, s.last_complete_at, s.last_run_id,
    s.last_run_status, s.last_run_error, s.last_run_finished_at, s.hosts, s.services, s.workloads, s.gone
FROM inventory_source_status AS s
ORDER BY s.name
"""


def list_hosts(
    client: Queries, filters: Mapping[str, Sequence[str]], *, gone: bool = False, limit: int | None = None
) -> list[Row]:
    """Hosts in the order of their names, one row each.

    Args:
        client: whom to ask.
        filters: the values of which a column (type, status, source) holds one; an empty list lets everything through.
        gone: those that their source lists no longer, instead of those that are there.
        limit: how many at most; None for all.
    """
    return _rows(client, _HOSTS, filters, gone, limit)


def list_workloads(
    client: Queries, filters: Mapping[str, Sequence[str]], *, gone: bool = False, limit: int | None = None
) -> list[Row]:
    """Workloads with the names of host and service, as `list_hosts`; the column namespace filters too."""
    return _rows(client, _WORKLOADS, filters, gone, limit)


def list_sources(client: Queries) -> list[Row]:
    """Every source, how its last sync ended, and how many rows it tells."""
    return client.query_many(_SOURCES)


def _rows(
    client: Queries, select: str, filters: Mapping[str, Sequence[str]], gone: bool, limit: int | None
) -> list[Row]:
    conditions = [f"t.gone_at IS {'NOT ' if gone else ''}NULL"]
    parameters = {name: list(values) for name, values in filters.items() if values}
    # The names of columns are this program's own.
    conditions += [f"t.{name} = ANY (%({name})s)" for name in parameters]
    order = "ORDER BY t.name, t.type, t.id LIMIT %(limit)s"
    return client.query_many(f"{select} WHERE {' AND '.join(conditions)} {order}", {**parameters, "limit": limit})
