# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A call of a language model as an import finds it, and what its values may be.

Whoever can write to a transcript can write anything into it, so each value is checked before it becomes a parameter.
"""

from __future__ import annotations

import codecs
import functools
import json
import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from ..content import as_json

if TYPE_CHECKING:
    from ...models.enums import BillingMode, BodyStorage, CostSource
    from ..buckets import ReportedUsage, TokenBuckets

# An entry of an index takes some 2,700 bytes, both labels or source and identifier together.
LONGEST_IDENTIFIER = 1000
LONGEST_SOURCE = 255
LONGEST_LABEL = 200
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-](?:0\d|1[0-4]):?[0-5]\d)", re.ASCII)
_YEARS = range(1970, 9999)


class LineError(ValueError):
    """Something of a line cannot be used; the message is a sentence about it."""


class Bodies(NamedTuple):
    """What is stored of a call beside its usage, where bodies are asked for."""

    messages: Any = None
    content: str | None = None
    finish_reason: str | None = None
    error: str | None = None
    latency_ms: int | None = None


class ImportedCall(NamedTuple):
    """A call as it becomes a row. `at` is a text with a zone; `buckets` None: a call without usage, which has only bodies."""

    source: str
    external_id: str
    at: str
    provider: str
    model: str
    billing_mode: BillingMode
    buckets: TokenBuckets | None
    cost_source: CostSource
    cost_usd: Decimal | None
    project: str | None
    agent: str | None
    task_run_id: str | None = None
    bodies: Bodies | None = None


class Refusal(NamedTuple):
    """A line that is not imported, and why, as a sentence."""

    line: int
    sentence: str


@dataclass(frozen=True)
class ImportOptions:
    """What whoever imports says of the calls.

    Attributes:
        source: name under which the calls are counted once.
        project, agent: labels; None: what the file says.
        subscription: they are paid by a subscription, not by the token.
        bodies: what is stored of prompts and replies.
    """

    source: str
    project: str | None = None
    agent: str | None = None
    subscription: bool = False
    bodies: BodyStorage = "none"

    @property
    def cost_source(self) -> CostSource:
        return "subscription" if self.subscription else "computed"

    def calls(
        self,
        external_id: str,
        at: str,
        provider: str,
        model: str,
        usage: ReportedUsage,
        *,
        project: str | None = None,
        agent: str | None = None,
        billing_mode: BillingMode | None = None,
        cost_source: CostSource | None = None,
        cost_usd: Decimal | None = None,
        task_run_id: str | None = None,
        bodies: Bodies | None = None,
    ) -> list[ImportedCall]:
        """The call with its usage, and a further one for each part that is billed at the price of another model.

        Args:
            external_id: checked already, as all others here.
            project, agent, billing_mode, cost_source: where neither whoever imports nor the usage says it.
        """
        call = ImportedCall(
            self.source,
            external_id,
            at,
            provider,
            usage.model or model,
            billing_mode or usage.billing_mode,
            usage.buckets,
            cost_source or self.cost_source,
            cost_usd,
            self.project or project,
            self.agent or agent,
            task_run_id,
            bodies,
        )
        return [
            call,
            *(
                call._replace(
                    external_id=name,
                    model=model_name(part.model),
                    billing_mode=part.billing_mode,
                    buckets=part.buckets,
                    # What a provider says that a call cost is the cost of all of it.
                    cost_usd=None if cost_usd is None else Decimal(0),
                    bodies=None,
                )
                for name, part in usage.further_by_name(external_id).items()
            ),
        ]


def _refuse_constant(constant: str) -> None:
    raise LineError(f"It holds {constant}, which is no JSON.")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def parse_object(line: bytes) -> dict[str, Any]:
    """The JSON object of a line.

    Raises:
        LineError: it is none.
    """
    try:
        # Windows writes a mark at the beginning of a file.
        told = _decode(line.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    except LineError:
        raise
    except (ValueError, RecursionError):
        raise LineError("It is no JSON.") from None
    if not isinstance(told, dict):
        raise LineError("It is no JSON object.")
    return told


def identifier(value: object, name: str, longest: int = LONGEST_IDENTIFIER) -> str:
    """A text of so many bytes at most that tells a call from others.

    Raises:
        LineError: it is missing, or cannot be stored as it is.
    """
    if not isinstance(value, str) or not value.strip():
        raise LineError(f"Its {name} is missing or no text.")
    if len(value) > longest or len(value.encode("utf-8", "replace")) > longest:
        raise LineError(f"Its {name} is longer than {longest} bytes.")
    if not _is_storable(value):
        raise LineError(f"Its {name} has characters that cannot be stored.")
    return value


def label(value: object) -> str | None:
    """A text as a label: without what cannot be stored, and cut; None for anything else."""
    if not isinstance(value, str) or not value.strip():
        return None
    text = value[:LONGEST_LABEL]
    return text if _is_storable(text) else str(as_json(text))


def _is_storable(text: str) -> bool:
    return (text.isprintable() and text.isascii()) or as_json(text) == text


def model_name(value: object) -> str:
    name = label(value)
    if name is None:
        raise LineError("Its model is missing or no text.")
    return name


def provider_name(value: object) -> str:
    if not isinstance(value, str) or not _PROVIDER.fullmatch(value):
        raise LineError(
            "Its provider is missing or not written in lower case with digits, dots and hyphens, such as openai or claude."
        )
    return value


def moment(value: object) -> str:
    """A time with its zone, as PostgreSQL takes it.

    Raises:
        LineError: it is none.
    """
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None or not _is_moment(match[1], match[2]):
        raise LineError("Its time is missing or not written like 2026-03-29T10:00:00Z.")
    return match[0]


def instant(at: str) -> float:
    """A moment in seconds after 1970."""
    match = _TIME.fullmatch(at)
    if match is None:
        raise LineError("Its time is missing or not written like 2026-03-29T10:00:00Z.")
    zone = "+00:00" if match[4] == "Z" else f"{match[4][:3]}:{match[4][-2:]}"
    fraction = float(match[3] or 0)
    return datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}").timestamp() + fraction


@functools.lru_cache(maxsize=4096)
def _is_day(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).year in _YEARS
    except ValueError:
        return False


def _is_moment(day: str, time_of_day: str) -> bool:
    # As texts, since they have two digits each.
    return _is_day(day) and time_of_day[:2] < "24" and time_of_day[3:5] < "60" and time_of_day[6:] < "60"


def directory_name(value: object) -> str | None:
    """The last part of the path of a directory, as the name of a project."""
    if not isinstance(value, str):
        return None
    return label(re.split(r"[\\/]", value.rstrip("/\\"))[-1])
