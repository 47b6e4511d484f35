# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of the module health: it alone has the files that the database is compared with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.manifest import (
    Manifest,
    ManifestError,
    collection_version,
)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SITE_DIRECTORY = "mission_control_schema_site_directory"


class ActionModule(ActionBase):
    """Hand the manifest of the collection's and of a homelab's own migrations to the module."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        thresholds = arguments.get("thresholds")
        if thresholds is not None and not isinstance(thresholds, (Mapping, str)):
            # Ansible itself would end with an exception on the managed host.
            raise AnsibleActionFail(f"thresholds is {thresholds!r}, but it must be a dictionary.")
        if arguments.get("manifest") is None:
            arguments["manifest"] = self._manifest(variables)
        result.update(
            self._execute_module(
                module_name="homelab.mission_control.health", module_args=arguments, task_vars=variables
            )
        )
        return result

    def _manifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        site_directory = self._templar.template(variables.get(SITE_DIRECTORY)) or ""
        version = collection_version(ROOT)
        try:
            manifest = Manifest.of_directory(os.path.join(ROOT, "files", "sql"), version or "", str(site_directory))
        except ManifestError as error:
            raise AnsibleActionFail(str(error)) from error
        except OSError as error:
            raise AnsibleActionFail(f"{error.filename} cannot be read: {error.strerror}.") from error
        return manifest.as_dict()
