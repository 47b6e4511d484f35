# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare directories and files with what is desired, and make the difference: as a plan on the controller, or on the host itself.

An entry has the options of the module files: `path`, `state` (file, directory, absent, or unmanaged: left alone), `content` (text), `owner` and `group`
(names), `mode` (octal digits), `keep` (what is there keeps its content, or, of a directory that belongs to its owner, group and mode), `secret` and
`validate` (a program and its arguments).

Each directory on the way to a path is opened below the one before and without following a link, unless nobody but root can lay one there. Where
somebody else controls a directory on the way, the entry is made with the rights of its owner.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import secrets
import stat
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

from .owned import OwnedFileError, acting_as, decoded, refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Entry = Mapping[str, Any]

# Of an entry that does not say it; the options of the module files have the same.
DEFAULTS = {
    "state": "file",
    "content": "",
    "owner": "root",
    "group": "root",
    "mode": "0644",
    "keep": False,
    "secret": False,
    "validate": [],
}
_NOT_SHOWN = "(not shown)\n"
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory"}
_ATTRIBUTES = ("owner", "group", "mode")
_WRITABLE_FOR_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS = 40
_LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without waiting for the other end of a pipe.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# What a plan does with a path, in the order and the words of its sentences.
_VERBS = {"make": "Make", "write": "Write", "adjust": "Set owner and mode of", "remove": "Remove"}


def change_of(found: Mapping[str, Any] | None, entry: Entry) -> str:
    """What an entry needs: make (a directory), write, adjust (owner, group, mode), remove; empty for nothing.

    Args:
        found: what `describe` returned for its path.
        entry: what is desired.

    Raises:
        OwnedFileError: something is in its place that is not replaced, such as a link.
    """
    state = entry["state"]
    if state == "absent":
        if found and found["kind"] == "directory":
            raise OwnedFileError(f"{entry['path']} is a directory, where a file is to be removed: move it away.")
        return "remove" if found else ""
    if found is None:
        return "make" if state == "directory" else "write"
    if found["kind"] != state:
        raise OwnedFileError(
            f"{entry['path']} is a link or something else than a {state}: move it away, and the next run makes it."
        )
    if entry["keep"] and state == "directory" and found["owner"] == entry["owner"]:
        return ""
    if state == "file" and not entry["keep"] and found["sha256"] != _digest(entry["content"].encode()):
        return "write"
    return "adjust" if any(found[name] != _desired(entry, name) for name in _ATTRIBUTES) else ""


def plan_files(found: Mapping[str, Mapping[str, Any] | None], entries: Iterable[Entry]) -> dict[str, list[str]]:
    """Return the paths of all entries by what is to be done for them (as `change_of` calls it), and `problems`, sentences.

    Args:
        found: for each path what `describe` returned.
        entries: what is desired. No content of a file is returned.
    """
    plan: dict[str, list[str]] = {name: [] for name in ("problems", *_VERBS)}
    for given in entries:
        if given.get("state") == "unmanaged":
            continue
        entry = {**DEFAULTS, **given}
        try:
            change = change_of(found[entry["path"]], entry)
        except OwnedFileError as error:
            plan["problems"].append(str(error))
        else:
            if change:
                plan[change].append(entry["path"])
    return plan


def sentences(plan: Mapping[str, list[str]]) -> list[str]:
    """Say what a plan of `plan_files` does, in a sentence for each verb."""
    return [f"{verb} {', '.join(plan[change])}." for change, verb in _VERBS.items() if plan[change]]


def describe(path: str) -> dict[str, Any] | None:
    """Kind (file, directory or other), mode, owner, group and time of what is at a path, and the SHA-256 of a file; None where nothing is.

    A link is `other`, and so is what could be reached through one only.
    """
    try:
        with _place_of(path) as place:
            return _describe(place)
    except OwnedFileError:
        return {"kind": "other", "mode": "", "owner": "", "group": "", "modified": 0.0, "sha256": ""}
    except (FileNotFoundError, NotADirectoryError):
        return None


