# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: recorder
type: aggregate
short_description: Record runs of playbooks in Mission Control's database
version_added: "0.2.0"
description:
  - Writes what a run of C(ansible-playbook) does into a file of its own in a spool on the controller, and starts a process that loads it into the
    database. The play waits for neither of them, and is the same where there is no database or the spool cannot be written.
  - Recorded are plays, tasks and their outcome on each host, with names as they are written in the playbook. Of a failure that is not hidden by
    C(no_log) the first 500 characters of its message are recorded, without what is or looks like a secret.
  - Never recorded are arguments, results, facts, differences, output, items of loops, values of variables, and the environment.
options:
  spool:
    description:
      - Directory for the files of runs. It is made with the mode C(0700).
      - A directory that is a link, belongs to somebody else or is open to others is not used, and the run not recorded.
    type: path
    default: ~/.local/state/mission_control/runs
    ini:
      - section: mission_control_recorder
        key: spool
    env:
      - name: MISSION_CONTROL_RECORDER_SPOOL
  url:
    description:
      - Where the database is, as C(postgresql://user@host:port/database) without a password.
      - Where neither this nor O(env_file) is given, the database C(mission_control) on port 5432 of this machine, with the user C(mission_control).
    type: str
    ini:
      - section: mission_control_recorder
        key: url
    env:
      - name: MISSION_CONTROL_RECORDER_URL
  env_file:
    description: An env file that says where the database is, as the library reads it. No variable of the environment does that here.
    type: path
    ini:
      - section: mission_control_recorder
        key: env_file
    env:
      - name: MISSION_CONTROL_RECORDER_ENV_FILE
  password_file:
    description:
      - File with the password of the login.
      - Where neither this, O(url) nor O(env_file) is given, C(~/.config/mission_control/localhost/mission_control.password), where C(make site) keeps it.
        No other server is sent that password.
    type: path
    ini:
      - section: mission_control_recorder
        key: password_file
    env:
      - name: MISSION_CONTROL_RECORDER_PASSWORD_FILE
  max_bytes:
    description: Largest size of the file of a run. What does not fit is counted in the run's C(dropped_events).
    type: int
    default: 67108864
    ini:
      - section: mission_control_recorder
        key: max_bytes
    env:
      - name: MISSION_CONTROL_RECORDER_MAX_BYTES
  max_spool_bytes:
    description: Largest size of all files in the spool. Where it is reached, a run is not recorded.
    type: int
    default: 536870912
    ini:
      - section: mission_control_recorder
        key: max_spool_bytes
    env:
      - name: MISSION_CONTROL_RECORDER_MAX_SPOOL_BYTES
  inventory_source:
    description:
      - Name of the source of Mission Control's inventory to which the hosts of the playbooks belong.
      - Where it is not given, a host is one of any source that has the name once.
    type: str
    ini:
      - section: mission_control_recorder
        key: inventory_source
    env:
      - name: MISSION_CONTROL_RECORDER_INVENTORY_SOURCE
requirements:
  - psycopg2 for the Python of C(ansible-playbook)
author:
  - Mission Control maintainers (@homelab)
"""

import atexit
import contextlib
import functools
import os
import pwd
import re
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible import context
from ansible.playbook.handler import Handler
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__
from ansible_collections.homelab.mission_control.plugins.module_utils.processes import this_process
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder import spool

_LIBRARY = "ansible_collections.homelab.mission_control.plugins.module_utils"
# Of the login at this machine's own server, and so of no other.
_KEPT_PASSWORD = "~/.config/mission_control/localhost/mission_control.password"  # noqa: S105 - a path
# A run that takes longer is loaded while it goes on.
_SHORT_RUN = 2.0
# What the loader needs of the environment. A login at another database stays here.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
_FREE = ("free", "host_pinned")
_OUTCOMES_WITH_MESSAGE = ("failed", "ignored", "unreachable")
_SAYS_ITS_ARGUMENT = ("fail", "assert")
_MESSAGE_ARGUMENTS = ("fail_msg", "msg")
_COUNTS = {
    "ok": "ok",
    "changed": "changed",
    "failed": "failures",
    "unreachable": "unreachable",
    "skipped": "skipped",
    "rescued": "rescued",
    "ignored": "ignored",
}
_PASSWORD_IN_URL = re.compile(r"(?<=:)(?!//)[^/]*(?=@)|(?<=password=)[^&]*")
_STOPPED = "The playbook ended before its last task: it was interrupted, or an error outside of its tasks stopped it."


class _Task(NamedTuple):
    """What is known of a task since it has begun."""

    sequence: int | None
    name: str
    is_hidden: bool
    # As they are written in the playbook.
    arguments: Mapping[str, Any]
    # Whether what it returns as a message is one of its arguments.
    says_argument: bool


def _harmless(method: Callable[..., None]) -> Callable[..., None]:
    """Let nothing out of a method: neither an error, nor anything in another process than the one that began."""

    @functools.wraps(method)
    def guarded(self: CallbackModule, *arguments: Any, **options: Any) -> None:
        if os.getpid() != self.pid:
            return
        try:
            method(self, *arguments, **options)
        except Exception:
            if self.run is not None:
                self.run.writer.dropped += 1

    return guarded


class CallbackModule(CallbackBase):
    """Write what happens into the spool."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "homelab.mission_control.recorder"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pid = os.getpid()
        self.run: _Run | None = None
        self._play_context: Any = None
        self._baseline: dict[str, dict[str, int]] = {}

    def set_play_context(self, play_context: Any) -> None:
        self._play_context = play_context

    @_harmless
    def v2_playbook_on_start(self, playbook: Any) -> None:
        if self.run is not None:
            self._end("cancelled", _STOPPED)
        else:
            atexit.register(self._end_early)
        options = {name: self.get_option(name) for name in _OPTIONS}
        if not any(options[name] for name in ("url", "env_file", "password_file")):
            options["password_file"] = os.path.expanduser(_KEPT_PASSWORD)
        self.run = _Run(os.path.abspath(playbook._file_name), options)

    @_harmless
    def v2_playbook_on_play_start(self, play: Any) -> None:
        if self.run is not None:
            self.run.begin_play(play)

    @_harmless
    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        if self.run is not None:
            self.run.begin_task(task)

    @_harmless
    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        if self.run is not None:
            self.run.begin_task(task)

    @_harmless
    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        if self.run is not None:
            self.run.begin_on_host(host, task)

    @_harmless
    def v2_runner_on_ok(self, result: Any) -> None:
        self._result("ok", result)

    @_harmless
    def v2_runner_on_skipped(self, result: Any) -> None:
        self._result("skipped", result)

    @_harmless
    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._result("ignored" if ignore_errors else "failed", result)

    @_harmless
    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result("ignored" if result.task.ignore_unreachable is True else "unreachable", result)

    @_harmless
    def v2_playbook_on_stats(self, stats: Any) -> None:
        if self.run is None:
            return
        # They go on from one playbook of a command to the next.
        totals = {host: stats.summarize(host) for host in sorted(stats.processed)}
        counts = {
            host: {name: total[key] - self._baseline.get(host, {}).get(key, 0) for name, key in _COUNTS.items()}
            for host, total in totals.items()
        }
        self._baseline = totals
        self.run.count_hosts({host: each for host, each in counts.items() if any(each.values())})
        failed = any(each["unreachable"] or self.run.is_failed(host, each) for host, each in counts.items())
        self._end("failed" if failed else "succeeded", None)

    def _result(self, outcome: str, result: Any) -> None:
        if self.run is not None:
            self.run.result(outcome, result, self._play_context)

    @_harmless
    def _end_early(self) -> None:
        if self.run is not None:
            self._end("cancelled", _STOPPED)

    def _end(self, status: str, error: str | None) -> None:
        run, self.run = self.run, None
        if run is not None:
            run.end(status, error)


_OPTIONS = ("spool", "url", "env_file", "password_file", "max_bytes", "max_spool_bytes", "inventory_source")


class _Run:
    """A run of a playbook that goes on.

    Raises:
        OSError: it cannot be recorded.
    """

    def __init__(self, playbook: str, options: dict[str, Any]) -> None:
        self._options = options
        self._directory = os.path.abspath(options["spool"])
        self._id = str(uuid.uuid4())
        self._began = time.monotonic()
        self._loader: subprocess.Popen[bytes] | None = None
        self._is_short = True
        self._known_login: list[int | None] = []
        self._first_failure: str | None = None
        self._rescued: Counter[str] = Counter()
        self._play: Any = None
        self._tasks: dict[str, _Task] = {}
        self._starts: dict[tuple[str, str], float] = {}
        self._places = spool.Places(playbook)
        self.writer = spool.SpoolWriter(self._directory, self._id, options["max_bytes"], options["max_spool_bytes"])
        try:
            if not self.writer.line(v=spool.VERSION, begin=self._begin()):
                raise OSError("The first line cannot be written")
        except Exception:
            self.writer.remove()
            raise

    def _begin(self) -> dict[str, Any]:
        given = context.CLIARGS
        process = this_process()
        return {
            "run": self._id,
            "playbook": self._places.playbook,
            "controller": spool.text(process["host"], spool.LONGEST_NAME),
            "user": spool.text(_user(), spool.LONGEST_NAME),
            "check": bool(given.get("check")),
            "limit": spool.text(given.get("subset"), spool.LONGEST_LIST) or None,
            # Ansible's word where none is given.
            "tags": [tag for tag in spool.texts(given.get("tags")) if tag != "all"],
            "skip_tags": spool.texts(given.get("skip_tags")),
            "ansible": __version__,
            "inventory_source": spool.text(self._options["inventory_source"], spool.LONGEST_NAME) or None,
            "process": process,
        }

    def begin_play(self, play: Any) -> None:
        self._play = play
        self._tasks.clear()
        self._starts.clear()
        written = getattr(play, "_ds", None)
        name = _written(written, "name") or _written(written, "hosts")
        self._event("log", {"event": "play", "name": spool.text(name, spool.LONGEST_NAME)})

    def begin_task(self, task: Any) -> None:
        # Such a strategy begins a task for each host.
        if task._uuid in self._tasks and str(self._play.strategy).rpartition(".")[2] in _FREE:
            return
        module = spool.module_name(task.resolved_action) or spool.module_name(task.action)
        name = spool.text(_name(task), spool.LONGEST_NAME) or module or "unnamed"
        arguments = task.args if isinstance(task.args, Mapping) else {}
        last_word = (module or "").rpartition(".")[2]
        sequence = self._event(
            "log",
            {
                "event": "task",
                "name": name,
                "module": module,
                "path": self._places.of_task(task.get_path()),
                "handler": isinstance(task, Handler),
            },
        )
        self._tasks[task._uuid] = _Task(
            sequence=sequence,
            name=name,
            is_hidden=_is_hidden(task),
            arguments=arguments,
            says_argument=last_word in _SAYS_ITS_ARGUMENT or any(each in arguments for each in _MESSAGE_ARGUMENTS),
        )

    def begin_on_host(self, host: Any, task: Any) -> None:
        self._starts[host.name, task._uuid] = time.monotonic()

    def result(self, outcome: str, result: Any, play_context: Any) -> None:
        task = self._tasks.get(result.task._uuid)
        if task is None:
            return
        host = spool.text(result.host.name, spool.LONGEST_NAME)
        began = self._starts.pop((result.host.name, result.task._uuid), None)
        payload = {
            "event": "result",
            "host": host,
            "task": task.name,
            "task_sequence": task.sequence,
            "outcome": outcome,
            "changed": bool(result.is_changed()),
            "seconds": None if began is None else round(time.monotonic() - began, 3),
        }
        if outcome in _OUTCOMES_WITH_MESSAGE:
            message = "" if task.is_hidden else self._message(task, result, play_context)
            if message:
                payload["message"] = message
            if _is_rescued(outcome, result.task):
                self._rescued[host] += 1
            elif self._first_failure is None and outcome != "ignored":
                what = "was unreachable" if outcome == "unreachable" else "failed"
                self._first_failure = f"{host} {what} at the task: {task.name}"
        self._event("tool_result", payload)

    def is_failed(self, host: str, counts: dict[str, int]) -> bool:
        """Whether a host failed for good: an include that fails and is rescued counts as failed and not as rescued."""
        return counts["failed"] > max(0, self._rescued[host] - counts["rescued"])

    def count_hosts(self, counts: dict[str, dict[str, int]]) -> None:
        for host, each in counts.items():
            if not self.writer.line(host={"name": spool.text(host, spool.LONGEST_NAME), **each}):
                self.writer.dropped += 1

    def end(self, status: str, error: str | None) -> None:
        self.writer.end(status, self._first_failure if status == "failed" else error)
        if self._loader is not None and self._loader.poll() is None:
            if self._login_files() == self._known_login:
                return
            # The run has made the password, as the first one of site.yml does, or a new one. A loader may be killed at any time.
            self._loader.kill()
        self._start_loader()

    def _login_files(self) -> list[int | None]:
        """What tells the files with the login from other ones of the same names."""
        times: list[int | None] = []
        for name in ("env_file", "password_file"):
            try:
                times.append(os.stat(self._options[name] or "").st_mtime_ns)
            except OSError:
                times.append(None)
        return times

    def _event(self, kind: str, payload: dict[str, Any]) -> int | None:
        sequence = self.writer.event(kind, payload)
        if self._is_short and time.monotonic() - self._began >= _SHORT_RUN:
            self._is_short = False
            self._start_loader()
        return sequence

    def _message(self, task: _Task, result: Any, play_context: Any) -> str:
        """What may be recorded of a failure's message; nothing where anything goes wrong."""
        try:
            returned = result.result
            message = _own_message(task.arguments) if task.says_argument else returned.get("msg")
            if not isinstance(message, str) or not message or returned.get("_ansible_no_log"):
                return ""
            # For failures alone.
            from ansible_collections.homelab.mission_control.plugins.plugin_utils.recorded_message import (
                recorded_message,
            )

            message = recorded_message(message, result, task.arguments, self._play, play_context)
            return spool.text(message, spool.LONGEST_MESSAGE)
        except Exception:
            return ""

    def _start_loader(self) -> None:
        """Start the process that loads the spool, and stays with this run until it has ended. Nothing is heard of it, and nobody waits for it.

        Also at the run's end: the loader of another play may have its file just then.
        """
        self._known_login = self._login_files()
        command = [sys.executable, "-m", f"{_LIBRARY}.recorder.load", "--spool", self._directory, "--follow", self._id]
        for name in ("url", "env_file", "password_file"):
            if self._options[name]:
                # Everybody sees a command line. The loader refuses an URL that had a password, and says so in its log.
                value = _PASSWORD_IN_URL.sub("***", self._options[name]) if name == "url" else self._options[name]
                command += [f"--{name.replace('_', '-')}", value]
        # The directory that holds ansible_collections.
        root = Path(spool.__file__).parents[spool.__name__.count(".")]
        path = [str(root), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with contextlib.suppress(OSError):
            # pylint: disable-next=consider-using-with,ansible-bad-function
            self._loader = subprocess.Popen(  # noqa: S603 - this interpreter
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**kept, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, path))},
                # The interpreter imports from where it is started.
                cwd="/",
                start_new_session=True,
            )


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _written(written: Any, key: str) -> str:
    """A value as the playbook's file has it; empty where it is no text or list of texts."""
    value = written.get(key) if isinstance(written, Mapping) else None
    if isinstance(value, (list, tuple)):
        return ",".join(each for each in value if isinstance(each, str))
    return str(value) if isinstance(value, (str, int, float)) else ""


def _name(task: Any) -> str:
    """The name of a task as it is written: strategies put another in its place, in which templates have become values."""
    written = getattr(task, "_ds", None)
    if isinstance(written, Mapping):
        return _written(written, "name")
    # One of Ansible's own, such as the gathering of facts.
    return task.name if isinstance(task.name, str) else ""


def _own_message(arguments: Mapping[str, Any]) -> Any:
    return next((arguments[each] for each in _MESSAGE_ARGUMENTS if each in arguments), None)


def _is_hidden(task: Any) -> bool:
    """Whether `no_log` is anything else than certainly false, for the task or for whatever it stands in."""
    if task.no_log is not False:
        return True
    place = task
    while place is not None:
        own = place.__dict__.get("_no_log")
        if isinstance(own, bool):
            return own
        if isinstance(own, str):
            return True
        place = getattr(place, "_parent", None)
    return False


def _is_rescued(outcome: str, task: Any) -> bool:
    """Whether a failed task stands in a block that has a rescue, and not in that itself."""
    child, parent = task, task._parent
    while outcome == "failed" and parent is not None:
        if getattr(parent, "rescue", None) and any(each._uuid == child._uuid for each in parent.block):
            return True
        child, parent = parent, parent._parent
    return False
