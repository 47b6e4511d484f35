# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the certificate that the server presents: one of the host's, a new one, or a reason why it cannot be used.

Pure functions of what the module cluster_info found and what the role was given.
"""

from __future__ import annotations

import os
import re
from typing import Any

from ..certificates.facts import paths
from ..certificates.names import missing_names, wanted_names

Info = dict[str, Any]
Wanted = dict[str, Any]

# What Debian's packages put into a new cluster: for no host's name, signed by nobody, the same key for every program of the host.
PACKAGED_CERTIFICATE = "/etc/ssl/certs/ssl-cert-snakeoil.pem"
# PostgreSQL takes any beginning of these words that is not also one of `on`.
_OFF = ("of", "off", "f", "fa", "fal", "fals", "false", "n", "no", "0")


def plan_tls(info: Info, wanted: Wanted, target: dict[str, Any] | None) -> dict[str, Any]:
    """Return the part of the plan that is about TLS.

    `source` is keep, own_authority or given; `settings` go into the drop-in; `make` tells whether the pair `number` has to be made,
    for `names`; `obsolete` are files of pairs that nothing uses any more; `reason` says why it is made; `due` why it should be, where the
    key of the authority is on another host, which alone can sign the pair `next`.
    """
    source = _source(wanted, target)
    names = certificate_names(info, wanted, target)
    known = info["certificates"]
    plan: dict[str, Any] = {"source": source, "settings": {}, "make": False, "number": 0, "next": 1, "names": names}
    plan.update({"obsolete": [], "reason": "", "due": "", "authority": None, "directory": known["directory"]})
    if source == "keep":
        return plan
    owner = (target or {}).get("owner", "postgres")
    faults = {each["number"]: _fault(each, source, owner, names, known, wanted) for each in known["pairs"]}
    usable = [number for number, fault in faults.items() if not fault]
    number = usable[0] if usable else max(faults, default=0) + 1
    certificate, key = paths(known["directory"], number)
    plan.update({"make": not usable, "number": number, "next": max(faults, default=0) + 1})
    plan["settings"] = {"ssl": True, "ssl_cert_file": certificate, "ssl_key_file": key}
    if plan["make"] and faults:
        plan["reason"] = next(iter(faults.values()))
    others = [path for each in faults if each != number for path in paths(known["directory"], each)]
    plan["obsolete"] = [path for path in others if not _named_elsewhere(path, info, target)]
    if source == "own_authority":
        plan["authority"] = known["authority"]
        pair = next((each for each in known["pairs"] if each["number"] == number), None)
        if pair and not plan["make"] and (known["authority"] or {}).get("elsewhere"):
            plan["due"] = _renewal(pair, names, wanted)
    return plan


def _source(wanted: Wanted, target: dict[str, Any] | None) -> str:
    """What `automatic` stands for: TLS that other hosts can verify as soon as they are let in, unless somebody chose a certificate."""
    if wanted["tls"] != "automatic":
        return str(wanted["tls"])
    theirs = {**(target or {}).get("settings", {}), **wanted["settings"]}
    chosen = theirs.get("ssl_cert_file") not in (None, PACKAGED_CERTIFICATE) or "ssl" in wanted["settings"]
    return "own_authority" if wanted["client_networks"] and wanted["client_tls"] and not chosen else "keep"


def certificate_names(info: Info, wanted: Wanted, target: dict[str, Any] | None) -> list[str]:
    """The names that a certificate of this host is made for."""
    return wanted_names(
        own=[*wanted["own_names"], *info["host_names"]],
        listening=listening_addresses(wanted, target),
        addresses=info["addresses"],
        more=wanted["tls_names"],
    )


def listening_addresses(wanted: Wanted, target: dict[str, Any] | None) -> list[str]:
    """Where the server listens, or will listen after the run."""
    theirs = (target or {}).get("settings", {}).get("listen_addresses", "localhost")
    addresses = ",".join(map(str, wanted["listen_addresses"])) or theirs
    return [each for each in re.split(r"\s*,\s*", addresses.strip()) if each]


def _fault(
    pair: dict[str, Any], source: str, owner: str, names: list[str], known: dict[str, Any], wanted: Wanted
) -> str:
    """Why a pair of the host is not the one to use, as the end of a sentence; empty where it is."""
    if not pair["key_matches"]:
        return "does not match its key"
    if pair["owner"] != owner:
        return f"has a key that is not private to {owner}"
    if source == "given":
        return "" if pair["fingerprints"] == wanted["tls_given"]["fingerprints"] else "differs from the given one"
    authority = known["authority"] or {}
    # Another authority would be one that clients do not know, so what another host's has signed is kept as long as it is valid.
    elsewhere = authority.get("elsewhere") and pair["days_left"] >= 0
    if not pair["trusted"] or not (authority.get("key_matches") or elsewhere):
        return "is not signed by the authority of this host"
    return ("" if elsewhere else _renewal(pair, names, wanted)) or ("is to be renewed" if wanted["tls_renew"] else "")


def _renewal(pair: dict[str, Any], names: list[str], wanted: Wanted) -> str:
    """Why a pair is to be followed by the next, as the end of a sentence; empty where it will do."""
    if pair["days_left"] < wanted["tls_renew_days"]:
        return f"expires on {pair['expires']}"
    missing = missing_names(names, pair["names"])
    return f"does not cover {missing[0]}" if missing else ""


def _named_elsewhere(path: str, info: Info, target: dict[str, Any] | None) -> bool:
    """Whether the file of another cluster names a certificate, which that cluster would miss at its next start."""
    return any(f"'{path}'" in (each["drop_in_content"] or "") for each in info["clusters"] if each is not target)


def tls_problems(
    info: Info, wanted: Wanted, label: str, target: dict[str, Any] | None, plan: dict[str, Any]
) -> list[str]:
    """Return why the server cannot offer TLS as the inputs say."""
    given = wanted["tls_given"] if plan["source"] == "given" else {}
    if given:
        problem = given["problem"] or _given_problem(given, plan["names"], wanted)
        return [f"The certificate in mission_control_postgresql_tls_certificate {problem}."] if problem else []
    server = (target or {}).get("server")
    lost = sorted(set(server["overridden"]) & set(plan["settings"])) if server else []
    if lost:
        return [f"{lost[0]} is also set in a file of {label} that is read later and overrides it: remove it there."]
    if not (wanted["client_networks"] and wanted["client_tls"]) or plan["settings"]:
        return []
    chosen = wanted["settings"].get("ssl")
    offered = str(chosen).lower() not in _OFF if chosen is not None else not server or server["ssl"]
    if not offered:
        return [
            f"The cluster {label} offers no TLS, but mission_control_postgresql_client_tls requires it for other hosts: set "
            "mission_control_postgresql_tls to own_authority."
        ]
    return []


def _given_problem(given: dict[str, Any], names: list[str], wanted: Wanted) -> str:
    if given["days_left"] < 0:
        return f"expired on {given['expires']}: give a newer one"
    asked = missing_names(wanted["tls_names"], given["names"])
    if asked:
        return f"does not cover {asked[0]} of mission_control_postgresql_tls_names, but {', '.join(given['names'])}"
    hosts = [name for name in names if name not in ("localhost", "127.0.0.1", "::1")]
    if not wanted["tls_names"] and len(missing_names(hosts, given["names"])) == len(hosts):
        return (
            f"covers {', '.join(given['names']) or 'no name'} but not this host ({', '.join(hosts)}): give its own, or list the names that "
            "clients use in mission_control_postgresql_tls_names"
        )
    return ""


def tls_notes(wanted: Wanted, label: str, target: dict[str, Any] | None, plan: dict[str, Any]) -> list[str]:
    """Return sentences about a certificate that somebody else chose and that clients could not verify, or not for long."""
    served = ((target or {}).get("server") or {}).get("certificate")
    if plan["due"]:
        return [
            f"The certificate of {label} {plan['due']}, and the key of its authority is on another host: run playbooks/standby.yml, or set "
            "mission_control_postgresql_tls_renew to true for an authority of this host, whose certificate clients then need."
        ]
    if plan["source"] != "keep" or not wanted["client_networks"] or not served:
        return []
    missing = missing_names(plan["names"], served["names"])
    if served["days_left"] < wanted["tls_renew_days"]:
        return [
            f"The certificate of {label} {'expired' if served['days_left'] < 0 else 'expires'} on {served['expires']}."
        ]
    if len(missing) == len(plan["names"]):
        return [
            f"The certificate of {label} covers none of this host's names, so clients cannot use sslmode=verify-full."
        ]
    return []


def tls_actions(label: str, plan: dict[str, Any]) -> list[str]:
    """Return the changes as sentences."""
    sentences = []
    if plan["make"] and plan["source"] == "given":
        sentences.append(f"Install the given certificate for {label}.")
    elif plan["make"]:
        if plan["authority"] is None:
            sentences.append("Create a certificate authority for this host.")
        again = f", since the present one {plan['reason']}" if plan["reason"] else ""
        sentences.append(f"Create a certificate for {label}{again}.")
    if plan["obsolete"]:
        sentences.append(f"Remove the unused {', '.join(map(os.path.basename, plan['obsolete']))}.")
    return sentences
