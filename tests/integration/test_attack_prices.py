"""A million random usages of every model of the price list, as test_ledger_genai_prices.py compares some."""

import os
import random

from genai_prices_comparison import compare, random_usages

USAGES = int(os.environ.get("MISSION_CONTROL_ATTACK_USAGES", "1000000"))
SEED = int(os.environ.get("MISSION_CONTROL_ATTACK_SEED") or random.randrange(2**32))


def test_costs_agree_to_the_last_decimal(shared_database):
    print(f"\nMISSION_CONTROL_ATTACK_SEED={SEED}")
    disagreements, prices = compare(shared_database.session("application"), random_usages(USAGES, SEED))
    assert (disagreements[:3], SEED) == ([], SEED)
    assert len(prices) > 1000
