"""The module files on real directories: made once, shown before, never through a link, and silent about secrets."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import shutil
import signal
import stat
import sys
import tempfile
import time
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.files import desired as desired_files
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.files.owned import acting_as
from ansible_collections.homelab.mission_control.plugins.modules import files

# Without root's rights all of this is one user's.
ROOT = os.geteuid() == 0
ME = pwd.getpwuid(os.geteuid()).pw_name
MINE = {"owner": ME, "group": grp.getgrgid(os.getegid()).gr_name}
SOMEBODY = "daemon" if ROOT else ME
THEIRS = {"owner": SOMEBODY, "group": grp.getgrgid(pwd.getpwnam(SOMEBODY).pw_gid).gr_name}
SECRET = "correct-horse-battery-staple"


@pytest.fixture
def place():
    """A directory that everybody may enter and nobody else write in; not pytest's own, which nobody else may enter."""
    directory = Path(tempfile.mkdtemp(prefix="mission-control-files-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def theirs(place):
    """A directory of somebody else's, who may put there what they like."""
    directory = place / "theirs"
    directory.mkdir()
    os.chown(directory, pwd.getpwnam(SOMEBODY).pw_uid, -1)
    return directory


@pytest.fixture
def run(capsys, monkeypatch):
    """A callable: the result of the module for these entries, and all that it printed or wrote into the host's log."""
    log = []
    monkeypatch.setattr(AnsibleModule, "log", lambda _module, *texts, **more: log.append(f"{texts} {more}"))

    def run(*entries, **internal):
        arguments = {"files": [{**MINE, **entry, "path": str(entry["path"])} for entry in entries]}
        # As the controller sends them.
        internal = {"inject_invocation": True, "no_log": False, **internal}
        internal = {f"_ansible_{name}": value for name, value in internal.items()}
        with patch_module_args({**arguments, **internal}), pytest.raises(SystemExit):
            files.main()
        printed = capsys.readouterr()
        result = json.loads(printed.out)
        return result, printed.out + printed.err + "".join(log)

    return run


def state(directory):
    """Every byte and attribute below a directory."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_mode, status.st_uid, status.st_gid)
        if stat.S_ISREG(status.st_mode):
            found[str(path)] += (status.st_mtime_ns, path.read_bytes())
    return found


def entries(place, content="colour = blue\n", **more):
    return [
        {"path": place / "etc", "state": "directory", "mode": "0750"},
        {"path": place / "etc/settings", "content": content, **more},
        {"path": place / "etc/old", "state": "absent"},
    ]


def test_a_second_run_changes_nothing(place, run):
    result, _ = run(*entries(place))
    assert result["changes"] == {f"{place}/etc": "make", f"{place}/etc/settings": "write"}
    (place / "etc/old").touch()
    assert run(*entries(place))[0]["changes"] == {f"{place}/etc/old": "remove"}
    before = state(place)
    result, _ = run(*entries(place))
    assert (result["changed"], result["changes"]) == (False, {})
    assert state(place) == before
    assert stat.S_IMODE((place / "etc").stat().st_mode) == 0o750
    assert stat.S_IMODE((place / "etc/settings").stat().st_mode) == 0o644


def test_check_mode_says_what_a_run_does_and_does_nothing(place, run):
    desired = [*entries(place), {"path": place / "etc/more", "owner": "not-there-yet", "group": "not-there-yet"}]
    result, _ = run(*desired, check_mode=True)
    assert result["changes"] == {f"{place}/etc": "make", f"{place}/etc/settings": "write", f"{place}/etc/more": "write"}
    assert state(place) == {}


def test_the_difference_shows_content_and_attributes_before_and_after(place, run):
    run(*entries(place))
    result, _ = run(*entries(place, "colour = red\n", mode="0600"), check_mode=True, diff=True)
    settings = str(place / "etc/settings")
    assert result["diff"] == [
        {"before_header": settings, "after_header": settings, "before": "colour = blue\n", "after": "colour = red\n"},
        {
            "before_header": f"{settings} (attributes)",
            "after_header": f"{settings} (attributes)",
            "before": f"owner: {ME}\ngroup: {MINE['group']}\nmode: 0644\n",
            "after": f"owner: {ME}\ngroup: {MINE['group']}\nmode: 0600\n",
        },
    ]
    assert "diff" not in run(*entries(place), check_mode=True)[0]


@pytest.mark.parametrize("mode", ["0644", "0600"])
def test_a_secret_is_in_no_output(place, run, mode):
    for content in (f"password={SECRET}\n", f"password={SECRET}2\n"):
        desired = entries(place, content, secret=True, mode=mode)
        for check in (True, False):
            result, output = run(*desired, check_mode=check, diff=True)
            assert result["changed"]
            assert SECRET not in output
    result, output = run(entries(place)[1], check_mode=True, diff=True)
    assert result["changes"] == {f"{place}/etc/settings": "write"}


@pytest.mark.parametrize("wrong", [{"mode": "u+w"}, {"state": "link"}, {"colour": "blue"}, {"keep": "perhaps"}])
def test_a_secret_is_in_no_refusal(place, run, wrong):
    result, output = run({**entries(place, f"password={SECRET}\n", secret=True)[1], **wrong})
    assert result["failed"]
    assert SECRET not in output


def test_what_is_kept_keeps_its_content_and_gets_its_mode(place, run):
    (place / "key").write_text("made earlier")
    (place / "mounted").mkdir(0o711)
    before = (place / "key").stat().st_mtime_ns
    desired = [
        {"path": place / "key", "content": "new", "keep": True, "mode": "0600"},
        {"path": place / "mounted", "state": "directory", "mode": "0700", "keep": True},
    ]
    assert run(*desired)[0]["changes"] == {f"{place}/key": "adjust"}
    assert (place / "key").read_text() == "made earlier"
    assert (place / "key").stat().st_mtime_ns == before, "nothing is restarted for a mode"
    assert stat.S_IMODE((place / "key").stat().st_mode) == 0o600
    (place / "key").unlink()
    assert run(*desired)[0]["changes"] == {f"{place}/key": "write"}


def test_what_is_unmanaged_stays(place, run):
    (place / "file").write_text("somebody's")
    unmanaged = [{"path": place / "file", "state": "unmanaged"}, {"path": "", "state": "unmanaged"}]
    assert run(*unmanaged)[0]["changed"] is False
    assert (place / "file").read_text() == "somebody's"


def test_owner_and_group_are_set(place, run):
    desired = {"path": place / "secret", "content": SECRET, "mode": "0600", **THEIRS}
    run(desired)
    status = (place / "secret").stat()
    assert (pwd.getpwuid(status.st_uid).pw_name, stat.S_IMODE(status.st_mode)) == (SOMEBODY, 0o600)
    assert run({**desired, **MINE})[0]["changes"] == ({f"{place}/secret": "adjust"} if ROOT else {})
    assert (place / "secret").stat().st_uid == os.geteuid()


def test_what_a_directory_lies_in_is_made_and_what_a_file_lies_in_is_not(place, run):
    assert run({"path": place / "a/b/c", "state": "directory", "mode": "0700"})[0]["changed"]
    assert [stat.S_IMODE((place / each).stat().st_mode) for each in ("a", "a/b", "a/b/c")] == [0o700] * 3
    result, _ = run({"path": place / "d/file"})
    assert result["msg"] == f"{place}/d/file cannot be written: there is no directory {place}/d."
    assert not (place / "d").exists()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_link_is_refused_before_anything_is_changed(place, run, kind):
    target = place / "precious"
    target.mkdir() if kind == "directory" else target.write_text("precious\n")
    (place / "link").symlink_to(target)
    before = state(place)
    result, _ = run(*entries(place), {"path": place / "link", "state": kind, "content": "x"})
    assert (
        result["msg"]
        == f"{place}/link is a link or something else than a {kind}: move it away, and the next run makes it."
    )
    assert state(place) == before


def test_a_link_is_removed_and_not_what_it_leads_to_and_no_directory_is(place, run):
    (place / "precious").mkdir()
    (place / "link").symlink_to(place / "precious")
    assert run({"path": place / "link", "state": "absent"})[0]["changed"]
    assert not (place / "link").is_symlink()
    assert "is a directory" in run({"path": place / "precious", "state": "absent"})[0]["msg"]
    assert (place / "precious").is_dir()


def test_a_link_on_the_way_is_refused_where_somebody_else_may_have_laid_it(theirs, place, run):
    (place / "precious").mkdir()
    (theirs / "link").symlink_to(place / "precious")
    result, _ = run({"path": theirs / "link/file", "content": "x"})
    assert "lies behind the link link, which is not followed" in result["msg"]
    assert list((place / "precious").iterdir()) == []
    assert desired_files.describe(str(theirs / "link/file"))["kind"] == "other"


def test_a_link_that_only_root_can_have_laid_is_followed():
    """/dev/fd is a link to /proc/self/fd, and that /proc/self is one to a process."""
    assert desired_files.describe("/dev/fd/nothing") is None
    assert desired_files.describe("/dev/fd")["kind"] == "other"


def test_in_somebodys_directory_their_rights_are_used(theirs, run):
    result, _ = run({"path": theirs / "file", "content": "x", **THEIRS})
    assert result["changed"], result
    assert pwd.getpwuid((theirs / "file").stat().st_uid).pw_name == SOMEBODY
    assert os.geteuid() == os.getuid(), "the rights are back"
    if ROOT:
        os.chown(theirs, 0, 0)
        theirs.chmod(0o775)
        result, _ = run({"path": theirs / "other", "content": "x", **THEIRS})
        assert result["msg"] == f"{theirs}/other cannot be made as it should be: Permission denied."


def test_a_file_with_a_second_name_is_not_given_away(place, run):
    (place / "precious").write_text("precious\n")
    os.link(place / "precious", place / "file")
    (place / "precious").chmod(0o600)
    result, _ = run({"path": place / "file", "content": "precious\n", "mode": "0644"})
    assert "has a second name" in result["msg"]
    assert stat.S_IMODE((place / "precious").stat().st_mode) == 0o600


def test_a_pipe_holds_nothing_up(place, run):
    os.mkfifo(place / "pipe")
    assert "is a link or something else than a file" in run({"path": place / "pipe"})[0]["msg"]


def _swap_for_ever(directory, target):
    """In a process of its own, with the rights of the directory's owner: it is a directory, then a link, again and again."""
    try:
        if ROOT:
            account = pwd.getpwnam(SOMEBODY)
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        inner, aside = directory / "inner", directory / "aside"
        while True:
            os.rename(inner, aside)
            os.symlink(target, inner)
            os.unlink(inner)
            os.rename(aside, inner)
            time.sleep(0)
    finally:
        os._exit(1)


def test_a_link_that_is_swapped_meanwhile_leads_root_nowhere(theirs, place):
    precious = place / "precious"
    precious.mkdir(0o755)
    (precious / "file").write_text("precious\n")
    precious.chmod(0o755 if ROOT else 0o555)
    with acting_as(SOMEBODY):
        (theirs / "inner").mkdir()
    before = state(place / "precious")
    swapper = os.fork()
    if swapper == 0:
        _swap_for_ever(theirs, precious)
    outcomes = set()
    entry = {**desired_files.DEFAULTS, "path": str(theirs / "inner/file"), **THEIRS}
    try:
        for number in range(400):
            for desired in ({**entry, "content": str(number)}, {**entry, "state": "absent"}):
                try:
                    desired_files.apply([desired], check=False)
                    outcomes.add("written")
                except desired_files.OwnedFileError:
                    outcomes.add("refused")
    finally:
        os.kill(swapper, signal.SIGKILL)
        os.waitpid(swapper, 0)
    assert "written" in outcomes
    assert state(precious) == before
    precious.chmod(0o755)


VALIDATE = [sys.executable, "-c", "import sys; text = open(sys.argv[1]).read(); 'good' in text or sys.exit(text)", "%s"]


@pytest.mark.parametrize("secret", [False, True])
def test_what_its_program_refuses_is_not_put_in_place(place, run, secret):
    desired = {"path": place / "file", "validate": VALIDATE, "secret": secret}
    assert run({**desired, "content": "good\n"})[0]["changed"]
    before = state(place)
    result, output = run({**desired, "content": f"bad {SECRET}\n"})
    assert result["msg"].startswith(f"{place}/file stays as it is, since {sys.executable} refuses the new one: ")
    assert (SECRET in output) is not secret
    assert state(place) == before
    result, _ = run({**desired, "content": "good too\n", "validate": ["/not/there", "%s"]})
    assert "/not/there cannot check the new one" in result["msg"]
    assert state(place) == before


def test_a_full_disk_leaves_the_old_file(place, run, monkeypatch):
    run(*entries(place))
    before = state(place)

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        result, _ = run(*entries(place, "new\n"))
    assert result["msg"] == f"{place}/etc/settings cannot be made as it should be: No space left on device."
    assert state(place) == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"path": "relative"}, "path is 'relative'"),
        ({"path": "/a/../b"}, "path is '/a/../b'"),
        ({"path": "/a/"}, "path is '/a/'"),
        ({"path": "/"}, "path is '/'"),
        ({"path": ""}, "path is ''"),
        ({"path": "/a\nb"}, "path is '/a\\nb'"),
        ({"mode": "9"}, "mode of /a is '9'"),
        ({"mode": "٠٦٤٤"}, "mode of /a is"),
        ({"content": "\udcff"}, "content of /a cannot be written in UTF-8."),
    ],
)
def test_options_that_cannot_be_used_are_a_sentence(change, sentence):
    entry = {**desired_files.DEFAULTS, "path": "/a"}
    assert files.problem_of(entry) == ""
    assert files.problem_of({**entry, **change}).startswith(sentence)


