"""A million random usages of every model of the price list, as test_ledger_genai_prices.py compares some."""

import os

from attack_seed import attack_seed
from genai_prices_comparison import compare, random_usages

USAGES = int(os.environ.get("MISSION_CONTROL_ATTACK_USAGES", "1000000"))


def test_costs_agree_to_the_last_decimal(shared_database):
    disagreements, prices = compare(shared_database.session("application"), random_usages(USAGES, attack_seed()))
    assert disagreements[:3] == []
    assert len(prices) > 1000
