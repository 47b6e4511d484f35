"""Random usage of every model of the price list, as the server prices it and as genai-prices does."""

import itertools
import random
from collections import defaultdict
from datetime import date, datetime, timedelta, timezone

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import Usage
from mission_control_database import seed_prices

THEIR_NAME = {"claude": "anthropic", "openai": "openai", "gemini": "google"}
THEIRS = {ours: next(each for each in get_snapshot().providers if each.id == name) for ours, name in THEIR_NAME.items()}
CONTEXTS = {
    "standard": None,
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"speed": "fast", "service_tier": "fast"},
}
INPUTS = (
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "audio_input",
    "audio_cache_read",
    "image_input",
    "image_cache_read",
)
OUTPUTS = ("output", "reasoning", "audio_output", "image_output")
BUCKETS = tuple(f"{bucket}_tokens" for bucket in (*INPUTS, *OUTPUTS))
_ROWS = 10_000
_INSERT = f"""
INSERT INTO token_usage (provider, model, billing_mode, occurred_at, {", ".join(BUCKETS)})
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[], {", ".join(["%s::bigint[]"] * len(BUCKETS))})
RETURNING id, provider, model, billing_mode, occurred_at, estimated_cost_usd, price_id
"""


class PricedModels:
    """The names of the price list with their modes, tiers and changes, and what genai-prices finds under them."""

    def __init__(self):
        self.modes, self.bounds, self.changes = defaultdict(set), defaultdict(set), defaultdict(set)
        self.dated = set()
        for entry in seed_prices():
            for model in (entry["model"], *entry.get("aliases", ())):
                if entry["provider"] in THEIR_NAME:
                    key = (entry["provider"], model)
                    self.modes[key].add(entry.get("billing_mode", "standard"))
                    self.bounds[key].add(entry.get("above_input_tokens", 0))
                    self.changes[key] |= {
                        datetime.fromisoformat(entry[name].replace("Z", "+00:00"))
                        for name in ("valid_from", "valid_to")
                        if name in entry
                    }
                    if entry.get("dated"):
                        self.dated.add(key)
        self.keys = sorted(self.modes)
        self._found = {}

    def find(self, provider, name):
        if (provider, name) not in self._found:
            self._found[provider, name] = THEIRS[provider].find_model(name)
        return self._found[provider, name]

    def name(self, chance, provider, model):
        """The name itself, or one with a date under which genai-prices finds the same model."""
        if (provider, model) in self.dated and chance.random() < 0.3:
            day = date(2024, 1, 1) + timedelta(days=chance.randrange(1000))
            dated = model + day.strftime(chance.choice(("-%Y%m%d", "-%Y-%m-%d", "@%Y%m%d")))
            if self.find(provider, dated) is self.find(provider, model):
                return dated
        return model

    def moment(self, chance, key):
        """Any, or within a microsecond of a change of its price, in any time zone."""
        zone = timezone(timedelta(minutes=chance.randrange(-14 * 60, 14 * 60 + 1)))
        if self.changes[key] and chance.random() < 0.5:
            moment = chance.choice(sorted(self.changes[key])) + timedelta(microseconds=chance.randrange(-1, 2))
        else:
            moment = datetime(2025, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=chance.randrange(900 * 86400))
        return moment.astimezone(zone)

    def total(self, chance, key):
        """A number of input tokens, often at the bound of a tier."""
        bound = chance.choice(sorted(self.bounds[key]))
        return max(0, bound + chance.randrange(-1, 3)) if bound and chance.random() < 0.6 else chance.randrange(500_000)


def split(chance, total, number):
    """Shares of a total, often none."""
    cuts = sorted(chance.choice((0, total, chance.randrange(total + 1))) for _ in range(number - 1))
    return [end - begin for begin, end in zip([0, *cuts], [*cuts, total])]


def expected_cost(models, provider, model, mode, moment, counts):
    """What genai-prices charges for our buckets, which are parts of its units."""
    tokens = dict(zip((*INPUTS, *OUTPUTS), counts))
    usage = Usage(
        input_tokens=sum(tokens[each] for each in INPUTS),
        output_tokens=sum(tokens[each] for each in OUTPUTS),
        cache_read_tokens=tokens["cache_read"] + tokens["audio_cache_read"] + tokens["image_cache_read"],
        cache_write_tokens=tokens["cache_write_5m"] + tokens["cache_write_1h"],
        cache_write_5m_tokens=tokens["cache_write_5m"],
        cache_write_1h_tokens=tokens["cache_write_1h"],
        input_audio_tokens=tokens["audio_input"] + tokens["audio_cache_read"],
        cache_audio_read_tokens=tokens["audio_cache_read"],
        input_image_tokens=tokens["image_input"] + tokens["image_cache_read"],
        cache_image_read_tokens=tokens["image_cache_read"],
        output_reasoning_tokens=tokens["reasoning"],
        output_audio_tokens=tokens["audio_output"],
        output_image_tokens=tokens["image_output"],
    )
    price = models.find(provider, model).calc_price(
        usage, THEIRS[provider], genai_request_timestamp=moment, price_context=CONTEXTS[mode]
    )
    return price.total_price


def random_usage(models, chance):
    """Provider, model, billing mode, moment and tokens of our buckets of a usage, and what genai-prices charges for it."""
    key = chance.choice(models.keys)
    provider, model = key
    mode, moment = chance.choice(sorted(models.modes[key])), models.moment(chance, key)
    name = models.name(chance, provider, model)
    counts = split(chance, models.total(chance, key), len(INPUTS))
    counts += split(chance, chance.randrange(60_000), len(OUTPUTS))
    return provider, name, mode, moment, counts, expected_cost(models, provider, name, mode, moment, counts)


def random_usages(number, seed):
    models, chance = PricedModels(), random.Random(seed)
    for _ in range(number):
        yield random_usage(models, chance)


def compare(session, usages):
    """Record usage and return what the two disagree about, and the ids of the prices that were used.

    Nothing stays in the database.
    """
    disagreements, prices, usages = [], set(), iter(usages)
    while chunk := list(itertools.islice(usages, _ROWS)):
        columns = [list(column) for column in zip(*(usage[:4] for usage in chunk))]
        columns += [list(column) for column in zip(*(usage[4] for usage in chunk))]
        session.run("BEGIN")
        rows = session.rows(_INSERT, *columns)
        session.run("ROLLBACK")
        rows.sort(key=lambda row: row["id"])
        for row, usage in zip(rows, chunk, strict=True):
            assert (row["provider"], row["model"], row["billing_mode"]) == usage[:3]
            prices.add(row["price_id"])
            if row["estimated_cost_usd"] != usage[5]:
                disagreements.append((usage, row["estimated_cost_usd"]))
    return disagreements, prices
