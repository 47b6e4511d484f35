# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: plan_summary
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Shorten a long plan for roles and privileges
description:
  - Counts grants, revocations and settings by the kind of object. What is created, and memberships, stay as they are.
  - A plan of at most ten lines is not shortened, so that what somebody changed by hand is always seen.
positional: whole
options:
  _input:
    description: "The reasons of the plan's steps, such as C(table hosts: grant SELECT to reader)."
    type: list
    elements: str
    required: true
  whole:
    description: Whether to return all lines however many they are.
    type: bool
    default: false
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Show what was done
  ansible.builtin.debug:
    msg: "{{ reasons | homelab.mission_control.plan_summary(ansible_verbosity > 0) }}"
"""

RETURN = r"""
_value:
  description: Lines to show.
  type: list
  elements: str
"""

import re
from collections import Counter
from collections.abc import Sequence

_FEW = 10
_STEP = re.compile(r"(?P<kind>default privileges|[a-z]+) .+?: (?P<verb>grant |revoke )?")
_WORDS = {"grant ": ("grant", "grants"), "revoke ": ("revocation", "revocations"), None: ("setting", "settings")}
_ONE_OF_A_KIND = ("database", "schema", "default privileges")


def plan_summary(reasons: Sequence[str], whole: bool = False) -> list[str]:
    if whole or len(reasons) <= _FEW:
        return list(reasons)
    lines: list[str] = []
    counts: dict[str, Counter[str | None]] = {}
    for reason in reasons:
        step = _STEP.match(reason)
        if step:
            counts.setdefault(step["kind"], Counter())[step["verb"]] += 1
        else:
            lines.append(reason)
    for kind, verbs in counts.items():
        numbers = [f"{count} {_WORDS[verb][count > 1]}" for verb, count in verbs.items()]
        lines.append(f"{kind}{'' if kind in _ONE_OF_A_KIND else 's'}: {', '.join(numbers)}")
    return [*lines, "-v or --diff shows each"]


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"plan_summary": plan_summary}
