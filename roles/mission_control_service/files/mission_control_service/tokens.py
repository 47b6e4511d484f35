# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bearer tokens: what they look like, and whether one is known."""

from __future__ import annotations

import hashlib
import hmac
import re

SHORTEST = 16
LONGEST = 512
# What RFC 6750 allows in a bearer token.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)


class TokensError(Exception):
    """A line of the file of tokens is wrong; the message never holds the line."""


class Tokens:
    """The known tokens, kept as digests, so that no token is left in the memory for long and all comparisons are of one length."""

    def __init__(self, tokens: tuple[str, ...] = ()) -> None:
        self._digests = tuple(_digest(token) for token in tokens)

    @classmethod
    def parse(cls, text: str) -> Tokens:
        """One token a line; empty lines and lines that begin with # do not count.

        Raises:
            TokensError: a line is no token, or too short to withstand guessing.
        """
        tokens = []
        for number, line in enumerate(text.splitlines(), start=1):
            token = line.strip()
            if not token or token.startswith("#"):
                continue
            if not _TOKEN.fullmatch(token):
                raise TokensError(f"line {number} is no token: it may hold letters, digits and - . _ ~ + / only.")
            if not SHORTEST <= len(token) <= LONGEST:
                raise TokensError(f"line {number} has {len(token)} characters: a token has {SHORTEST} to {LONGEST}.")
            tokens.append(token)
        return cls(tuple(tokens))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __repr__(self) -> str:
        return f"<{len(self._digests)} tokens>"

    def know(self, token: str) -> bool:
        """Whether it is one of them.

        Every known token is compared, each in constant time: how long it takes says neither which one it was nor how
        much of it was right.
        """
        given = _digest(token)
        return sum(hmac.compare_digest(digest, given) for digest in self._digests) > 0


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
