# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lists of the API: which columns they show, how they are sorted and what they can be filtered by.

Queries and OpenAPI document are both made from these declarations, so that they cannot tell different stories. The sort
orders are those of indexes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from mission_control.ledger.budgets import SCOPE
from mission_control.models import enums

from .fields import (
    Field,
    boolean,
    choice,
    date,
    integer,
    json_object,
    money,
    number,
    text,
    text_list,
    time,
    uuid_field,
)
from .parameters import Parameter

if TYPE_CHECKING:
    from .pagination import KeyKind


@dataclass(frozen=True)
class Resource:
    """A list, and the objects in it.

    Attributes:
        name: of one object, in the OpenAPI document; title: of an object for messages.
        path: of the list, below /api/v1.
        description: a sentence.
        source: what stands behind FROM. joined: what is looked up for each row of it; no column of it is called as one of the source.
        fields: of an object in the list; more_fields: further ones of an object that is asked for by its id.
        single: whether there is an address for each object, below the list's.
        order: sort columns with their kinds; the last one is unique. descending: the newest first.
        filters: query parameters with conditions.
        always: a condition that holds unless `unless` is given as true.
        within: of a list that is a part of the table, whose path has an {id}: the object with this id, and the column that
            refers to it.
    """

    name: str
    title: str
    path: str
    description: str
    source: str
    fields: tuple[Field, ...]
    order: tuple[tuple[str, KeyKind], ...]
    descending: bool = False
    filters: tuple[Parameter, ...] = ()
    more_fields: tuple[Field, ...] = ()
    always: str = ""
    unless: Parameter | None = None
    single: bool = False
    within: tuple[Resource, str] | None = None
    joined: str = ""


def _one_of(name: str, words: object, description: str) -> Parameter:
    return Parameter(name, description, "choice", f"{name} = %s", choices=get_args(words))


_GONE = Parameter("include_gone", "Also what its source lists no longer.", "boolean", default=False)
_ORIGIN = (
    text("source", "Who told us: the name of a connector, or manual."),
    text("external_id", "Identifier at the source.", null=True),
    time("gone_at", "When the source stopped listing it.", null=True),
    time("created_at"),
    time("updated_at"),
)


def _last_seen(table: str) -> Field:
    # A sync does not write what is as it was: its last complete listing confirms every row that is there.
    return time(
        "last_seen_at",
        "When a source last confirmed it.",
        null=True,
        sql=f"greatest(last_seen_at, CASE WHEN gone_at IS NULL THEN (SELECT (s.last_complete_at ->> '{table}')::timestamptz "  # noqa: S608
        f"FROM inventory_sources AS s WHERE s.name = {table}.source) END)",
    )


# Of a playbook, which may be a whole path, and of a host as an inventory calls it: what the database takes.
_LONGEST_NAME = 2048
_LABELS = json_object("labels", "Labels for selection.")
_METADATA = (json_object("metadata", "Whatever else the source knows."),)


def _costs_of(run: str) -> str:
    """What the language models cost on behalf of a run. LIMIT 1: asked for the runs of a page, not joined with the costs of all."""
    return (
        "LEFT JOIN LATERAL (SELECT c.calls AS llm_calls, c.unpriced_calls AS unpriced_llm_calls, c.cost_usd "  # noqa: S608 - constants
        f"FROM task_run_costs AS c WHERE c.task_run_id = {run} LIMIT 1) AS costs ON true"
    )


_COSTS = (
    integer("llm_calls", "Calls of language models on its behalf.", sql="coalesce(llm_calls, 0)"),
    integer(
        "unpriced_llm_calls",
        "Those of them whose model had no price; their cost is missing.",
        sql="coalesce(unpriced_llm_calls, 0)",
    ),
    money("cost_usd", "Sum of the known costs; null if none is known.", null=True),
)

HOSTS = Resource(
    "Host",
    "host",
    "/inventory/hosts",
    "Machines that carry workloads, by name.",
    "hosts",
    (
        uuid_field("id"),
        text("name"),
        choice("type", enums.HostType),
        text("cluster", "Cluster it belongs to; null if it stands alone.", null=True),
        choice("status", enums.HostStatus),
        text("address", "Address under which it is reached.", null=True),
        text("os", "Operating system.", null=True),
        number("cpu_cores", "Cores.", null=True, sql="cpu_cores::float8"),
        integer("memory_bytes", "Bytes.", null=True),
        _LABELS,
        _last_seen("hosts"),
        *_ORIGIN,
    ),
    (("name", "text"), ("id", "uuid")),
    filters=(
        _one_of("status", enums.HostStatus, "Only those of this status."),
        _one_of("type", enums.HostType, "Only those of this type."),
        Parameter("cluster", "Only those of this cluster.", condition="cluster = %s"),
        Parameter("name", "Only those of this name.", condition="name = %s"),
    ),
    more_fields=_METADATA,
    always="gone_at IS NULL",
    unless=_GONE,
    single=True,
)

