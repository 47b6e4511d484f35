# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The process of one call (children.py): it judges the arguments, waits until it may act, acts once, and says what came of it.

What it is told first holds no secret, so that arguments that do not fit never meet one. Secrets are masked here, where they are.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

from ..children import Child, meet_parent
from ..errors import place_of
from .connectors.call import Call, CallError
from .connectors.registry import SOURCE_CONNECTORS
from .operations import OPERATIONS, call_problems, find_operation, operation_problem, with_defaults
from .results import presentable, presentable_text
from .schemas import SchemaLibraryError, argument_problems, caller_schema

if TYPE_CHECKING:
    import threading

    from ..children import Parent
    from ..inventory.sources import Source

_CHECK_SECONDS = 30.0
# Until the deadline has it killed, which says less than the connector itself could.
_LATE = 1.0
DEFAULT_MEMORY = 512  # MiB


class CallProcess(Child):
    """The process of a call, seen from the executor."""

    def __init__(self, memory_limit: int, stop: threading.Event) -> None:
        super().__init__(__name__, memory_limit, stop)

    def problem(self, tool: dict[str, Any], arguments: dict[str, Any]) -> str:
        """What is wrong with a call, as sentences; empty where nothing is.

        Args:
            tool: the columns connector, operation, risk_level, arguments_schema and preset of its row.
            arguments: of the call.

        Raises:
            ChildError: it gave no answer.
            SchemaLibraryError: jsonschema is missing.
        """
        answer = self.ask({"tool": tool, "arguments": arguments}, _CHECK_SECONDS)
        if "missing" in answer:
            raise SchemaLibraryError(str(answer["missing"]))
        return str(answer["problem"])

    def act(
        self, source: Source, secrets: dict[str, str], seconds: float, most_bytes: int, stop: threading.Event
    ) -> tuple[str, dict[str, Any] | None, str | None]:
        """Carry out the call whose arguments were judged: its status, its result, and why there is none.

        Args:
            source, secrets: where; read now.
            seconds: how long it may take.
            most_bytes: of its result.
            stop: set to end it.

        Raises:
            ChildError: it gave no answer, so that nobody knows whether it acted.
        """
        self.stop = stop
        connector: Any = SOURCE_CONNECTORS[source.connector]()
        told = {
            "module": connector.__name__,
            "source": source.name,
            "options": dict(source.options),
            "secrets": secrets,
            "seconds": seconds,
            "most_bytes": most_bytes,
        }
        answer = self.ask(told, seconds)
        return str(answer["status"]), answer["result"], answer["error"]


def judge(tool: dict[str, Any], arguments: dict[str, Any]) -> str:
    """What is wrong with a call, as sentences; as CallProcess.problem()."""
    preset = tool["preset"] or {}
    problem = operation_problem(tool["connector"], tool["operation"], tool["risk_level"])
    if problem:
        return f"The tool cannot be carried out: {problem}"
    given = {name: value for name, value in arguments.items() if name not in preset}
    problems = argument_problems(caller_schema(tool["arguments_schema"], preset), given)
    return " ".join(problems or call_problems(OPERATIONS[f"{tool['connector']}.{tool['operation']}"], arguments))


def main() -> None:
    """The child."""
    met = meet_parent()
    if met is None:
        return
    parent, told = met
    try:
        parent.say({"problem": judge(told["tool"], told["arguments"])})
    except SchemaLibraryError as error:
        parent.say({"missing": str(error)})
    except Exception as error:
        # A fault of ours, or of the library.
        parent.say(
            {
                "problem": f"The arguments cannot be judged: an error of this program ({type(error).__name__}{place_of(error)})."
            }
        )
    _act(parent, told["tool"], told["arguments"], parent.hear())


def _act(parent: Parent, tool: dict[str, Any], arguments: dict[str, Any], told: dict[str, Any]) -> None:
    secrets, most_bytes = told["secrets"], told["most_bytes"]
    status, result, error = "failed", None, None
    operation = find_operation(tool["connector"], tool["operation"])
    if operation is None:
        raise AssertionError("it was judged")
    # Once it may have acted, only its answer says that it did not.
    lost = "failed" if operation.risk_level == "READ_ONLY" else "unknown"
    try:
        connector = importlib.import_module(told["module"])
        made = Call(
            source=told["source"],
            options=connector_options(connector, told["options"]),
            secrets=secrets,
            arguments=with_defaults(operation, arguments),
            right=operation.right,
            deadline=time.monotonic() + told["seconds"] - _LATE,
            most_bytes=most_bytes,
        )
        result = connector.CALLS[tool["operation"]](made)
        status = "succeeded"
    except CallError as failure:
        status, result, error = failure.status, failure.result, str(failure)
        if status == "unknown":
            status = lost
    except MemoryError:
        status, error = lost, "The call took more than the memory limit of its source."
    except Exception as failure:
        # A fault of the connector or its library.
        status, error = lost, f"An error of the connector ({type(failure).__name__}{place_of(failure)})."
    parent.say(
        {
            "status": status,
            "result": None if result is None else presentable(result, secrets, most_bytes),
            "error": None if error is None else presentable_text(error, secrets),
        }
    )


def connector_options(connector: Any, options: dict[str, Any]) -> dict[str, Any]:
    """All options of a connector."""
    from ..inventory.connectors.options import with_defaults as filled

    return filled(options, connector.OPTIONS)


if __name__ == "__main__":
    main()
