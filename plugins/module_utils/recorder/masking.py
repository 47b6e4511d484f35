# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take secrets out of the message of a failed task: those that are known, and what looks like one. Rather too much than too little."""

from __future__ import annotations

import base64
import binascii
import html
import re
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MASK = "***"
HIDDEN = "The message is hidden, since a secret stands in it in another form."

# More than is recorded of a message, and little enough for all that is tried with it.
_LONGEST_LOOKED_AT = 1200
_SHORTEST = 4
_LONG_WORD = 8
_MOST_VALUES = 5000
_EVERYWHERE = ("true", "false", "none", "null", "localhost")
_DEEPEST = 8
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD = re.compile(r"[^A-Za-z]+")
_SECRET_PART = re.compile(r"passw(?:or)?d|passphrase|passcode|secret|token|credential", re.IGNORECASE)
_SECRET_WORD = re.compile(
    r"(?:pw|pin|cred|authorization|private|cookie|session|sid|salt|bearer|jwt|t?otp|signature|sig|nonce|seed|vault|dsn"
    r"|[a-z]*(?:key|pass|auth|pwd))s?"
)

_CREDENTIALS_IN_URL = re.compile(r"(?<=://)[^\s/'\"<>]*@")
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization|x-[a-z-]{0,30}(?:token|key|auth)[a-z-]{0,30}|api-?key|(?:set-)?cookie)\b(['\"]?\s*[:=,]\s*)[^\r\n]+",
    re.IGNORECASE,
)
# Behind the word in a sentence, such as "the token of lab is empty".
_NO_VALUES = "and|at|belongs|by|cannot|could|for|from|has|have|holds|in|is|lacks|may|must|needs|of|on|or|that|the|to|was|which|with"
_SCHEME = re.compile(
    rf"\b(bearer|basic|digest|negotiate|apikey|token)\s+(?!(?:{_NO_VALUES})(?:[,;:]|\.?(?:\s|\Z)))[^\s,;'\"]+",
    re.IGNORECASE,
)
_QUOTED = r"\"(?:\\.|[^\"\\])*(?:\"|\Z)|'(?:\\.|''|[^'\\])*(?:'|\Z)"
_NAME_AND_SIGN = re.compile(r"(?<![\w.-])([\w.-]{1,100})\\?['\"]?\]?[ \t]{0,9}(?:=>|:=|[:=])\s{0,9}")
_VALUE = re.compile(rf"[bu]?(?:{_QUOTED})|[^\r\n]*")
_FLAG = re.compile(rf"(?<!\S)(--?[A-Za-z][\w-]*)(\s+|=)({_QUOTED}|\S+)")
_SHORT_FLAG = re.compile(r"(?<!\S)(-[pPaW])\s*\S+")
_LOGIN_FLAG = re.compile(r"(?<!\S)(-u|--user|--proxy-user)[\s=]?[^\s:]+:\S+")
_WORDS_BEFORE_QUOTED = re.compile(
    rf"(?<!\w)(\w{{1,100}})((?:\s{{1,9}}(?:is|was|by|of|for|value)){{0,3}}\s{{1,9}})({_QUOTED})"
)
_IDENTIFIED_BY = re.compile(rf"(identified\s+by\s+)({_QUOTED}|\S+)", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL)
_VAULT = re.compile(r"\$ANSIBLE_VAULT;.*", re.DOTALL)
_KNOWN_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"eyJ[\w-]{6,}(?:\.[\w-]*)*"  # JSON web tokens
    r"|gh[a-z]_\w+|github_pat_\w+|gl[a-z]{2,6}-[\w-]+|xox[a-z]-[\w-]+|xapp-[\w-]+|[sprw]k[-_][\w-]{8,}|whsec_\w+"
    r"|A[A-Z]{3}[A-Z0-9]{12,}|AIza[\w-]{10,}|ya29\.[\w.-]+|hv[sbr]\.[\w-]+|dop_v1_\w+|npm_\w+|pypi-[\w-]+|SG\.[\w.-]+|hf_\w+"
    r"|tskey-[\w-]+|AGE-SECRET-KEY-\w+|PVEAPIToken=\S+|shp[a-z]{2}_\w+|dckr_pat_[\w-]+|[a-z]{2,5}_(?:live|test)_\w+"
    r"|SCRAM-SHA-256\$\S+|\$(?:\d[a-z]?|argon2\w*|y|scrypt|pbkdf2[\w-]*)\$[^\s'\"]+"
    r")"
)
_TOKEN = re.compile(r"[A-Za-z0-9+/=_~!@#$%^&*.-]{8,}")
_RUN = re.compile(r"[A-Za-z0-9]+")
_TO_DIGITS = re.compile(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
_TO_CAPITALS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_PART = re.compile(r"[^\W_]{6,}")
_BASE64_RUN = re.compile(r"[A-Za-z0-9+/_-]{6,}")
_HEX_RUN = re.compile(r"(?:[0-9A-Fa-f]{2}){4,}")
_ESCAPE = re.compile(r"\\+(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2})|([0-7]{3})|(.))", re.DOTALL)
_BETWEEN = re.compile(r"(?:\s|\\+[nrt]|['\"]\s*[+,]?\s*['\"]|[\\'\"+,])+")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\ufffd]{4,}")
_NO_HEX = re.compile(r"[^0-9A-Fa-f]+|0x|\\x")


