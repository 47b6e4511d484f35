# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bearer tokens: what they look like, and whether one is known."""

from __future__ import annotations

import hashlib
import hmac
import re

SHORTEST = 16
LONGEST = 512
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
# What RFC 6750 allows in a bearer token.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)


class TokensError(Exception):
    """A line of the file of tokens is wrong; the message never holds the line."""


class Tokens:
    """The known tokens, kept as digests, so that no token is left in the memory for long and all comparisons are of one length."""

    def __init__(self, tokens: tuple[str, ...] = (), names: tuple[str, ...] = ()) -> None:
        """Keep the digests; `names` are those of the tokens in their order, where they have names."""
        self._digests = tuple(_digest(token) for token in tokens)
        self._names = names

    @classmethod
    def parse(cls, text: str, named: bool = False) -> Tokens:
        """One token a line, after its name and a space where they are `named`; empty lines and lines that begin with # do not count.

        Raises:
            TokensError: a line is no token, or too short to withstand guessing, or has no name.
        """
        tokens: list[str] = []
        names: list[str] = []
        for number, line in enumerate(text.splitlines(), start=1):
            token = line.strip()
            if not token or token.startswith("#"):
                continue
            if named:
                name, _blank, token = (part.strip() for part in token.partition(" "))
                if not _NAME.fullmatch(name) or name in names:
                    raise TokensError(
                        f"line {number} does not begin with a name that no other line has, of 1 to 63 lower-case letters, digits, - and _."
                    )
                names.append(name)
            if not _TOKEN.fullmatch(token):
                raise TokensError(f"line {number} is no token: it may hold letters, digits and - . _ ~ + / only.")
            if not SHORTEST <= len(token) <= LONGEST:
                raise TokensError(f"line {number} has {len(token)} characters: a token has {SHORTEST} to {LONGEST}.")
            tokens.append(token)
        return cls(tuple(tokens), tuple(names))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __repr__(self) -> str:
        return f"<{len(self._digests)} tokens>"

    def know(self, token: str) -> bool:
        """Whether it is one of them.

        Every known token is compared, each in constant time: how long it takes says neither which one it was nor how
        much of it was right.
        """
        return any(self._compare(token))

    def name_of(self, token: str) -> str | None:
        """The name of a known token; None if it is none of them."""
        found = self._compare(token)
        return self._names[found.index(True)] if any(found) else None

    def shares_with(self, other: Tokens) -> bool:
        """Whether a token is in both."""
        return not set(self._digests).isdisjoint(other._digests)

    def _compare(self, token: str) -> list[bool]:
        given = _digest(token[: LONGEST + 1])
        return [hmac.compare_digest(digest, given) for digest in self._digests]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
