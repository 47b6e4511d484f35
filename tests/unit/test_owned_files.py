"""Files in directories of a lesser user: root reads and writes there what that user could, whatever links are planted."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import tempfile
import time
from types import SimpleNamespace

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.facts import cluster as facts
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.files import owned as files
from ansible_collections.homelab.mission_control.plugins.modules import cluster_file

# Without root's rights all of this is one user's; what root must not do is then what nobody can.
ROOT = os.geteuid() == 0
OWNER = "postgres" if ROOT else pwd.getpwuid(os.geteuid()).pw_name
SECRET = b"port = 9\nsecret = 'of root'\n"


@pytest.fixture
def place():
    """A configuration of a cluster that belongs to its owner, and beside it what belongs to root alone."""
    # Not pytest's own directory, which nobody else may enter.
    base = tempfile.mkdtemp(prefix="mission-control-owned-")
    os.chmod(base, 0o755)
    account = pwd.getpwnam(OWNER)
    configuration = os.path.join(base, "etc/postgresql/15/main")
    data, roots = os.path.join(base, "data"), os.path.join(base, "roots")
    os.makedirs(os.path.join(configuration, "conf.d"))
    os.mkdir(data)
    os.mkdir(roots, 0o755 if ROOT else 0o555)
    for name, text in {
        "etc/postgresql/15/main/postgresql.conf": "include_dir = 'conf.d'\n",
        "etc/postgresql/15/main/conf.d/mission_control.conf": "work_mem = '8MB'\n",
        "etc/postgresql/15/main/pg_hba.conf": "local all all peer\n",
        "data/PG_VERSION": "15\n",
    }.items():
        with open(os.path.join(base, name), "w", encoding="utf-8") as file:
            file.write(text)
    for directory, directories, names in os.walk(base):
        if directory != base and not directory.startswith(roots):
            for each in [".", *directories, *names]:
                os.chown(os.path.join(directory, each), account.pw_uid, account.pw_gid)
    secret = os.path.join(base, "secret")
    with open(secret, "wb") as file:
        file.write(SECRET)
    os.chmod(secret, 0o600 if ROOT else 0)
    yield SimpleNamespace(
        base=base,
        configuration=configuration,
        conf_d=os.path.join(configuration, "conf.d"),
        drop_in=os.path.join(configuration, "conf.d/mission_control.conf"),
        hba=os.path.join(configuration, "pg_hba.conf"),
        data=data,
        roots=roots,
        secret=secret,
    )
    os.chmod(roots, 0o755)
    shutil.rmtree(base)


def plant(path, target):
    """Put a link in a path's place, as its owner."""
    with files.acting_as(OWNER):
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        os.symlink(target, path)


def describe(place):
    cluster = facts.Cluster("15", "main", 5432, False, True, OWNER, place.data, os.path.join(place.data, "log"))
    return facts.describe_cluster(cluster, "mission_control.conf", place.base)


def put(path, content="work_mem = '9MB'\n", **options):
    params = {"state": "present", "encoding": "utf-8", "mode": "0644", "follow": False, "validate": [], **options}
    return cluster_file.apply({"path": path, "owner": OWNER, "content": content, **params}, check=False)


def untouched(place):
    os.chmod(place.secret, 0o600)
    with open(place.secret, "rb") as file:
        return file.read() == SECRET and os.listdir(place.roots) == []


def test_a_file_is_written_read_and_removed_as_its_owner(place):
    assert put(place.drop_in)["changed"] is True
    assert put(place.drop_in)["changed"] is False
    described = describe(place)
    assert (described["drop_in_content"], described["drop_in_problem"], described["hba_problem"]) == (
        "work_mem = '9MB'\n",
        "",
        "",
    )
    status = os.stat(place.drop_in)
    assert (pwd.getpwuid(status.st_uid).pw_name, stat.S_IMODE(status.st_mode)) == (OWNER, 0o644)
    assert put(place.drop_in, None, state="absent")["changed"] is True
    assert put(place.drop_in, None, state="absent")["changed"] is False
    assert os.listdir(place.conf_d) == []
    assert os.geteuid() == os.getuid(), "the rights are back"


