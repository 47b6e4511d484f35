# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Passwords that are stored on the controller, one in each file, readable by their owner only."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import string
import tempfile

# No character that a shell, a URL, an env file or a YAML document would have to quote.
_ALPHABET = string.ascii_letters + string.digits


class KeptPasswordError(Exception):
    """A password file cannot be used; the message is a sentence for the user."""


def read_password(path: str) -> str | None:
    """The password in a file, or None where there is no such file.

    Raises:
        KeptPasswordError: the file cannot be used, or is a link, which could lead to the password of another host.
    """
    try:
        # Without O_NONBLOCK, opening a pipe in its place would block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, encoding="utf-8") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise KeptPasswordError(
                    f"The password file {path} is not a regular file: replace it with one that holds the password."
                )
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise KeptPasswordError(f"The password file {path} is not UTF-8 text: save it as UTF-8.") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise KeptPasswordError(
                f"The password file {path} is a link, which is not followed: replace it with a file that holds the password."
            ) from error
        raise KeptPasswordError(f"The password file {path} cannot be read: {error.strerror}.") from error
    if mode & 0o077:
        raise KeptPasswordError(
            f"The password file {path} has mode {mode:04o} so others may have read it: "
            "change the password, or set the mode to 0600 if nobody has."
        )
    password = text[:-1] if text.endswith("\n") else text
    problem = password_problem(password)
    if problem:
        raise KeptPasswordError(f"The password in the file {path} {problem}: correct it.")
    return password


def password_problem(password: str) -> str:
    """What is wrong with a password, as the end of a sentence; empty where nothing is."""
    if not password:
        return "is empty"
    if any(char in password for char in "\n\r\0"):
        return "holds a line break or the character NUL"
    return ""


def make_password(path: str, length: int) -> tuple[str, bool]:
    """Generate a password and store it in a file; where another run has just stored one, return that one and False."""
    directory = os.path.dirname(path)
    made = True
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        # Written to a temporary file and linked into place, so that nobody sees half a file and one of two simultaneous runs wins.
        descriptor, draft = tempfile.mkstemp(prefix=".password-", dir=directory)  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write("".join(secrets.choice(_ALPHABET) for _each in range(length)) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        except FileExistsError:
            made = False
        finally:
            os.unlink(draft)
    except OSError as error:
        raise KeptPasswordError(f"The password file {path} cannot be written: {error.strerror}.") from error
    password = read_password(path)
    if password is None:
        raise KeptPasswordError(f"The password file {path} was removed while it was created: run again.")
    return password, made
