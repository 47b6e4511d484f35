"""Which password a login gets, where it is kept and what happens to it."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.homelab.mission_control.plugins.filter.logins_of import logins_of
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.passwords.kept import (
    KeptPasswordError,
    make_password,
    password_problem,
    read_password,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.passwords.logins import (
    decide as decide_in,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.passwords.scram import make_verifier

NEW = {"key": "application", "name": "app", "can_log_in": None, "verifier_readable": True, "verifier": None}
HIDDEN = {**NEW, "can_log_in": True, "verifier_readable": False}
GIVEN = {"application": "given-secret"}


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "kept" / "here"


@pytest.fixture
def decide(directory):
    def run(login, **options):
        return decide_in(login, **{"directory": str(directory), "given": {}, **options})

    return run


def stored(password):
    return {**NEW, "can_log_in": True, "verifier": make_verifier(password, iterations=2)}


def keep(directory, text, mode=0o600):
    directory.mkdir(parents=True)
    path = directory / "app.password"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_new_login_gets_a_password_that_is_kept_for_its_owner_only(decide, directory):
    decision = decide(NEW, length=20)
    path = directory / "app.password"
    assert decision["action"] == "set"
    assert decision["problem"] == ""
    assert decision["source"] == "generated"
    assert decision["file"] == str(path)
    assert path.read_text(encoding="utf-8") == decision["password"] + "\n"
    assert len(decision["password"]) == 20
    assert decision["password"].isalnum()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert os.listdir(directory) == ["app.password"]
    again = decide(NEW)
    assert (again["password"], again["source"]) == (decision["password"], "file")


def test_in_check_mode_nothing_is_written(decide, directory):
    decision = decide(NEW, write=False)
    assert (decision["action"], decision["source"], decision["password"]) == ("set", "generated", "")
    assert not directory.exists()


@pytest.mark.parametrize(
    "login",
    [
        {**NEW, "can_log_in": False},
        {**NEW, "can_log_in": False, "verifier_readable": False},
        {**NEW, "can_log_in": True},  # may log in but never had a password
    ],
)
def test_a_role_that_could_not_log_in_counts_as_new(decide, login):
    assert decide(login)["source"] == "generated"


@pytest.mark.parametrize("login", [stored("unknown"), HIDDEN])
def test_a_login_without_a_password_at_hand_is_left_alone(decide, directory, login):
    decision = decide(login)
    assert (decision["action"], decision["source"], decision["password"]) == ("leave", "", "")
    assert not directory.exists()


def test_a_given_password_wins_over_a_kept_one(decide, directory):
    keep(directory, "kept-secret\n")
    assert decide(stored("given-secret"), given=GIVEN)["action"] == "none"
    assert decide(stored("kept-secret"), given=GIVEN)["action"] == "set"
    assert decide(stored("kept-secret"))["action"] == "none"
    assert decide(stored("kept-secret"), given={"application": "", "readonly": "other"})["source"] == "file"


def test_who_may_not_see_the_verifier_has_to_test_by_logging_in(decide):
    assert decide(HIDDEN, given=GIVEN)["action"] == "test"
    assert decide(HIDDEN, given=GIVEN, update=False)["action"] == "leave"
    assert decide(stored("other"), given=GIVEN, update=False)["action"] == "leave"
    assert decide(NEW, given=GIVEN, update=False)["action"] == "set"


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("", 0o600, "is empty"),
        ("\n", 0o600, "is empty"),
        ("one\ntwo\n", 0o600, "holds a line break"),
        ("nul\0\n", 0o600, "NUL"),
        ("secret\n", 0o640, "mode 0640"),
        ("secret\n", 0o604, "mode 0604"),
    ],
)
def test_a_password_file_that_cannot_be_trusted_is_refused_in_a_sentence(decide, directory, text, mode, words):
    path = keep(directory, text, mode)
    decision = decide(NEW)
    assert words in decision["problem"]
    assert str(path) in decision["problem"]
    assert "secret" not in str(decision)
    assert decision["action"] == "leave"
    assert path.read_text(encoding="utf-8") == text


def test_a_password_file_that_is_no_text_or_no_file_is_refused(directory):
    path = keep(directory, "")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(KeptPasswordError, match="UTF-8"):
        read_password(str(path))
    with pytest.raises(KeptPasswordError, match="cannot be read"):
        read_password(str(directory))
    with pytest.raises(KeptPasswordError, match="cannot be written"):
        make_password(str(path / "below" / "a.password"), 20)


def test_a_new_login_needs_a_password_where_none_may_be_generated(decide, directory):
    assert "needs a password" in decide(NEW, generate=False)["problem"]
    assert not directory.exists()
    assert "holds a line break" in decide(NEW, given={"application": "two\nlines"})["problem"]


def test_of_many_runs_at_once_one_makes_the_password(directory):
    path = str(directory / "app.password")
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: make_password(path, 32), range(64)))
    assert sum(first for _, first in made) == 1
    passwords = {password for password, _ in made}
    assert passwords == {read_password(path)}
    assert os.listdir(directory) == ["app.password"]


def test_only_one_trailing_line_break_is_no_part_of_a_password(directory):
    assert read_password(str(keep(directory, " pass word \n"))) == " pass word "
    assert password_problem("plain") == ""
    assert read_password(str(directory / "other.password")) is None


@pytest.mark.parametrize("name", ["../db2/app", "/etc/app", "..", "a/b", "", "a\0b", "App", None, ["app"]])
def test_a_name_that_leads_elsewhere_is_refused(decide, directory, name):
    directory.mkdir(parents=True)
    other = directory.parent / "db2" / "app.password"
    other.parent.mkdir()
    other.write_text("of-another-host\n", encoding="utf-8")
    other.chmod(0o600)
    decision = decide({**NEW, "name": name})
    assert decision["problem"].startswith("The name of the application role ")
    assert decision["password"] == decision["file"] == ""
    assert decision["action"] == "leave"
    assert sorted(path.name for path in directory.parent.rglob("*.password")) == ["app.password"]


@pytest.mark.parametrize("lead", ["file", "dangling", "pipe", "directory"])
def test_what_is_no_file_of_its_own_is_refused(decide, directory, lead):
    directory.mkdir(parents=True)
    path, target = directory / "app.password", directory.parent / "target"
    if lead == "pipe":
        os.mkfifo(path, 0o600)
    elif lead == "directory":
        path.mkdir(0o700)
    else:
        if lead == "file":
            target.write_text("of-another-host\n", encoding="utf-8")
            target.chmod(0o600)
        path.symlink_to(target)
    decision = decide(NEW)
    assert str(path) in decision["problem"]
    assert decision["password"] == ""
    assert decision["action"] == "leave"
    assert target.exists() == (lead == "file")


def test_what_a_host_answers_decides_no_name():
    roles = [
        {"key": "application", "name": "app", "login": True},
        {"key": "owner", "name": "owner", "login": False},
        {"key": "monitor", "name": "watch", "login": True},
    ]
    rows = [
        {**NEW, "name": "../db2/app", "file": "/etc/shadow"},
        {**NEW, "key": "owner"},
        {**NEW, "key": "another"},
    ]
    assert logins_of(rows, roles) == [{**NEW, "name": "app"}]
