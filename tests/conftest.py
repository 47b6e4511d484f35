"""What unit and integration tests share."""

import shutil

import hypothesis
import own_surroundings

# Before any test module is imported, in each process of pytest.
_home = own_surroundings.settle()

# How long an example takes says something about the machine, and nothing about the code.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_unconfigure():
    shutil.rmtree(_home, ignore_errors=True)
