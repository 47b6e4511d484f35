#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_info
short_description: Describe a Debian-like host and its PostgreSQL clusters
version_added: "0.1.0"
description:
  - Returns in one call what the role P(homelab.mission_control.mission_control_postgresql#role) decides on, so that it gathers no facts.
  - Reads files, those of a cluster with the rights of its owner, asks C(dpkg-query) and C(pg_lsclusters), and asks every running cluster by C(psql)
    as the operating-system user that owns it.
    It changes nothing and works when no part of PostgreSQL is installed.
  - Must run as root, since the configuration and the sockets belong to other users.
options:
  packages:
    description: Names or patterns of Debian packages whose installed version is wanted.
    type: list
    elements: str
    default: []
  port:
    description: TCP port of which to tell who listens on it.
    type: int
    required: true
  drop_in:
    description: Name of the file in the directory C(conf.d) of a cluster that the caller keeps. Its content is returned, and its settings do
      not count among those that others made.
    type: str
    default: mission_control.conf
  administrator:
    description: Operating-system user of whose shell to tell.
    type: str
    default: ""
  database:
    description: Name of a database of which to tell whether the administrator can connect to it.
    type: str
    default: ""
  creation_marker:
    description: Path of the file that the caller keeps while it creates a cluster. It holds C(version/name). Whoever creates one has a lock
      on the directory of that file (C(flock)); the module waits for up to two minutes until nobody has. The directory belongs to root, since what the
      file names is removed.
    type: path
    default: /var/lib/misc/mission_control-creating
  certificates:
    description: Directory in which M(homelab.mission_control.server_certificate) keeps certificates.
    type: path
    default: /etc/mission-control/postgresql
  networks:
    description: Networks of clients, of which to tell by which addresses they reach this host.
    type: list
    elements: str
    default: []
requirements:
  - Debian or a distribution made from it
attributes:
  check_mode:
    description: Runs and returns the same in check mode.
    support: full
  diff_mode:
    description: There is no difference to show, since nothing is changed.
    support: none
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Look at the clusters of this host
  homelab.mission_control.cluster_info:
    packages: ["postgresql-[0-9]*", python3-psycopg2]
    port: 5432
  become: true
  register: server

- name: Say which clusters need a restart for a setting of ours
  ansible.builtin.debug:
    msg: "{{ item.version }}/{{ item.name }}: {{ item.server.pending_restart | join(', ') }}"
  loop: "{{ server.clusters | selectattr('server') | selectattr('server.pending_restart') }}"
"""

RETURN = r"""
distribution:
  description: The fields C(id), C(version), C(codename) and C(name) from C(/etc/os-release).
  type: dict
  returned: success
  sample: {id: debian, version: "13", codename: trixie, name: Debian GNU/Linux 13 (trixie)}
systemd:
  description: Whether systemd is the running service manager.
  type: bool
  returned: success
service_enabled:
  description: Whether C(postgresql.service) starts when the host boots.
  type: bool
  returned: success
memory_bytes:
  description: The smaller of the host's memory and the limits of the control groups that the server runs in.
  type: int
  returned: success
packages:
  description: Versions of the asked packages that are installed, by name.
  type: dict
  returned: success
  sample: {postgresql-17: 17.5-1}
administrator_shell:
  description: The login shell of O(administrator), empty where there is no such user.
  type: str
  returned: success
  sample: /bin/bash
port_holder:
  description: Process id and name of who listens on O(port), V(null) if nobody does.
  type: dict
  returned: success
unregistered_data_directories:
  description: Directories with PostgreSQL data at the distribution's place that no cluster uses.
  type: list
  elements: str
  returned: success
unfinished_creation:
  description: Version, name and data directory of the cluster that O(creation_marker) names, and whether it has been started since;
    V(null) without that file.
  type: dict
  returned: success
host_names:
  description: What the host calls itself.
  type: list
  elements: str
  returned: success
addresses:
  description: Addresses of the host by which clients in O(networks) reach it, without those that change by themselves.
  type: list
  elements: str
  returned: success
certificates:
  description: What O(certificates) holds; nothing of a private key.
  type: dict
  returned: success
  contains:
    directory: {description: The directory., type: str}
    authority:
      description: C(path), C(certificate) (its text), C(days_left), C(key_matches) and C(elsewhere) (whether there is no key) of the authority, V(null)
        where there is none.
      type: dict
    pairs:
      description:
        - Every key with its certificate, the newest first, with C(number), C(names), C(expires), C(days_left), C(fingerprints) (SHA-256, with those of
          the certificates that are signed in between), C(key_matches), C(owner) (the user who alone may read the key, empty if there is none) and
          C(trusted) (whether the authority signed it).
      type: list
      elements: dict
clusters:
  description: Every cluster that C(pg_lsclusters) knows.
  type: list
  elements: dict
  returned: success
  contains:
    version: {description: Major version., type: str, sample: "17"}
    name: {description: Name of the cluster., type: str, sample: main}
    port: {description: Configured port., type: int}
    running: {description: Whether the server process runs., type: bool}
    binaries: {description: Whether the programs of this major version are installed., type: bool}
    patroni: {description: "What shows that Patroni runs the cluster, empty where nothing does.", type: str}
    owner: {description: Operating-system user that owns the cluster., type: str}
    start: {description: "V(auto), V(manual) or V(disabled), from C(start.conf).", type: str}
    fenced: {description: "Why the role mission_control_standby has disabled it, empty where it has not.", type: str}
    data_directory: {description: Path of the data., type: str}
    has_data: {description: Whether there is data at that path., type: bool}
    configuration_directory: {description: Path of the configuration., type: str}
    log: {description: Where the server writes its log., type: str}
    reads_conf_d: {description: Whether C(postgresql.conf) includes the directory C(conf.d)., type: bool}
    settings: {description: "Settings that the files of the cluster make, O(drop_in) left out.", type: dict}
    drop_in: {description: Path of O(drop_in)., type: str}
    drop_in_content: {description: "Its content, V(null) if there is no such file.", type: str}
    drop_in_encoding: {description: "How RV(clusters[].drop_in_content) becomes the bytes of the file, V(utf-8) or V(latin-1).", type: str}
    drop_in_problem: {description: "Why the owner of the cluster cannot write O(drop_in), empty where that is possible.", type: str}
    hba_file: {description: Path of the distribution's C(pg_hba.conf)., type: str}
    hba_content: {description: Its content., type: str}
    hba_encoding: {description: "How RV(clusters[].hba_content) becomes the bytes of the file, V(utf-8) or V(latin-1).", type: str}
    hba_problem: {description: "Why the owner of the cluster cannot write C(pg_hba.conf), or what it is a link to.", type: str}
    server_problem: {description: "Why RV(clusters[].server) is V(null).", type: str}
    last_error: {description: The last fatal message near the end of the log of a cluster that does not run., type: str}
    server:
      description: What the running server says, V(null) if it does not run or cannot be asked.
      type: dict
      contains:
        version: {description: Full version., type: str}
        version_number: {description: "The same as a number, 170005 for 17.5.", type: int}
        pid: {description: Process id of the postmaster., type: int}
        port: {description: Port that it was started with., type: int}
        socket_directory: {description: Directory of its Unix socket., type: str}
        databases: {description: Names of its databases., type: list, elements: str}
        maintenance_database: {description: "Where it was asked: C(postgres), or C(template1) where there is no such database.", type: str}
        database_problem: {description: "Why the administrator cannot connect to O(database), empty where that is possible or there is none.", type: str}
        hba_file: {description: Client authentication file in use., type: str}
        ssl: {description: Whether it offers TLS., type: bool}
        data_checksums: {description: Whether data pages carry checksums., type: bool}
        in_recovery: {description: Whether it is a standby., type: bool}
        standby_slots: {description: Names of its physical replication slots., type: list, elements: str}
        loaded_at: {description: "When it last read its configuration, in seconds since 1970.", type: float}
        certificate:
          description: "C(fingerprint) (SHA-256), C(names), C(expires) and C(days_left) of the certificate that it shows to clients, V(null) if none."
          type: dict
        reload_pending:
          description: Whether O(drop_in) or C(pg_hba.conf) changed since, or it shows another certificate than the one that O(drop_in) names.
          type: bool
        pending_restart: {description: Settings of O(drop_in) that wait for a restart., type: list, elements: str}
        overridden: {description: Settings of O(drop_in) that a file which is read later sets too., type: list, elements: str}
        configuration_errors: {description: What is wrong in its configuration files., type: list, elements: str}
        hba_errors: {description: What is wrong in its client authentication file., type: list, elements: str}
"""

import ipaddress
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.provisioning.certificates.facts import describe_directory
from ..module_utils.provisioning.facts import cluster as facts
from ..module_utils.provisioning.facts import host_names
from ..module_utils.sockets import port_holder


def describe_host(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    packages = (
        facts.parse_packages(_output_of(module, "dpkg-query", _dpkg_query(params["packages"])))
        if params["packages"]
        else {}
    )
    clusters = facts.parse_clusters(_output_of(module, "pg_lsclusters", ["--no-header"]))
    return {
        "distribution": facts.distribution(),
        "systemd": facts.systemd_runs(),
        "service_enabled": facts.service_enabled(),
        "memory_bytes": facts.memory_bytes(),
        "packages": packages,
        "administrator_shell": facts.shell_of(params["administrator"]),
        "port_holder": port_holder(params["port"]),
        "unregistered_data_directories": facts.unregistered_data_directories(clusters),
        "unfinished_creation": facts.unfinished_creation(params["creation_marker"]),
        "host_names": host_names.host_names(),
        "addresses": client_addresses(params["networks"]),
        "certificates": describe_directory(params["certificates"]),
        "clusters": [
            facts.describe_cluster(cluster, params["drop_in"], database=params["database"]) for cluster in clusters
        ],
    }


def client_addresses(networks: list[str]) -> list[str]:
    """Those of the host's steady addresses that lie in one of the networks or lead to it."""
    parts = [ipaddress.ip_network(each) for each in networks]
    towards = {host_names.address_towards(each) for each in networks}
    steady = host_names.addresses()
    return [each for each in steady if each in towards or any(ipaddress.ip_address(each) in part for part in parts)]


def problem_of(params: dict[str, Any]) -> str:
    """What no file, package or port can be called, as a sentence; empty where all is well."""
    texts = {
        "drop_in": [params["drop_in"]],
        "creation_marker": [params["creation_marker"]],
        "certificates": [params["certificates"]],
        "packages": params["packages"],
    }
    for name, values in texts.items():
        for value in values:
            if not value or not value.isprintable():
                return f"{name} is {value!r}, but it must be printable text."
    if "/" in params["drop_in"] or params["drop_in"] in (".", ".."):
        return f"drop_in is {params['drop_in']!r}, but it must be the name of a file in conf.d."
    for pattern in params["packages"]:
        if pattern.startswith("-"):
            return f"packages holds {pattern!r}, but no package name begins with a hyphen."
    for network in params["networks"]:
        try:
            known = ipaddress.ip_network(network) and "%" not in network
        except ValueError:
            known = False
        if not known:
            return f"networks holds {network!r}, which is not a network such as 192.168.20.0/24."
    if not 1 <= params["port"] <= 65535:
        return f"port is {params['port']}, but it must be between 1 and 65535."
    return ""


def _dpkg_query(patterns: list[str]) -> list[str]:
    return ["--show", "--showformat=${Package}\t${db:Status-Status}\t${Version}\n", *patterns]


def _output_of(module: AnsibleModule, program: str, arguments: list[str]) -> str:
    """Return what the program prints, nothing if it is not installed; dpkg-query fails when a package is unknown, which is an answer."""
    path = module.get_bin_path(program)
    if path is None:
        return ""
    code, output, errors = module.run_command([path, *arguments], environ_update={"LC_ALL": "C"})
    if code != 0 and program != "dpkg-query":
        raise facts.ProbeError(f"{program} failed: {' '.join(errors.split())}")
    return output


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "port": {"type": "int", "required": True},
            "drop_in": {"type": "str", "default": "mission_control.conf"},
            "administrator": {"type": "str", "default": ""},
            "database": {"type": "str", "default": ""},
            "creation_marker": {"type": "path", "default": "/var/lib/misc/mission_control-creating"},
            "certificates": {"type": "path", "default": "/etc/mission-control/postgresql"},
            "networks": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="cluster_info must run as root: set become to true for its task.")
    problem = problem_of(module.params)
    if problem:
        module.fail_json(msg=problem)
    try:
        with facts.between_creations(os.path.dirname(module.params["creation_marker"])):
            description = describe_host(module)
    except (facts.ProbeError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **description)


if __name__ == "__main__":
    main()
