# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: hosts
short_description: The hosts of Mission Control's database as an Ansible inventory
version_added: "0.2.0"
description:
  - Reads the table C(hosts) by one statement. Each row becomes a host with its columns in the variable C(mission_control_host).
  - A database that does not answer ends the run with one sentence and a return code that is not 0, and so does a wrong option. Ansible itself would
    only warn of an inventory source that fails, and go on without its hosts.
  - What sources have told of a host is text and never a template. Logins and passwords do not become variables.
  - A row whose name cannot be the name of a host gets the next one that O(hostnames) says, and is left out with a warning where none will do. Such are
    names that are empty, begin with a dash, hold anything else than letters, digits, dots, dashes and underscores, mean this machine (C(localhost)), or
    are those of a group.
  - A host that an earlier inventory source has listed too gets the variables and groups, but keeps how it is reached. So name this source last.
  - The connection options are read on the controller, which takes the place of the managed host in what is said of them. They may be templates.
options:
  plugin:
    description: Name of this plugin.
    type: str
    required: true
    choices: [homelab.mission_control.hosts]
  types:
    description: Only hosts of these types.
    type: list
    elements: str
    choices: [proxmox-node, vm, lxc-container, k8s-node, docker-host, bare-metal]
    default: []
  statuses:
    description: Only hosts of these statuses.
    type: list
    elements: str
    choices: [online, offline, degraded, unknown]
    default: []
  sources:
    description: Only hosts that these sources have told, such as V(proxmox-main); V(manual) is what was written by hand.
    type: list
    elements: str
    default: []
  labels:
    description:
      - Only hosts that have all of these labels with these values. Of a list it is enough that it holds what is given, as in C(groups=[web]).
      - Labels from sources are text, so a number is to be quoted.
    type: dict
    default: {}
  include_gone:
    description: Whether hosts that their source no longer lists are there too; they have C(mission_control_host.gone_at).
    type: bool
    default: false
  hostnames:
    description:
      - What a host is called in the inventory. The first of these that it has and that can be the name of a host is taken.
      - V(name), V(address), or a label such as V(label:fqdn).
    type: list
    elements: str
    default: [name, address]
  unique_names:
    description:
      - What is done where several hosts would have one name, as two guests of different clusters may. V(error) ends the run.
      - V(suffix) puts the first eight digits of the row's id behind the name of each of them, such as C(web-3f2a9c1d).
    type: str
    choices: [error, suffix]
    default: error
  set_ansible_host:
    description: Whether C(ansible_host) is set to the address of the host. An address that holds more than addresses and DNS names do is left out.
    type: bool
    default: true
extends_documentation_fragment:
  - homelab.mission_control.connection
  - constructed
  - inventory_cache
notes:
  - The cache holds the rows by server, login and filters, so that two configurations share it only where they would read the same. While it is valid
    the database is not asked. With C(--flush-cache) and C(meta=refresh_inventory) it is, and where it does not answer then, what is still valid serves
    with a warning that says its age.
  - Names of groups are made from what sources say where O(keyed_groups) says so. Give them a prefix, so that they cannot be those of other groups.
seealso:
  - module: homelab.mission_control.inventory_sync
author:
  - Mission Control maintainers (@homelab)
"""

EXAMPLES = r"""
---
# hosts.yml, with the login from the environment or the env file of the controller:
plugin: homelab.mission_control.hosts

---
# Running guests of Proxmox by cluster, over TLS
plugin: homelab.mission_control.hosts
login_host: db.home.arpa
login_user: mission_control_readonly
login_password: "{{ lookup('ansible.builtin.env', 'INVENTORY_PASSWORD') }}"
ssl_mode: verify-full
ca_cert: ~/.config/mission-control/ca.pem
types: [vm, lxc-container]
statuses: [online]
unique_names: suffix
keyed_groups:
  - key: mission_control_host.cluster
    prefix: cluster
  - key: mission_control_host.labels.groups | default([])
    prefix: group
groups:
  small: (mission_control_host.memory_bytes or 0) < 1024 ** 3
compose:
  ansible_user: "'root' if mission_control_host.type == 'lxc-container' else 'debian'"

