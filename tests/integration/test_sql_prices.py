"""Applying price lists: once, again, changed, and beside a user's own."""

import datetime
import json

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mission_control_database import seed_prices

BASE = {"provider": "acme", "model": "m1", "input": "1", "output": "2", "source": "test"}


@pytest.fixture
def prices(database):
    return PriceList(database.session("owner"))


class PriceList:
    """The prices of the made-up provider acme."""

    def __init__(self, session):
        self.session = session

    def apply(self, *entries, origin="seed"):
        return self.session.value("SELECT apply_provider_prices(%s::jsonb, %s)", json.dumps(entries), origin)

    def rows(self):
        return self.session.rows(
            """
            SELECT model, above_input_tokens AS above, input_usd_per_mtok::float AS input, origin, valid_from, valid_to, id
            FROM provider_pricing WHERE provider = 'acme' ORDER BY model, above_input_tokens, valid_from
            """
        )

    def brief(self):
        """(model, tier, input price, origin, begins before now, has an end)."""
        now = self.session.value("SELECT clock_timestamp()")
        epoch = datetime.timedelta(days=1)
        return [
            (
                row["model"],
                row["above"],
                row["input"],
                row["origin"],
                now - row["valid_from"] > epoch,
                row["valid_to"] is not None,
            )
            for row in self.rows()
        ]


def test_the_seed_is_in_force_and_applying_it_again_changes_nothing(prices):
    before = prices.session.rows("SELECT * FROM provider_pricing ORDER BY id")
    assert prices.apply(*seed_prices()) == 0
    assert prices.session.rows("SELECT * FROM provider_pricing ORDER BY id") == before
    assert len(before) == sum(1 + len(entry.get("aliases", [])) for entry in seed_prices())


def test_a_changed_price_closes_one_period_and_opens_the_next(prices):
    assert prices.apply(BASE) == 1
    assert prices.apply({**BASE, "input": "1.000000"}) == 0, "the same amount, written differently"
    assert prices.apply({**BASE, "source": "newer"}) == 0, "a new source for the same amount is no new price"
    assert prices.apply({**BASE, "input": "3"}) == 2
    old, new = prices.rows()
    assert (old["input"], new["input"], new["valid_to"]) == (1, 3, None)
    assert old["valid_to"] == new["valid_from"]
    assert prices.apply({**BASE, "input": "3"}) == 0
    assert prices.apply({**BASE, "input": "1"}) == 2, "and back again is a third period"
    assert [row["input"] for row in prices.rows()] == [1, 3, 1]


def test_a_bucket_that_gets_a_price_of_its_own_is_a_change(prices):
    prices.apply(BASE)
    assert prices.apply({**BASE, "cache_read": "1"}) == 2
    assert prices.apply({**BASE, "cache_read": "1"}) == 0
    assert prices.apply(BASE) == 2


def test_the_price_of_a_user_wins_and_stays(prices):
    prices.apply(BASE)
    assert prices.apply({**BASE, "input": "9"}, origin="user") == 2
    expected = [("m1", 0, 1, "seed", True, True), ("m1", 0, 9, "user", False, False)]
    assert prices.brief() == expected
    assert prices.apply(BASE) == 0
    assert prices.apply({**BASE, "input": "5"}) == 0, "not even a newer seed"
    assert prices.apply({**BASE, "above_input_tokens": 1000, "input": "5"}, {**BASE, "input": "5"}) == 0, (
        "nor by a tier"
    )
    assert prices.apply({**BASE, "input": "9"}, origin="user") == 0
    assert prices.brief() == expected


def test_a_user_who_agrees_with_the_seed_is_still_protected_from_its_next_change(prices):
    prices.apply(BASE)
    assert prices.apply(BASE, origin="user") == 2
    assert prices.apply({**BASE, "input": "5"}) == 0
    assert prices.rows()[-1]["input"] == 1