def is_secret_name(name: str) -> bool:
    """Whether a variable, an option or a key of this name may hold a secret: `db_password`, `apiKey`, `X-Auth-Token`."""
    if _SECRET_PART.search(name):
        return True
    return any(map(_SECRET_WORD.fullmatch, _NO_WORD.split(_CAMEL.sub("_", name).lower())))


class Secrets:
    """Values that must not stand in a message. A value that is a mapping or a list counts with all that is in it.

    Args:
        decrypted: the text of a value that came from a vault, None for any other. Ansible has types of its own for these.

    Attributes:
        values: texts that are masked wherever they stand.
        words: short texts of letters alone that are masked where no other letter is beside them.
    """

    def __init__(self, decrypted: Callable[[object], str | None] = lambda _value: None) -> None:
        self._decrypted = decrypted
        self.values: set[str] = set()
        self.words: set[str] = set()

    def add(self, value: object) -> None:
        """A secret: also its lines, its words, their longer parts and its halves count."""
        for each in self._strings(value):
            self._put(each, *each.splitlines(), *each.split(), *_PART.findall(each))
            if len(each) >= 4 * _SHORTEST:
                self._put(each[: len(each) // 2], each[len(each) // 2 :])

    def add_plain(self, value: object) -> None:
        """A value that may hold a secret: as a whole, its lines, and those of its words that have a digit, as words of a sentence do not.

        A short word counts only where it is one in the message too, not as a part of another.
        """
        for each in self._strings(value):
            words = each.split()
            parts = (each, *each.splitlines(), *filter(_looks_chosen, words)) if len(words) > 1 else (each,)
            short = {part for part in map(str.strip, parts) if part.isalpha() and len(part) < _LONG_WORD}
            self._put(*(part for part in parts if part.strip() not in short))
            self.words.update(filter(_may_be_one, short))

    def add_variables(self, variables: object, depth: int = 0) -> None:
        """Of variables those that have the name of a secret, at whatever depth, and those that were encrypted."""
        if depth > _DEEPEST:
            return
        text = self._decrypted(variables)
        if text is not None:
            self.add(text)
        elif isinstance(variables, Mapping):
            for name, value in variables.items():
                if isinstance(value, str) and "{{" in value and self._decrypted(value) is None:
                    continue  # a template is not what becomes of it
                if isinstance(name, str) and is_secret_name(name):
                    self.add(value)
                else:
                    self.add_variables(value, depth + 1)
        elif isinstance(variables, (list, tuple)):
            for value in variables:
                self.add_variables(value, depth + 1)

    def _strings(self, value: object, depth: int = 0) -> Iterator[str]:
        """All texts and numbers in a value."""
        if isinstance(value, str):
            yield str.__str__(value)
        elif isinstance(value, bytes):
            yield value.decode("utf-8", "replace")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield str(value)
        elif depth <= _DEEPEST and isinstance(value, (Mapping, list, tuple, set, frozenset)):
            for each in value.values() if isinstance(value, Mapping) else value:
                yield from self._strings(each, depth + 1)
        elif (text := self._decrypted(value)) is not None:
            yield text

    def _put(self, *values: str) -> None:
        if len(self.values) < _MOST_VALUES:
            self.values.update(value.strip() for value in values if _may_be_one(value))


def _may_be_one(value: str) -> bool:
    """Whether a text can be looked for: short ones and truth values stand everywhere."""
    plain = value.strip()
    return len(plain) >= _SHORTEST and plain.lower() not in _EVERYWHERE


def masked(message: str, secrets: Secrets, longest: int) -> str:
    """A message without secrets.

    Args:
        message: as a module returned it.
        secrets: of four characters or more; what is shorter cannot be told from other text.
        longest: number of characters of the result.

    Returns:
        The beginning of the message, with asterisks where there was a secret, or a sentence in its place where one stands there in an
        encoding: base64, hexadecimal, with escapes, as in URLs or HTML, over several lines, backwards.
    """
    original = text = message[:_LONGEST_LOOKED_AT]
    for each in sorted(secrets.values | secrets.words, key=len, reverse=True):
        if each.lower() in text.lower():
            edge = r"(?<![^\W\d_]){}(?![^\W\d_])" if each in secrets.words - secrets.values else "{}"
            text = re.sub(edge.format(re.escape(each)), MASK, text, flags=re.IGNORECASE)
    # What is masked may be a part of one that goes on in another form.
    lower = original.lower()
    unseen = [each for each in secrets.values if each.lower() not in lower]
    if _stands_in(secrets.values, _other_readings(text)) or _stands_in(unseen, _other_readings(original)):
        return HIDDEN[:longest]
    text = mask_forms(text)
    if len(message) > _LONGEST_LOOKED_AT:
        # A secret may have been cut in two there.
        text = text.rpartition(" ")[0]
    return text[:longest]


def mask_forms(text: str) -> str:
    """A text without what has the form of a secret, whatever its value, and without what looks like a random one."""
    return _TOKEN.sub(lambda found: MASK if _looks_random(found.group()) else found.group(), mask_known_forms(text))


def mask_known_forms(text: str) -> str:
    """A text without what has the form of a secret, whatever its value; a random identifier, as of a pod or a container, stays."""
    text = _VAULT.sub(MASK, _PEM.sub(MASK, text))
    text = _CREDENTIALS_IN_URL.sub(MASK + "@", text)
    text = _HEADER.sub(rf"\1\2{MASK}", text)
    text = _KNOWN_TOKENS.sub(MASK, text)
    text = _mask_pairs(text)
    text = _FLAG.sub(_mask_named, text)
    text = _WORDS_BEFORE_QUOTED.sub(_mask_named, text)
    text = _IDENTIFIED_BY.sub(rf"\1{MASK}", text)
    text = _LOGIN_FLAG.sub(rf"\1 {MASK}", text)
    text = _SHORT_FLAG.sub(rf"\1 {MASK}", text)
    return _SCHEME.sub(rf"\1 {MASK}", text)


def _mask_pairs(text: str) -> str:
    """Mask the values of pairs whose name is a secret's, as `name=value`, YAML, JSON and Python write them."""
    parts, position = [], 0
    while (found := _NAME_AND_SIGN.search(text, position)) is not None:
        parts.append(text[position : found.end()])
        position = found.end()
        value = _VALUE.match(text, position)
        if value is not None and value.group() and is_secret_name(found.group(1)):
            parts.append(MASK)
            position = value.end()
    return "".join((*parts, text[position:]))


def _mask_named(found: re.Match[str]) -> str:
    name, between, _value = found.groups()
    return f"{name}{between}{MASK}" if is_secret_name(name) else found.group()


def _looks_chosen(word: str) -> bool:
    return len(word) >= 6 and any(map(str.isdigit, word)) and any(map(str.isalpha, word))


def _looks_random(token: str) -> bool:
    """Whether a part of a token mixes letters and digits, or small and capital letters, as no word or number does."""
    return any(
        (len(run) >= 8 and len(_TO_DIGITS.findall(run)) >= 3)
        or (len(run) >= 12 and (_looks_chosen(run) or len(_TO_CAPITALS.findall(run)) >= 4))
        or len(run) >= 32
        for run in _RUN.findall(token)
    )


def _stands_in(secrets: Iterable[str], readings: set[str]) -> bool:
    joined = "\0".join(readings)
    squeezed = _BETWEEN.sub("", joined)
    for each in secrets:
        lower = each.lower()
        if lower in joined:
            return True
        # Shorter ones would be found in what was nothing.
        if len(lower) >= 6 and _BETWEEN.sub("", lower) in squeezed:
            return True
    return False


def _other_readings(text: str) -> set[str]:
    """What the text says when its encodings are undone, once and twice, in small letters."""
    readings = {text, text[::-1]}
    for _round in range(2):
        readings |= {made for each in readings for made in _decoded(each)}
    return {each.lower() for each in readings}


def _decoded(text: str) -> Iterator[str]:
    squeezed = _BETWEEN.sub("", text)
    yield html.unescape(text)
    yield urllib.parse.unquote_plus(text)
    yield _ESCAPE.sub(_unescape, text)
    yield "\0".join(_from_base64(squeezed))
    yield "\0".join(_from_hex(text))


def _unescape(found: re.Match[str]) -> str:
    for digits, base in zip(found.groups()[:4], (16, 16, 16, 8)):
        if digits is not None:
            return chr(min(int(digits, base), 0x10FFFF))
    return {"n": "\n", "r": "\r", "t": "\t"}.get(found.group(5), found.group(5))


def _from_base64(text: str) -> Iterator[str]:
    for found in _BASE64_RUN.finditer(text):
        run = found.group().replace("-", "+").replace("_", "/")
        for shift in range(4):
            part = run[shift:]
            part = part[: len(part) // 4 * 4] if len(part) % 4 == 1 else part + "=" * (-len(part) % 4)
            try:
                yield from _PRINTABLE.findall(base64.b64decode(part).decode("utf-8", "replace"))
            except (binascii.Error, ValueError):
                continue


def _from_hex(text: str) -> Iterator[str]:
    for shape in (text, _NO_HEX.sub("", text)):
        for found in _HEX_RUN.finditer(shape):
            for shift in range(2):
                part = found.group()[shift:]
                read = bytes.fromhex(part[: len(part) // 2 * 2]).decode("utf-8", "replace")
                yield from _PRINTABLE.findall(read)