WORKLOADS = Resource(
    "Workload",
    "workload",
    "/inventory/workloads",
    "What runs on the hosts, in the order of the ids.",
    "workloads",
    (
        uuid_field("id"),
        text("name"),
        choice("type", enums.WorkloadType),
        text("namespace", "Namespace, Compose project or similar.", null=True),
        uuid_field("host_id", "Host it runs on; null if it is spread over several.", null=True),
        uuid_field("service_id", "Service it is a part of.", null=True),
        choice("status", enums.WorkloadStatus),
        text("image", "Container image or guest template.", null=True),
        integer("replicas_wanted", "Copies asked for.", null=True),
        integer("replicas_ready", "Copies that are ready.", null=True),
        _LABELS,
        _last_seen("workloads"),
        *_ORIGIN,
    ),
    (("id", "uuid"),),
    filters=(
        _one_of("status", enums.WorkloadStatus, "Only those of this status."),
        _one_of("type", enums.WorkloadType, "Only those of this type."),
        Parameter("namespace", "Only those of this namespace.", condition="namespace = %s"),
        Parameter("name", "Only those of this name.", condition="name = %s"),
        Parameter("host_id", "Only those on this host.", "uuid", "host_id = %s"),
        Parameter("service_id", "Only those of this service.", "uuid", "service_id = %s"),
    ),
    more_fields=_METADATA,
    always="gone_at IS NULL",
    unless=_GONE,
    single=True,
)

SERVICES = Resource(
    "Service",
    "service",
    "/services",
    "Logical groupings of workloads, by name.",
    "services",
    (
        uuid_field("id"),
        text("name"),
        text("description", null=True),
        text("owner", "Person or team that answers for it.", null=True),
        text("url", "Where people reach it.", null=True),
        number("slo_availability_percent", "Target.", null=True, sql="slo_availability_percent::float8"),
        integer("slo_latency_ms", "Target, in milliseconds.", null=True),
        text("namespace", "Namespace, Compose project or similar.", null=True),
        _LABELS,
        _last_seen("services"),
        *_ORIGIN,
    ),
    (("name", "text"), ("id", "uuid")),
    filters=(
        Parameter("name", "Only those of this name.", condition="name = %s"),
        Parameter("namespace", "Only those of this namespace.", condition="namespace = %s"),
        Parameter("owner", "Only those of this owner.", condition="owner = %s"),
    ),
    always="gone_at IS NULL",
    unless=_GONE,
)

# Since the kind was listed whole that has waited for that longest.
COMPLETE_SECONDS = "(SELECT extract(epoch FROM clock_timestamp() - min(c.value::timestamptz))::float8 FROM jsonb_each_text(last_complete_at) AS c)"
SOURCES = Resource(
    "InventorySource",
    "source of the inventory",
    "/inventory/sources",
    "What fills the inventory, and how its last sync ended, by name.",
    "inventory_source_status",
    (
        text("name", "As hosts, workloads and services have it in source."),
        choice("connector", enums.InventoryConnector),
        text("cluster", "Cluster that its hosts belong to.", null=True),
        boolean("enabled"),
        integer("interval_seconds", "Time between two syncs; null where it is asked on request only.", null=True),
        time("last_observed_at", "When the newest snapshot of it was begun.", null=True),
        json_object("last_complete_at", "For each kind when the newest snapshot was begun that listed all of it."),
        number(
            "complete_seconds", "Age of the oldest of these; null where there is none.", null=True, sql=COMPLETE_SECONDS
        ),
        uuid_field("last_run_id", "The run that ended last.", null=True),
        choice("last_run_status", enums.TaskRunStatus, "How it ended.", null=True),
        text("last_run_error", "Why it failed, as a sentence.", null=True),
        time("last_run_finished_at", null=True),
        integer("hosts", "Those that it lists."),
        integer("services", "Those that it lists."),
        integer("workloads", "Those that it lists."),
        integer("gone", "Hosts, services and workloads that it lists no longer."),
    ),
    (("name", "text"),),
    filters=(
        Parameter("name", "Only the one of this name.", condition="name = %s"),
        _one_of("connector", enums.InventoryConnector, "Only those that this connector asks."),
        Parameter("enabled", "Only those that are enabled, or only others.", "boolean", "enabled = %s"),
    ),
)

