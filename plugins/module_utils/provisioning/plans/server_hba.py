# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The blocks in pg_hba.conf that say who reaches Mission Control's databases.

Each database has two blocks with its name in their marks. The first says who may connect to it and ends by rejecting everybody else. The second
keeps its logins out of all other databases; it comes after the first ones of all databases, so that these may share a login. How the
administrator gets in is what the other lines of the file say.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

BEGIN = "# BEGIN homelab.mission_control"
END = "# END homelab.mission_control"
_LAST = ": nothing else"
_BLOCK = re.compile(
    r"^# BEGIN homelab\.mission_control(?: \"(?P<database>[^\"\r\n]*)\"(?P<last>: nothing else)?)?\r?$"
    r"(?P<body>(?:(?!^# BEGIN homelab\.mission_control).)*?)"
    r"^# END homelab\.mission_control(?(database) \"(?P=database)\")(?(last)(?P=last))\r?$(?:\r?\n)?",
    re.MULTILINE | re.DOTALL,
)
_OLD_DATABASE = re.compile(r"^local \"([^\"\r\n]*)\"", re.MULTILINE)
# A field is a list of names; within quotes nothing is special.
_FIELD = re.compile(r'(?:"[^"]*"|,[ \t]*|[^\s",#])+')
_NAME = re.compile(r'"([^"]*)"|([^\s",]+)')
# By these the operating-system user of the administrator is let in without being asked for anything.
UNASKED = ("peer", "trust", "ident")


class Block(NamedTuple):
    """One of our blocks as it stands in the file. `last` is None for one of an older version, which was both in one."""

    database: str
    last: bool | None
    text: str


def hba_content(before: str, wanted: dict[str, Any], encoding: str = "utf-8") -> str:
    """Return pg_hba.conf with our blocks first, since the first rule that fits decides; every other line stays as it is.

    Args:
        before: the file, as `encoding` decodes it.
        wanted: `database`, `logins`, `groups` (roles whose members are let in as the logins are), `administrator`, `client_networks` and `client_tls`.
        encoding: latin-1 where the file is not UTF-8, to encode by it what is returned.
    """
    blocks, rest = _split(before, wanted["database"], encoding)
    for last, rules in ((False, _first_rules(wanted, rest, encoding)), (True, _last_rules(wanted))):
        mark = f' "{wanted["database"]}"{_LAST if last else ""}'
        text = "\n".join([BEGIN + mark, *rules, END + mark, ""])
        blocks.append(Block(_as_read(wanted["database"], encoding), last, _as_read(text, encoding)))
    return _joined(blocks, rest)


def hba_without(before: str, database: str, encoding: str = "utf-8") -> str:
    """Return pg_hba.conf without the blocks of one database."""
    blocks, rest = _split(before, database, encoding)
    return _joined(blocks, rest) if blocks else re.sub(r"\A\r?\n", "", rest)


def hba_databases(content: str) -> list[str]:
    """Return the names of the databases that the file has blocks of."""
    return sorted({block.database for block in _blocks(content)})


def _blocks(content: str) -> list[Block]:
    blocks = []
    for match in _BLOCK.finditer(content):
        database, last = match["database"], bool(match["last"])
        text = match[0] if match[0].endswith("\n") else f"{match[0]}\n"
        if database is not None:
            blocks.append(Block(database, last, text))
        else:
            old = _OLD_DATABASE.search(match["body"])
            blocks.append(Block(old[1] if old else "", None, text))
    return blocks


def _split(content: str, database: str, encoding: str) -> tuple[list[Block], str]:
    """Return the blocks of other databases, and the lines that are not ours."""
    name = _as_read(database, encoding)
    return [block for block in _blocks(content) if block.database != name], _BLOCK.sub("", content)


def _joined(blocks: list[Block], rest: str) -> str:
    order = {False: 0, None: 1, True: 2}
    text = "".join(block.text for block in sorted(blocks, key=lambda block: (order[block.last], block.database)))
    # One empty line after the blocks, which a file that begins with one has already.
    return text + (rest if rest.startswith(("\n", "\r\n")) else f"\n{rest}")