@pytest.mark.parametrize("name", ["owner", "group"])
def test_who_is_not_there_is_named_before_anything_is_changed(place, run, name):
    result, _ = run(*entries(place), {"path": place / "file", name: "not-there"})
    assert result["msg"] == f"The {name} of {place}/file is 'not-there', which is not there on this host."
    with contextlib.suppress(FileNotFoundError):
        assert list(place.iterdir()) == []


def test_a_plan_says_on_the_controller_what_the_module_does_on_the_host(place, run):
    (place / "old").touch()
    (place / "loose").write_text("")
    (place / "loose").chmod(0o666)
    desired = [
        {**MINE, "path": str(place / "etc"), "state": "directory", "mode": "0755"},
        {**MINE, "path": str(place / "etc/settings"), "content": "x"},
        {**MINE, "path": str(place / "loose")},
        {"path": str(place / "old"), "state": "absent"},
        {"path": "", "state": "unmanaged"},
    ]
    found = {each["path"]: desired_files.describe(each["path"]) for each in desired if each["path"]}
    plan = desired_files.plan_files(found, desired)
    assert desired_files.sentences(plan) == [
        f"Make {place}/etc.",
        f"Write {place}/etc/settings.",
        f"Set owner and mode of {place}/loose.",
        f"Remove {place}/old.",
    ]
    done = run(*desired)[0]["changes"]
    assert {path: change for change, paths in plan.items() for path in paths} == done
    (place / "link").symlink_to("etc")
    link = {"path": str(place / "link")}
    [problem] = desired_files.plan_files({link["path"]: desired_files.describe(link["path"])}, [link])["problems"]
    assert problem.startswith(f"{place}/link is a link")


def test_files_directories_and_links_are_told_apart(place):
    file = place / "file"
    file.write_text("abc")
    file.chmod(0o640)
    (place / "link").symlink_to(file)
    described = desired_files.describe(str(file))
    assert (described["kind"], described["mode"], described["owner"]) == ("file", "0640", ME)
    assert described["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert desired_files.describe(str(place))["kind"] == "directory"
    assert desired_files.describe(str(place / "link"))["kind"] == "other"
    assert desired_files.describe(str(place / "none")) is None
    assert desired_files.describe(str(file / "below")) is None
