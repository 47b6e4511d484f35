# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: brief
type: stdout
short_description: The default output without tasks that only compute
version_added: "0.2.0"
description:
  - Prints what P(ansible.builtin.default#callback) prints, except successful tasks that set a fact, check inputs or include a file. They run on the
    controller and change nothing.
  - With C(-v) nothing is left out.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
author:
  - Mission Control maintainers (@homelab)
"""

from typing import Any

from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as Default

QUIET = ("set_fact", "validate_argument_spec", "check_inputs", "assert")


class CallbackModule(Default):
    """The default callback, which prints less."""

    CALLBACK_NAME = "homelab.mission_control.brief"

    def _left_out(self, result: Any) -> bool:
        """Whether a successful task is not worth a line."""
        computes = isinstance(result.task, TaskInclude) or result.task.action.rpartition(".")[2] in QUIET
        return computes and not self._display.verbosity and not {"warnings", "deprecations"} & set(result.result)

    def v2_runner_on_ok(self, result: Any) -> None:
        if result.is_changed() or not self._left_out(result):
            super().v2_runner_on_ok(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        if result.is_changed() or not self._left_out(result):
            super().v2_runner_item_on_ok(result)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if self._display.verbosity:
            super().v2_playbook_on_include(included_file)
