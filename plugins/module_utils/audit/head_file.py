# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The head of the audit chain in a file outside the database."""

from __future__ import annotations

import contextlib
import os
import tempfile

from .head import AuditError, AuditHead


class AuditHeadFile:
    """A file that holds one head as text, or does not exist yet."""

    def __init__(self, path: str) -> None:
        self.path = path
        # A link stays a link: what it leads to is replaced.
        self._target = os.path.realpath(path)

    def read(self) -> AuditHead | None:
        """The head in the file, None if there is no file yet.

        Raises:
            AuditError: the file cannot be read or holds something else, or no file could be written to its directory.
        """
        directory = os.path.dirname(self._target)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise AuditError(f"The head file {self.path} cannot be written: its directory is missing or not writable.")
        try:
            with open(self._target, encoding="ascii") as file:
                text = file.read(1000)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AuditError(f"The head file {self.path} cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            text = ""
        try:
            return AuditHead.parse(text)
        except AuditError:
            # What it holds is not shown: the name of another file may have been given by mistake.
            raise AuditError(
                f"The file {self.path} does not hold a head of an audit chain (a number, a colon and 64 hexadecimal "
                "digits): name another file, or remove it to begin anew."
            ) from None

    def write(self, head: AuditHead) -> None:
        """Replace the file as a whole: after a crash it holds the earlier head or this one.

        Raises:
            AuditError: it cannot be written; the earlier head is still there.
        """
        temporary = ""
        try:
            directory, name = os.path.split(self._target)
            mode = os.stat(self._target).st_mode & 0o777 if os.path.exists(self._target) else 0o644
            descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(f"{head}\n")
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(temporary, self._target)
        except OSError as error:
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            raise AuditError(f"The head file {self.path} cannot be written: {error.strerror}.") from None
