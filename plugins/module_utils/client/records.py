# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client and a transaction can record: rows, calls of language models, audit entries.

Each is a function that takes the client or transaction first, and so is a method of both.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any, Callable, TypeVar, cast

if TYPE_CHECKING:
    from ..audit import log as audit_log
    from ..ledger import calls as ledger
    from ..models import base as model_base

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def _method(function: FunctionT) -> FunctionT:
    """A copy of the function that is described as what it is here: its first parameter is called self."""
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    functools.update_wrapper(copy, function)
    copy.__kwdefaults__ = function.__kwdefaults__
    signature = inspect.signature(function)
    first, *others = signature.parameters.values()
    copy.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[first.replace(name="self", annotation=inspect.Parameter.empty), *others]
    )
    return cast("FunctionT", copy)


class _Late:
    """A method that is imported when it is first looked at: most programs record little of this, and the models are half of the library."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __get__(self, instance: Any, owner: Any) -> Any:
        module = importlib.import_module(f"..{self._module}", __package__)
        method = _method(getattr(module, self._name))
        setattr(Records, self._name, method)
        return method.__get__(instance, owner)


class Records:
    """Base of clients and transactions; they bring `query_one`."""

    if TYPE_CHECKING:
        insert = _method(model_base.insert)
        record_llm_call = _method(ledger.record_llm_call)
        fill_unpriced_usage = _method(ledger.fill_unpriced_usage)
        audit = _method(audit_log.audit)
        audit_head = _method(audit_log.audit_head)
        verify_audit_chain = _method(audit_log.verify_audit_chain)
    else:
        insert = _Late("models.base", "insert")
        record_llm_call = _Late("ledger.calls", "record_llm_call")
        fill_unpriced_usage = _Late("ledger.calls", "fill_unpriced_usage")
        audit = _Late("audit.log", "audit")
        audit_head = _Late("audit.log", "audit_head")
        verify_audit_chain = _Late("audit.log", "verify_audit_chain")