---
# With a cache of an hour in files
plugin: homelab.mission_control.hosts
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/mission-control-inventory
cache_timeout: 3600
"""

import hashlib
import ipaddress
import json
import os
import re
import time
from collections import Counter
from typing import Any, NoReturn

from ansible.constants import LOCALHOST
from ansible.errors import AnsibleError, AnsibleParserError, AnsibleUndefinedVariable
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.database.connection_options import (
    CONNECTION_OPTIONS,
    Login,
    login_from_options,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import (
    ConnectError,
    ConnectionLostError,
    MissionControlError,
    PoolError,
)

NAME = "homelab.mission_control.hosts"
# Values as JSON has them, so that a row is the same whether it comes from the database or from a cache.
COLUMNS = """id::text, name, type, cluster, status, address, os, cpu_cores::double precision AS cpu_cores, memory_bytes, labels, metadata, source,
    external_id, to_char(gone_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS gone_at"""
FILTERS = {
    "types": "type = ANY (%(types)s)",
    "statuses": "status = ANY (%(statuses)s)",
    "sources": "source = ANY (%(sources)s)",
    "labels": "labels @> %(labels)s",
}
# Of another form than this version's, a cached value is none.
CACHE_FORM = 1
_LABEL = "label:"
_SHOWN = 10
_PREFERENCE = re.compile(r"name|address|label:.+")
_NAME = re.compile(r"\w[\w.-]*")
_PATH = re.compile(r"mission_control_host(\.[A-Za-z_]\w*)+", re.ASCII)
# What SSH takes for an address; not an option, and nothing that the shell of a ProxyCommand would read.
_ADDRESS = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]*")


def usable_name(text: object, taken: Any = ()) -> bool:
    """Whether a text can be the name of a host.

    Args:
        text: what a source says, anything.
        taken: names of groups, which would take the variables of a host of that name and the plays for it.
    """
    if not isinstance(text, str) or text in taken or text in LOCALHOST:
        return False
    return bool(_NAME.fullmatch(text)) or _is_address(text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return bool(_ADDRESS.fullmatch(text))


def chosen_name(row: dict[str, Any], preferences: list[str], taken: Any = ()) -> str | None:
    """The first of the preferred names that a row has and that can be one; None where there is none."""
    for preference in preferences:
        is_label = preference.startswith(_LABEL)
        name = row["labels"].get(preference[len(_LABEL) :]) if is_label else row[preference]
        if usable_name(name, taken):
            return str(name)
    return None


def described(row: dict[str, Any]) -> str:
    """A row for a message, on one line whatever its source has told."""
    where = f" of {row['cluster']!r}" if row["cluster"] else ""
    return f"{row['name']!r}{where} (source {row['source']!r}, id {row['id']})"


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Hosts from the database."""

    NAME = NAME

    def verify_file(self, path: str) -> bool:
        return path.endswith((".yml", ".yaml")) and bool(super().verify_file(path))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        try:
            config = self._read_config_data(path)
            self._refuse_unknown(config)
            self._fill(self._rows(cache))
        except AnsibleParserError as error:
            if not self._options:  # the file is for another plugin, which Ansible asks next
                raise
            self._stop(path, error)
        except (AnsibleError, MissionControlError) as error:
            self._stop(path, error)

    def _stop(self, path: str, error: Exception) -> NoReturn:
        """End the program. Of an exception Ansible makes a warning, and a play for no hosts would be a success."""
        self.display.error(f"The inventory {path} could not be read. {error}", wrap_text=False)
        raise SystemExit(1)

    def _refuse_unknown(self, config: dict[str, Any]) -> None:
        known = set(self.option_definitions)
        for definition in self.option_definitions.values():
            known.update(definition.get("aliases") or ())
        for name in config:
            if name not in known:
                raise AnsibleError(
                    f"It has the option {name!r}, which there is not: see ansible-doc -t inventory {NAME}."
                )
        for name in self.get_option("hostnames"):
            if not _PREFERENCE.fullmatch(name):
                raise AnsibleError(
                    f"hostnames has {name!r}, but an entry is name, address or label: and the name of a label."
                )

    def _login(self) -> Login:
        self.templar.available_variables = self._vars
        options = {name: self.templar.template(self.get_option(name)) for name in CONNECTION_OPTIONS}
        return login_from_options(options, os.environ, application_name=NAME, pool_size=1)

    def _rows(self, use_cache: bool) -> list[dict[str, Any]]:
        """What the database says, or the cache. The environment is afterwards what it was, as modules on this machine get it too."""
        before = dict(os.environ)
        try:
            login = self._login()
            options = {name: self.get_option(name) for name in (*FILTERS, "include_gone")}
            # Without the tags of Ansible, which the driver cannot send.
            filters = json.loads(json.dumps(options, default=str))
            key = self._key(login, filters)
            cached = self._cached(key)
            if use_cache and cached:
                return cached["hosts"]
            try:
                rows = self._read(login, filters)
            except (ConnectError, ConnectionLostError, PoolError) as error:
                said = login.explain(str(error))
                if not cached:
                    raise ConnectError(said) from error
                age = round((time.time() - cached["read_at"]) / 60)
                self.display.warning(f"{said} The hosts are those of the cache, which is {age} minutes old.")
                return cached["hosts"]
            if self.get_option("cache"):
                self._cache[key] = {"form": CACHE_FORM, "read_at": time.time(), "hosts": rows}
            return rows
        finally:
            os.environ.update(before)

    def _key(self, login: Login, filters: dict[str, Any]) -> str:
        """A key of everything that the rows depend on, and of no secret."""
        parameters = login.settings.connection_parameters()
        told = {name: parameters.get(name) for name in ("host", "port", "dbname", "user", "service", "options")}
        text = json.dumps([told, filters], sort_keys=True)
        return f"mission_control_hosts_{hashlib.sha256(text.encode()).hexdigest()}"

    def _cached(self, key: str) -> dict[str, Any] | None:
        if not self.get_option("cache"):
            return None
        cached = self._cache.get(key)
        return cached if isinstance(cached, dict) and cached.get("form") == CACHE_FORM else None

    def _read(self, login: Login, filters: dict[str, Any]) -> list[dict[str, Any]]:
        conditions = [text for name, text in FILTERS.items() if filters[name]]
        if not filters["include_gone"]:
            conditions.append("gone_at IS NULL")
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        with Client(settings=login.settings) as client:
            # No part of the text is a value: these are in the parameters.
            return client.query_many(f"SELECT {COLUMNS} FROM hosts {where}ORDER BY name, cluster, id", filters)  # noqa: S608

    def _compose(self, template: Any, variables: Any, *more: Any, **others: Any) -> Any:
        """The value of an expression. A mere path into the row is followed here, as Ansible compiles an expression for each host anew."""
        if isinstance(template, str) and _PATH.fullmatch(template) and not self.get_option("use_extra_vars"):
            value = variables
            for name in template.split("."):
                if hasattr(dict, name):  # which Jinja takes for a method
                    return super()._compose(template, variables, *more, **others)
                if not isinstance(value, dict) or name not in value:
                    raise AnsibleUndefinedVariable(f"{template} is not defined.")
                value = value[name]
            return value
        return super()._compose(template, variables, *more, **others)

    def _names(self, rows: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
        """Each row with its name, but for those that can have none."""
        # A host that is called like a group would get what is meant for the group.
        taken = {*self.inventory.groups, *map(self._sanitize_group_name, self.get_option("groups"))}
        preferences = self.get_option("hostnames")
        named = [(chosen_name(row, preferences, taken), row) for row in rows]
        self._leave_out([row for name, row in named if name is None], "nothing that hostnames says can be their name")
        found = [(name, row) for name, row in named if name is not None]
        several = {name for name, count in Counter(name for name, _row in found).items() if count > 1}
        if not several:
            return found
        if self.get_option("unique_names") == "error":
            name = min(several)
            theirs = ", ".join(described(row) for each, row in found if each == name)
            raise AnsibleError(
                f"Several hosts would be called {name!r}: {theirs}. Set unique_names to suffix, or choose among them by types, sources or labels."
            )
        return [(f"{name}-{row['id'][:8]}" if name in several else name, row) for name, row in found]

    def _leave_out(self, rows: list[dict[str, Any]], reason: str) -> None:
        if rows:
            more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
            shown = ", ".join(map(described, rows[:_SHOWN]))
            self.display.warning(
                f"Hosts are left out, as {reason}: {shown}{more}. Rename them, or let hostnames begin with another label."
            )

    def _fill(self, rows: list[dict[str, Any]]) -> None:
        strict, compose = self.get_option("strict"), self.get_option("compose")
        groups, keyed_groups = self.get_option("groups"), self.get_option("keyed_groups")
        hosts = self._names(rows)
        earlier = {name for name, _row in hosts if name in self.inventory.hosts}
        for name, row in hosts:
            self.inventory.add_host(name)
            # On the host itself: the inventory would put a tag with its file on each value, which takes as long as all else here.
            # Without any tag a text is no template.
            host = self.inventory.get_host(name)
            host.set_variable("mission_control_host", row)
            address = row["address"]
            if self.get_option("set_ansible_host") and address and name not in earlier and _ADDRESS.fullmatch(address):
                host.set_variable("ansible_host", address)
        if compose:
            for name, _row in hosts:
                self._set_composite_vars(compose, self.inventory.get_host(name).get_vars(), name, strict)
        # All of one kind before the other: only hosts may be called like a group when a group gets its members by name.
        if groups:
            for name, _row in hosts:
                variables = self.inventory.get_host(name).get_vars()
                self._add_host_to_composed_groups(groups, variables, name, strict, fetch_hostvars=False)
        if keyed_groups:
            for name, _row in hosts:
                variables = self.inventory.get_host(name).get_vars()
                self._add_host_to_keyed_groups(keyed_groups, variables, name, strict, fetch_hostvars=False)
        like_groups = [(name, row) for name, row in hosts if name in self.inventory.groups and name not in earlier]
        for name, _row in like_groups:
            self.inventory.remove_host(self.inventory.get_host(name))
        self._leave_out([row for _name, row in like_groups], "groups of keyed_groups are called like them")
