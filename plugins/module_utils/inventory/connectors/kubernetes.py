# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The connector for Kubernetes: nodes, services and workloads of a cluster, as its API server lists them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from ..snapshot import FetchError, Kind, Listing, Row, Skipped, Snapshot
from ..values import text_or_none
from .kubernetes_api import ApiError, connected, server_problem
from .kubernetes_objects import Mapper, NamelessError, UnmappableError, identity
from .options import Option, with_defaults

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime

    from .kubernetes_api import Api

NAME = "kubernetes"
LIBRARY = "kubernetes"
DEBIAN_PACKAGE = "python3-kubernetes"
# Names of labels that say what something is, and no more; many others hold checksums and words of whoever deployed it.
DEFAULT_LABELS = (
    "app",
    "app.kubernetes.io/*",
    "helm.sh/chart",
    "k8s-app",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/*",
)
OPTIONS: dict[str, Option] = {
    "server": Option(
        "text", None, "Address of the API server, such as https://kubernetes.example.org:6443; with a token."
    ),
    "ca_certificate": Option(
        "text",
        None,
        "Certificate of the authority that signed the server's, in PEM; the machine's authorities by default.",
    ),
    "context": Option("text", None, "Context of the kubeconfig; its current one by default."),
    "namespaces": Option("texts", [], "The namespaces whose services and workloads are listed; all by default."),
    "labels": Option(
        "texts", list(DEFAULT_LABELS), "Names of the labels that are stored; an asterisk at the end stands for any end."
    ),
    "system_services": Option("flag", False, "Also list the services of the namespace kube-system."),
    "page_size": Option("number", 500, "Number of objects that are asked for at once.", least=1, most=5000),
    "timeout": Option("number", 30, "Seconds without an answer after which a list has failed.", least=1, most=600),
    "proxy": Option("text", None, "Address of an HTTP proxy on the way to the server; the environment's is not used."),
    "allow_programs": Option(
        "flag", False, "Run the program that a kubeconfig names for the login (exec, auth-provider)."
    ),
    "allow_unverified_server": Option(
        "flag",
        False,
        "Send the login also to a server without TLS, or whose certificate the kubeconfig does not let verify.",
    ),
}
SECRETS: dict[str, str] = {
    "kubeconfig": "Content of a kubeconfig file, with its certificates in it.",
    "token": "Token of a service account; with the option server.",
}
MANIFEST = "files/inventory/kubernetes-reader.yml"
CLUSTER_ROLE = "mission-control-inventory"
_SYSTEM_NAMESPACE = "/api/v1/namespaces/kube-system"
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Resource:
    """A list of the API.

    Attributes:
        name: as in the API's addresses, and in roles.
        object_kind: of its objects.
        versions: its group and version, the newest first; "v1" is the group without a name.
        row: what an object becomes.
    """

    name: str
    object_kind: str
    versions: tuple[str, ...]
    kind: Kind
    row: Callable[[Mapper, dict[str, Any]], Row | None]

    @property
    def group(self) -> str:
        """As roles name it."""
        return self.versions[0].rpartition("/")[0]

    @property
    def types(self) -> tuple[str, ...]:
        return () if self.kind == "services" else (f"k8s-{self.object_kind.lower()}",)

    def external_id(self, item: dict[str, Any]) -> str:
        name, namespace = identity(item, self.kind != "hosts")
        if self.kind == "hosts":
            return f"node/{name}"
        return f"{namespace}/{name}" if self.kind == "services" else f"{self.object_kind.lower()}/{namespace}/{name}"

    def paths(self, version: str, namespaces: Collection[str]) -> list[str]:
        root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
        if self.kind == "hosts" or not namespaces:
            return [f"{root}/{self.name}"]
        return [f"{root}/namespaces/{each}/{self.name}" for each in namespaces]


# Services before what they select, jobs before the cron jobs that start them.
RESOURCES = (
    Resource("services", "Service", ("v1",), "services", Mapper.service),
    Resource("nodes", "Node", ("v1",), "hosts", Mapper.host),
    Resource("deployments", "Deployment", ("apps/v1",), "workloads", Mapper.deployment),
    Resource("statefulsets", "StatefulSet", ("apps/v1",), "workloads", Mapper.stateful_set),
    Resource("daemonsets", "DaemonSet", ("apps/v1",), "workloads", Mapper.daemon_set),
    Resource("jobs", "Job", ("batch/v1",), "workloads", Mapper.job),
    Resource("cronjobs", "CronJob", ("batch/v1", "batch/v1beta1"), "workloads", Mapper.cron_job),
    Resource("pods", "Pod", ("v1",), "workloads", Mapper.pod),
)


def check(options: Mapping[str, Any], secrets: Collection[str]) -> list[str]:
    """What does not fit together, as sentences.

    Args:
        options: each right for itself.
        secrets: names of those given.
    """
    return list(_problems(options, secrets))


def _problems(options: Mapping[str, Any], secrets: Collection[str]) -> Iterator[str]:
    given = with_defaults(options, OPTIONS)
    if ("kubeconfig" in secrets) == ("token" in secrets):
        yield "A source of kubernetes needs one of the secrets kubeconfig and token, and not both."
    elif "kubeconfig" in secrets:
        for name in ("server", "ca_certificate"):
            if given[name]:
                yield f"The option {name} goes with a token, but the source has a kubeconfig, which says it: remove one of them."
    else:
        if given["context"]:
            yield "The option context goes with a kubeconfig, but the source has a token: remove one of them."
        yield from _server_problems(given)
    certificate = given["ca_certificate"]
    if certificate and "-----BEGIN CERTIFICATE-----" not in certificate:
        yield "The option ca_certificate holds no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----."
    if given["proxy"]:
        problem = server_problem(given["proxy"])
        if problem:
            yield f"The option proxy {problem.replace('https://kubernetes.example.org:6443', 'http://proxy.example.org:3128')}."
    for name in given["namespaces"]:
        if not _NAMESPACE.fullmatch(name):
            yield f"The option namespaces has {name[:100]!r}, which is no name of a namespace."


def _server_problems(given: Mapping[str, Any]) -> Iterator[str]:
    server = given["server"]
    if not server:
        yield "The option server is missing: a token needs the address of the API server."
        return
    problem = server_problem(server)
    if problem:
        yield f"The option server {problem}."
    elif not server.startswith("https://") and not given["allow_unverified_server"]:
        yield (
            "The option server does not begin with https://, so that the token could be read on its way: "
            "change it, or set allow_unverified_server."
        )


def fetch(
    source: str,
    cluster: str | None,
    options: Mapping[str, Any],
    secrets: Mapping[str, str],
    observed_at: datetime,
    progress: Callable[[str, int], None],
) -> Snapshot:
    """Everything that the connector knows of a cluster.

    Args:
        source: its name.
        cluster: what the cluster is called; Kubernetes does not say it.
        options, secrets: in which check() finds no fault.
        observed_at: of the snapshot.
        progress: called with the name of a list and the number of its objects so far.

    Raises:
        FetchError: the server cannot be reached, refuses the login, or does not say which cluster it is.
    """
    given = with_defaults(options, OPTIONS)
    mapper = Mapper(cluster, tuple(given["labels"]), given["system_services"])
    listings = []
    with connected(given, secrets) as api:
        uid = _uid(api)
        for resource in RESOURCES:
            listing = _listed(api, resource, mapper, given, progress)
            if listing.kind == "services":
                mapper.services_complete = listing.problem is None
            listings.append(listing)
    return Snapshot(source, NAME, uid, cluster, observed_at, tuple(listings))


def _uid(api: Api) -> str:
    """What tells this cluster from every other one."""
    try:
        metadata = api.get(_SYSTEM_NAMESPACE).get("metadata")
    except ApiError as error:
        if error.status == 403:
            raise FetchError(
                f"The API server {api.address} does not let this login get the namespace kube-system, by which a cluster is "
                f"recognised (403): apply {MANIFEST}, whose ClusterRole {CLUSTER_ROLE} allows it."
            ) from None
        raise FetchError(f"The API server {api.address} cannot be asked: {error}.") from None
    uid = text_or_none(metadata.get("uid") if isinstance(metadata, dict) else None, 100)
    if uid is None:
        raise FetchError(f"The API server {api.address} does not tell the UID of the namespace kube-system.")
    return uid


def _listed(
    api: Api, resource: Resource, mapper: Mapper, given: Mapping[str, Any], progress: Callable[[str, int], None]
) -> Listing:
    rows: dict[str, Row] = {}
    skipped: list[Skipped] = []
    problem = None
    try:
        for path in _paths(api, resource, given["namespaces"]):
            before, skipped_before, attempt = dict(rows), list(skipped), 0
            for number, items in api.pages(path, f"{resource.object_kind}List", given["page_size"]):
                if number != attempt:
                    rows, skipped, attempt = dict(before), list(skipped_before), number
                add_rows(items, resource, mapper, rows, skipped)
                progress(resource.name, len(rows) + len(skipped))
    except ApiError as error:
        cause = str(error)
        if error.status == 403:
            cause = f"the login may not list {resource.name} (403): apply {MANIFEST}, whose ClusterRole {CLUSTER_ROLE} allows it"
        how = f"only {len(rows)} of the {resource.name} were listed" if rows else f"the {resource.name} were not listed"
        problem = f"{how[0].upper()}{how[1:]}: {cause}."
    return Listing(resource.kind, resource.types, tuple(rows.values()), problem, tuple(skipped))


def _paths(api: Api, resource: Resource, namespaces: Collection[str]) -> list[str]:
    """The addresses of a list, in the newest version that the server has."""
    for version in resource.versions[:-1]:
        paths = resource.paths(version, namespaces)
        try:
            api.get(paths[0], {"limit": 1})
        except ApiError as error:
            if error.status == 404:
                continue
        # Any other error is one of the list, which meets it again.
        return paths
    return resource.paths(resource.versions[-1], namespaces)


def add_rows(
    items: list[Any], resource: Resource, mapper: Mapper, rows: dict[str, Row], skipped: list[Skipped]
) -> None:
    """Map the objects of a page.

    Args:
        items: as the server sent them.
        resource: the list that they are of.
        mapper: of the fetch.
        rows, skipped: what they become is added to these, rows by external_id.
    """
    for item in items:
        try:
            if not isinstance(item, dict):
                raise NamelessError("it is no object")
            row = resource.row(mapper, item)
        except UnmappableError as error:
            known = None if isinstance(error, NamelessError) else resource.external_id(item)
            name = known or f"one of the {resource.name}"
            skipped.append(Skipped(known, name, str(error)))
            continue
        if row is not None:
            rows[row.external_id] = row


def preflight(options: Mapping[str, Any], secrets: Mapping[str, str]) -> list[str]:
    """Which rights the login lacks, as sentences; none where it may list everything.

    Raises:
        FetchError: the server cannot be asked.
    """
    given = with_defaults(options, OPTIONS)
    missing = []
    with connected(given, secrets) as api:
        for verb, group, resource, namespace, name in _rights(given["namespaces"]):
            if not _allowed(
                api, {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name}
            ):
                where = f" in the namespace {namespace}" if namespace and not name else ""
                what = f"the namespace {name}" if name else resource
                missing.append(
                    f"The login may not {verb} {what}{where}: apply {MANIFEST}, whose ClusterRole {CLUSTER_ROLE} allows it."
                )
    return missing


def _rights(namespaces: Collection[str]) -> Iterator[tuple[str, str, str, str, str]]:
    """Verb, group, resource, namespace and name of everything that a fetch asks for."""
    yield "get", "", "namespaces", "kube-system", "kube-system"
    for resource in RESOURCES:
        for namespace in ("",) if resource.kind == "hosts" or not namespaces else namespaces:
            yield "list", resource.group, resource.name, namespace, ""


def _allowed(api: Api, attributes: Mapping[str, str]) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    try:
        status = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review).get("status")
    except ApiError as error:
        raise FetchError(f"The API server {api.address} does not say what the login may: {error}.") from None
    return isinstance(status, dict) and status.get("allowed") is True
