# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re

from ansible_collections.homelab.mission_control.plugins.module_utils.health.registry import CHECKS
from ansible_collections.homelab.mission_control.plugins.module_utils.health.thresholds import DEFAULTS, MEANINGS


def _ansible_markup(markdown: str) -> str:
    return re.sub("`([^`]+)`", r"C(\1)", markdown)


class ModuleDocFragment:
    """The health checks and their thresholds, from the registry of the library. JSON is YAML."""

    DOCUMENTATION = json.dumps(
        {
            "notes": [f"C({check.name}): {_ansible_markup(check.verdict)}." for check in CHECKS],
            "options": {
                "thresholds": {
                    "description": "Thresholds at which a check warns or fails. An infinite number (C(.inf)) switches one off.",
                    "type": "dict",
                    "suboptions": {
                        name: {"description": meaning, "type": "float", "default": DEFAULTS[name]}
                        for name, meaning in MEANINGS.items()
                    },
                }
            },
        }
    )
