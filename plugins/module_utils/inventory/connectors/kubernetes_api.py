# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Questions to a Kubernetes API server. The official client reads the kubeconfig, logs in and speaks TLS; lists are read as plain JSON."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from ..snapshot import FetchError
from ..values import text_or_none
from .http_lists import CONNECT_SECONDS, cause_of, files_of, may_have_arrived
from .options import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MOST_BYTES = 64 * 2**20  # of one answer
_CHUNK = 2**20
_JSON = "application/json"
_LONGEST_MESSAGE = 300
# An expired list is asked from its start again so many times.
_RESTARTS = 2
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_PROGRAMS = ("exec", "auth-provider")


class ApiError(Exception):
    """An answer that is none. The message is a clause, the cause.

    Attributes:
        status: of HTTP; None where there was no answer.
        message: what the server says of it, on one line; None where it says nothing.
        unsure: whether the request may have been carried out nevertheless.
    """

    def __init__(self, cause: str, status: int | None = None, message: str | None = None, unsure: bool = False) -> None:
        super().__init__(cause)
        self.status = status
        self.message = message
        self.unsure = unsure


class Api:
    """A server and a login.

    Attributes:
        address: of the server, without anything secret.
    """

    def __init__(self, configuration: Any, timeout: int) -> None:
        """
        Args:
            configuration: the official client's.
            timeout: seconds without a byte after which a request has failed.
        """
        import ssl

        import urllib3
        from kubernetes.client.rest import RESTClientObject

        self.address = configuration.host.rstrip("/")
        login = configuration.auth_settings().get("BearerToken")
        self._headers = {"Accept": f"{_JSON}, */*"}
        if login:
            self._headers["Authorization"] = login["value"]
        self._timeout = urllib3.Timeout(connect=min(timeout, CONNECT_SECONDS), read=timeout)
        self._pool = RESTClientObject(configuration).pool_manager
        # Chain and name are verified as ever. Python 3.13 also wants entries that many clusters' own authorities leave out, and kubectl does not.
        context = urllib3.util.ssl_.create_urllib3_context(cert_reqs=self._pool.connection_pool_kw["cert_reqs"])
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._pool.connection_pool_kw["ssl_context"] = context

    def get(self, path: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A JSON object.

        Args:
            path: begins with a slash.
            parameters: of the query.

        Raises:
            ApiError: there is no such answer.
        """
        return self._ask("GET", f"{path}?{urlencode(parameters)}" if parameters else path)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The same for an object that is sent as JSON."""
        return self._ask("POST", path, json.dumps(body))

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The same for a part of an object, which the server merges with what it has as kubectl lets it."""
        return self._ask("PATCH", path, json.dumps(body), "application/strategic-merge-patch+json")

    def text(self, path: str, parameters: Mapping[str, Any]) -> str:
        """What a path answers that is no JSON, such as a log; as `get`."""
        return self._request("GET", f"{path}?{urlencode(parameters)}")[0]

    def pages(self, path: str, kind: str, page_size: int) -> Iterator[tuple[int, list[Any]]]:
        """A list, page by page.

        Args:
            path: of the list.
            kind: that the answers must have, such as PodList.
            page_size: number of objects.

        Yields:
            The number of the attempt, and the objects of a page: those of an earlier attempt are void.

        Raises:
            ApiError: the list is not complete.
        """
        for attempt in range(_RESTARTS + 1):
            try:
                for items in self._pages_once(path, kind, page_size):
                    yield attempt, items
                return
            except ApiError as error:
                # The server offers to go on with another state of the cluster: an object that moved in between would be missing.
                if error.status != 410:
                    raise
        raise ApiError(
            f"the list expired {_RESTARTS + 1} times before its last page (410), so give the source a larger page_size",
            410,
        )

    def _pages_once(self, path: str, kind: str, page_size: int) -> Iterator[list[Any]]:
        following: str | None = None
        while True:
            answer = self.get(path, {"limit": page_size, **({"continue": following} if following else {})})
            metadata, items = answer.get("metadata"), answer.get("items", "missing")
            # An empty list of Go is null.
            items = [] if items is None else items
            if answer.get("kind") != kind or not isinstance(metadata, dict) or not isinstance(items, list):
                raise ApiError(f"the answer is JSON, but no {kind}", 200)
            yield items
            last, following = following, metadata.get("continue")
            if not following:
                return
            if not isinstance(following, str) or following == last:
                raise ApiError("the server does not say where the next page begins", 200)

    def _ask(self, method: str, path: str, body: str | None = None, body_type: str = _JSON) -> dict[str, Any]:
        return _json_object(*self._request(method, path, body, body_type))

    def _request(self, method: str, path: str, body: str | None = None, body_type: str = _JSON) -> tuple[str, str]:
        """The text of an answer, and its type."""
        import urllib3

        try:
            # The client would follow a redirect, and send what it has to wherever that leads.
            response = self._pool.request(
                method,
                self.address + path,
                body=body,
                headers={**self._headers, "Content-Type": body_type},
                timeout=self._timeout,
                redirect=False,
                retries=False,
                preload_content=False,
                # Told by _whole(), whichever urllib3 it is.
                enforce_content_length=False,
            )
            try:
                text = _whole(response)
            finally:
                # Half read, it is of no use for the next request.
                response.close()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ApiError(cause_of(error), unsure=may_have_arrived(error)) from None
        if response.status not in (200, 201):
            raise ApiError(*_status_cause(response.status, text))
        return text, str(response.headers.get("content-type", ""))


def _whole(response: Any) -> str:
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > _MOST_BYTES:
            raise ApiError(
                f"an answer is larger than {_MOST_BYTES // 2**20} MiB, so give the source a smaller page_size"
            )
    promised = response.headers.get("content-length", "")
    if promised.isdigit() and size < int(promised):
        raise ApiError("the connection broke off")
    return b"".join(chunks).decode("utf-8", "replace")


def _json_object(text: str, content_type: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        kind = text_or_none(content_type.split(";")[0], 100) or "of no type"
        if kind == "application/json":
            raise ApiError("the answer breaks off or is no JSON", 200) from None
        raise ApiError(f"the answer is {kind} and no JSON, as from a page where one logs in", 200) from None
    if not isinstance(answer, dict):
        raise ApiError("the answer is JSON, but no object", 200)
    return answer


def _status_cause(status: int, text: str) -> tuple[str, int, str | None]:
    """The cause, the status again, and the server's message."""
    word = message = None
    with contextlib.suppress(ValueError, RecursionError):
        answer = json.loads(text)
        if isinstance(answer, dict):
            word, message = answer.get("reason"), text_or_none(answer.get("message"), _LONGEST_MESSAGE)
    if message:
        message = " ".join(message.split()).rstrip(".")
    if status == 401:
        cause = "the server refuses the login (401), so give the source a valid token or kubeconfig"
    elif status == 403:
        cause = "the login lacks the right (403)"
    elif status == 404:
        cause = "the server has no such list (404)"
    elif 300 <= status < 400:
        cause = f"the server redirects to another address ({status}), which is not followed"
    else:
        # Of a body that may hold anything, only Kubernetes' own word.
        known = isinstance(word, str) and word.isalpha() and len(word) < 50
        cause = f"the server answers {status}{f' {word}' if known else ''}"
    return cause, status, message


@contextlib.contextmanager
def connected(options: Mapping[str, Any], secrets: Mapping[str, str]) -> Iterator[Api]:
    """The server of a source.

    Args:
        options: all of the connector's, with defaults.
        secrets: kubeconfig or token.

    Raises:
        FetchError: the client is not installed, or the kubeconfig or the token is of no use.
    """
    try:
        from kubernetes.client import Configuration
        from kubernetes.config.kube_config import KubeConfigLoader
    except ImportError:
        raise FetchError(
            "The Python package kubernetes is missing where the inventory is fetched: install Debian's python3-kubernetes."
        ) from None
    kubeconfig = (
        _read_kubeconfig(secrets["kubeconfig"], options) if "kubeconfig" in secrets else _of_token(options, secrets)
    )
    configuration = Configuration()
    # From the source alone: a variable of the environment must not say where a token is sent.
    proxy = options["proxy"] or kubeconfig["clusters"][0]["cluster"].get("proxy-url")
    with contextlib.ExitStack() as files:
        _without_data(kubeconfig, files)
        try:
            # With a directory, as older versions run a program in none.
            KubeConfigLoader(kubeconfig, config_base_path="/").load_and_set(configuration)  # type: ignore[no-untyped-call]
            configuration.proxy, configuration.no_proxy = proxy, None
            api = Api(configuration, options["timeout"])
        except Exception as error:
            # Programs and libraries of whoever wrote the kubeconfig; their words may hold what is secret.
            raise FetchError(f"The kubeconfig cannot be used: the client ends with {type(error).__name__}.") from None
        yield api


def _of_token(options: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    token = secrets["token"].strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise FetchError(f"The token for {options['server']} is empty, or holds a character that no token has.")
    cluster = {"server": options["server"].rstrip("/")}
    if options["ca_certificate"]:
        cluster["certificate-authority-data"] = base64.b64encode(options["ca_certificate"].encode()).decode()
    return _only("source", cluster, {"token": token})


def _only(context: str, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """A kubeconfig with one context."""
    return {
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": "cluster", "user": "user"}}],
        "clusters": [{"name": "cluster", "cluster": dict(cluster)}],
        "users": [{"name": "user", "user": dict(user)}],
    }


def _read_kubeconfig(text: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The context that is used, with its cluster and its user, and nothing that runs a program or leaves the server unverified."""
    import yaml

    try:
        kubeconfig = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        kubeconfig = None
    if not isinstance(kubeconfig, dict):
        raise FetchError("The kubeconfig is no YAML mapping.")
    context = options["context"] or kubeconfig.get("current-context")
    if not context:
        raise FetchError("The kubeconfig has no current-context: give the source the option context.")
    chosen = _entry(kubeconfig, "context", context)
    cluster = _entry(kubeconfig, "cluster", chosen.get("cluster"))
    user = _entry(kubeconfig, "user", chosen.get("user"))
    for name in (name for name in _PATHS if name in cluster or name in user):
        raise FetchError(
            f"The kubeconfig names a file by {name}, which is not read: "
            "write one that holds everything with 'kubectl config view --flatten --minify --raw'."
        )
    for name in (name for name in _PROGRAMS if name in user):
        if not options["allow_programs"]:
            raise FetchError(
                f"The kubeconfig has {name}, which runs a program at each fetch: give the source the token of a service account, "
                "or the option allow_programs."
            )
    server = cluster.get("server")
    problem = server_problem(server)
    if problem:
        raise FetchError(f"The server in the kubeconfig {problem}.")
    if not options["allow_unverified_server"]:
        if cluster.get("insecure-skip-tls-verify"):
            raise FetchError(
                "The kubeconfig has insecure-skip-tls-verify, with which the login could be sent to anybody: "
                "give it certificate-authority-data, or the source the option allow_unverified_server."
            )
        if not str(server).startswith("https://"):
            raise FetchError(
                "The server in the kubeconfig is not reached by https://: change it, "
                "or give the source the option allow_unverified_server."
            )
    return _only(str(context), cluster, user)


def _entry(kubeconfig: Mapping[str, Any], kind: str, name: object) -> dict[str, Any]:
    entries = kubeconfig.get(f"{kind}s")
    found = {
        each["name"]: each.get(kind)
        for each in (entries if isinstance(entries, list) else ())
        if isinstance(each, dict) and isinstance(each.get("name"), str)
    }
    entry = found.get(name) if isinstance(name, str) else None
    if not isinstance(entry, dict):
        raise FetchError(unknown_name(f"The kubeconfig has no {kind} {text_or_none(name, 100)!r}", name, found))
    return entry


def server_problem(server: object) -> str:
    """The end of a sentence about the address of an API server, empty where it is one."""
    wanted = "is not an address such as https://kubernetes.example.org:6443"
    if not isinstance(server, str) or not server.isprintable() or " " in server:
        return wanted
    try:
        parts = urlsplit(server)
        port = parts.port
    except ValueError:
        return wanted
    if port == 0 or parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
        return wanted
    return "holds a login: give it below secrets" if "@" in parts.netloc else ""


def _without_data(kubeconfig: Mapping[str, Any], files: contextlib.ExitStack) -> None:
    """Replace keys and certificates by files without a name, as the client would leave those that it writes if it is killed."""
    for part in (kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]):
        for path in _PATHS:
            if f"{path}-data" in part:
                try:
                    content = base64.b64decode(part.pop(f"{path}-data"), validate=True).decode("ascii")
                except (TypeError, ValueError):
                    raise FetchError(f"The kubeconfig's {path}-data is no certificate or key in base64.") from None
                (part[path],) = files.enter_context(files_of(content))
