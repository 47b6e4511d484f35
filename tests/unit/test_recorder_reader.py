"""Lines of a spool: what is taken of them, and what counts as none of the recorder's."""

import copy
import json
import os

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.reader import (
    BadLineError,
    End,
    Event,
    HostCounts,
    NewerVersionError,
    Spool,
    SpoolError,
    parse_begin,
    parse_line,
)
from hypothesis import given
from hypothesis import strategies as st

RUN = "3f2a9c41-0000-4000-8000-000000000000"
AT = "2026-11-27T18:30:00.000000+00:00"
BEGIN = {
    "v": 1,
    "seq": 0,
    "at": AT,
    "begin": {
        "run": RUN,
        "playbook": "homelab/site.yml",
        "controller": "rack",
        "user": "sven",
        "check": False,
        "limit": None,
        "tags": ["deploy"],
        "skip_tags": [],
        "ansible": "2.21.5",
        "inventory_source": None,
        "process": {"host": "rack", "boot": "b", "pid": 1, "ticks": 2},
    },
}
RESULT = {
    "seq": 3,
    "at": AT,
    "type": "tool_result",
    "payload": {
        "event": "result",
        "host": "web1",
        "task": "Install",
        "task_sequence": 2,
        "outcome": "failed",
        "changed": False,
        "seconds": 0.5,
        "message": "No such package",
    },
}
TASK = {
    "seq": 2,
    "at": AT,
    "type": "log",
    "payload": {
        "event": "task",
        "name": "Install",
        "module": "ansible.builtin.apt",
        "path": "x.yml:3",
        "handler": False,
    },
}
PLAY = {"seq": 1, "at": AT, "type": "log", "payload": {"event": "play", "name": "Web"}}
HOST = {"seq": 4, "at": AT, "host": {"name": "web1", "ok": 2, "failed": 1}}
END = {"seq": 5, "at": AT, "end": {"status": "failed", "error": "web1 failed at the task: Install", "dropped": 1}}


def line(told):
    return json.dumps(told).encode()


def changed(told, place, value):
    """The same with another value in one place; a value that is a class is left out."""
    made = copy.deepcopy(told)
    *way, last = place.split("/")
    inner = made
    for each in way:
        inner = inner[each]
    if value is type:
        del inner[last]
    else:
        inner[last] = value
    return made


def test_what_the_recorder_writes_is_taken():
    begin = parse_begin(line(BEGIN), RUN)
    assert (begin.at, begin.playbook, begin.tags, begin.process["pid"]) == (AT, "homelab/site.yml", ["deploy"], 1)
    assert parse_line(line(PLAY)) == Event(1, AT, "log", PLAY["payload"])
    assert parse_line(line(TASK)) == Event(2, AT, "log", TASK["payload"])
    assert parse_line(line(RESULT)) == Event(3, AT, "tool_result", RESULT["payload"])
    assert parse_line(line(HOST)) == HostCounts(4, AT, "web1", (2, 0, 1, 0, 0, 0, 0))
    assert parse_line(line(END)) == End(5, AT, "failed", "web1 failed at the task: Install", 1)


def test_what_is_unknown_of_a_task_or_a_result_is_left_out_and_so_is_what_is_not_known_here():
    for told, name in ((TASK, "module"), (TASK, "path"), (RESULT, "seconds"), (RESULT, "task_sequence")):
        taken = parse_line(line(changed(told, f"payload/{name}", None))).payload
        assert taken == {key: value for key, value in told["payload"].items() if key != name}
    assert parse_line(line(changed(RESULT, "payload/stdout", "s3cret"))).payload == RESULT["payload"]


@pytest.mark.parametrize(
    ("told", "place", "value"),
    [
        (RESULT, "seq", -1),
        (RESULT, "seq", 2**63),
        (RESULT, "seq", 1.0),
        (RESULT, "seq", True),
        (RESULT, "seq", type),
        (RESULT, "at", "yesterday"),
        (RESULT, "at", "2026-02-30T00:00:00Z"),
        (RESULT, "at", "0000-01-01T00:00:00Z"),
        (RESULT, "at", "2026-11-27T18:30:00"),
        (RESULT, "at", type),
        (RESULT, "type", "log"),
        (RESULT, "type", ["tool_result"]),
        (RESULT, "payload", [1]),
        (RESULT, "payload/event", "stdout"),
        (RESULT, "payload/host", ""),
        (RESULT, "payload/host", " "),
        (RESULT, "payload/host", "x" * 2001),
        (RESULT, "payload/host", "web\0"),
        (RESULT, "payload/host", "\ud800"),
        (RESULT, "payload/task", type),
        (RESULT, "payload/outcome", "fine"),
        (RESULT, "payload/outcome", {}),
        (RESULT, "payload/changed", 1),
        (RESULT, "payload/seconds", -1),
        (RESULT, "payload/seconds", 10**400),
        (RESULT, "payload/seconds", float("nan")),
        (RESULT, "payload/seconds", float("inf")),
        (RESULT, "payload/seconds", "1"),
        (RESULT, "payload/task_sequence", "2"),
        (RESULT, "payload/message", {"msg": "x"}),
        (TASK, "payload/handler", "no"),
        (TASK, "payload/name", 3),
        (TASK, "payload/module", ["apt"]),
        (PLAY, "payload/name", None),
        (HOST, "host/ok", -1),
        (HOST, "host/ok", "2"),
        (HOST, "host/name", None),
        (HOST, "host", "web1"),
        (END, "end/status", "running"),
        (END, "end/status", ["failed"]),
        (END, "end/error", 3),
        (END, "end/dropped", 2**64),
        (END, "end", type),
    ],
)
def test_a_line_with_a_wrong_value_is_none(told, place, value):
    with pytest.raises(BadLineError):
        parse_line(line(changed(told, place, value)))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("v", 0),
        ("v", "1"),
        ("v", type),
        ("seq", 1),
        ("at", "now"),
        ("begin", "x"),
        ("begin/run", "another"),
        ("begin/playbook", ""),
        ("begin/playbook", "x" * 2001),
        ("begin/playbook", "\ud800"),
        ("begin/controller", None),
        ("begin/check", "no"),
        ("begin/limit", ["web"]),
        ("begin/tags", "deploy"),
        ("begin/skip_tags", [1]),
        ("begin/process", [1]),
    ],
)
def test_a_first_line_with_a_wrong_value_is_none(place, value):
    with pytest.raises(BadLineError):
        parse_begin(line(changed(BEGIN, place, value)), RUN)


