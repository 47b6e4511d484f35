# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: clean_environment
short_description: Hide the caller's settings for PostgreSQL clients from a task
version_added: "0.1.0"
description:
  - Returns what the keyword C(environment) of a task or block has to be so that its modules and commands see no variable by which a PostgreSQL client
    is led to another server, such as C(PGHOST), C(PGHOSTADDR), C(PGSERVICE), C(PGOPTIONS) or C(DATABASE_URL), wherever it was set.
  - Setting such a variable to an empty text does not help, since libpq looks for a service without a name then and refuses an empty C(PGSSLMODE). So
    the command of the task is given to C(env), which takes them away after the user was changed and C(/etc/environment) was read.
options:
  _terms:
    description: The mode of the role P(homelab.mission_control.mission_control_postgresql#role). In the mode V(existing) nothing is taken away.
    type: list
    elements: str
    required: true
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Show which server libpq chooses by itself
  ansible.builtin.command: psql --no-psqlrc --tuples-only --command 'SHOW unix_socket_directories'
  environment: "{{ lookup('homelab.mission_control.clean_environment', 'package') }}"
  changed_when: false
"""

RETURN = r"""
_raw:
  description: One mapping for C(environment).
  type: list
  elements: dict
"""

from typing import Any

from ansible.plugins.lookup import LookupBase

# Of libpq (PQconndefaults and what it reads beside that) up to version 18, of psql, and of Debian's wrapper around the client programs.
_LIBPQ = (
    "PGAPPNAME PGCHANNELBINDING PGCLIENTENCODING PGCONNECT_TIMEOUT PGDATABASE PGDATESTYLE PGGEQO PGGSSDELEGATION PGGSSENCMODE PGGSSLIB PGHOST "
    "PGHOSTADDR PGKRBSRVNAME PGLOADBALANCEHOSTS PGLOCALEDIR PGMAXPROTOCOLVERSION PGMINPROTOCOLVERSION PGOAUTHCAFILE PGOAUTHDEBUG PGOPTIONS "
    "PGPASSFILE PGPASSWORD PGPORT PGREQUIREAUTH PGREQUIREPEER PGREQUIRESSL PGSERVICE PGSERVICEFILE PGSSLCERT PGSSLCERTMODE PGSSLCOMPRESSION "
    "PGSSLCRL PGSSLCRLDIR PGSSLKEY PGSSLMAXPROTOCOLVERSION PGSSLMINPROTOCOLVERSION PGSSLMODE PGSSLNEGOTIATION PGSSLROOTCERT PGSSLSNI "
    "PGSYSCONFDIR PGTARGETSESSIONATTRS PGTZ PGUSER"
)
_PROGRAMS = "PGCLUSTER PGDATA PG_CLUSTER_CONF_ROOT PSQLRC PSQL_EDITOR PSQL_HISTORY PSQL_PAGER PSQL_WATCH_PAGER"
# Where our own modules look for a login by themselves.
_OURS = (
    "DATABASE_URL MISSION_CONTROL_ENV_FILE POSTGRES_DB POSTGRES_HOST POSTGRES_PASSWORD POSTGRES_PORT POSTGRES_SSLMODE POSTGRES_SSLROOTCERT "
    "POSTGRES_USER"
)
NAMES = tuple(f"{_LIBPQ} {_PROGRAMS} {_OURS}".split())


def clean_environment(mode: str) -> dict[str, str]:
    """Return the mapping for `environment`; empty in the mode `existing`."""
    if mode == "existing":
        return {}
    # Ansible writes NAME=VALUE before the command that runs a module, and quotes the value. It has no keyword that removes a name.
    removals = " ".join(f"-u {name}" for name in NAMES)
    return {f"/usr/bin/env {removals} MISSION_CONTROL_ENVIRONMENT": "clean"}


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, str]]:
        self.set_options(var_options=variables, direct=kwargs)
        return [clean_environment(str(mode)) for mode in terms]
