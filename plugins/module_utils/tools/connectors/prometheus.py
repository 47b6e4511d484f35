# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prometheus, and what speaks its HTTP API: an expression at one moment. The expression travels in the body of a POST."""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...inventory.connectors.http_lists import NoList, ask, files_of, json_of, prepare
from ...inventory.connectors.options import Option, with_defaults
from ...inventory.values import text_or_none
from .call import Call, CallError, in_words_of, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

NAME = "prometheus"
LIBRARY = "requests"
DEBIAN_PACKAGE = "python3-requests"

OPTIONS = {
    "url": Option(
        "text",
        None,
        "Address of the server, such as https://prometheus.example.org:9090, with a path if it has one.",
        required=True,
    ),
    "ca_certificate": Option(
        "text",
        None,
        "Certificates (PEM) of the authority that signed that of the server; without it, the authorities that this host trusts count.",
    ),
    "user": Option("text", None, "Name for the login by password."),
    "unencrypted": Option("flag", False, "Whether a login is sent without TLS, where everybody on the way reads it."),
}
SECRETS = {"token": "Token that is sent as Bearer.", "password": "Password that goes with the option user."}


def check(options: Mapping[str, Any], secrets: Collection[str]) -> list[str]:
    """See Connector.check() in inventory/connectors/registry.py."""
    given = with_defaults(options, OPTIONS)
    problem = _url_problem(given["url"])
    if problem:
        return [f"The option url {problem}."]
    problems = []
    if "token" in secrets and "password" in secrets:
        problems.append("A source of prometheus takes one of the secrets token and password, and not both.")
    if ("password" in secrets) != bool(given["user"]):
        problems.append("The option user and the secret password belong together: give both, or none.")
    if given["user"] and (":" in given["user"] or not given["user"].isprintable()):
        problems.append("The option user holds a colon or a character that cannot be printed, which no login can.")
    plain = given["url"].startswith("http://")
    if plain and given["ca_certificate"]:
        problems.append("The option ca_certificate has no use with an address that begins with http://: leave it out.")
    if plain and secrets and not given["unencrypted"]:
        problems.append(
            "The option url does not begin with https://, so that the login could be read on its way: change it, or set unencrypted."
        )
    return problems


def _url_problem(url: str) -> str:
    wanted = "must be an address such as https://prometheus.example.org:9090"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return wanted
    if "@" in parts.netloc:
        return "holds a login: give it as user and password, or token"
    right = parts.scheme in ("http", "https") and parts.hostname and port != 0 and not (parts.query or parts.fragment)
    return "" if right and not any(map(str.isspace, url)) and url.isprintable() else wanted


def _query(call: Call) -> dict[str, Any]:
    given, subject = call.arguments, f"The query at {call.source}"
    data = {"query": given["query"], "timeout": f"{int(call.seconds)}s"}
    with in_words_of(call):
        answer = _answer(call, data, subject)
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
        raise CallError(f"{subject}: the server answered JSON of another form.")
    kind, found = answer["data"].get("resultType"), answer["data"].get("result")
    if kind not in ("vector", "matrix"):
        return {"type": text_or_none(kind), "value": found}
    rows = found if isinstance(found, list) else []
    result: dict[str, Any] = {"type": kind, "series": rows[: given["limit"]], "more": len(rows) > given["limit"]}
    warnings = answer.get("warnings")
    if isinstance(warnings, list):
        result["warnings"] = [text_or_none(each, 300) for each in warnings[:10]]
    return result


def _answer(call: Call, data: Mapping[str, str], subject: str) -> Any:
    try:
        import requests
    except ImportError:
        raise CallError(f"The connector {NAME} needs the library {LIBRARY} (Debian: {DEBIAN_PACKAGE}).") from None
    with files_of(call.options["ca_certificate"]) as (authority,), contextlib.closing(requests.Session()) as session:
        prepare(session)
        if authority:
            session.verify = authority
        if "token" in call.secrets:
            session.headers["Authorization"] = f"Bearer {_token(call)}"
        elif "password" in call.secrets:
            login = f"{call.options['user']}:{call.secrets['password']}".encode()
            session.headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        url = f"{call.options['url'].rstrip('/')}/api/v1/query"
        try:
            # 400, 422 and 503 say in JSON what is wrong with the expression.
            response = ask(session, "POST", url, data=data, read_seconds=call.seconds, expected=(200, 400, 422, 503))
            answer = json_of(response)
        except NoList as error:
            raise CallError(refused(call, error.status, str(error)) or f"{subject}: the server {error}.") from None
        if response.status_code != 200:
            said = text_or_none(answer.get("error"), 300) if isinstance(answer, dict) else None
            raise CallError(f"{subject} answered {response.status_code}: {' '.join((said or 'no reason').split())}.")
        return answer


def _token(call: Call) -> str:
    token = call.secrets["token"].strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CallError(f"The token of the source {call.source} is empty, or holds a character that no token has.")
    return token


CALLS: dict[str, Callable[[Call], dict[str, Any]]] = {"query": _query}
