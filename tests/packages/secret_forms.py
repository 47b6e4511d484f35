"""In which forms a secret could be written, and where a text holds one of them."""

import base64
import json
import re
import shlex
import urllib.parse


def forms_of(secret):
    """A secret as it is, and as encodings and quotings write it."""
    raw = secret.encode("utf-8")
    return {
        secret,
        # Whatever quotes it, and however often: the part that needs no quotes.
        max(re.findall("[A-Za-z0-9]+", secret), key=len),
        raw.hex(),
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        shlex.quote(secret),
        secret.replace("'", "''"),
        secret.replace("\\", "\\\\").replace("'", "''"),
        secret.replace("%", "%%"),
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        # Base64 of a longer text holds one of three forms of its middle.
        *(base64.b64encode(b"x" * shift + raw)[(4 if shift else 0) : -4].decode() for shift in range(3)),
    }


def leaks(secrets, texts):
    """(which secret, place) for each that stands in a text; `texts` maps places to texts."""
    forms = [(number, form) for number, secret in enumerate(secrets) for form in forms_of(secret)]
    return sorted({(number, place) for place, text in texts.items() for number, form in forms if form in text})
