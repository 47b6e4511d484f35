"""Write the price list files/sql/seed/provider_pricing.yml, and what it leaves out in docs/prices.md, from the installed genai-prices.

    scripts/prices.py    write them; the same version of genai-prices gives the same bytes

The version is pinned in requirements-test.txt. What genai-prices does not say is in scripts/prices_by_hand.yml.
tests/unit/test_price_list.py compares the committed files with what this writes.
"""

import datetime
import importlib.metadata
import json
import pathlib
import re
from decimal import Context, Decimal

import yaml
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseStartsWith,
    StartDateConstraint,
    TieredPrices,
)

ROOT = pathlib.Path(__file__).resolve().parents[1]
PRICE_LIST = ROOT / "files" / "sql" / "seed" / "provider_pricing.yml"
PAGE = ROOT / "docs" / "prices.md"
BY_HAND = yaml.safe_load((ROOT / "scripts" / "prices_by_hand.yml").read_text(encoding="utf-8"))
SOURCE = f"genai-prices {importlib.metadata.version('genai-prices')}"

# Our names of the providers whose models are loaded, and theirs.
PROVIDERS = {"claude": "anthropic", "openai": "openai", "gemini": "google"}
# Under which context genai-prices knows a billing mode; the first that a model has a price for counts.
CONTEXTS = {
    "batch": [{"processing": "batch"}],
    "flex": [{"service_tier": "flex"}],
    "priority": [{"service_tier": "priority"}],
    "fast": [{"speed": "fast"}, {"service_tier": "fast"}],
}
# Our buckets as genai-prices names them, each with the bucket as which tokens without a price of their own are billed by the ledger.
BUCKETS = {
    "input": ("input", None),
    "output": ("output", None),
    "cache_read": ("cache_read", "input"),
    "cache_write_5m": ("cache_write_5m", "input"),
    "cache_write_1h": ("cache_write_1h", "cache_write_5m"),
    "reasoning": ("output_reasoning", "output"),
    "audio_input": ("input_audio", "input"),
    "audio_cache_read": ("cache_audio_read", "cache_read"),
    "audio_output": ("output_audio", "output"),
    "image_input": ("input_image", "input"),
    "image_cache_read": ("cache_image_read", "cache_read"),
    "image_output": ("output_image", "output"),
}
# Of which more general price of genai-prices a token is billed that has none of its own; the first that the model has counts. Their rules
# leave no choice: where a model has prices for audio and for cached tokens, it has one for cached audio.
MORE_GENERAL = {
    "cache_read": ["input"],
    "cache_write_5m": ["cache_write", "input"],
    "cache_write_1h": ["cache_write", "input"],
    "output_reasoning": ["output"],
    "input_audio": ["input"],
    "cache_audio_read": ["input_audio", "cache_read", "input"],
    "output_audio": ["output"],
    "input_image": ["input"],
    "cache_image_read": ["input_image", "cache_read", "input"],
    "output_image": ["output"],
}
LOADABLE = {*MORE_GENERAL, "input", "output", "cache_write"}
# Fees beside the tokens, for which the ledger has no bucket: the tokens are priced, the searches are not.
FEES = {"web_searches_kcount", "storage_searches_kcount"}
OTHER_UNITS = {
    "audio_hours": "by the hour of audio",
    "input_audio_hours": "by the hour of audio",
    "input_mchars": "by the character",
    "input_video": "by tokens of video, for which the ledger has no bucket",
    "output_video": "by tokens of video, for which the ledger has no bucket",
    "requests_kcount": "by the request",
}
# In which forms a name is followed by a date, and dates that a rule for any date has to take.
DATE_FORMS = ("-%Y%m%d", "-%Y-%m-%d", "@%Y%m%d")
DATES = [datetime.date(2024, 5, 13), datetime.date(2025, 8, 7), datetime.date(2026, 3, 5), datetime.date(2029, 12, 31)]
LONG_AGO = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class NotLoadedError(Exception):
    """Why a model cannot be in the list, as a part of a sentence."""