# Of one task, and not in the list: a page of tasks may have a million runs.
_RUNS_OF_TASK = "task_runs AS r WHERE r.task_id = tasks.id AND r.created_at >= reporting_day_start(29)"
_COSTS_OF_TASK = f"task_run_costs AS c WHERE c.task_run_id IN (SELECT r.id FROM {_RUNS_OF_TASK})"  # noqa: S608 - constants
TASKS = Resource(
    "Task",
    "task",
    "/tasks",
    "What is to be done: templates and one-off definitions, the newest first.",
    "tasks",
    (
        uuid_field("id"),
        text("title"),
        text("description", null=True),
        text("created_by", "Person or program that defined it."),
        boolean("is_template", "Other tasks are made from it."),
        uuid_field("template_id", "Template it was made from.", null=True),
        text("playbook", "Playbook whose runs are recorded under it.", null=True),
        time("created_at"),
        time("updated_at"),
    ),
    (("created_at", "date-time"), ("id", "uuid")),
    descending=True,
    filters=(
        Parameter("is_template", "Only templates, or only others.", "boolean", "is_template = %s"),
        Parameter("template_id", "Only those made from this template.", "uuid", "template_id = %s"),
        Parameter("created_by", "Only those defined by this one.", condition="created_by = %s"),
    ),
    more_fields=(
        integer(
            "runs_30d",
            "Its runs that were queued in the last 30 days.",
            sql=f"(SELECT count(*) FROM {_RUNS_OF_TASK})",  # noqa: S608 - constants
        ),
        integer(
            "llm_calls_30d",
            "Calls of language models on their behalf.",
            sql=f"(SELECT coalesce(sum(c.calls), 0)::bigint FROM {_COSTS_OF_TASK})",  # noqa: S608 - constants
        ),
        money(
            "cost_30d_usd",
            "Sum of the known costs of these calls; null if none is known.",
            null=True,
            sql=f"(SELECT sum(c.cost_usd) FROM {_COSTS_OF_TASK})",  # noqa: S608 - constants
        ),
    ),
    single=True,
)

TASK_RUNS = Resource(
    "TaskRun",
    "task run",
    "/task-runs",
    "Executions of tasks, the newest first.",
    "task_runs",
    (
        uuid_field("id"),
        uuid_field("task_id"),
        text("task_title", sql="(SELECT t.title FROM tasks AS t WHERE t.id = task_runs.task_id)"),
        text(
            "playbook",
            "Of the run of a playbook.",
            null=True,
            sql="(SELECT t.playbook FROM tasks AS t WHERE t.id = task_runs.task_id)",
        ),
        choice("status", enums.TaskRunStatus),
        text("user_prompt", "What the person asked for.", null=True),
        text("error", "Why it failed.", null=True),
        time("created_at", "When it was queued."),
        time("started_at", null=True),
        time("finished_at", null=True),
        *_COSTS,
    ),
    (("created_at", "date-time"), ("id", "uuid")),
    descending=True,
    filters=(
        _one_of("status", enums.TaskRunStatus, "Only those of this status."),
        Parameter("task_id", "Only those of this task.", "uuid", "task_id = %s"),
        Parameter(
            "playbook",
            "Only those of this playbook.",
            condition="task_id = (SELECT t.id FROM tasks AS t WHERE t.playbook = %s)",
            longest=_LONGEST_NAME,
        ),
        Parameter("created_after", "Only those queued at this time or later.", "date-time", "created_at >= %s"),
        Parameter("created_before", "Only those queued before this time.", "date-time", "created_at < %s"),
    ),
    more_fields=(
        integer("event_count", sql="(SELECT count(*) FROM task_events AS e WHERE e.task_run_id = task_runs.id)"),
        integer(
            "tool_call_count", sql="(SELECT count(*) FROM tool_call_records AS c WHERE c.task_run_id = task_runs.id)"
        ),
    ),
    single=True,
    joined=_costs_of("task_runs.id"),
)

# Without the payload, which may hold prompts, replies, and arguments and results of tools: the service's login cannot read it.
TASK_EVENTS = Resource(
    "TaskEvent",
    "task event",
    "/task-runs/{id}/events",
    "The log of a run, in its order, without the payloads.",
    "task_events",
    (
        integer("sequence", "Position within the run; there may be gaps."),
        choice("type", enums.TaskEventType),
        time("occurred_at", "When it happened."),
        time("recorded_at", "When it was written."),
        time("payload_blanked_at", "When the payload was blanked because it held a secret.", null=True),
    ),
    (("sequence", "integer"),),
    filters=(_one_of("type", enums.TaskEventType, "Only those of this type."),),
    within=(TASK_RUNS, "task_run_id"),
)