def test_a_user_price_for_a_while_leaves_the_rest_to_the_seed(prices):
    prices.apply(BASE)
    assert prices.apply({**BASE, "input": "9", "valid_to": "2100-01-01"}, origin="user") == 2
    assert prices.brief() == [
        ("m1", 0, 1, "seed", True, True),
        ("m1", 0, 9, "user", False, True),
        ("m1", 0, 1, "seed", False, False),
    ]
    assert prices.apply(BASE) == 0
    assert prices.rows()[1]["valid_to"] == prices.rows()[2]["valid_from"]
    assert prices.rows()[2]["valid_from"] == datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)


def test_a_user_ends_a_price_by_giving_it_an_end(prices):
    prices.apply({**BASE, "input": "9"}, origin="user")
    assert prices.apply({**BASE, "input": "9", "valid_to": "2020-01-01"}, origin="user") == 1
    (row,) = prices.rows()
    assert row["valid_to"] == prices.session.value("SELECT max(valid_to) FROM provider_pricing WHERE provider = 'acme'")
    assert row["valid_to"].year >= 2026, "what was charged until now was charged"


def test_both_periods_of_a_dated_price(prices):
    dated = [{**BASE, "valid_to": "2090-01-01T00:00:00Z"}, {**BASE, "input": "2", "valid_from": "2090-01-01T00:00:00Z"}]
    assert prices.apply(*dated) == 2
    assert prices.apply(*dated) == 0
    # The announced change is put off: the present price goes on, the coming row is replaced.
    moved = [{**BASE, "valid_to": "2091-01-01T00:00:00Z"}, {**BASE, "input": "2", "valid_from": "2091-01-01T00:00:00Z"}]
    assert prices.apply(*moved) > 0
    assert prices.apply(*moved) == 0
    assert [(row["input"], row["valid_from"].year) for row in prices.rows()] == [(1, 1970), (1, 2090), (2, 2091)]
    # And called off.
    assert prices.apply(BASE) > 0
    assert {row["input"] for row in prices.rows()} == {1}
    assert prices.apply(BASE) == 0


def test_a_tier_that_the_list_no_longer_has_ends(prices):
    assert prices.apply(BASE, {**BASE, "above_input_tokens": 1000, "input": "5"}) == 2
    assert prices.apply(BASE) == 1
    assert prices.brief() == [("m1", 0, 1, "seed", True, False), ("m1", 1000, 5, "seed", True, True)]


def test_models_that_the_list_does_not_name_keep_their_prices(prices):
    prices.apply(BASE, {**BASE, "model": "m2"})
    assert prices.apply({**BASE, "model": "m2", "input": "7"}) == 2
    assert prices.brief()[0] == ("m1", 0, 1, "seed", True, False)


def test_aliases_are_models_of_their_own(prices):
    assert prices.apply({**BASE, "aliases": ["m1-2026-01-01", "m1-latest", "m1"]}) == 3
    assert [row["model"] for row in prices.rows()] == ["m1", "m1-2026-01-01", "m1-latest"]


