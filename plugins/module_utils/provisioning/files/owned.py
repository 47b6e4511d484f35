# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write files in directories that belong to another user, with that user's rights.

Whoever owns a directory may put a link in the place of what root is about to read or write there, at any moment. So root takes on the
rights of the owner first: what a link leads to is then reached only where its planter could reach it anyway.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# A file that is not UTF-8 is taken byte by byte, so that what is written back is what was read.
BYTEWISE = "latin-1"


class OwnedFileError(Exception):
    """A sentence that says why a file cannot be used."""


@contextlib.contextmanager
def acting_as(user: str) -> Iterator[None]:
    """Have the rights of a user for a while, groups included. Without root's rights, or for root, nothing changes.

    Args:
        user: name of the user. No program may be started meanwhile, since the process could take its rights back.

    Raises:
        KeyError: there is no such user.
    """
    import pwd  # not there on every system that may import this module

    account = pwd.getpwnam(user)
    if os.geteuid() != 0 or account.pw_uid == 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    try:
        os.setgroups(os.getgrouplist(user, account.pw_gid))
        os.setegid(account.pw_gid)
        os.seteuid(account.pw_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def decoded(content: bytes) -> tuple[str, str]:
    """Return the text and the encoding that gives the same bytes again."""
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return content.decode(BYTEWISE), BYTEWISE


def content_of(path: str) -> bytes | None:
    """Return the bytes of a file, None where there is none.

    Raises:
        OwnedFileError: it cannot be read, or is no file.
    """
    try:
        # Without waiting for the other end of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OwnedFileError(f"{_shown(path)} cannot be read: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OwnedFileError(f"{_shown(path)} is no ordinary file.")
        return file.read()


def place_of(path: str, follow: bool) -> str:
    """Return where a file is: the path, or what it leads to where links are followed.

    Raises:
        OwnedFileError: the path is a link, or leads through one, and may not.
    """
    if follow:
        return os.path.realpath(path)
    directory = os.path.dirname(path)
    for each in (directory, path):
        if os.path.islink(each):
            raise OwnedFileError(
                f"{each} is a link to {os.path.realpath(each)}, which is not followed: put a directory or file of its own there."
            )
    return path


def write(path: str, content: bytes, mode: int) -> None:
    """Put a file in place as a whole, with the mode of the one that was there.

    Args:
        path: where it goes; no link.
        content: its bytes.
        mode: of a new file.

    Raises:
        OwnedFileError: the file cannot be written.
    """
    directory = os.path.dirname(path)
    try:
        descriptor, draft = tempfile.mkstemp(prefix=".mission_control-", dir=directory)
    except OSError as error:
        raise OwnedFileError(f"{path} cannot be written, since {directory} cannot: {error.strerror}.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            with contextlib.suppress(FileNotFoundError):
                mode = stat.S_IMODE(os.lstat(path).st_mode)
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(draft, path)
    except OSError as error:
        raise OwnedFileError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def remove(path: str) -> None:
    """Remove a file, or the link in its place.

    Raises:
        OwnedFileError: it cannot be removed.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OwnedFileError(f"{path} cannot be removed: {error.strerror}.") from error


def refusal(command: Sequence[str], draft: str, path: str, user: str) -> str:
    """Why a program refuses a draft, in its own words, which name the file and not the draft; empty where it accepts it.

    Args:
        command: the program and its arguments, in which `%s` stands for the draft.
        draft: path of the draft, beside the file, since the program may look for what it names relative to its own place.
        path: path of the file.
        user: who runs the program. Must not be called within `acting_as`.

    Raises:
        OSError: the program cannot be run.
        subprocess.TimeoutExpired: it takes longer than a minute.
    """
    import pwd  # not there on every system that may import this module

    account = pwd.getpwnam(user)
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    # Not the module's run_command, which runs as root.
    answer = subprocess.run(  # noqa: S603 - a program that the caller names # pylint: disable=ansible-bad-function
        [each.replace("%s", draft) for each in command],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=60,
        check=False,
        **identity,
    )
    if answer.returncode == 0:
        return ""
    said = (answer.stderr or answer.stdout or f"exit code {answer.returncode}").strip()
    return said.replace(draft, path)


def _shown(path: str) -> str:
    return f"{path} (a link to {os.path.realpath(path)})" if os.path.islink(path) else path
