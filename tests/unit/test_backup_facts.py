"""What a host says about restores and places: nothing that another user could have put there is believed or followed."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils import backup_facts as facts


@pytest.fixture
def data(tmp_path):
    """A data directory, in a directory of the server's user."""
    directory = tmp_path / "postgresql" / "15" / "my main"
    (directory / "global").mkdir(parents=True)
    (directory / "global/pg_control").touch()
    (directory / "PG_VERSION").touch()
    return directory


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_restore_is_unfinished_where_roots_marker_says_so_of_this_directory(tmp_path, data, slash):
    marker = tmp_path / "15-main.restoring"
    assert facts.unfinished_restore(str(marker), f"{data}{slash}") == ""
    marker.write_text(f"{data}\n20261122-023000F\n")
    assert facts.unfinished_restore(str(marker), f"{data}{slash}") == "done"
    (data / "recovery.signal").touch()
    assert facts.unfinished_restore(str(marker), f"{data}{slash}") == "begun"
    marker.write_text(f"{tmp_path}/elsewhere\n20261122-023000F\n")
    assert facts.unfinished_restore(str(marker), f"{data}{slash}") == ""


def test_a_marker_beside_the_data_directory_says_nothing(tmp_path, data):
    data.with_name("my main.mission_control-restoring").write_text(f"{data}\n")
    assert facts.unfinished_restore(str(tmp_path / "15-main.restoring"), str(data)) == ""


@pytest.mark.parametrize("slash", ["", "/", "//"])
def test_a_link_is_no_data_directory(tmp_path, data, slash):
    (tmp_path / "link").symlink_to(data)
    (tmp_path / "to_nothing").symlink_to(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    for name, state in (("link", "link"), ("to_nothing", "link"), ("empty", "empty"), ("absent", "missing")):
        assert facts.directory_state(f"{tmp_path}/{name}{slash}") == state
    assert facts.directory_state(f"{data}{slash}") == "data"
    assert facts.directory_state(f"{data.parent}{slash}") == "other"


def test_a_place_is_roots_where_nobody_else_can_put_something_else(tmp_path):
    assert facts.is_roots_place("/usr/local/sbin")
    assert facts.is_roots_place("/usr/not there/either")
    assert not facts.is_roots_place("/tmp/dumps")
    tmp_path.chmod(0o777)
    (tmp_path / "kept").mkdir()
    assert not facts.is_roots_place(str(tmp_path / "kept" / "dumps"))