def test_a_time_without_a_zone_is_utc(prices):
    prices.session.run("SET timezone = 'America/New_York'")
    prices.session.run("SET datestyle = 'German'")
    prices.apply({**BASE, "valid_from": "2020-02-01"})
    prices.session.run("RESET datestyle")
    assert prices.rows()[0]["valid_from"] == datetime.datetime(2020, 2, 1, tzinfo=datetime.timezone.utc)
    assert prices.apply({**BASE, "valid_from": "2020-02-01T00:00:00+00:00"}) == 0


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"provider": "acme"}, "a price list must be a list"),
        (["free"], "must be a mapping"),
        ([{**BASE, "inptu": 1}], "price of acme m1: unknown key inptu"),
        ([{"provider": "acme", "model": "m1", "input": 1}], "provider, model, input and output are needed"),
        ([{**BASE, "input": "cheap"}], 'price of acme m1: input must be USD per 1,000,000 tokens.*not "cheap"'),
        ([{**BASE, "output": -1}], "output must be"),
        ([{**BASE, "output": "NaN"}], "output must be"),
        ([{**BASE, "output": "1e6"}], "output must be"),
        ([{**BASE, "output": "1e999999"}], "output must be"),
        ([{**BASE, "cache_read": "0.0000001"}], "cache_read must be .* at most 6 decimals"),
        ([{**BASE, "above_input_tokens": "many"}], "price of acme m1: invalid input syntax"),
        ([{**BASE, "valid_from": "soon"}], "price of acme m1: invalid input syntax"),
        ([{**BASE, "local": "perhaps"}], "price of acme m1: invalid input syntax"),
        ([{**BASE, "aliases": "m2"}], "aliases must be a list"),
        ([{**BASE, "valid_from": "2026-01-02", "valid_to": "2026-01-01"}], "valid_to must be later"),
        ([BASE, BASE], "price of acme m1: two entries of the list overlap in time"),
        ([{**BASE, "valid_to": "2026-01-02"}, {**BASE, "valid_from": "2026-01-01"}], "overlap in time"),
    ],
)
def test_a_bad_list_is_refused_whole_in_one_sentence(prices, entries, sentence):
    good = {**BASE, "model": "m0"}
    payload = [good, *entries] if isinstance(entries, list) else entries
    with pytest.raises(psycopg2.DataError, match=sentence) as refused:
        prices.session.value("SELECT apply_provider_prices(%s::jsonb, 'seed')", json.dumps(payload))
    assert "\n" not in refused.value.diag.message_primary
    assert prices.rows() == []


def test_only_seed_and_user_are_origins(prices):
    for origin in ("guess", None):
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match="the origin of a price list is seed or user"):
            prices.apply(BASE, origin=origin)


def test_prices_are_not_edited_in_place(prices, application):
    prices.apply(BASE)
    for column in ("input_usd_per_mtok = 2", "valid_from = now()", "model = 'm2'", "id = gen_random_uuid()"):
        with pytest.raises(psycopg2.errors.RestrictViolation, match="is not edited"):
            prices.session.run(f"UPDATE provider_pricing SET {column} WHERE provider = 'acme'")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            application.run(f"UPDATE provider_pricing SET {column} WHERE provider = 'acme'")
    assert application.run("UPDATE provider_pricing SET valid_to = now() WHERE provider = 'acme'") == 1


def test_periods_of_one_price_never_overlap_and_others_may(application):
    row = {"provider": "acme", "model": "m1", "input_usd_per_mtok": 1, "output_usd_per_mtok": 1}
    application.insert("provider_pricing", **row, valid_from="2026-01-01Z", valid_to="2026-02-01Z")
    application.insert("provider_pricing", **row, valid_from="2026-02-01Z")
    for other in (
        {"model": "m1 "},
        {"model": "M1"},
        {"provider": "acme2"},
        {"billing_mode": "batch"},
        {"above_input_tokens": 1},
    ):
        application.insert("provider_pricing", **{**row, **other})
    for period in (("2026-01-31T23:59:59Z", "2026-02-01Z"), ("2025-01-01Z", None), ("2026-06-01Z", "2026-07-01Z")):
        with pytest.raises(psycopg2.errors.ExclusionViolation, match="ex_provider_pricing_period"):
            application.insert("provider_pricing", **row, valid_from=period[0], valid_to=period[1])


YEARS = st.integers(2000, 2060)
ENTRY = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["m1", "m2"]),
        "above": st.sampled_from([0, 1000]),
        "input": st.integers(0, 3),
        "cuts": st.sets(YEARS, max_size=3),
    }
)
CALL = st.tuples(
    st.sampled_from(["seed", "user"]), st.lists(ENTRY, max_size=3, unique_by=lambda e: (e["model"], e["above"]))
)


