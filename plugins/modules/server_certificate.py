#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_certificate
short_description: Make a certificate for a PostgreSQL server on its host, or put a given one in place
version_added: "0.1.0"
description:
  - Puts a private key and a certificate into a directory, as C(server-N.key) and C(server-N.crt). A pair is never replaced; the next one has another
    number, so that a run that is killed leaves no key under the name of another's certificate. No server is told about it.
  - Without O(certificate) it makes both, signed by an authority in the same directory (C(ca.crt) and C(ca.key)), which it makes where it is missing and
    renews before it ends, with the same key. Private keys are made on the host and do not leave it. Keys are of the curve P-256.
  - Of two hosts that share an authority the one without its key makes a key (O(step=request)), the other signs (O(step=sign)), and the first puts in
    place what it got (O(step=accept)). No key leaves its host.
  - Must run as root.
options:
  step:
    description: What is done of it. V(all) makes a pair or puts a given one in place.
    type: str
    choices: [all, request, sign, accept]
    default: all
  directory:
    description: Directory of the certificates. It is made where it is missing.
    type: path
    required: true
  number:
    description: Number of the pair.
    type: int
    required: true
  owner:
    description: Operating-system user that the server runs as, who alone may read its key.
    type: str
    default: postgres
  names:
    description: Names of the host and IP addresses that a certificate is made for.
    type: list
    elements: str
    default: []
  days:
    description: For how many days it is made.
    type: int
    default: 730
  certificate:
    description: A given certificate in PEM form, with those between it and its authority after it.
    type: str
    default: ""
  private_key:
    description: The key of O(certificate) in PEM form, without a passphrase.
    type: str
    default: ""
  request:
    description: For O(step=sign), what V(request) returned on the other host.
    type: str
    default: ""
  authority:
    description: For O(step=accept), the certificate of the authority that signed O(certificate), in PEM form. It takes the place of an own authority's.
    type: str
    default: ""
requirements:
  - openssl, which comes with the PostgreSQL of Debian and distributions made from it
attributes:
  check_mode:
    description: Says whether something would be made.
    support: full
  diff_mode:
    description: Nothing is shown of a key.
    support: none
seealso:
  - module: homelab.mission_control.cluster_info
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Make a certificate for this host
  homelab.mission_control.server_certificate:
    directory: /etc/mission-control/postgresql
    number: 1
    names: [db.home.arpa, 192.168.20.5]
  become: true
"""

RETURN = r"""
certificate_file:
  description: Where the certificate is.
  type: str
  returned: success
  sample: /etc/mission-control/postgresql/server-1.crt
key_file:
  description: Where its key is.
  type: str
  returned: success
  sample: /etc/mission-control/postgresql/server-1.key
request:
  description: The request to sign, in PEM form.
  type: str
  returned: if O(step=request)
signed:
  description: The signed certificate, in PEM form.
  type: str
  returned: if O(step=sign)
authority:
  description: The certificate of the authority, in PEM form.
  type: str
  returned: if O(step=sign)
"""

import os
import pwd
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.provisioning.certificates import maker
from ..module_utils.provisioning.certificates.facts import paths
from ..module_utils.provisioning.certificates.names import name_kind

_MOST_DAYS = maker.AUTHORITY_DAYS // 2


def problem_of(params: dict[str, Any]) -> str:
    """What is wrong with the options, as a sentence; empty where nothing is."""
    if not params["directory"].startswith("/") or not params["directory"].isprintable():
        return f"directory is {params['directory']!r}, but it must be an absolute path."
    if not 1 <= params["number"] < 10**9:
        return f"number is {params['number']}, but it must be between 1 and 999999999."
    if not 1 <= params["days"] <= _MOST_DAYS:
        return f"days is {params['days']}, but it must be between 1 and {_MOST_DAYS}."
    step = params["step"]
    if step == "all" and bool(params["certificate"]) != bool(params["private_key"]):
        return "Give certificate and private_key together, or neither of them."
    for name in {"sign": ("request",), "accept": ("certificate", "authority")}.get(step, ()):
        if not params[name]:
            return f"{name} is empty, but the step {step} needs it."
    for text in ("certificate", "private_key", "request", "authority"):
        if not params[text].isascii():
            return f"The {text} is not in PEM form: it has characters other than ASCII."
    if step != "accept" and not params["certificate"] and not params["names"]:
        return "names is empty, but a certificate needs at least one name."
    for name in params["names"]:
        if not name_kind(name):
            return f"names holds {name!r}, which is neither the name of a host nor an IP address."
    try:
        pwd.getpwnam(params["owner"])
    except (KeyError, ValueError):
        return f"owner is {params['owner']!r}, but there is no such user on this host."
    return ""


def make(params: dict[str, Any]) -> bool:
    """Return whether anything was made."""
    directory, number = params["directory"], params["number"]
    user = pwd.getpwnam(params["owner"])
    owner = (user.pw_uid, user.pw_gid)
    with maker.alone(directory):
        if maker.is_there(directory, number, params["certificate"]):
            return False
        if params["certificate"]:
            maker.keep(directory, number, owner, params["certificate"], params["private_key"])
        else:
            maker.issue(directory, number, owner, params["names"], params["days"])
    return True


def share(params: dict[str, Any]) -> dict[str, Any]:
    """Carry out a step of two hosts that share an authority, and return its result."""
    directory, number = params["directory"], params["number"]
    user = pwd.getpwnam(params["owner"])
    with maker.alone(directory):
        if params["step"] == "request":
            owner = (user.pw_uid, user.pw_gid)
            return {"changed": True, "request": maker.request(directory, number, owner, params["names"])}
        if params["step"] == "sign":
            signed, authority = maker.sign(directory, params["request"], params["names"], params["days"])
            return {"changed": True, "signed": signed, "authority": authority}
        maker.accept(directory, number, params["certificate"], params["authority"])
        return {"changed": True}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "number": {"type": "int", "required": True},
            "owner": {"type": "str", "default": "postgres"},
            "names": {"type": "list", "elements": "str", "default": []},
            "days": {"type": "int", "default": 730},
            "certificate": {"type": "str", "default": ""},
            "private_key": {"type": "str", "default": "", "no_log": True},
            "step": {"type": "str", "choices": ["all", "request", "sign", "accept"], "default": "all"},
            "request": {"type": "str", "default": ""},
            "authority": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    problem = problem_of(params)
    if problem:
        module.fail_json(msg=problem)
    if os.geteuid() != 0:
        module.fail_json(msg="server_certificate must run as root: set become to true for its task.")
    certificate_file, key_file = paths(params["directory"], params["number"])
    # The server's user has to reach its key through directories that are made here.
    os.umask(0o022)
    try:
        if params["step"] != "all":
            module.exit_json(**({"changed": True} if module.check_mode else share(params)))
        there = maker.is_there(params["directory"], params["number"], params["certificate"])
        changed = not there and (module.check_mode or make(params))
    except maker.CertificateError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"The certificate cannot be installed: {error.filename}: {error.strerror}.")
    module.exit_json(changed=changed, certificate_file=certificate_file, key_file=key_file)


if __name__ == "__main__":
    main()
