# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decide which password a login gets and whether it has to be set on the server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..inputs.checks import name_problem
from .kept import KeptPasswordError, make_password, password_problem, read_password
from .scram import matches

if TYPE_CHECKING:
    from collections.abc import Mapping


def decide(
    login: Mapping[str, Any],
    *,
    given: Mapping[str, str],
    directory: str,
    length: int = 32,
    generate: bool = True,
    write: bool = True,
    update: bool = True,
) -> dict[str, str]:
    """Decide on the password of one login: the entry that the lookup plugin login_passwords documents.

    Args:
        login: a row of files/sql/plan/logins.sql.
        given: passwords from inputs, by the key of the login.
        directory: where passwords are stored.
        length: of a generated password.
        generate: whether one may be generated.
        write: whether a generated one may be written.
        update: whether a known password replaces another one that the role has.

    Where a password cannot be used, the entry's `problem` is a sentence that says why, and nothing has to be set.
    """
    # The name may be a host's answer, and must not lead out of the directory.
    problem = name_problem(login["name"])
    if problem:
        return {
            **_nothing(login),
            "problem": f"The name of the {login['key']} role {problem}, so it cannot name a password file: choose another.",
        }
    path = os.path.join(os.path.abspath(os.path.expanduser(directory)), f"{login['name']}.password")
    # An administrator without permission to see verifiers assumes that a role that can log in has a password.
    is_new = not login["can_log_in"] or (login["verifier_readable"] and not login["verifier"])
    entry = {**_nothing(login), "file": path}
    try:
        password, source = _given(login["key"], given) or _kept(path) or ("", "")
        if not source and is_new:
            password, source = _generated(login["name"], path, length, generate=generate, write=write)
    except KeptPasswordError as error:
        return {**entry, "problem": str(error)}
    return {**entry, "password": password, "source": source, "action": _action(login, is_new, password, update)}


def _nothing(login: Mapping[str, Any]) -> dict[str, str]:
    return {
        "key": login["key"],
        "name": login["name"],
        "file": "",
        "problem": "",
        "password": "",
        "source": "",
        "action": "leave",
    }


def _generated(role: str, path: str, length: int, *, generate: bool, write: bool) -> tuple[str, str]:
    if not generate:
        raise KeptPasswordError(
            f"The role {role} needs a password: set one, write it to {path} with mode 0600, or set "
            "mission_control_database_generate_passwords to true."
        )
    if not write:
        return "", "generated"
    password, made = make_password(path, length)
    return password, "generated" if made else "file"


def _given(key: str, given: Mapping[str, str]) -> tuple[str, str] | None:
    password = str(given.get(key) or "")
    if not password:
        return None
    problem = password_problem(password)
    if problem:
        raise KeptPasswordError(f"The password for the {key} role {problem}: set another.")
    return password, "given"


def _kept(path: str) -> tuple[str, str] | None:
    password = read_password(path)
    return None if password is None else (password, "file")


def _action(login: Mapping[str, Any], is_new: bool, password: str, update: bool) -> str:
    if is_new:
        return "set"
    if not password or not update:
        return "leave"
    if not login["verifier_readable"]:
        return "test"
    return "none" if matches(password, login["verifier"]) else "set"
