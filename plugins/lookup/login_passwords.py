# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: login_passwords
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Find, or generate and store, the passwords of database logins and decide which have to be set
description:
  - A password is the one that is given, else the one in a file on the controller. One is generated and stored only for a new login.
  - An existing login whose password is not stored here is left alone, so that another controller, or a job runner without its files, never changes a password.
  - The result holds passwords; the task that uses it needs C(no_log).
options:
  _terms:
    description: One list of the rows that C(files/sql/plan/logins.sql) returned.
    type: list
    elements: list
    required: true
  given:
    description: Passwords that are given, by the key of the login.
    type: dict
    default: {}
  directory:
    description: Directory on the controller where passwords are stored, in files named after their role. C(~) is the home directory.
    type: str
    required: true
  length:
    description: Length of a generated password.
    type: int
    default: 32
  generate:
    description: Whether a password may be generated; if not, a new login without one is refused.
    type: bool
    default: true
  write:
    description: Whether a generated password may be written. In check mode nothing is.
    type: bool
    default: true
  update:
    description: Whether a known password replaces another one that the role has.
    type: bool
    default: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: See what would be done
  ansible.builtin.debug:
    msg: "{{ query('homelab.mission_control.login_passwords', logins, directory='~/.config/mission_control/db', write=false) | map(attribute='action') }}"
"""

RETURN = r"""
_raw:
  description: One entry for every login.
  type: list
  elements: dict
  contains:
    key: {description: The part that the role plays., type: str}
    name: {description: The role., type: str}
    password: {description: The password; empty where none is known., type: str}
    source: {description: "C(given), C(file), C(generated), or empty where none is known.", type: str}
    file: {description: "Where it is, or would be, stored.", type: str}
    problem:
      description: A sentence that says why a password cannot be used; else empty. It is not raised, so that C(no_log) does not hide it.
      type: str
    action:
      description:
        - C(set) it; C(none), it is the one the role has; C(test) by logging in, because only a superuser may compare; C(leave) the role alone.
      type: str
"""

from ansible.plugins.lookup import LookupBase
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.passwords.logins import decide

_OPTIONS = ("given", "directory", "length", "generate", "write", "update")


class LookupModule(LookupBase):
    """Passwords of logins, from their rows."""

    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        options = {name: self.get_option(name) for name in _OPTIONS}
        return [decide(login, **options) for login in terms[0]]
