# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kubernetes: deployments, logs of pods, and the restart of a deployment, as kubectl has them."""

from __future__ import annotations

import contextlib
import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...inventory.connectors.kubernetes import DEBIAN_PACKAGE, LIBRARY, NAME, OPTIONS, SECRETS, check
from ...inventory.connectors.kubernetes_api import ApiError, connected
from ...inventory.values import text_or_none, whole_number
from .call import Call, CallError, in_words_of, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...inventory.connectors.kubernetes_api import Api

__all__ = ["CALLS", "DEBIAN_PACKAGE", "LIBRARY", "NAME", "OPTIONS", "SECRETS", "check"]

_RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
_MOST_IMAGES = 20


def _list_deployments(call: Call) -> dict[str, Any]:
    given = call.arguments
    where = f"/namespaces/{quote(given['namespace'], safe='')}" if given["namespace"] else ""
    parameters: dict[str, Any] = {"limit": given["limit"]}
    if given["label_selector"]:
        parameters["labelSelector"] = given["label_selector"]
    with _server(call, f"The deployments of {call.source}") as api:
        answer = api.get(f"/apis/apps/v1{where}/deployments", parameters)
    items = answer.get("items")
    rows = [_deployment(each) for each in items if isinstance(each, dict)] if isinstance(items, list) else []
    return {"deployments": rows[: given["limit"]], "more": bool(_mapping(answer.get("metadata")).get("continue"))}


def _deployment(item: dict[str, Any]) -> dict[str, Any]:
    metadata, wanted, status = (_mapping(item.get(name)) for name in ("metadata", "spec", "status"))
    pods = _mapping(_mapping(wanted.get("template")).get("spec"))
    containers = pods.get("containers")
    images = [text_or_none(_mapping(each).get("image")) for each in containers] if isinstance(containers, list) else []
    conditions = status.get("conditions")
    return {
        "namespace": text_or_none(metadata.get("namespace")),
        "name": text_or_none(metadata.get("name")),
        "replicas_wanted": whole_number(wanted.get("replicas", 1)),
        "replicas_ready": whole_number(status.get("readyReplicas", 0)),
        "replicas_updated": whole_number(status.get("updatedReplicas", 0)),
        "images": images[:_MOST_IMAGES],
        "paused": wanted.get("paused") is True,
        "conditions": {
            str(each.get("type"))[:100]: str(each.get("status"))[:100]
            for each in (conditions if isinstance(conditions, list) else ())
            if isinstance(each, dict)
        },
        "created_at": text_or_none(metadata.get("creationTimestamp")),
    }


def _pod_logs(call: Call) -> dict[str, Any]:
    given = call.arguments
    parameters: dict[str, Any] = {"tailLines": given["tail_lines"]}
    if given["container"]:
        parameters["container"] = given["container"]
    if given["since_seconds"]:
        parameters["sinceSeconds"] = given["since_seconds"]
    if given["previous"]:
        parameters["previous"] = "true"
    path = f"/api/v1/namespaces/{quote(given['namespace'], safe='')}/pods/{quote(given['pod'], safe='')}/log"
    with _server(
        call, f"The log of the pod {given['pod']} in the namespace {given['namespace']} of {call.source}"
    ) as api:
        text = api.text(path, parameters)
    return {"namespace": given["namespace"], "pod": given["pod"], "container": given["container"], "log": text}


def _restart_deployment(call: Call) -> dict[str, Any]:
    given = call.arguments
    namespace, name = given["namespace"], given["deployment"]
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
    patch = {"spec": {"template": {"metadata": {"annotations": {_RESTARTED_AT: now}}}}}
    path = f"/apis/apps/v1/namespaces/{quote(namespace, safe='')}/deployments/{quote(name, safe='')}"
    with _server(call, f"The deployment {name} in the namespace {namespace} of {call.source}") as api:
        item = api.patch(f"{path}?fieldManager=mission-control", patch)
    metadata, wanted = _mapping(item.get("metadata")), _mapping(item.get("spec"))
    return {
        "namespace": namespace,
        "deployment": name,
        "restarted_at": now,
        "generation": whole_number(metadata.get("generation")),
        "replicas_wanted": whole_number(wanted.get("replicas", 1)),
        # Of a paused one the pods restart when it is resumed.
        "paused": wanted.get("paused") is True,
    }


@contextlib.contextmanager
def _server(call: Call, subject: str) -> Iterator[Api]:
    options = {**call.options, "timeout": min(call.options["timeout"], max(1, int(call.seconds)))}
    with in_words_of(call), connected(options, call.secrets) as api:
        try:
            yield api
        except ApiError as error:
            sentence = refused(call, error.status, error.message)
            if error.status == 404:
                sentence = f"{subject} is not there{_said(error)}."
            if error.unsure:
                raise CallError(f"{subject}: {error}, so whether it took place is not known.", "unknown") from None
            raise CallError(sentence or f"{subject}: {error}{_said(error)}.") from None


def _said(error: ApiError) -> str:
    return f" ({error.message})" if error.message else ""


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


CALLS: dict[str, Callable[[Call], dict[str, Any]]] = {
    "list_deployments": _list_deployments,
    "pod_logs": _pod_logs,
    "restart_deployment": _restart_deployment,
}
