"""The seed of the tests that attack by chance."""

import os
import random


def attack_seed():
    """MISSION_CONTROL_ATTACK_SEED, or a new one; printed, so that whoever sees a failure can repeat it."""
    seed = int(os.environ.get("MISSION_CONTROL_ATTACK_SEED") or random.SystemRandom().randrange(2**32))
    print(f"MISSION_CONTROL_ATTACK_SEED={seed}")
    return seed