def price_entries(provider, their_provider, known_names):
    """Entries of the list for a provider's models, and why others have none, by their names."""
    entries, left_out = [], {}
    known = {name.lower() for name in known_names if is_name(name.lower())} - set(BY_HAND["parts_of_names"])
    found = {name: their_provider.find_model(name) for name in known | set(BY_HAND["names"][provider])}
    for model in sorted(their_provider.models, key=lambda model: model.id):
        try:
            names = names_of(their_provider, model, [name for name in found if found[name] is model])
            periods = [(mode, *period) for mode in ("standard", *CONTEXTS) for period in periods_of(model, mode)]
        except NotLoadedError as reason:
            left_out[model.id] = str(reason)
            continue
        for dated, group in names:
            for mode, bound, prices, start, end in periods:
                entries.append(
                    {
                        "provider": provider,
                        "model": group[0],
                        **({"aliases": group[1:]} if group[1:] else {}),
                        **({"dated": True} if dated else {}),
                        **({"billing_mode": mode} if mode != "standard" else {}),
                        **({"above_input_tokens": bound} if bound else {}),
                        **prices,
                        **({"valid_from": f"{start:%Y-%m-%dT%H:%M:%SZ}"} if start else {}),
                        **({"valid_to": f"{end:%Y-%m-%dT%H:%M:%SZ}"} if end else {}),
                    }
                )
    return entries, left_out


def names_of(their_provider, model, known):
    """The exact names of the model: pairs of whether any date may follow them, and the names."""
    # Gateways write the same dates without hyphens.
    compact = {re.sub(r"(\d{4})-(\d\d)-(\d\d)$", r"\1\2\3", name) for name in own_names(model)}
    own = [name for name in own_names(model) | compact if their_provider.find_model(name) is model]
    # The name that genai-prices gives the model comes first.
    names = sorted({*known, *own}, key=lambda name: (name != model.id, name))
    if not names:
        raise NotLoadedError("under names that are known in part only, such as those of fine-tuned models")
    any_date = [name for name in names if takes_dates(their_provider, name, model)]
    # Names with a date are listed too: a price that was applied before its name took any date does so from then on only.
    exact = [name for name in names if name not in any_date]
    return [(dated, group) for dated, group in ((True, any_date), (False, exact)) if group]


def own_names(model):
    """What the model's rules say is a whole name of it, and its id where that can be one."""
    return {
        name
        for name in (model.id, *(clause.equals.lower() for clause in clauses(model.match, ClauseEquals)))
        if name[-1] != "-"
    }


def is_name(text):
    """Whether a text of some provider's rule may be a name elsewhere: parts of names are none, nor are those that stand for a billing mode."""
    return bool(re.fullmatch(r"[a-z][a-z0-9.-]*[a-z0-9]", text)) and not re.search(r"-(20\d\d|fast|flex|batch)$", text)


def takes_dates(their_provider, name, model):
    """Whether the name with any date at its end is the model's too, in some form, and another model's in none."""
    if undated(name) != name:
        return False
    found = [{id(their_provider.find_model(date.strftime(name + form))) for date in DATES} for form in DATE_FORMS]
    return {id(model)} in found and all(each <= {id(model), id(None)} for each in found)


def undated(name):
    return re.sub(r"(-\d{8}|-\d{4}-\d{2}-\d{2}|@\d{8})$", "", name)


def clauses(match, kind):
    """The clauses of this kind in a rule, at any depth."""
    if isinstance(match, kind):
        yield match
    for each in (*getattr(match, "or_", ()), *getattr(match, "and_", ())):
        yield from clauses(each, kind)


def periods_of(model, mode):
    """Tier, prices, start and end of each price of the model in a mode; nothing where it has no price of its own there."""
    context = None
    if mode != "standard":
        known = [variant.when for variant in model.price_variants or ()]
        context = next((each for each in CONTEXTS[mode] if each in known), None)
        if context is None:
            return
    variants = [variant for variant in model.price_variants or () if variant.when == context]
    conditions = [*(model.prices if isinstance(model.prices, list) else ()), *variants]
    constraints = [each.constraint for each in conditions if each.constraint is not None]
    if not all(isinstance(each, StartDateConstraint) for each in constraints):
        raise NotLoadedError("by the time of day")
    starts = sorted({each.start_date for each in constraints})
    starts = [datetime.datetime.combine(day, datetime.time(), datetime.timezone.utc) for day in starts]
    spans = []
    for start in (None, *starts):
        prices = tier_prices(model.get_prices(start or LONG_AGO, context))
        if spans and spans[-1][1] == prices:
            continue
        spans.append((start, prices))
    ends = [start for start, _prices in spans[1:]] + [None]
    for (start, tiers), end in zip(spans, ends, strict=True):
        for bound, prices in tiers:
            yield bound, prices, start, end