def _entries(drawn):
    """One entry for each period between the years at which the price was cut."""
    for entry in drawn:
        cuts = [None, *sorted(entry["cuts"]), None]
        for number, (start, end) in enumerate(zip(cuts, cuts[1:])):
            period = {"valid_from": f"{start}-01-01"} if start else {}
            period.update({"valid_to": f"{end}-01-01"} if end else {})
            yield {
                **BASE,
                **period,
                "model": entry["model"],
                "above_input_tokens": entry["above"],
                "input": (entry["input"] + number) % 4,
            }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(CALL, min_size=1, max_size=5))
def test_any_sequence_of_lists(prices, calls):
    """Applied twice is applied once; the past never changes; from now on the last list of the strongest origin counts."""
    session = prices.session
    at = """
        SELECT jsonb_agg(p.input_usd_per_mtok ORDER BY y, m, t)
        FROM generate_series(%s, %s) AS y CROSS JOIN unnest(ARRAY['m1', 'm2']) AS m CROSS JOIN unnest(ARRAY[1, 2000]) AS t
        LEFT JOIN LATERAL provider_price_at('acme', m, 'standard', t, make_timestamptz(y, 6, 1, 0, 0, 0, 'UTC')) AS p ON true
    """
    session.run("BEGIN")
    try:
        user = {}
        for origin, drawn in calls:
            entries = list(_entries(drawn))
            past = session.value(at, 1995, 2025)
            prices.apply(*entries, origin=origin)
            now_past = session.value(at, 1995, 2025)
            assert all(before in (None, after) for before, after in zip(past, now_past))
            assert prices.apply(*entries, origin=origin) == 0
            if origin == "user":
                user.update({(entry["model"], entry["above_input_tokens"]): True for entry in entries})
            for model in {entry["model"] for entry in entries}:
                if origin == "seed" and any(name == model for name, _ in user):
                    continue
                base = [e for e in entries if e["model"] == model and e["above_input_tokens"] == 0]
                if base:
                    last = session.value(
                        "SELECT input_usd_per_mtok FROM provider_price_at('acme', %s, 'standard', 1, '2070-01-01Z')",
                        model,
                    )
                    assert last == base[-1]["input"]
    finally:
        session.run("ROLLBACK")  # the next example begins without prices


def test_a_price_that_has_not_begun_by_the_clock_but_was_used_gives_way_and_stays_what_costs_refer_to(database):
    """So it is after the clock was set back: the row cannot be removed, since a cost was computed from it."""
    admin = database.session("admin")
    admin.run(
        'SELECT apply_provider_prices(\'[{"provider": "x", "model": "back", "input": 1, "output": 2}]\', \'user\')'
    )
    admin.run("UPDATE provider_pricing SET valid_to = now() + interval '1 hour' WHERE model = 'back'")
    admin.run(
        "INSERT INTO provider_pricing (provider, model, input_usd_per_mtok, output_usd_per_mtok, valid_from)"
        " SELECT 'x', 'back', 5, 6, valid_to FROM provider_pricing WHERE model = 'back'"
    )
    usage = "INSERT INTO token_usage (provider, model, input_tokens, occurred_at) VALUES ('x', 'back', 1000000, now() + interval '2 hours') RETURNING *"
    used = admin.row(usage)
    assert used["estimated_cost_usd"] == 5
    admin.run(
        'SELECT apply_provider_prices(\'[{"provider": "x", "model": "back", "input": 3, "output": 2}]\', \'user\')'
    )
    assert admin.row("SELECT * FROM token_usage WHERE id = %s", used["id"]) == used
    assert admin.row(usage)["estimated_cost_usd"] == 3
    assert admin.value("SELECT input_usd_per_mtok FROM provider_pricing WHERE id = %s", used["price_id"]) == 5
    again = 'SELECT apply_provider_prices(\'[{"provider": "x", "model": "back", "input": 3, "output": 2}]\', \'user\')'
    assert admin.value(again) == 0
