# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: login_passwords
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Find, or make and keep, the passwords of database logins and say what is to be done with them
description:
  - A password is the one that is given, else the one that is kept in a file on the controller. Only for a login that is new, one is generated and kept.
  - A login that exists and has no password at hand is left alone, so that another controller, or a job runner whose files are gone, never changes a password.
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
    description: Directory on the controller where passwords are kept, in files named after their role. C(~) is the home directory.
    type: str
    required: true
  length:
    description: Length of a generated password.
    type: int
    default: 32
  generate:
    description: Whether a password may be generated; if not, a new login without one is an error.
    type: bool
    default: true
  write:
    description: Whether a generated password may be written. In check mode nothing is.
    type: bool
    default: true
  update:
    description: Whether a password that is at hand replaces another one that the role has.
    type: bool
    default: true
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
    password: {description: The password; empty where none is at hand., type: str}
    source: {description: "C(given), C(file), C(generated), or empty where none is at hand.", type: str}
    file: {description: Where it is, or would be, kept., type: str}
    action:
      description:
        - C(set) it; C(none), it is the one the role has; C(test) by logging in, because only a superuser may compare; C(leave) the role alone.
      type: str
"""

import os

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.homelab.mission_control.plugins.module_utils.kept_password import (
    KeptPasswordError,
    make_password,
    password_problem,
    read_password,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.scram import matches


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [self._decide(login) for login in terms[0]]
        except KeptPasswordError as error:
            raise AnsibleLookupError(str(error)) from error

    def _decide(self, login):
        name = login["name"]
        path = os.path.join(os.path.abspath(os.path.expanduser(self.get_option("directory"))), f"{name}.password")
        # The role is there already where an administrator who may not see verifiers finds that it can log in.
        is_new = not login["can_log_in"] or (login["verifier_readable"] and not login["verifier"])
        password, source = self._find(login["key"], path, is_new)
        return {
            "key": login["key"],
            "name": name,
            "password": password,
            "source": source,
            "file": path,
            "action": self._action(login, is_new, password, source),
        }

    def _find(self, key, path, is_new):
        given = self.get_option("given").get(key)
        if given:
            problem = password_problem(str(given))
            if problem:
                raise KeptPasswordError(f"The password that is given for the {key} role {problem}.")
            return str(given), "given"
        kept = read_password(path)
        if kept is not None:
            return kept, "file"
        if not is_new:
            return "", ""
        if not self.get_option("generate"):
            raise KeptPasswordError(
                f"The {key} role needs a password: give one, put it into {path} with mode 0600, or let one be generated."
            )
        if not self.get_option("write"):
            return "", "generated"
        return make_password(path, self.get_option("length")), "generated"

    def _action(self, login, is_new, password, source):
        if is_new and source:
            return "set"
        if not password or not self.get_option("update"):
            return "leave"
        if not login["verifier_readable"]:
            return "test"
        return "none" if matches(password, login["verifier"]) else "set"
