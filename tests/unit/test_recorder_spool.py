"""The writing side of the spool: whose directory it may be, what is written of a run, and what when there is no room."""

import json
import os
import resource
import stat

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.spool import (
    LONGEST_LINE,
    LONGEST_LIST,
    LONGEST_MESSAGE,
    LONGEST_NAME,
    LONGEST_PATH,
    Places,
    SpoolWriter,
    module_name,
    open_directory,
    text,
    texts,
)
from hypothesis import given
from hypothesis import strategies as st

RUN = "0b5ca1d5-4dd3-4a3f-8f3c-0f7d5a8a5f0e"
MIB = 1 << 20


def lines_of(directory):
    content = (directory / f"{RUN}.jsonl").read_bytes()
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "state" / "runs"


def writer_in(directory, max_bytes=MIB, max_spool_bytes=MIB):
    return SpoolWriter(str(directory), RUN, max_bytes, max_spool_bytes)


def test_each_line_is_numbered_and_only_the_user_can_read_it(directory):
    writer = writer_in(directory)
    assert writer.line(begin={}) is True
    assert writer.event("log", {"event": "play"}) == 1
    writer.end("succeeded", None)
    begin, event, end = lines_of(directory)
    assert [each["seq"] for each in (begin, event, end)] == [0, 1, 2]
    assert event["payload"] == {"event": "play"}
    assert end["end"] == {"status": "succeeded", "error": None, "dropped": 0}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / f"{RUN}.jsonl").stat().st_mode) == 0o600


def test_a_run_is_never_written_into_a_file_that_is_there(directory):
    writer_in(directory).close()
    with pytest.raises(FileExistsError):
        writer_in(directory)


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o770, 0o777])
def test_a_directory_that_is_open_to_others_is_no_spool(directory, mode):
    directory.mkdir(parents=True)
    directory.chmod(mode)
    with pytest.raises(PermissionError):
        writer_in(directory)
    assert list(directory.iterdir()) == []


def test_neither_a_link_nor_a_file_is_a_spool(directory, tmp_path):
    (tmp_path / "own").mkdir(mode=0o700)
    directory.parent.mkdir()
    directory.symlink_to(tmp_path / "own")
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        writer_in(directory)
    with pytest.raises(NotADirectoryError):
        open_directory(os.devnull, create=True)
    assert list((tmp_path / "own").iterdir()) == []


def test_what_does_not_fit_is_counted_and_the_hosts_and_the_end_still_do(directory):
    writer = writer_in(directory, max_bytes=40_000)
    written = [writer.event("log", {"event": "task", "name": "x" * 200}) for _ in range(500)]
    assert None in written
    assert writer.dropped == written.count(None)
    assert writer.line(host={"name": "web1", "ok": 1})
    writer.end("failed", "web1 failed at the task: Copy")
    lines = lines_of(directory)
    assert lines[-1]["end"] == {
        "status": "failed",
        "error": "web1 failed at the task: Copy",
        "dropped": written.count(None),
    }
    assert lines[-2]["host"]["name"] == "web1"
    assert (directory / f"{RUN}.jsonl").stat().st_size <= 40_000
    numbers = [line["seq"] for line in lines]
    assert numbers == sorted(set(numbers))


def test_a_full_spool_takes_no_further_run_and_a_run_only_what_is_left(directory):
    directory.mkdir(parents=True, mode=0o700)
    (directory / "other.jsonl").write_bytes(b"x" * (MIB - 30_000))
    writer = writer_in(directory, max_bytes=10 * MIB)
    while writer.event("log", {"event": "task", "name": "x" * 200}) is not None:
        pass
    writer.end("succeeded", None)
    assert sum(each.stat().st_size for each in directory.iterdir()) <= MIB
    with pytest.raises(OSError, match="The spool is full"):
        SpoolWriter(str(directory), "second", MIB, MIB)
    assert not (directory / "second.jsonl").exists()


def test_runs_at_once_share_what_is_left(directory):
    first = SpoolWriter(str(directory), "first", 10 * MIB, 4 * MIB)
    second = SpoolWriter(str(directory), "second", 10 * MIB, 4 * MIB)
    while first.event("log", {"name": "x" * 7000}) or second.event("log", {"name": "x" * 7000}):
        pass
    # Each looks again once it has written another MiB.
    assert sum(each.stat().st_size for each in directory.iterdir()) <= 6 * MIB


