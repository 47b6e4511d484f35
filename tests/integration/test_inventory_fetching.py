"""A fetch in its own process: what comes back, every way in which the process can end, and what it is given."""

import contextlib
import datetime
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import lab_connector
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory import fetching
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.registry import CONNECTORS
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.snapshot import FetchError
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.sources import read_sources

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)
TOKEN = "token-Rg7Hs2Kd9Q"


@pytest.fixture(autouse=True)
def _lab(monkeypatch):
    monkeypatch.setitem(CONNECTORS, "docker", lambda: lab_connector)


@pytest.fixture
def source(tmp_path):
    """A callable that makes the source `lab`, whose file tells what is given."""

    def make(told=None, **keys):
        file = tmp_path / "told.json"
        file.write_text(json.dumps(told or {}), encoding="utf-8")
        credentials = tmp_path / "credentials"
        credentials.mkdir(exist_ok=True)
        (credentials / "lab.token").write_text(f"{TOKEN}\n", encoding="utf-8")
        options = {"file": str(file), "trace": str(tmp_path / "trace")}
        entry = {"name": "lab", "connector": "docker", "cluster": "rack", "options": options, "deadline": 30, **keys}
        (tmp_path / "sources.json").write_text(json.dumps([entry]), encoding="utf-8")
        (made,) = read_sources(str(tmp_path / "sources.json"), str(credentials))
        return made

    return make


def process_of(tmp_path):
    # Until the line is written the file is empty.
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((tmp_path / "trace").read_text(encoding="ascii").split()[-1])
    return 0


def eventually(condition, what):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_a_snapshot_comes_back_as_it_was_made_and_progress_on_the_way(source):
    seen = []
    told = {"token": TOKEN, "hosts": [{"external_id": "a", "name": "nas \ud800 é"}, {"external_id": "b"}]}
    made = source(
        {**told, "workloads": [{"external_id": "w", "name": "web", "host": "a"}], "problem": "A list failed."}
    )
    given = {name: vars(made)[name] for name in ("name", "cluster", "options")}
    there = fetching.fetch(made, NOW, lambda name, number: seen.append((name, number)))
    here = lab_connector.fetch(*given.values(), {"token": TOKEN}, NOW, lambda _name, _number: None)
    assert there == here
    assert seen == [("hosts", 2), ("workloads", 1)]


def test_a_refusal_of_the_source_is_its_sentence(source):
    with pytest.raises(FetchError, match=r"^lab refused the token\.$"):
        fetching.fetch(source({"token": "another"}), NOW)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("hang", "it took longer than its deadline of 2 s"),
        ("hang_in_child", "it took longer than its deadline of 2 s"),
        ("grow", "it took more than its memory limit of 512 MiB"),
        ("crash", "an error of its connector (KeyError in lab_connector.py line "),
        ("die", "its process was killed by SIGKILL, as the system does where memory is short"),
        ("fault", "its process was killed by SIGSEGV"),
        ("exit", "its process ended without a word, with the exit code 3"),
        ("garbage", "its process said something else than it should"),
        ("long", "it handed over more than its memory limit of 512 MiB"),
        ("odd", "what its process handed over is no snapshot"),
    ],
)
def test_every_end_of_the_process_is_one_sentence(source, tmp_path, fault, sentence):
    with pytest.raises(FetchError) as raised:
        fetching.fetch(source({"fault": fault}, deadline=2 if fault.startswith("hang") else 60), NOW)
    text = str(raised.value)
    assert text.startswith(f"Fetching lab failed: {sentence}")
    assert (text.count(". "), text[-1], TOKEN in text, "secret" in text) == (0, ".", False, False)
    assert is_gone(process_of(tmp_path))


def test_all_that_the_process_has_started_ends_with_it(source, tmp_path):
    with pytest.raises(FetchError):
        fetching.fetch(source({"fault": "hang_in_child"}, deadline=2), NOW)
    session = str(process_of(tmp_path))

    def members():
        for process in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                state, _parent, _group, its = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[:4]
                if its == session and state != "Z":
                    yield process

    eventually(lambda: not list(members()), "they are gone")


def test_a_stop_ends_it(source, tmp_path):
    stop = threading.Event()
    made = source({"fault": "hang"}, deadline=600)
    outcome = []

    def work():
        try:
            fetching.fetch(made, NOW, stop=stop)
        except fetching.StoppedError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    eventually(lambda: process_of(tmp_path), "it runs")
    stop.set()
    thread.join(30)
    assert outcome == ["The sync of lab was stopped before it had ended."]
    assert is_gone(process_of(tmp_path))


PARENT = """
import datetime, sys
import lab_connector
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory import fetching, sources
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.registry import CONNECTORS
CONNECTORS["docker"] = lambda: lab_connector
(source,) = sources.read_sources(*sys.argv[1:])
fetching.fetch(source, datetime.datetime.now(datetime.timezone.utc))
"""


def test_it_ends_with_its_parent(source, tmp_path):
    source({"fault": "hang_in_child"}, deadline=600)
    arguments = [sys.executable, "-c", PARENT, str(tmp_path / "sources.json"), str(tmp_path / "credentials")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(arguments, env=environment) as parent:
        try:
            eventually(lambda: process_of(tmp_path), "it runs")
        finally:
            parent.kill()
    eventually(lambda: is_gone(process_of(tmp_path)), "it is gone")


def test_the_process_has_no_login_at_the_database_and_no_secret_in_arguments_and_environment(source, monkeypatch):
    for name in (
        "POSTGRES_PASSWORD",
        "PGPASSWORD",
        "DATABASE_URL",
        "MISSION_CONTROL_ENV_FILE",
        "CREDENTIALS_DIRECTORY",
    ):
        monkeypatch.setenv(name, "something")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    host = fetching.fetch(source({"shows_itself": True}), NOW).listings[0].rows[-1]
    seen = set(host.labels["environment"])
    assert "HTTPS_PROXY" in seen
    assert not {name for name in seen if name.startswith(("POSTGRES", "PG", "DATABASE", "MISSION", "CREDENTIALS"))}
    assert "inventory.fetching" in host.os
    assert TOKEN not in host.os


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda path: path.unlink(), "cannot be read: No such file or directory."),
        (lambda path: path.chmod(0o662), "may be written by others than root and the user of this process"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is empty or no UTF-8 text."),
        (lambda path: path.write_text("\n"), "is empty or no UTF-8 text."),
    ],
)
def test_a_secret_that_cannot_be_used_is_one_sentence(source, tmp_path, spoil, sentence):
    made = source()
    assert "token" in repr(made)
    spoil(tmp_path / "credentials/lab.token")
    with pytest.raises(FetchError) as raised:
        fetching.fetch(made, NOW)
    assert sentence in str(raised.value)
    assert str(tmp_path / "credentials/lab.token") in str(raised.value)