StepEvent = Literal["play", "task", "result"]
StepOutcome = Literal["ok", "failed", "ignored", "skipped", "unreachable"]
_COUNTS = (
    integer("ok", "Tasks that succeeded, those that changed something included."),
    integer("changed", "Tasks that changed something."),
    integer("failed", "Tasks that failed, and were neither ignored nor rescued."),
    integer("unreachable", "Tasks for which it could not be reached."),
    integer("skipped", "Tasks that were skipped."),
    integer("rescued", "Tasks that failed in a block whose rescue made up for it."),
    integer("ignored", "Tasks whose failure was ignored."),
)
_RUN_IN_SHORT = (
    uuid_field("id"),
    text("playbook", "Its path from the top of its repository, with that directory's name in front.", null=True),
    choice("status", enums.TaskRunStatus),
    time("started_at"),
    time("finished_at", null=True),
    number("seconds", "How long it took; null while it runs.", null=True, sql="seconds::float8"),
    text("controller", "Machine that ran it."),
    text("run_by", "User who ran it there."),
    boolean("check_mode", "A dry run, which changed nothing."),
)

PLAYBOOK_RUNS = Resource(
    "PlaybookRun",
    "playbook run",
    "/playbook-runs",
    "Runs of Ansible playbooks that the callback recorder has recorded, the newest first.",
    "playbook_run_overview",
    (
        *_RUN_IN_SHORT,
        uuid_field("task_id", "Task that all runs of this playbook have."),
        text("error", "Task and host of the first failure; its message is not shown.", null=True),
        text("limited_to", "Pattern of the hosts it was limited to.", null=True),
        text_list("tags", "Tags whose tasks alone were run; empty for all."),
        text_list("skip_tags", "Tags whose tasks were skipped."),
        text("ansible_version"),
        integer("dropped_events", "Events that were not recorded, for want of space."),
        integer("hosts", "Hosts that took part; 0 also where they were removed with the run's events."),
        integer("changed_hosts", "Those of them on which something changed."),
        integer("failed_hosts", "Those of them that failed or could not be reached."),
        *_COSTS,
    ),
    (("started_at", "date-time"), ("id", "uuid")),
    descending=True,
    filters=(
        Parameter("playbook", "Only those of this playbook.", condition="playbook = %s", longest=_LONGEST_NAME),
        _one_of("status", enums.TaskRunStatus, "Only those of this status."),
        Parameter(
            "host",
            "Only those in which the host of this name took part.",
            condition="EXISTS (SELECT FROM playbook_run_hosts AS h WHERE h.task_run_id = id AND h.host_name = %s)",
            longest=_LONGEST_NAME,
        ),
        Parameter("check_mode", "Only dry runs, or only others.", "boolean", "check_mode = %s"),
        Parameter("started_after", "Only those begun at this time or later.", "date-time", "started_at >= %s"),
        Parameter("started_before", "Only those begun before this time.", "date-time", "started_at < %s"),
    ),
    single=True,
    joined=_costs_of("playbook_run_overview.id"),
)

PLAYBOOK_RUN_HOSTS = Resource(
    "PlaybookRunHost",
    "host of a playbook run",
    "/playbook-runs/{id}/hosts",
    "What became of each host of a run, by name: Ansible's recap.",
    "playbook_run_hosts",
    (
        text("host_name", "As the run's inventory calls it."),
        uuid_field("host_id", "The host of this name in the inventory here; null if there is none.", null=True),
        *_COUNTS,
    ),
    (("host_name", "text"),),
    within=(PLAYBOOK_RUNS, "task_run_id"),
)

PLAYBOOK_RUN_STEPS = Resource(
    "PlaybookRunStep",
    "step of a playbook run",
    "/playbook-runs/{id}/steps",
    "Plays, tasks and results of a run, in its order, without the messages of failures.",
    "playbook_run_steps",
    (
        integer("sequence", "Position within the run; there may be gaps."),
        time("occurred_at", "When it happened."),
        choice("event", StepEvent),
        text("name", "Of the play or task, as it is written.", null=True),
        text("module", "Of a task.", null=True),
        text("path", "Of a task: file and line.", null=True),
        text("host", "Of a result.", null=True),
        choice("outcome", StepOutcome, "Of a result.", null=True),
        boolean("changed", "Of a result: whether something was changed.", null=True),
        number("seconds", "Of a result: how long the task took on the host.", null=True, sql="seconds::float8"),
    ),
    (("sequence", "integer"),),
    filters=(
        _one_of("event", StepEvent, "Only those of this kind."),
        _one_of("outcome", StepOutcome, "Only results with this outcome."),
        Parameter("host", "Only results of the host of this name.", condition="host = %s", longest=_LONGEST_NAME),
    ),
    within=(PLAYBOOK_RUNS, "task_run_id"),
)

