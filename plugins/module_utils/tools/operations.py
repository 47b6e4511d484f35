# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What tools can do: the operations of the connectors, with the arguments that each takes. It needs no further library.

A tool of the registry names one of them. Its JSON Schema says what callers may give; what is declared here holds for every tool, so
that no schema, however wide, lets a name into an address that is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..database.postgres_url import similar
from ..models.enums import HostStatus, HostType, RiskLevel, TaskRunStatus, WorkloadStatus, WorkloadType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

RISK_LEVELS: tuple[RiskLevel, ...] = get_args(RiskLevel)  # the mildest first
MOST_LINES = 5000
MOST_ROWS = 1000
_MOST_SECONDS = 31_536_000
_MOST_SHOWN = 100
_MOST_PROBLEMS = 10
_MOST_TERMS = 10

# None of them looks at a character twice but for the last one of a name.
_SOURCE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_NODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_TERM_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Argument:
    """An argument of an operation.

    Attributes:
        type: text, number (a whole one) or flag (true or false).
        description: a clause for sentences and documentation, such as "a name of a namespace".
        required: there is no default that fits.
        default: what is in force where it is not given; None for nothing.
        form: what the whole text must match; None: any that can be printed, and ends of lines.
        problem: the end of a sentence about a text that has the form, empty where nothing is wrong.
        choices: the texts that there are; empty for any.
        longest: characters of a text.
        least, most: limits of a number.
    """

    type: Literal["text", "number", "flag"]
    description: str
    required: bool = False
    default: Any = None
    form: re.Pattern[str] | None = None
    problem: Callable[[str], str] | None = None
    choices: tuple[str, ...] = ()
    longest: int = 253
    least: int = 0
    most: int = 2**31 - 1


@dataclass(frozen=True)
class Operation:
    """Something that a connector can do.

    Attributes:
        risk_level: what it may break; a tool that uses it has this risk level or a higher one.
        description: a clause, for the documentation.
        arguments: by name.
        needs_source: whether the argument `source` names where it is done.
        target: names of the arguments that say what it changes.
        right: what the login of the source needs, for the documentation and for the sentence about a login that lacks it.
    """

    risk_level: RiskLevel
    description: str
    arguments: Mapping[str, Argument]
    needs_source: bool = True
    target: tuple[str, ...] = ()
    right: str = ""

    def known_arguments(self) -> dict[str, Argument]:
        """All that may be given, the source included."""
        return {**({"source": SOURCE} if self.needs_source else {}), **self.arguments}