def test_a_mode_that_somebody_chose_stays(place):
    os.chmod(place.hba, 0o600)
    put(place.hba, "local all all trust\n", mode="0640", follow=True)
    assert stat.S_IMODE(os.stat(place.hba).st_mode) == 0o600


@pytest.mark.parametrize("which", ["drop_in", "hba"])
def test_what_only_root_may_read_is_not_read_through_a_link(place, which):
    plant(getattr(place, which), place.secret)
    with pytest.raises(facts.ProbeError, match=r"\(a link to .*secret\) cannot be read: Permission denied"):
        describe(place)
    with pytest.raises(files.OwnedFileError):
        put(getattr(place, which), follow=which == "hba")
    assert untouched(place)


@pytest.mark.parametrize("name", ["postgresql.conf", "start.conf", "conf.d/theirs.conf"])
def test_settings_are_not_read_through_a_link_either(place, name):
    with files.acting_as(OWNER):
        path = os.path.join(place.configuration, name)
        if os.path.exists(path):
            os.unlink(path)
        os.symlink(place.secret, path)
    with pytest.raises(facts.ProbeError, match="cannot be read: Permission denied"):
        describe(place)


def test_a_log_and_a_certificate_are_not_read_through_a_link(place):
    with files.acting_as(OWNER):
        os.symlink(place.secret, os.path.join(place.data, "log"))
    os.chmod(place.secret, 0o600)
    with open(place.secret, "ab") as file:
        file.write(b"FATAL:  a secret\n")
    os.chmod(place.secret, 0o600 if ROOT else 0)
    assert describe(place)["last_error"] == ""


def test_a_directory_that_is_a_link_is_refused_and_nothing_lands_behind_it(place):
    plant(place.conf_d, place.roots)
    assert describe(place)["drop_in_problem"].startswith(f"{place.conf_d} is a link to {place.roots}")
    with pytest.raises(files.OwnedFileError, match="is a link to"):
        put(place.drop_in)
    put(place.drop_in, None, state="absent")
    assert untouched(place)


def test_what_root_owns_behind_a_link_is_not_removed(place):
    os.chmod(place.roots, 0o755)
    kept = os.path.join(place.roots, "mission_control.conf")
    with open(kept, "w", encoding="utf-8"):
        pass
    os.chmod(place.roots, 0o755 if ROOT else 0o555)
    plant(place.conf_d, place.roots)
    with pytest.raises(files.OwnedFileError, match="cannot be removed: Permission denied"):
        put(place.drop_in, None, state="absent")
    assert os.path.exists(kept)


def test_client_authentication_under_version_control_is_written_where_the_link_leads(place):
    kept = os.path.join(place.data, "kept_pg_hba.conf")
    with files.acting_as(OWNER), open(kept, "wb") as file:
        file.write(b"# B\xfcro\nlocal all all peer\n")
    plant(place.hba, kept)
    described = describe(place)
    assert (described["hba_encoding"], described["hba_problem"]) == ("latin-1", "")
    new = described["hba_content"] + "# more\n"
    assert put(place.hba, new, encoding="latin-1", follow=True)["path"] == kept
    assert os.path.islink(place.hba)
    with open(kept, "rb") as file:
        assert file.read() == b"# B\xfcro\nlocal all all peer\n# more\n"


def test_client_authentication_whose_target_cannot_be_written_is_a_sentence(place):
    os.chmod(place.roots, 0o755)
    kept = os.path.join(place.roots, "pg_hba.conf")
    with open(kept, "w", encoding="utf-8") as file:
        file.write("local all all peer\n")
    os.chmod(kept, 0o644)
    os.chmod(place.roots, 0o755 if ROOT else 0o555)
    plant(place.hba, kept)
    problem = describe(place)["hba_problem"]
    assert problem.startswith(
        f"{place.hba} is a link to {kept}, but the directory {place.roots} cannot be written by {OWNER}"
    )
    with pytest.raises(files.OwnedFileError, match="cannot be written"):
        put(place.hba, "nothing\n", follow=True)
    with open(kept, encoding="utf-8") as file:
        assert file.read() == "local all all peer\n"


