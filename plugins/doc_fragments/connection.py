# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How the modules find the database; plugins/module_utils/database/connection_options.py reads it."""

    DOCUMENTATION = r"""
notes:
  - "The login is looked for in this order: the options; the environment of the module on the managed host (C(DATABASE_URL), or C(POSTGRES_HOST),
    C(POSTGRES_PORT), C(POSTGRES_DB), C(POSTGRES_USER), C(POSTGRES_PASSWORD), C(POSTGRES_SSLMODE), C(POSTGRES_SSLROOTCERT),
    C(POSTGRES_TARGET_SESSION_ATTRS), and libpq's own such as C(PGHOST));
    the env file on the managed host, which the role P(homelab.mission_control.mission_control_database#role) writes; at last the local Unix socket,
    where the server lets the operating system's user log in under its own name (peer)."
  - "The first of these that names a server, a login or a password is used as a whole. Once O(login_host), O(login_unix_socket), O(login_port),
    O(login_user), O(login_password) or O(url) is given, nothing of the environment fills the others, libpq's C(PGHOST), C(PGHOSTADDR), C(PGSERVICE),
    C(PGOPTIONS) and C(PGPASSFILE) included, and no env file is read. So a password goes only to the server that it was given for."
  - Of an ad hoc line that fails Ansible prints the arguments. Leave the password to the environment or to the env file there.
  - A file that only root may read needs C(become). The local login of the administrator needs C(become) with C(become_user=postgres).
options:
  login_host:
    description: Name or address of the server. Several that hold the same database, such as the members of a cluster, are separated by commas.
    type: str
    aliases: [host]
  login_port:
    description: Port of the server, or of each of several; without it 5432.
    type: int
    aliases: [port]
  target_session_attrs:
    description: Which of several servers will do, in libpq's words. Without it C(read-write) where O(login_host) names several.
    type: str
    choices: [any, read-write, read-only, primary, standby, prefer-standby]
  login_unix_socket:
    description: Directory of the Unix socket, where it is not the usual one. Not together with O(login_host).
    type: str
    aliases: [unix_socket]
  login_user:
    description: Database role to log in with.
    type: str
    aliases: [login]
  login_password:
    description: Its password.
    type: str
  login_db:
    description: Database; without it V(mission_control).
    type: str
    aliases: [db]
  url:
    description: All in one, such as C(postgresql://user@db.home.arpa:5432/mission_control?sslmode=verify-full). The other options win over its parts.
    type: str
  env_file:
    description:
      - File on the managed host with C(POSTGRES_HOST) and its siblings. It must be there then. Not together with another option that names a login.
      - Without it the file that C(MISSION_CONTROL_ENV_FILE) names, or else C(/etc/mission-control/database.env) if there is one.
    type: path
  ssl_mode:
    description: Whether TLS is used and what is checked, in libpq's words; without it libpq's own default, C(prefer).
    type: str
    choices: [allow, disable, prefer, require, verify-ca, verify-full]
  ca_cert:
    description: File with the certificate authority that the server's certificate is checked against.
    type: path
    aliases: [ssl_rootcert]
  ssl_cert:
    description: File with the client's certificate.
    type: path
  ssl_key:
    description: File with the key of the client's certificate.
    type: path
  connect_timeout:
    description: Seconds that one attempt to connect to one server may take; without it 10, and 3 where there are several.
    type: float
requirements:
  - psycopg2 for the Python of the managed host, 2.8 or newer, as in Debian's C(python3-psycopg2)
"""