def with_defaults(operation: Operation, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Every argument of an operation but the source: what was given, else its default. Of 5.0, which is 5 in JSON, it makes 5."""
    given = {name: arguments.get(name, argument.default) for name, argument in operation.arguments.items()}
    return {name: int(value) if isinstance(value, float) else value for name, value in given.items()}


def find_operation(connector: Any, operation: Any) -> Operation | None:
    """The operation that a tool of the registry names, None where there is none."""
    return OPERATIONS.get(f"{connector}.{operation}")


def operation_problem(connector: Any, operation: Any, risk_level: Any) -> str:
    """What is wrong with the operation and the risk level of a tool, as a sentence; empty where nothing is.

    Args:
        connector, operation: as the tool names them, such as kubernetes and pod_logs.
        risk_level: of the tool.
    """
    connectors = sorted({name.partition(".")[0] for name in OPERATIONS})
    if connector not in connectors:
        near = similar(str(connector), connectors)
        return f"There is no connector {_shown(connector)} among {', '.join(connectors)}{near or '.'}"
    found = find_operation(connector, operation)
    if found is None:
        names = [name.partition(".")[2] for name in OPERATIONS if name.startswith(f"{connector}.")]
        near = similar(str(operation), names)
        return f"The connector {connector} has no operation {_shown(operation)} among {', '.join(names)}{near or '.'}"
    if risk_level not in RISK_LEVELS:
        return f"The risk level is {_shown(risk_level)}, but there are {', '.join(RISK_LEVELS)}."
    if RISK_LEVELS.index(risk_level) < RISK_LEVELS.index(found.risk_level):
        return (
            f"The risk level is {risk_level}, but {connector}.{operation} is {found.risk_level}: give the tool this level "
            "or a higher one."
        )
    return ""


def call_problems(operation: Operation, arguments: Mapping[str, Any]) -> list[str]:
    """What is wrong with the arguments of a call, as sentences; none where all is well, and ten at most. None shows a value.

    Args:
        operation: what is to be done.
        arguments: the caller's and the tool's preset together.
    """
    found = []
    for problem in _problems(operation.known_arguments(), arguments):
        found.append(problem)
        if len(found) == _MOST_PROBLEMS:
            break
    return found


def _problems(known: Mapping[str, Argument], arguments: Mapping[str, Any]) -> Iterator[str]:
    for name in arguments:
        if name not in known:
            near = similar(name[:_MOST_SHOWN], known)
            yield f"There is no argument {_shown(name)}{near or '.'}"
    for name, argument in known.items():
        if name in arguments:
            problem = _problem(arguments[name], argument)
            if problem:
                yield f"The argument {name} {problem}."
        elif argument.required:
            yield f"The argument {name} is missing: give {argument.description}."


def _problem(value: Any, argument: Argument) -> str:
    """The end of a sentence, empty where nothing is wrong."""
    if argument.type == "flag":
        return "" if isinstance(value, bool) else "must be true or false"
    if argument.type == "number":
        # JSON knows one kind of number: 5.0 is 5 to a schema, and to PostgreSQL.
        whole = not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
        right = whole and argument.least <= value <= argument.most
        return "" if right else f"must be a whole number from {argument.least} to {argument.most}"
    if not isinstance(value, str) or not value.strip():
        return f"must be {argument.description}"
    if len(value) > argument.longest:
        return f"has {len(value)} characters, and {argument.longest} are the most"
    if argument.choices:
        return "" if value in argument.choices else f"must be one of {', '.join(argument.choices)}"
    if argument.form is not None and not argument.form.fullmatch(value):
        return f"must be {argument.description}"
    if not all(character.isprintable() or character in "\n\t" for character in value):
        return "holds a character that cannot be printed"
    return argument.problem(value) if argument.problem else ""


def _selector_problem(selector: str) -> str:
    """Of a label selector: terms such as app=web, app!=web, app or !app, with commas between them."""
    terms = selector.split(",")
    if len(terms) > _MOST_TERMS:
        return f"has {len(terms)} terms, and {_MOST_TERMS} are the most"
    for term in terms:
        key, unequal, value = term.partition("!=") if "!=" in term else term.partition("=")
        name = key[1:] if key.startswith("!") and not unequal else key
        prefix, slash, last = name.rpartition("/")
        if (slash and not _SUBDOMAIN.fullmatch(prefix)) or not _TERM_NAME.fullmatch(last):
            return "must hold terms such as app=web, app!=web, app or !app, with commas between them"
        if unequal and value and not _TERM_NAME.fullmatch(value):
            return "must hold terms such as app=web, app!=web, app or !app, with commas between them"
    return ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _rows(what: str) -> Argument:
    return Argument("number", f"how many {what} at most", default=100, least=1, most=MOST_ROWS)


def _one_of(choices: tuple[str, ...], description: str) -> Argument:
    return Argument("text", description, choices=choices)


SOURCE = Argument("text", "the name of a source, such as lab", required=True, form=_SOURCE)
_NAMESPACE = Argument("text", "the name of a namespace", required=True, form=_LABEL)
_TAIL = Argument("number", "how many lines at the end", default=100, least=1, most=MOST_LINES)
_SINCE = Argument("number", "how many seconds back it begins", least=1, most=_MOST_SECONDS)
_DOCKER_CONTAINER = Argument("text", "the name of a container", required=True, form=_CONTAINER)
_VMID = Argument("number", "the number of a guest", required=True, least=100, most=999_999_999)
_SOURCE_FILTER = Argument("text", "the name of the source that told them", form=_SOURCE)

OPERATIONS: dict[str, Operation] = {
    "kubernetes.list_deployments": Operation(
        "READ_ONLY",
        "lists deployments, with the replicas that are wanted and ready and their images",
        {
            "namespace": Argument("text", "the name of a namespace, all where it is left out", form=_LABEL),
            "label_selector": Argument(
                "text", "a selector such as app=web,tier!=cache", problem=_selector_problem, longest=1000
            ),
            "limit": _rows("deployments"),
        },
        right="list on deployments (apps)",
    ),
    "kubernetes.pod_logs": Operation(
        "READ_ONLY",
        "reads the end of a pod's log",
        {
            "namespace": _NAMESPACE,
            "pod": Argument("text", "the name of a pod", required=True, form=_SUBDOMAIN),
            "container": Argument(
                "text", "the name of a container of the pod, needed where it has several", form=_LABEL
            ),
            "tail_lines": _TAIL,
            "since_seconds": _SINCE,
            "previous": Argument("flag", "whether the log is of the container before its last restart", default=False),
        },
        right="get on pods/log",
    ),
    "kubernetes.restart_deployment": Operation(
        "SAFE_MUTATE",
        "restarts the pods of a deployment one after the other, as kubectl rollout restart does, and does not wait for them",
        {
            "namespace": _NAMESPACE,
            "deployment": Argument("text", "the name of a deployment", required=True, form=_SUBDOMAIN),
        },
        target=("namespace", "deployment"),
        right="patch on deployments (apps)",
    ),
    "docker.list_containers": Operation(
        "READ_ONLY",
        "lists containers, with state, image and ports",
        {
            "all": Argument("flag", "whether those that do not run are listed too", default=True),
            "limit": _rows("containers"),
        },
        right="GET /containers/json",
    ),
    "docker.container_logs": Operation(
        "READ_ONLY",
        "reads the end of a container's log",
        {"container": _DOCKER_CONTAINER, "tail_lines": _TAIL, "since_seconds": _SINCE},
        right="GET /containers/json and GET /containers/ID/logs",
    ),
    "docker.restart_container": Operation(
        "SAFE_MUTATE",
        "stops a container and starts it again",
        {
            "container": _DOCKER_CONTAINER,
            "stop_seconds": Argument(
                "number", "how long it may take to stop before it is killed", default=10, most=600
            ),
        },
        target=("container",),
        right="GET /containers/json and POST /containers/ID/restart",
    ),
    "proxmox.list_guests": Operation(
        "READ_ONLY",
        "lists virtual machines and containers, with node, state, cores and memory",
        {
            "node": Argument("text", "the name of a node", form=_NODE),
            "type": _one_of(("qemu", "lxc"), "qemu for virtual machines, lxc for containers"),
            "status": _one_of(("running", "stopped"), "running or stopped"),
            "limit": _rows("guests"),
        },
        right="VM.Audit on /vms",
    ),
    "proxmox.start_guest": Operation(
        "SAFE_MUTATE",
        "starts a virtual machine or a container, and waits for the end of the task",
        {"vmid": _VMID},
        target=("vmid",),
        right="VM.Audit and VM.PowerMgmt on /vms",
    ),
    "proxmox.shut_down_guest": Operation(
        "SAFE_MUTATE",
        "asks a virtual machine or a container to shut down, never forces it, and waits for the end of the task",
        {
            "vmid": _VMID,
            "shutdown_seconds": Argument("number", "how long the guest may take", default=45, least=1, most=3000),
        },
        target=("vmid",),
        right="VM.Audit and VM.PowerMgmt on /vms",
    ),
    "prometheus.query": Operation(
        "READ_ONLY",
        "evaluates an expression at one moment",
        {
            "query": Argument("text", "an expression of PromQL, such as up == 0", required=True, longest=8000),
            "limit": _rows("series"),
        },
        right="GET or POST /api/v1/query",
    ),
    "mission_control.list_hosts": Operation(
        "READ_ONLY",
        "lists hosts of the inventory",
        {
            "type": _one_of(get_args(HostType), "the type of a host"),
            "status": _one_of(get_args(HostStatus), "the status of a host"),
            "source": _SOURCE_FILTER,
            "gone": Argument("flag", "whether those are listed that their source lists no longer", default=False),
            "limit": _rows("hosts"),
        },
        needs_source=False,
    ),
    "mission_control.list_workloads": Operation(
        "READ_ONLY",
        "lists workloads of the inventory",
        {
            "type": _one_of(get_args(WorkloadType), "the type of a workload"),
            "status": _one_of(get_args(WorkloadStatus), "the status of a workload"),
            "namespace": Argument("text", "the namespace or the Compose project of workloads"),
            "source": _SOURCE_FILTER,
            "gone": Argument("flag", "whether those are listed that their source lists no longer", default=False),
            "limit": _rows("workloads"),
        },
        needs_source=False,
    ),
    "mission_control.list_runs": Operation(
        "READ_ONLY",
        "lists runs of tasks, the newest first",
        {"status": _one_of(get_args(TaskRunStatus), "the status of a run"), "limit": _rows("runs")},
        needs_source=False,
    ),
    "mission_control.show_usage": Operation(
        "READ_ONLY",
        "sums up calls, tokens and cost of language models",
        {
            "by": _one_of(("provider", "model", "project", "agent", "day", "month"), "what it is grouped by"),
            "days": Argument("number", "how many days, today included", default=30, least=1, most=366),
        },
        needs_source=False,
    ),
    "mission_control.show_health": Operation("READ_ONLY", "checks the health of the database", {}, needs_source=False),
    "mission_control.list_backups": Operation(
        "READ_ONLY", "lists backups, the newest first", {"limit": _rows("runs")}, needs_source=False
    ),
}
