"""What the pages say of health checks and of the API is what the code declares."""

import pathlib
import sys

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.health.registry import CHECKS
from ansible_collections.homelab.mission_control.plugins.module_utils.health.thresholds import DEFAULTS, Thresholds

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "scripts"))

import reference_tables


@pytest.mark.parametrize("mark", reference_tables.TABLES)
def test_a_table_of_the_pages_is_what_the_code_declares(mark):
    page = reference_tables.TABLES[mark][0].read_text(encoding="utf-8")
    assert page == reference_tables.render(mark, page), "run `make docs`"


def test_every_threshold_judges_one_check():
    assert sorted(name for check in CHECKS for name in check.thresholds) == sorted(DEFAULTS)


def test_the_help_of_the_thresholds_names_each_with_its_default():
    assert [name for name, default in DEFAULTS.items() if f" {name}: " not in Thresholds.__doc__] == []
    assert "slot_warn_bytes: Bytes of write-ahead log that a replication slot keeps" in Thresholds.__doc__
    assert "Default 1073741824." in Thresholds.__doc__