def test_a_full_disk_leaves_whole_lines_and_the_run_goes_on_when_there_is_room(directory):
    writer = writer_in(directory)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As a full disk it lets a part of a line be written.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        written = [writer.event("log", {"event": "task", "name": "x" * 300}) for _ in range(5)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert written[3:] == [None, None]
    assert writer.event("log", {"event": "after"}) is not None
    writer.end("succeeded", None)
    *_, after, end = lines_of(directory)
    assert after["payload"] == {"event": "after"}
    assert end["end"]["dropped"] == written.count(None)


@given(st.text(), st.text(), st.lists(st.text(), max_size=5))
def test_whatever_names_are_made_of_a_line_can_hold_them(tmp_path_factory, name, message, tags):
    directory = tmp_path_factory.mktemp("spool") / "runs"
    writer = writer_in(directory)
    long = 300
    payload = {
        "host": text(name * long, LONGEST_NAME),
        "name": text(name * long, LONGEST_NAME),
        "path": text(name * long, LONGEST_PATH),
        "message": text(message * long, LONGEST_MESSAGE),
    }
    assert writer.event("log", payload) is not None
    assert writer.line(
        begin={"tags": texts(tags * long), "skip": texts(tags * long), "limit": text(name * long, LONGEST_LIST)}
    )
    writer.close()
    content = (directory / f"{RUN}.jsonl").read_bytes()
    assert b"\0" not in content
    assert b"\\u0000" not in content
    assert max(map(len, content.splitlines(keepends=True))) <= LONGEST_LINE
    assert len(content.split(b"\n")) == 3


def test_values_that_are_no_text_are_not_printed():
    class Vaulted:
        def __str__(self):
            return "a secret"

    assert text(Vaulted(), 50) == ""
    assert texts([Vaulted(), "web", 3]) == ["", "web", "3"]
    assert texts(None) == []


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("ansible.builtin.copy", "ansible.builtin.copy"),
        ("ping", "ping"),
        ("{{ module }}", None),
        ("copy src=x", None),
        (None, None),
    ],
)
def test_a_module_is_a_name_and_nothing_else(action, name):
    assert module_name(action) == name


def test_playbooks_and_tasks_are_named_from_the_top_of_their_repository(tmp_path):
    top = tmp_path / "homelab"
    for each in ("playbooks", ".git", "roles/web/tasks"):
        (top / each).mkdir(parents=True)
    playbook = top / "playbooks" / "site.yml"
    playbook.touch()
    (tmp_path / "link").symlink_to(top)
    for path in (playbook, tmp_path / "link" / "playbooks" / "site.yml", top / "roles/../playbooks/site.yml"):
        places = Places(str(path), home="/home/sven")
        assert places.playbook == "homelab/playbooks/site.yml"
        assert places.of_task(f"{top}/roles/web/tasks/main.yml:12") == "roles/web/tasks/main.yml:12"
        assert places.of_task(f"{top}/site.yml:3") == "site.yml:3"
    assert Places(str(playbook), home=str(tmp_path)).of_task(f"{tmp_path}/other/x.yml:1") == "~/other/x.yml:1"
    # A worktree or a submodule has a file there.
    (top / ".git").rmdir()
    (top / ".git").write_text("gitdir: elsewhere\n")
    assert Places(str(playbook), home="/home/sven").playbook == "homelab/playbooks/site.yml"


def test_without_a_repository_they_are_named_from_the_home_directory_or_the_root(tmp_path):
    playbook = tmp_path / "plays" / "site.yml"
    playbook.parent.mkdir()
    playbook.touch()
    at_home = Places(str(playbook), home=str(tmp_path))
    assert at_home.playbook == "~/plays/site.yml"
    assert at_home.of_task(f"{tmp_path}/plays/tasks/a.yml:2") == "tasks/a.yml:2"
    assert at_home.of_task(f"{tmp_path}/roles/a.yml:2") == "~/roles/a.yml:2"
    elsewhere = Places(str(playbook), home="/home/sven")
    assert elsewhere.playbook == str(playbook)
    assert elsewhere.of_task("/usr/share/a.yml:2") == "/usr/share/a.yml:2"
    assert elsewhere.of_task("") is None
    # What is no file has the name that it was given.
    assert Places("/dev/stdin", home="/root").playbook == "/dev/stdin"
