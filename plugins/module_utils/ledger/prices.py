# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which prices are in force at a time, as the server finds them when it prices usage."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ..client.queries import Queries

# The columns of provider_pricing that hold amounts, in the order in which they are shown.
AMOUNTS = tuple(
    f"{bucket}_usd_per_mtok"
    for bucket in (
        *("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning"),
        *("audio_input", "audio_cache_read", "audio_output", "image_input", "image_cache_read", "image_output"),
    )
)
COLUMNS = (
    *("provider", "model", "dated", "billing_mode", "above_input_tokens"),
    *AMOUNTS,
    *("is_local", "valid_from", "valid_to", "origin", "source"),
)
_DATE = re.compile(r"(?:-\d{8}|-\d{4}-\d{2}-\d{2}|@\d{8})$")
# Of each provider and mode the prices of the name itself, else of the name that it dates, else of every model; a homelab's own of the
# name that it dates goes before the collection's. As provider_price_at() finds them.
_IN_FORCE = f"""
SELECT {", ".join(COLUMNS)}
FROM (
    SELECT p.*, min(p.rank) OVER (PARTITION BY p.provider, p.billing_mode) AS best
    FROM (
        SELECT t.*,
            CASE WHEN t.model = '*' THEN 4 WHEN t.model = %(model)s THEN 0 ELSE 1 END
            + CASE WHEN t.origin = 'seed' AND t.model <> '*' THEN 2 ELSE 0 END AS rank
        FROM provider_pricing AS t
        WHERE t.valid_from <= %(at)s AND (t.valid_to IS NULL OR t.valid_to > %(at)s)
            AND (%(providers)s::text[] IS NULL OR t.provider = ANY (%(providers)s::text[]))
            AND (%(modes)s::text[] IS NULL OR t.billing_mode = ANY (%(modes)s::text[]))
            AND (
                %(model)s::text IS NULL OR t.model = %(model)s OR (t.dated AND t.model = %(undated)s)
                OR (t.model = '*' AND %(providers)s::text[] IS NOT NULL)
            )
    ) AS p
) AS r
WHERE %(model)s::text IS NULL OR r.rank = r.best
ORDER BY r.provider, r.model, array_position(ARRAY['standard'], r.billing_mode), r.billing_mode, r.above_input_tokens
"""  # noqa: S608 - constants of this file


def prices_in_force(
    client: Queries,
    at: datetime,
    *,
    model: str | None = None,
    providers: Sequence[str] = (),
    modes: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The prices at a time, a row for each tier.

    Args:
        client: whom to ask.
        at: the time, with its zone.
        model: only what counts for this name, which may be one with a date; the price of all models of a provider only with `providers`.
        providers: only those of these providers; all where empty.
        modes: only those in these billing modes; all where empty.
    """
    parameters = {
        "at": at,
        "model": model,
        "undated": None if model is None else _DATE.sub("", model),
        "providers": list(providers) or None,
        "modes": list(modes) or None,
    }
    return client.query_many(_IN_FORCE, parameters)


def names_with_prices(client: Queries, column: str, at: datetime) -> list[str]:
    """The values of `provider` or `model` that have a price at a time."""
    sql = f"SELECT DISTINCT {column} AS name FROM provider_pricing WHERE valid_from <= %s AND (valid_to IS NULL OR valid_to > %s)"  # noqa: S608 - this program's own
    return [row["name"] for row in client.query_many(sql, [at, at])]


def price_list_in_force(client: Queries) -> dict[str, Any] | None:
    """Source, day of reading and time of applying of the collection's price list; None where none was applied."""
    return client.query_one("SELECT source, read_on, applied_at FROM price_lists WHERE origin = 'seed'")
