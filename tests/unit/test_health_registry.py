"""What the documentation says of health checks is what the registry says."""

import pathlib
import sys

from ansible_collections.homelab.mission_control.plugins.module_utils.health.registry import CHECKS
from ansible_collections.homelab.mission_control.plugins.module_utils.health.thresholds import DEFAULTS, Thresholds

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "scripts"))

import health_tables


def test_the_tables_of_the_page_are_those_of_the_registry():
    page = health_tables.PAGE.read_text(encoding="utf-8")
    assert page == health_tables.render(page), "run `make docs`"


def test_every_threshold_judges_one_check():
    assert sorted(name for check in CHECKS for name in check.thresholds) == sorted(DEFAULTS)


def test_the_help_of_the_thresholds_names_each_with_its_default():
    assert [name for name, default in DEFAULTS.items() if f" {name}: " not in Thresholds.__doc__] == []
    assert "slot_warn_bytes: Bytes of write-ahead log that a replication slot keeps" in Thresholds.__doc__
    assert "Default 1073741824." in Thresholds.__doc__
