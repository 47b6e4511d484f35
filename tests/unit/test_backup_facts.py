"""What a host says about restores and places: nothing that another user could have put there is believed or followed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from pathlib import Path

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.facts import backup as facts
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.facts.cluster import ProbeError
from ansible_collections.homelab.mission_control.plugins.modules import backup_info

ROLE = Path(__file__).parents[2] / "roles/mission_control_backup"


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


@pytest.mark.parametrize("what", ["dump_directory", "heads", "data_directory"])
def test_what_the_servers_user_links_to_is_read_with_its_rights(tmp_path, what):
    """Root reads what only root may read, where it does not take on the rights of that user."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "file").write_text("20261122-023000F 1:00\n")
    hidden.chmod(0)
    (tmp_path / "link").symlink_to(hidden / "file" if what == "heads" else hidden)
    asked = {"user": "daemon", "database": "lab", "dump_directory": None, "heads": None, "data_directory": None}
    asked[what] = str(hidden if what == "data_directory" else tmp_path / "link")
    with pytest.raises(ProbeError, match="cannot be read"):
        backup_info.of_user(asked)


@pytest.fixture
def emptying():
    """The script by which a data directory is emptied."""
    tasks = yaml.safe_load((ROLE / "tasks/restore_data.yml").read_text(encoding="utf-8"))
    [task] = [each for each in tasks if each["name"] == "Empty the data directory"]
    script = task["ansible.builtin.command"]["argv"][2]
    return lambda directory: subprocess.run(
        ["sh", "-c", script, directory], capture_output=True, text=True, check=False
    )


def test_a_data_directory_is_made_and_emptied(tmp_path, emptying):
    directory = tmp_path / "pg data" / "15 main"
    for _ in range(2):
        assert emptying(directory).returncode == 0
        assert directory.stat().st_mode & 0o777 == 0o700
        assert list(directory.iterdir()) == []
        (directory / "base").mkdir()
        (directory / "base/1").touch()
        (directory / "pg_tblspc").symlink_to(tmp_path)


def test_nothing_is_emptied_through_a_link(tmp_path, emptying):
    precious = tmp_path / "precious"
    precious.mkdir(0o755)
    (precious / "file").touch()
    (tmp_path / "main").symlink_to(precious)
    done = emptying(tmp_path / "main")
    assert done.returncode == 1
    assert "is a symbolic link, which is not followed" in done.stderr
    assert (precious / "file").exists()


def test_nothing_is_emptied_through_a_link_that_comes_and_goes(tmp_path, emptying):
    precious, main, stop = tmp_path / "precious", tmp_path / "main", threading.Event()
    precious.mkdir(0o755)
    (precious / "file").touch()
    main.mkdir()

    def swap():
        while not stop.is_set():
            os.rename(main, tmp_path / "aside")
            # The script may have made the directory anew by now.
            with contextlib.suppress(OSError):
                os.symlink(precious, main)
            if main.is_symlink():
                main.unlink()
            with contextlib.suppress(OSError):
                os.rename(tmp_path / "aside", main)
            if not main.is_dir():
                main.mkdir()

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        codes = {emptying(main).returncode for _ in range(60)}
    finally:
        stop.set()
        swapping.join()
    assert (precious / "file").exists()
    assert precious.stat().st_mode & 0o777 == 0o755
    assert len(codes) > 1, "the link was never met"