def apply(entries: Sequence[Entry], check: bool) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Make everything as its entry says, in their order, or only say in `check` what would be done.

    Returns:
        What was done by path (as `change_of` calls it), and the differences to show.

    Raises:
        OwnedFileError: something cannot be made so. As far as that is seen before, nothing has changed; a file is never half written.
    """
    entries = [entry for entry in entries if entry["state"] != "unmanaged"]
    planned = [(entry["path"], *_ensure(entry, check=True)) for entry in entries]
    if not check:
        # Users and groups may be made by other tasks, which in check mode have made nothing.
        for entry in entries:
            _numbers(entry)
        for entry in entries:
            _ensure(entry, check=False)
    changes = {path: change for path, change, _differences in planned if change}
    return changes, [each for _path, _change, differences in planned for each in differences]


def _ensure(entry: Entry, check: bool) -> tuple[str, list[dict[str, str]]]:
    path = entry["path"]
    try:
        with _place_of(path) as place:
            return _apply(place, entry, check)
    except (FileNotFoundError, NotADirectoryError) as error:
        if entry["state"] == "absent":
            return "", []
        if check:
            # An earlier entry may be what makes its directory.
            change = change_of(None, entry)
            return change, _difference(change, entry, None, b"")
        if entry["state"] != "directory":
            raise OwnedFileError(f"{path} cannot be written: there is no directory {os.path.dirname(path)}.") from error
        _ensure({**entry, "path": os.path.dirname(path)}, check)
        return _ensure(entry, check)
    except OSError as error:
        raise OwnedFileError(f"{path} cannot be made as it should be: {error.strerror}.") from error


class _Place(NamedTuple):
    """Where something is: its name in a directory that is held open, and whether somebody else than root can put something else there."""

    directory: int
    name: str
    path: str
    shared: bool

    @contextlib.contextmanager
    def rights_of(self, owner: str) -> Iterator[None]:
        """Have the rights of the owner where root's would reach further than the one who controls the place."""
        with acting_as(owner) if self.shared else contextlib.nullcontext():
            yield


@contextlib.contextmanager
def _place_of(path: str) -> Iterator[_Place]:
    """Open the directory of a path.

    Raises:
        OwnedFileError: a link is on the way that somebody else than root may have laid.
        OSError: there is no such directory.
    """
    names = path.strip("/").split("/")
    last = names.pop()
    directory, shared, links = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), False, 0
    try:
        while True:
            found = os.fstat(directory)
            open_to_others = bool(found.st_mode & _WRITABLE_FOR_OTHERS)
            # In a sticky one nobody else can put something in the place of what is root's.
            shared = shared or found.st_uid != 0 or (open_to_others and not found.st_mode & stat.S_ISVTX)
            if not names:
                shared = shared or open_to_others
                break
            name = names.pop(0)
            try:
                below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            except NotADirectoryError:
                if not stat.S_ISLNK(os.lstat(name, dir_fd=directory).st_mode):
                    raise
                links += 1
                if shared or open_to_others or links > _MOST_LINKS:
                    raise OwnedFileError(
                        f"{path} lies behind the link {name}, which is not followed: put a directory in its place."
                    ) from None
                target = os.readlink(name, dir_fd=directory)
                names = [each for each in target.split("/") if each not in ("", ".")] + names
                if not target.startswith("/"):
                    continue
                below = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            os.close(directory)
            directory = below
        yield _Place(directory, last, path, shared)
    finally:
        os.close(directory)


def _describe(place: _Place) -> dict[str, Any] | None:
    try:
        found = os.lstat(place.name, dir_fd=place.directory)
    except FileNotFoundError:
        return None
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "other")
    return {
        "kind": kind,
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "owner": _name(pwd.getpwuid, found.st_uid, "pw_name"),
        "group": _name(grp.getgrgid, found.st_gid, "gr_name"),
        "modified": found.st_mtime,
        "sha256": _digest(_content(place)) if kind == "file" else "",
    }


def _name(lookup: Any, number: int, attribute: str) -> str:
    try:
        return str(getattr(lookup(number), attribute))
    except KeyError:
        return str(number)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _content(place: _Place) -> bytes:
    with os.fdopen(os.open(place.name, _READ, dir_fd=place.directory), "rb") as file:
        return file.read()


def _desired(entry: Entry, attribute: str) -> str:
    return f"{int(entry['mode'], 8):04o}" if attribute == "mode" else str(entry[attribute])


