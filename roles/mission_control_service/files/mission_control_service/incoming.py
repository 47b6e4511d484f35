# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a client has sent so far, and whether that is a whole request."""

from __future__ import annotations

import re

# Request line and headers, in bytes: what nginx takes.
LONGEST_HEAD = 32 * 1024
# The only bodies that mean anything are short forms and the names of sources to refresh.
LARGEST_BODY = 16 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n")


class HeadTooLongError(Exception):
    """Request line and headers do not end where they should."""


class Incoming:
    """The bytes of one connection that are not yet part of a request that was taken."""

    __slots__ = ("_alone", "_data", "_searched", "_size", "expects")

    def __init__(self) -> None:
        self._data = bytearray()
        self._begin()

    def _begin(self) -> None:
        self._searched = 0
        self._size: int | None = None
        self._alone = False
        # Whether the client waits for a "100 Continue" before it sends the body.
        self.expects = False

    def __bool__(self) -> bool:
        return bool(self._data)

    def feed(self, data: bytes) -> None:
        self._data += data

    def take(self) -> tuple[bytes, bool] | None:
        """The next whole request, and whether the connection ends with it; None if there is more to come.

        A body that has no plain length, or a larger one than is ever read, is not waited for: whoever parses the request
        sees what has come until now, and what may still come belongs to no further request.

        Raises:
            HeadTooLongError: there is no end of the headers within the bounds.
        """
        if self._size is None:
            self._measure()
        if self._size is None or len(self._data) < self._size:
            return None
        request, alone = bytes(self._data[: self._size]), self._alone
        del self._data[: self._size]
        self._begin()
        return request, alone

    def _measure(self) -> None:
        end = self._data.find(b"\r\n\r\n", max(0, self._searched - 3))
        if (len(self._data) if end < 0 else end) > LONGEST_HEAD:
            raise HeadTooLongError
        if end < 0:
            # One byte at a time must not have all of them searched each time.
            self._searched = len(self._data)
            return
        head = bytes(self._data[: end + 2]).lower()
        self._size = end + 4
        if b"content-length" in head or b"transfer-encoding" in head:
            lengths = _LENGTH.findall(head)
            # Whatever a parser might read in another way than this one must not say where the next request begins.
            if len(lengths) == head.count(b"content-length") == 1 and b"transfer-encoding" not in head:
                self._size += int(lengths[0])
                self._alone = int(lengths[0]) > LARGEST_BODY
            else:
                self._alone = True
            if self._alone:
                self._size = len(self._data)
            self.expects = b"\r\nexpect:" in head
