"""The blocks in pg_hba.conf: what they say, and that every other byte of the file stays."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans import server_hba as hba
from hypothesis import given
from hypothesis import strategies as st

WANTED = {
    "database": "mission_control",
    "logins": ["app", "reader"],
    "groups": [],
    "administrator": "postgres",
    "client_networks": ["10.0.0.0/24"],
    "client_tls": True,
}
OTHER = {**WANTED, "database": "other"}
DEBIAN = "# comment\nlocal   all   postgres   peer\nlocal   all   all   peer\n"
FIRST = """\
# BEGIN homelab.mission_control "mission_control"
local "mission_control" "postgres" peer
local "mission_control" "app","reader" scram-sha-256
host "mission_control" "app","reader" 127.0.0.1/32 scram-sha-256
host "mission_control" "app","reader" ::1/128 scram-sha-256
hostssl "mission_control" "app","reader" 10.0.0.0/24 scram-sha-256
local "mission_control" all reject
host "mission_control" all all reject
# END homelab.mission_control "mission_control"
"""
LAST = """\
# BEGIN homelab.mission_control "mission_control": nothing else
local all "app","reader" reject
host all "app","reader" all reject
# END homelab.mission_control "mission_control": nothing else
"""
# As version 0.1.0 wrote it.
OLD = """\
# BEGIN homelab.mission_control
local all "postgres" peer
local "mission_control" "app" scram-sha-256
local "mission_control" all reject
local all "app" reject
# END homelab.mission_control
"""


def of(block, database):
    return block.replace('"mission_control"', f'"{database}"')


def test_the_file_is_exactly_what_was_asked_for():
    assert hba.hba_content(DEBIAN, WANTED) == f"{FIRST}{LAST}\n{DEBIAN}"


def test_members_of_a_group_are_let_in_and_not_kept_out_of_other_databases():
    before = FIRST.replace('"reader"', '"reader",+"deciders"')
    assert hba.hba_content(DEBIAN, {**WANTED, "groups": ["deciders"]}) == f"{before}{LAST}\n{DEBIAN}"


def test_each_database_has_rules_of_its_own_and_none_undoes_those_of_another():
    one = hba.hba_content(DEBIAN, WANTED)
    both = hba.hba_content(one, OTHER)
    # What keeps the logins out of other databases comes after everything that lets them in, since they may be the same.
    assert both == f"{FIRST}{of(FIRST, 'other')}{LAST}{of(LAST, 'other')}\n{DEBIAN}"
    assert hba.hba_content(both, WANTED) == both
    assert hba.hba_content(both, OTHER) == both
    assert hba.hba_databases(both) == ["mission_control", "other"]
    assert hba.hba_without(both, "mission_control") == hba.hba_content(DEBIAN, OTHER)
    assert hba.hba_without(one, "mission_control") == DEBIAN


def test_a_block_of_an_older_version_is_replaced_by_the_run_of_its_database():
    old = f"{OLD}\n{DEBIAN}"
    assert hba.hba_content(old, WANTED) == hba.hba_content(DEBIAN, WANTED)
    beside = hba.hba_content(old, OTHER)
    assert beside == f"{of(FIRST, 'other')}{OLD}{of(LAST, 'other')}\n{DEBIAN}"
    assert hba.hba_content(beside, OTHER) == beside
    assert hba.hba_content(beside, WANTED) == hba.hba_content(hba.hba_content(DEBIAN, OTHER), WANTED)


@pytest.mark.parametrize(
    ("lines", "method"),
    [
        ("local all postgres peer map=admins\nlocal all all md5\n", "peer map=admins"),
        ("local all postgres peer map=admins # ours\n", "peer map=admins"),
        ('local all "postgres" peer map="the admins"\n', 'peer map="the admins"'),
        ('local "a#b" all trust\nlocal all all peer\n', "peer"),
        ("local replication all trust\nlocal other postgres trust\nhost all all all md5\nlocal all all peer\n", "peer"),
        ("local other, mission_control alice,postgres peer\n", "peer"),
        ("local all \\\n  postgres \\\n peer map=admins\n", "peer map=admins"),
        ('local all "all" trust\nlocal all all scram-sha-256\n', "scram-sha-256"),
        ("local all /^post trust\n", "trust"),
        ("local all +dba peer\nlocal all @admins peer\n", ""),
        ("local all postgres peer map=admins\r\n", "peer map=admins"),
        ("#local all postgres peer\n", ""),
    ],
)
def test_the_administrators_way_in_is_what_the_other_lines_say(lines, method):
    assert hba.administrators_method(lines, WANTED) == method
    own = [
        line
        for line in hba.hba_content(lines, WANTED).split("\n")
        if line.startswith('local "mission_control" "postgres"')
    ]
    assert own == ([f'local "mission_control" "postgres" {method}'] if method else [])


@pytest.mark.parametrize(
    ("lines", "asked", "part"),
    [
        ("local all postgres peer\n", False, ""),
        ("local all all scram-sha-256\n", True, ""),
        ("local all all scram-sha-256\n", False, "only by scram-sha-256"),
        (f"{OLD}\nlocal all all scram-sha-256\n", True, "only by scram-sha-256"),
        ("local all +dba peer\n", True, "by no rule"),
    ],
)
def test_a_way_in_that_the_tasks_cannot_take_is_a_sentence_with_the_line_to_add(lines, asked, part):
    problem = hba.way_in_problem(lines, WANTED, "utf-8", asked)
    assert part in problem
    assert bool(part) == bool(problem) == ("add the line 'local all postgres peer'" in problem)


@pytest.mark.parametrize(
    "comment", [b"# B\xfcro\x85\n", b"# one\r\n# two\r\n", "# Büro\u2028\n".encode(), b"#\xff\n\n\n# a\tb \n"]
)
@pytest.mark.parametrize("database", ["mission_control", "büro"])
def test_every_byte_of_other_lines_is_kept(comment, database):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.files.owned import decoded

    content = comment + DEBIAN.encode()
    wanted = {**WANTED, "database": database}
    text, encoding = decoded(content)
    written = hba.hba_content(text, wanted, encoding).encode(encoding)
    assert written.endswith(b"\n" + content)
    assert f'local "{database}" "app","reader" scram-sha-256\n'.encode() in written
    again, encoding = decoded(written)
    assert hba.hba_content(again, wanted, encoding).encode(encoding) == written
    assert hba.hba_without(again, database, encoding).encode(encoding) == content


@pytest.mark.parametrize(
    "content",
    [
        f"{hba.BEGIN}\nlocal all all peer\n",
        f"{FIRST.rsplit('# END', 1)[0]}{LAST}{DEBIAN}",
        f'{hba.END} "mission_control"\n{DEBIAN}',
        FIRST.replace('# END homelab.mission_control "mission_control"', '# END homelab.mission_control "other"'),
    ],
)
def test_a_mark_without_its_partner_is_a_sentence(content):
    assert "without its counterpart" in hba.hba_problem(content)
    assert hba.hba_problem(hba.hba_content(DEBIAN, WANTED)) == ""


@given(st.text(alphabet="ab #\r\n", max_size=40), st.text(alphabet="ab #\n", max_size=40))
def test_the_blocks_go_first_and_every_other_line_stays(above, below):
    wanted = {**WANTED, "client_networks": []}
    once = hba.hba_content(below, WANTED)
    assert once.endswith(below)
    assert once.startswith(hba.BEGIN)
    assert hba.hba_content(once, WANTED) == once
    assert hba.hba_content(hba.hba_content(once, wanted), WANTED) == once
    moved = hba.hba_content(f"{above}\n{once}", WANTED)
    assert moved.startswith(hba.BEGIN)
    assert moved.count(hba.BEGIN) == once.count(hba.BEGIN) == 2
    lines = [*above.split("\n"), *once.split("\n")]
    assert sorted(filter(None, moved.split("\n"))) == sorted(filter(None, lines))