def tier_prices(price):
    """Bound and prices of each tier of a price of genai-prices, the prices by our buckets."""
    theirs = {key.removesuffix("_mtok"): value for key, value in vars(price).items() if value is not None}
    for key in theirs.keys() - LOADABLE - FEES:
        raise NotLoadedError(OTHER_UNITS.get(key, f"by {key}"))
    bounds = {tier.start for value in theirs.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    return [
        (bound, bucket_prices({key: at_bound(value, bound) for key, value in theirs.items()}))
        for bound in sorted({0, *bounds})
    ]


def at_bound(value, bound):
    """What is charged above a number of input tokens; 0: what is charged at first."""
    if not isinstance(value, TieredPrices):
        return value
    return next((tier.price for tier in reversed(value.tiers) if bound > 0 and tier.start <= bound), value.base)


def bucket_prices(theirs):
    """Our prices of the buckets that are not billed as a more general one anyway, as text."""
    if "input" not in theirs and any(key not in FEES for key in theirs):
        raise NotLoadedError("by nothing that the ledger counts")
    charged, entry = {}, {}
    for bucket, (name, general) in BUCKETS.items():
        found = next((theirs[each] for each in (name, *MORE_GENERAL.get(name, ())) if each in theirs), Decimal(0))
        charged[bucket] = amount(found)
        if general is None or charged[bucket] != charged[general]:
            entry[bucket] = charged[bucket]
    return entry


def amount(price):
    """USD per 1,000,000 tokens, rid of what floating-point numbers at the source have left."""
    exact = Context(prec=12).plus(price).normalize()
    if exact != round(exact, 6):
        raise NotLoadedError("with more than 6 decimals")
    return f"{exact:f}"


def render_list(read_on, entries):
    """The file; of names that several entries share, the first writes them down."""
    yield "---"
    yield "# Prices of language models in USD per 1,000,000 tokens. Written by `make prices`: see docs/prices.md, also for the keys."
    yield "# Read the difference before you commit it. What genai-prices does not say is kept in scripts/prices_by_hand.yml."
    yield "# yamllint disable rule:line-length"
    yield f"source: {SOURCE}"
    yield f'read_on: "{read_on}"'
    yield "prices:"
    anchors = {}
    for entry in entries:
        words = [f"{key}: {word(key, value, entry, anchors)}" for key, value in entry.items()]
        yield f"  - {{{', '.join(words)}}}"


def word(key, value, entry, anchors):
    if key != "aliases":
        return json.dumps(value)
    anchor = re.sub(r"[^a-zA-Z0-9]", "_", f"{entry['provider']}_{entry['model']}")
    if anchor not in anchors:
        anchors[anchor] = value
        return f"&{anchor} {json.dumps(value)}"
    if anchors[anchor] != value:
        raise ValueError(f"two lists of names are called {anchor}")
    return f"*{anchor}"


def read_on():
    """The day on which this version was first read; today for a version that the list is not of yet."""
    known = yaml.safe_load(PRICE_LIST.read_text(encoding="utf-8"))
    if isinstance(known, dict) and known.get("source") == SOURCE:
        return known["read_on"]
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}"


def render_left_out(left_out):
    """The table of the page."""
    yield "| provider | model of genai-prices | why it is not in the list: it is priced |"
    yield "| --- | --- | --- |"
    for provider, reasons in left_out.items():
        for why in sorted(set(reasons.values())):
            yield f"| `{provider}` | {', '.join(f'`{name}`' for name in sorted(reasons) if reasons[name] == why)} | {why} |"


def render():
    """The text of each file that this writes, by its path."""
    snapshot = get_snapshot()
    theirs = {provider.id: provider for provider in snapshot.providers}
    known_names = {
        text.split("/")[-1]
        for provider in snapshot.providers
        # Bedrock puts regions before the names.
        if provider.id != "aws"
        for model in provider.models
        for kind, field in (
            (ClauseEquals, "equals"),
            (ClauseStartsWith, "starts_with"),
            (ClauseContains, "contains"),
            (ClauseEndsWith, "ends_with"),
        )
        for text in (model.id, *(getattr(clause, field) for clause in clauses(model.match, kind)))
    }
    entries, left_out = list(BY_HAND["prices"]), {}
    for provider, their_name in PROVIDERS.items():
        added, left_out[provider] = price_entries(provider, theirs[their_name], known_names)
        entries += added
    marked = re.compile(r"(\n\S+ BEGIN NOT LOADED \(make prices\)[^\n]*\n).*(?=\n\S+ END NOT LOADED)", re.DOTALL)
    table = "\n".join(["", *render_left_out(left_out), ""])
    page, count = marked.subn(lambda match: match[1] + table, PAGE.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"{PAGE} needs the marks of NOT LOADED once")
    return {PRICE_LIST: "\n".join(render_list(read_on(), entries)) + "\n", PAGE: page}


def main():
    for path, text in render().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
