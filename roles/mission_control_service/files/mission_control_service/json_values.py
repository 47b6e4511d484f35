# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values as JSON has them."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

from flask.json.provider import DefaultJSONProvider


def to_json(value: Any) -> Any:
    """Times as ISO 8601 in UTC, durations in seconds, exact numbers (amounts of money) as text."""
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} has no form in JSON")


class JsonProvider(DefaultJSONProvider):
    default = staticmethod(to_json)
    sort_keys = False
    compact = True