def _swap_for_ever(place):
    """In a process of its own, with the owner's rights."""
    try:
        if ROOT:
            account = pwd.getpwnam(OWNER)
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        aside = f"{place.conf_d}.aside"
        while True:
            os.rename(place.conf_d, aside)
            os.symlink(place.roots, place.conf_d)
            os.unlink(place.conf_d)
            os.rename(aside, place.conf_d)
            time.sleep(0)
    except OSError as error:
        os.write(2, f"{error}\n".encode())
    finally:
        os._exit(1)


def test_a_link_that_is_swapped_meanwhile_leads_root_nowhere(place):
    """The directory is a directory, then a link to one of root's, many times while it is written and read."""
    swapper = os.fork()
    if swapper == 0:
        _swap_for_ever(place)
    outcomes = set()
    try:
        for number in range(500):
            try:
                put(place.drop_in, f"work_mem = '{number}MB'\n")
                outcomes.add("written")
                put(place.drop_in, None, state="absent")
            except files.OwnedFileError:
                outcomes.add("refused")
    finally:
        os.kill(swapper, signal.SIGKILL)
        os.waitpid(swapper, 0)
    assert "written" in outcomes
    assert untouched(place)


def test_a_pipe_or_a_loop_of_includes_holds_nothing_up(place):
    with files.acting_as(OWNER):
        os.unlink(place.drop_in)
        os.mkfifo(place.drop_in)
    with pytest.raises(facts.ProbeError, match="is no ordinary file"):
        describe(place)
    with files.acting_as(OWNER):
        os.unlink(place.drop_in)
        with open(os.path.join(place.conf_d, "again.conf"), "w", encoding="utf-8") as file:
            file.write("include 'again.conf'\n")
    with pytest.raises(facts.ProbeError, match="a file includes itself"):
        describe(place)


def test_what_the_judge_refuses_is_not_put_in_place(place):
    judge = ["sh", "-c", 'grep --quiet "9MB" "$1" || { echo "no 9MB in $1" >&2; exit 1; }', "sh", "%s"]
    assert put(place.drop_in, "work_mem = '9MB'\n", validate=judge)["changed"]
    with pytest.raises(files.OwnedFileError, match=f"^no 9MB in {place.drop_in}$"):
        put(place.drop_in, "work_mem = '1MB'\n", validate=judge)
    assert os.listdir(place.conf_d) == ["mission_control.conf"]
    assert describe(place)["drop_in_content"] == "work_mem = '9MB'\n"


def test_a_setting_is_in_the_difference_and_not_in_the_log_of_the_host(place, monkeypatch, capsys):
    log = []
    monkeypatch.setattr(AnsibleModule, "log", lambda _module, *texts, **more: log.append(f"{texts} {more}"))
    params = {"path": place.drop_in, "owner": OWNER, "content": "ssl_passphrase_command = 'echo staple'\n"}
    # As the controller sends them.
    internal = {"_ansible_check_mode": True, "_ansible_no_log": False}
    with patch_module_args({**params, **internal}), pytest.raises(SystemExit):
        cluster_file.main()
    assert json.loads(capsys.readouterr().out)["diff"]["after"] == params["content"]
    assert "Invoked with" in log[0]
    assert "staple" not in "".join(log)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"path": "relative"}, "path is"),
        ({"path": "/a/../b"}, "path is"),
        ({"path": "/a/b/"}, "path is"),
        ({"path": "/a\nb"}, "path is"),
        ({"mode": "9"}, "mode is"),
        ({"mode": "u+w"}, "mode is"),
        ({"content": None}, "content is required"),
        ({"content": "ü€", "encoding": "latin-1"}, "content cannot be written in latin-1"),
        ({"content": "\udcff"}, "content cannot be written in utf-8"),
        ({"owner": "no-such-user"}, "owner is"),
        ({"owner": "a\0b"}, "owner is"),
    ],
)
def test_options_that_cannot_be_used_are_a_sentence(change, word):
    params = {"path": "/a/b", "mode": "0644", "state": "present", "content": "", "encoding": "utf-8", "owner": OWNER}
    assert cluster_file.problem_of(params) == ""
    assert cluster_file.problem_of({**params, **change}).startswith(word)