def _as_read(text: str, encoding: str) -> str:
    return text.encode().decode(encoding)


def _first_rules(wanted: dict[str, Any], rest: str, encoding: str) -> list[str]:
    """Who reaches the database. Its last rules concern the administrator too, so his own comes before them, as the file has it."""
    database = _name(wanted["database"])
    # The plus sign has its meaning before the quotes. Members may go on using other databases.
    logins = ",".join([*map(_name, wanted["logins"]), *(f"+{_name(group)}" for group in wanted["groups"])])
    remote = "hostssl" if wanted["client_tls"] else "host"
    own = administrators_method(rest, wanted, encoding)
    rules = [
        *([("local", database, _name(wanted["administrator"]), "", own)] if own else []),
        ("local", database, logins, "", "scram-sha-256"),
        ("host", database, logins, "127.0.0.1/32", "scram-sha-256"),
        ("host", database, logins, "::1/128", "scram-sha-256"),
        *((remote, database, logins, network, "scram-sha-256") for network in wanted["client_networks"]),
        # Whatever the rest of the file allows, nobody else reaches the database.
        ("local", database, "all", "", "reject"),
        ("host", database, "all", "all", "reject"),
    ]
    return [" ".join(filter(None, rule)) for rule in rules]


def _last_rules(wanted: dict[str, Any]) -> list[str]:
    logins = ",".join(map(_name, wanted["logins"]))
    return [f"local all {logins} reject", f"host all {logins} all reject"]


def administrators_method(content: str, wanted: dict[str, Any], encoding: str = "utf-8") -> str:
    """Return by which method, with its options, the lines that are not ours let the administrator in through the local socket.

    Of groups (+name) and lists in other files (@name) it is not known whom they hold, so they are passed over; empty where no
    line fits.
    """
    rest = re.sub(r"\\\r?\n", " ", _BLOCK.sub("", content))
    database, administrator = (_as_read(wanted[name], encoding) for name in ("database", "administrator"))
    for line in rest.split("\n"):
        fields = _FIELD.findall(_without_comment(line))
        if len(fields) < 4 or fields[0] != "local":
            continue
        if _holds(fields[1], database) and _holds(fields[2], administrator):
            # What was read byte by byte is written so again by _as_read().
            return " ".join(fields[3:]).encode(encoding).decode(errors="replace")
    return ""


def _without_comment(line: str) -> str:
    match = re.match(r'(?:"[^"]*"|[^"#])*', line)
    return match[0] if match else ""


def _holds(field: str, name: str) -> bool:
    """Whether a list of databases or users has this one in it."""
    for quoted, plain in _NAME.findall(field):
        if plain == "all" or name in (quoted, plain):
            return True
        if plain.startswith("/"):
            try:
                if re.search(plain[1:], name):
                    return True
            except re.error:
                continue
    return False


def _name(name: str) -> str:
    """Quote a name, which also takes the special meaning from words such as all, and from a leading plus sign or slash."""
    return f'"{name}"'


def hba_problem(content: str) -> str:
    """Return what is wrong with the marks of our blocks, as the end of a sentence."""
    rest = _BLOCK.sub("", content)
    for line in rest.split("\n"):
        if line.startswith((BEGIN, END)):
            return f"has a line '{line.strip()}' without its counterpart: remove it."
    return ""


def way_in_problem(content: str, wanted: dict[str, Any], encoding: str, asked: bool) -> str:
    """Return why the administrator cannot get in through the local socket as the tasks do, as the end of a sentence.

    Args:
        content: the file, as `encoding` decodes it.
        asked: whether the administrator does get in now.
    """
    method = administrators_method(content, wanted, encoding)
    # A block of an older version let the administrator in by itself.
    asked = asked and all(block.last is not None for block in _blocks(content))
    name = method.partition(" ")[0]
    if name in UNASKED or (method and asked):
        return ""
    administrator = wanted["administrator"]
    lets = f"only by {name}" if method else "by no rule"
    return (
        f"lets {administrator} connect through the local socket {lets}, but the role needs peer: add the line 'local all {administrator} peer' "
        "before all others and reload the server."
    )