def test_a_newer_version_is_told_from_a_broken_line():
    with pytest.raises(NewerVersionError):
        parse_begin(line({"v": 2, "anything": "else"}), RUN)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"\0",
        b"[" * 8000,
        b'{"a":' * 1000,
        b'{"seq": 1' + b"0" * 5000 + b"}",
        b'{"seq": 1, "seq": NaN}',
        b'{"seq":3,"at":"2026-11-27T18:30:00Z","type":"log","payload":{"event":"play","name":"\\u0000"}}',
        b'{"seq":3,"at":"2026-11-27T18:30:00Z","type":"log","payload":{"event":"play","name":"\\udfff"}}',
        b'{"seq":3,"at":"2026-11-27T18:30:00Z","type":"log","payload":{"event":"play","name":"\xed\xa0\x80"}}',
    ],
)
def test_bytes_that_are_no_line_are_none(raw):
    for parse in (parse_line, lambda data: parse_begin(data, RUN)):
        with pytest.raises(BadLineError):
            parse(raw)


def test_the_six_characters_of_an_escape_are_no_escape():
    told = changed(PLAY, "payload/name", "\\u0000 and \\ud800")
    assert parse_line(line(told)).payload["name"] == "\\u0000 and \\ud800"


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))
_ANYTHING = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(
    st.binary()
    | _ANYTHING.map(line)
    | st.sampled_from([RESULT, TASK, PLAY, HOST, END]).flatmap(
        lambda told: st.sampled_from(
            [*told, *(f"{key}/{name}" for key in told if isinstance(told[key], dict) for name in told[key])]
        ).flatmap(lambda place: _ANYTHING.map(lambda value: line(changed(told, place, value))))
    )
)
def test_any_line_is_taken_or_none_and_what_is_taken_can_be_stored(raw):
    try:
        told = parse_line(raw)
    except BadLineError:
        return
    stored = json.dumps(told, allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert b"\\u0000" not in stored.replace(b"\\\\", b"")


@pytest.fixture
def spool(tmp_path):
    tmp_path.chmod(0o700)
    with Spool(str(tmp_path)) as opened:
        yield opened


def make(directory, content=b"", mode=0o600):
    file = directory / f"{RUN}.jsonl"
    file.write_bytes(content)
    file.chmod(mode)
    return file


def test_lines_come_whole_however_they_were_written(spool, tmp_path):
    path = make(tmp_path, b"first\nsec")
    file = spool.open(RUN)
    assert list(file.lines()) == [b"first"]
    with path.open("ab") as writer:
        writer.write(b"ond\n" + b"x" * 8191 + b"\n" + b"y" * 8192 + b"\n" + b"z" * 3_000_000)
    assert list(file.lines()) == [b"second", b"x" * 8191, None]
    assert file.has_rest
    with path.open("ab") as writer:
        writer.write(b"zz\nlast\n")
    assert list(file.lines()) == [None, b"last"]
    assert not file.has_rest
    file.close()


def test_a_file_is_for_one_process_alone_and_one_that_was_replaced_is_not_taken(spool, tmp_path):
    path = make(tmp_path)
    file = spool.open(RUN)
    with pytest.raises(BlockingIOError):
        spool.open(RUN)
    path.unlink()
    assert not file.is_there()
    make(tmp_path, b"another")
    assert not file.is_there()
    file.close()
    path.unlink()
    assert spool.open(RUN) is None


def test_what_the_recorder_did_not_make_is_not_opened(spool, tmp_path):
    path = tmp_path / f"{RUN}.jsonl"
    target = tmp_path / "target"
    target.write_text("secret", encoding="ascii")
    for prepare, sentence in (
        (lambda: path.symlink_to(target), "it cannot be opened"),
        (lambda: os.link(target, path), "it is no file of its own"),
        (lambda: os.mkfifo(path, 0o600), "it is no file of its own"),
        (lambda: make(tmp_path, mode=0o640), "others may read it"),
    ):
        prepare()
        with pytest.raises(SpoolError, match=sentence):
            spool.open(RUN)
        path.unlink()
    path.mkdir()
    with pytest.raises(SpoolError, match="it cannot be opened"):
        spool.open(RUN)


def test_only_the_runs_own_files_are_looked_at(spool, tmp_path):
    make(tmp_path)
    for name in ("loader.log", f"{RUN}.jsonl.rejected", f"{RUN.upper()}.jsonl", "x.jsonl", f".{RUN}.jsonl"):
        (tmp_path / name).touch()
    assert spool.runs() == [RUN]


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_may_use_is_no_spool(tmp_path, mode):
    tmp_path.chmod(mode)
    with pytest.raises(SpoolError, match="run this as its owner, after chmod 700"):
        Spool(str(tmp_path))


@pytest.mark.parametrize("name", ["missing", "file", "link", "nul\0"])
def test_what_is_no_directory_is_no_spool(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SpoolError, match="cannot be opened"):
        Spool(str(tmp_path / name))
