# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the callback `recorder` records of the message of a failed task."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.masking import (
    Secrets,
    is_secret_name,
    masked,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.spool import LONGEST_MESSAGE
from ansible_collections.homelab.mission_control.plugins.plugin_utils.vault import was_encrypted

# Variables of the environment that hold no secret, and much that stands in messages.
_PLAIN_ENVIRONMENT = re.compile(
    r"PATH|HOME|PWD|OLDPWD|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TERM|TZ|TMPDIR|HOSTNAME|EDITOR|PAGER|SHLVL|_"
    r"|\w+_(?:DIR|FILE|PATH|SOCK)|XDG_\w+|VIRTUAL_ENV|PYTHON\w*|COLORTERM|DISPLAY|DEBIAN_FRONTEND|ANSIBLE_(?:CONFIG|HOME|INVENTORY|ROLES_PATH|COLLECTIONS_PATH)"
)
# Of these every word of the value may be one that somebody typed as a secret.
_FREE_FORM = ("_raw_params", "argv", "cmd", "stdin", "content", "body", "environment")
# Such a message may hold the value of whatever stands in a template or a condition.
_OF_TEMPLATES = re.compile(r"onditional|template|templating|undefined|expression|resolving", re.IGNORECASE)
# They lead to all variables of all hosts, and evaluate them.
_LEFT_OUT = ("hostvars", "vars", "groups", "omit")
# What Ansible sets of the failure itself, before it tells of it.
_OF_THE_FAILURE = ("ansible_failed_task", "ansible_failed_result")


def recorded_message(message: str, result: Any, arguments: Mapping[str, Any], play: Any, play_context: Any) -> str:
    """The message without the values of variables that are, or may be, secret, and without what has the form of a secret.

    Args:
        message: of the module, or as it is written in the playbook.
        result: as a callback gets it.
        arguments: of the task as they are written.
        play: in which it happened.
        play_context: of the play, with the passwords that Ansible asked for.
    """
    secrets = Secrets(lambda value: str(value) if was_encrypted(value) else None)
    manager, host, task = play.get_variable_manager(), result.host, result.task
    variables = manager.get_vars(play=play, host=host, task=task, include_hostvars=False)
    for name in (*_LEFT_OUT, *_OF_THE_FAILURE):
        variables.pop(name, None)
    secrets.add(manager.extra_vars)
    secrets.add([getattr(play_context, name, None) for name in ("password", "become_pass")])
    secrets.add([variables.get(each.get("name")) for each in play.vars_prompt or () if isinstance(each, dict)])
    secrets.add_variables(variables)
    if _OF_TEMPLATES.search(message):
        secrets.add_plain(variables)
    invocation = result.result.get("invocation")
    for given in (task.args, invocation.get("module_args") if isinstance(invocation, Mapping) else None):
        _add_arguments(secrets, given, arguments)
    secrets.add_plain(task.environment)
    environment = {name: value for name, value in os.environ.items() if not _PLAIN_ENVIRONMENT.fullmatch(name)}
    secrets.add_variables(environment)
    secrets.add_plain(environment)
    told = manager._nonpersistent_fact_cache.get(host.name) or {}
    secrets.add_plain([value for name, value in told.items() if name not in _OF_THE_FAILURE])
    if " " in message.strip():
        # One that was registered before, word for word, is what modules say again and again.
        secrets.values.discard(message.strip())
    return masked(message, secrets, LONGEST_MESSAGE)


def _add_arguments(secrets: Secrets, given: Any, written: Mapping[str, Any]) -> None:
    """The values of arguments that are written as templates, have the name of a secret, or may be a command or a text."""
    # The whole of them may be a template.
    otherwise = written.get("_variable_params", "")
    for name, value in given.items() if isinstance(given, Mapping) else ():
        if is_secret_name(name) or name in _FREE_FORM:
            secrets.add(value)
        elif "{{" in str(written.get(name, otherwise)):
            secrets.add_plain(value)
