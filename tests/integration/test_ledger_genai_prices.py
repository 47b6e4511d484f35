"""What usage of every model of the price list costs, against genai-prices: tiers, modes, periods, dated names, audio and images."""

from genai_prices_comparison import compare

USAGES = 40_000


def test_costs_agree_to_the_last_decimal(shared_database):
    disagreements, prices = compare(shared_database.session("application"), USAGES, seed=20261123)
    assert disagreements[:3] == []
    used = shared_database.session("readonly").row(
        "SELECT count(*) AS prices, count(*) FILTER (WHERE above_input_tokens > 0) AS tiers,"
        " count(*) FILTER (WHERE valid_to IS NOT NULL) AS ended, count(DISTINCT billing_mode) AS modes"
        " FROM provider_pricing WHERE id = ANY (%s::uuid[])",
        [str(price) for price in prices],
    )
    # That the comparison has reached base prices, tiers and periods that have ended.
    assert used["prices"] > 1500
    assert used["tiers"] > 200
    assert used["ended"] > 200
    assert used["modes"] == 5
