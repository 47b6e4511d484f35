# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_message
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Read what PostgreSQL said from a failed module
description:
  - The modules of community.postgresql put the whole SQL text and its arguments around PostgreSQL's message. This leaves the message, so that neither a long
    script nor a secret among the arguments is shown.
options:
  _input:
    description: The registered result.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say why
  ansible.builtin.fail:
    msg: "{{ result | homelab.mission_control.postgresql_message }}"
  when: result is failed
"""

RETURN = r"""
_value:
  description: The message in one line; empty where there is none.
  type: str
"""

import re

_AROUND_SQL = re.compile(r"\ACannot execute SQL .*(?:\}|' None): (?P<message>.*?), query list: \[", re.DOTALL)
# What comes after the message itself: where in the SQL it happened.
_PLACE = re.compile(r"\n(?:CONTEXT|LINE \d+|QUERY|DETAIL|HINT):.*", re.DOTALL)


def postgresql_message(result) -> str:
    text = str(result.get("msg") or "")
    if text.startswith("Cannot execute SQL "):
        found = _AROUND_SQL.match(text)
        text = found["message"] if found else "PostgreSQL refused the statement"
    elif not text and result.get("exception"):
        text = "the module ended with an exception, which -vvv shows"
    return " ".join(_PLACE.sub("", text).split())


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"postgresql_message": postgresql_message}
