# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of tasks, their runs, the log of each run, what the runs produced, and the runs of playbooks."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Optional
from uuid import UUID

from .base import NOT_GIVEN, Create, Given, Model
from .enums import ArtifactKind, JsonObject, JsonValue, TaskEventType, TaskRunStatus

__all__ = [
    "Artifact",
    "CreateArtifact",
    "CreatePlaybookRun",
    "CreatePlaybookRunHost",
    "CreateTask",
    "CreateTaskEvent",
    "CreateTaskRun",
    "PlaybookRun",
    "PlaybookRunHost",
    "Task",
    "TaskEvent",
    "TaskRun",
]


@dataclass(frozen=True)
class Task(Model):
    """What is to be done: a template or a one-off definition."""

    __table__: ClassVar[str] = "tasks"
    id: UUID
    title: str
    description: Optional[str]
    created_by: str
    is_template: bool
    parameters: JsonObject
    template_id: Optional[UUID]
    created_at: datetime
    updated_at: datetime
    playbook: Optional[str]


@dataclass(frozen=True)
class CreateTask(Create[Task]):
    """Input for a task."""

    title: str
    created_by: str
    description: Given[Optional[str]] = NOT_GIVEN
    is_template: Given[bool] = NOT_GIVEN
    parameters: Given[JsonObject] = NOT_GIVEN
    template_id: Given[Optional[UUID]] = NOT_GIVEN
    playbook: Given[Optional[str]] = NOT_GIVEN


@dataclass(frozen=True)
class TaskRun(Model):
    """An execution of a task. One that is finished has a finish time, one that is not has none."""

    __table__: ClassVar[str] = "task_runs"
    id: UUID
    task_id: UUID
    user_prompt: Optional[str]
    status: TaskRunStatus
    error: Optional[str]
    created_at: datetime
    started_at: Optional[datetime]
    finished_at: Optional[datetime]


@dataclass(frozen=True)
class CreateTaskRun(Create[TaskRun]):
    """Input for a run; without a status it is queued."""

    task_id: UUID
    user_prompt: Given[Optional[str]] = NOT_GIVEN
    status: Given[TaskRunStatus] = NOT_GIVEN
    error: Given[Optional[str]] = NOT_GIVEN
    started_at: Given[Optional[datetime]] = NOT_GIVEN
    finished_at: Given[Optional[datetime]] = NOT_GIVEN


@dataclass(frozen=True)
class TaskEvent(Model):
    """An entry in the append-only log of a run."""

    __table__: ClassVar[str] = "task_events"
    id: int
    task_run_id: UUID
    sequence: int
    type: TaskEventType
    payload: JsonValue
    payload_blanked_at: Optional[datetime]
    occurred_at: datetime
    recorded_at: datetime


@dataclass(frozen=True)
class CreateTaskEvent(Create[TaskEvent]):
    """Input for an event; the writer counts the sequence within the run."""

    task_run_id: UUID
    sequence: int
    type: TaskEventType
    payload: Given[JsonValue] = NOT_GIVEN
    occurred_at: Given[datetime] = NOT_GIVEN


@dataclass(frozen=True)
class Artifact(Model):
    """What a run produced."""

    __table__: ClassVar[str] = "artifacts"
    id: UUID
    task_run_id: UUID
    kind: ArtifactKind
    name: str
    uri: Optional[str]
    content: Optional[str]
    media_type: Optional[str]
    size_bytes: Optional[int]
    sha256: Optional[str]
    created_at: datetime


@dataclass(frozen=True)
class CreateArtifact(Create[Artifact]):
    """Input for an artifact: it needs a uri or a content."""

    task_run_id: UUID
    kind: ArtifactKind
    name: str
    uri: Given[Optional[str]] = NOT_GIVEN
    content: Given[Optional[str]] = NOT_GIVEN
    media_type: Given[Optional[str]] = NOT_GIVEN
    size_bytes: Given[Optional[int]] = NOT_GIVEN
    sha256: Given[Optional[str]] = NOT_GIVEN


@dataclass(frozen=True)
class PlaybookRun(Model):
    """How a playbook was run: what its run has beside what every run has."""

    __table__: ClassVar[str] = "playbook_runs"
    task_run_id: UUID
    controller: str
    run_by: str
    check_mode: bool
    limited_to: Optional[str]
    tags: list[str]
    skip_tags: list[str]
    ansible_version: str
    dropped_events: int


@dataclass(frozen=True)
class CreatePlaybookRun(Create[PlaybookRun]):
    """Input for a playbook's run, beside that of the run itself."""

    task_run_id: UUID
    controller: str
    run_by: str
    check_mode: bool
    ansible_version: str
    limited_to: Given[Optional[str]] = NOT_GIVEN
    tags: Given[list[str]] = NOT_GIVEN
    skip_tags: Given[list[str]] = NOT_GIVEN
    dropped_events: Given[int] = NOT_GIVEN


@dataclass(frozen=True)
class PlaybookRunHost(Model):
    """How a playbook's run ended on a host, by Ansible's summary: numbers of tasks."""

    __table__: ClassVar[str] = "playbook_run_hosts"
    task_run_id: UUID
    host_name: str
    host_id: Optional[UUID]
    ok: int
    changed: int
    failed: int
    unreachable: int
    skipped: int
    rescued: int
    ignored: int


@dataclass(frozen=True)
class CreatePlaybookRunHost(Create[PlaybookRunHost]):
    """Input for a host of a playbook's run."""

    task_run_id: UUID
    host_name: str
    host_id: Given[Optional[UUID]] = NOT_GIVEN
    ok: Given[int] = NOT_GIVEN
    changed: Given[int] = NOT_GIVEN
    failed: Given[int] = NOT_GIVEN
    unreachable: Given[int] = NOT_GIVEN
    skipped: Given[int] = NOT_GIVEN
    rescued: Given[int] = NOT_GIVEN
    ignored: Given[int] = NOT_GIVEN
