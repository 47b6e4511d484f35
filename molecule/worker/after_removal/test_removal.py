"""Removing the worker leaves nothing of it, and what the inventory holds stays."""

from __future__ import annotations

UNIT = "mission-control-inventory.service"


def test_nothing_of_it_is_left(host):
    assert not host.user("mission-control-inventory").exists
    assert not host.group("mission-control-inventory").exists
    assert not host.file(f"/etc/systemd/system/{UNIT}").exists
    paths = (
        "/usr/local/lib/mission-control-inventory",
        "/usr/local/sbin/mission-control",
        "/etc/mission-control/inventory",
    )
    for path in paths:
        assert not host.file(path).exists


def test_what_it_has_taken_over_stays(database):
    assert database.value("SELECT count(*) FROM workloads WHERE source = 'engine'") == 2