def _apply(place: _Place, entry: Entry, check: bool) -> tuple[str, list[dict[str, str]]]:
    found = _describe(place)
    change = change_of(found, entry)
    if not change:
        return "", []
    before = b""
    if found and found["kind"] == "file" and not entry["secret"]:
        with place.rights_of(entry["owner"]) if _is_user(entry["owner"]) else contextlib.nullcontext():
            before = _content(place)
    if not check:
        _ACTIONS[change](place, entry)
    return change, _difference(change, entry, found, before)


def _write(place: _Place, entry: Entry) -> None:
    draft = f".mission_control-{secrets.token_hex(8)}"
    try:
        with place.rights_of(entry["owner"]):
            descriptor = os.open(draft, _NEW, 0o600, dir_fd=place.directory)
            with os.fdopen(descriptor, "wb") as file:
                file.write(entry["content"].encode())
                file.flush()
                _set_attributes(descriptor, entry)
                os.fsync(descriptor)
        if entry["validate"]:
            _validate(place, entry, os.path.join(os.path.dirname(place.path), draft))
        with place.rights_of(entry["owner"]):
            os.replace(draft, place.name, src_dir_fd=place.directory, dst_dir_fd=place.directory)
    finally:
        with place.rights_of(entry["owner"]), contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=place.directory)


def _validate(place: _Place, entry: Entry, draft: str) -> None:
    program = entry["validate"][0]
    try:
        said = refusal(entry["validate"], draft, place.path, entry["owner"] if place.shared else "root")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OwnedFileError(
            f"{place.path} stays as it is, since {program} cannot check the new one: {error}."
        ) from error
    if said:
        shown = "what it says is not shown, since the file is secret" if entry["secret"] else said
        raise OwnedFileError(f"{place.path} stays as it is, since {program} refuses the new one: {shown}")


def _make(place: _Place, entry: Entry) -> None:
    with place.rights_of(entry["owner"]), contextlib.suppress(FileExistsError):
        os.mkdir(place.name, 0o700, dir_fd=place.directory)
    _adjust(place, entry)


def _adjust(place: _Place, entry: Entry) -> None:
    with place.rights_of(entry["owner"]):
        flags = _LISTED if entry["state"] == "directory" else _READ
        descriptor = os.open(place.name, flags, dir_fd=place.directory)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
                raise OwnedFileError(f"{place.path} has a second name, whose owner and mode would change as well.")
            _set_attributes(descriptor, entry)
        finally:
            os.close(descriptor)


def _set_attributes(descriptor: int, entry: Entry) -> None:
    found = os.fstat(descriptor)
    numbers = _numbers(entry)
    if (found.st_uid, found.st_gid) != numbers:
        os.fchown(descriptor, *numbers)
    os.fchmod(descriptor, int(entry["mode"], 8))


def _numbers(entry: Entry) -> tuple[int, int]:
    """Of owner and group."""
    attribute = "owner"
    try:
        owner = pwd.getpwnam(entry["owner"]).pw_uid
        attribute = "group"
        return owner, grp.getgrnam(entry["group"]).gr_gid
    except (KeyError, ValueError):
        raise OwnedFileError(
            f"The {attribute} of {entry['path']} is {entry[attribute]!r}, which is not there on this host."
        ) from None


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True


def _remove(place: _Place, entry: Entry) -> None:
    with place.rights_of(entry["owner"]):
        os.unlink(place.name, dir_fd=place.directory)


_ACTIONS = {"make": _make, "write": _write, "adjust": _adjust, "remove": _remove}


def _difference(change: str, entry: Entry, found: Mapping[str, Any] | None, before: bytes) -> list[dict[str, str]]:
    """Before and after, of content and attributes apart; of the content of a secret only that it changes."""
    path, differences = entry["path"], []
    if change == "write":
        after = _NOT_SHOWN if entry["secret"] else entry["content"]
        differences.append(_shown(path, decoded(before)[0], after))
    elif change == "remove":
        differences.append(_shown(path, _NOT_SHOWN if entry["secret"] else decoded(before)[0], ""))
    earlier = "".join(f"{name}: {found[name]}\n" for name in _ATTRIBUTES) if found else ""
    later = "".join(f"{name}: {_desired(entry, name)}\n" for name in _ATTRIBUTES) if change != "remove" else ""
    if earlier != later:
        differences.append(_shown(f"{path} (attributes)", earlier, later))
    return differences


def _shown(header: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": header, "after_header": header, "before": before, "after": after}