HOST_RUNS = Resource(
    "HostRun",
    "run of a host",
    "/inventory/hosts/{id}/runs",
    "Playbook runs in which a host took part, and what became of it there, the newest first.",
    "playbook_run_hosts AS h JOIN playbook_run_overview AS o ON o.id = h.task_run_id",
    (*_RUN_IN_SHORT, *_COUNTS),
    (("started_at", "date-time"), ("id", "uuid")),
    descending=True,
    within=(HOSTS, "host_id"),
)

# A call about which a person may decide, as waiting_tool_calls() has it.
WAITS = "status = 'pending' AND checked_at IS NOT NULL AND created_at > clock_timestamp() - interval '24 hours'"
# Without arguments, results, errors and reasons, which the service's login cannot read.
TOOL_CALLS = Resource(
    "ToolCall",
    "call of a tool",
    "/tool-calls",
    "Calls of tools and what became of them, the newest first, without arguments and results.",
    "tool_call_records",
    (
        uuid_field("id"),
        uuid_field("task_run_id", "Run that asked for it."),
        text("tool"),
        choice("risk_level", enums.RiskLevel),
        text("connector", "What carries the tool out.", null=True),
        choice("status", enums.ToolCallStatus),
        boolean("waits_for_approval", "A person may decide now.", sql=WAITS),
        text("requested_by", "Name of the token, or the login, that asked for it.", null=True),
        text("requested_login", "Login of the database.", null=True),
        text("policy", "The one that decided; null: that was left to the risk level.", null=True),
        text("approved_by", "Who approved or denied it.", null=True),
        time("created_at", "When it was asked for."),
        time("checked_at", "When its arguments were found right.", null=True),
        time("approved_at", null=True),
        time("approval_expires_at", "Until when it may be begun.", null=True),
        time("started_at", null=True),
        time("deadline_at", "When it has to have ended.", null=True),
        time("finished_at", null=True),
        integer("duration_ms", null=True),
    ),
    (("created_at", "date-time"), ("id", "uuid")),
    descending=True,
    filters=(
        _one_of("status", enums.ToolCallStatus, "Only those of this status."),
        Parameter(
            "tool",
            "Only those of this tool.",
            condition="tool_id = (SELECT t.id FROM tool_definitions AS t WHERE t.name = %s)",
        ),
        Parameter("task_run_id", "Only those of this run.", "uuid", "task_run_id = %s"),
    ),
    single=True,
    joined=(
        "JOIN LATERAL (SELECT t.name AS tool, t.risk_level, t.connector FROM tool_definitions AS t "
        "WHERE t.id = tool_call_records.tool_id LIMIT 1) AS tools ON true"
    ),
)

BudgetLevel = Literal["ok", "near", "spent"]
BUDGETS = Resource(
    "Budget",
    "budget",
    "/budgets",
    "Budgets for language models and what is spent of them this month, by name.",
    "llm_budget_status",
    (
        text("name"),
        *(text(name, f"Only what this {name} costs counts; null for any.", null=True) for name in SCOPE),
        choice("origin", Literal["role", "user"], "Whether the role's variable or somebody else has set it."),
        date("month", "First day of the month, in the reporting time zone."),
        money("amount_usd", "Of the month."),
        money("spent_usd", "Known cost until now."),
        number("spent_share", "Part of the amount; 1 is all of it.", sql="spent_share::float8"),
        money("projected_usd", "At the end of the month, if its days cost what the last 7 complete ones did."),
        number("projected_share", "Part of the amount.", sql="projected_share::float8"),
        integer("unpriced_calls", "Calls whose model had no price; their cost is missing."),
        choice("level", BudgetLevel, "near from 80 percent on, spent from 100 percent on."),
    ),
    (("name", "text"),),
    filters=(
        Parameter("name", "Only the one of this name.", condition="name = %s"),
        Parameter("project", "Only those of this project.", condition="project = %s"),
        _one_of("level", BudgetLevel, "Only those of this level."),
    ),
)

RESOURCES = (
    HOSTS,
    WORKLOADS,
    SERVICES,
    SOURCES,
    TASKS,
    TASK_RUNS,
    TASK_EVENTS,
    PLAYBOOK_RUNS,
    PLAYBOOK_RUN_HOSTS,
    PLAYBOOK_RUN_STEPS,
    HOST_RUNS,
    TOOL_CALLS,
    BUDGETS,
)
