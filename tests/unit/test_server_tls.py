"""Which certificate the server is to show: made only when it is needed, never one that clients could not use."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.certificates.names import (
    from_openssl,
    missing_names,
    wanted_names,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.server import plan_server
from test_server_plan import WANTED, cluster, host, provisioned, server

DIRECTORY = "/etc/mission-control/postgresql"
OPEN = {"listen_addresses": ["*"], "client_networks": ["10.0.0.0/24"]}
NAMES = ["localhost", "127.0.0.1", "::1", "db", "db.home.arpa", "10.0.0.5"]
AUTHORITY = {"path": f"{DIRECTORY}/ca.crt", "certificate": "PEM", "days_left": 3000, "key_matches": True}
GIVEN = {"problem": "", "names": ["db"], "days_left": 300, "expires": "2027-09-01", "fingerprints": ["abc"]}


def pair(number=1, **changes):
    good = {"fingerprints": [f"f{number}"], "names": NAMES, "days_left": 400, "expires": "2028-01-01"}
    return {"number": number, **good, "owner": "postgres", "key_matches": True, "trusted": True, **changes}


def certificates(*pairs, authority=AUTHORITY):
    return {"directory": DIRECTORY, "authority": authority, "pairs": list(pairs)}


def plan(info=None, **wanted):
    return plan_server(host(cluster()) if info is None else info, {**WANTED, **wanted})


def problem(info=None, **wanted):
    [sentence] = plan(info, **wanted)["problems"]
    return sentence


def settled(*pairs, others=(), named=None, **wanted):
    """The plan for a host whose drop-in and rules are as the role writes them when the pair `named`, else the newest, will do."""
    will_do = pair(named or (pairs[0]["number"] if pairs else 1), fingerprints=["abc"])
    before = plan(host(cluster(), certificates=certificates(will_do)), **{**OPEN, **wanted, "tls_renew": False})
    ours = cluster(drop_in_content=before["drop_in"], hba_content=before["hba"])
    return plan(host(ours, *others, certificates=certificates(*pairs)), **{**OPEN, **wanted})


def test_nobody_from_elsewhere_no_certificate():
    assert plan()["tls"]["source"] == "keep"
    assert "ssl" not in plan()["drop_in"]


def test_other_hosts_get_a_certificate_that_they_can_verify():
    made = plan(**OPEN)
    assert made["actions"][:2] == ["Create a certificate authority for this host.", "Create a certificate for 17/main."]
    assert made["tls"]["names"] == NAMES
    assert f"ssl_cert_file = '{DIRECTORY}/server-1.crt'\nssl_key_file = '{DIRECTORY}/server-1.key'\n" in made["drop_in"]
    assert "\nssl = on\n" in made["drop_in"]


def test_a_new_host_too():
    made = plan(host(packages={}), **OPEN)
    assert (made["tls"]["make"], made["tls"]["number"]) == (True, 1)


@pytest.mark.parametrize(
    ("theirs", "wanted"),
    [
        ({"ssl_cert_file": "/etc/ssl/own.pem"}, {}),
        ({}, {"settings": {"ssl_cert_file": "/etc/ssl/own.pem"}}),
        ({}, {"client_tls": False}),
        ({}, {"tls": "keep"}),
    ],
)
def test_a_certificate_that_somebody_chose_stays(theirs, wanted):
    assert plan(host(cluster(settings=theirs)), **OPEN, **wanted)["tls"]["source"] == "keep"


def test_that_of_the_packages_was_chosen_by_nobody():
    theirs = {"ssl_cert_file": "/etc/ssl/certs/ssl-cert-snakeoil.pem"}
    assert plan(host(cluster(settings=theirs)), **OPEN)["tls"]["source"] == "own_authority"


def test_a_provisioned_host_gets_nothing():
    assert settled(pair())["actions"] == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"days_left": 89}, "expires on 2028-01-01"),
        ({"names": NAMES[:-1]}, "does not cover 10.0.0.5"),
        ({"key_matches": False}, "does not match its key"),
        ({"trusted": False}, "is not signed by the authority of this host"),
        ({"owner": ""}, "has a key that is not private to postgres"),
        ({"owner": "root"}, "has a key that is not private to postgres"),
    ],
)
def test_one_that_will_not_do_is_followed_by_another(changes, reason):
    made = settled(pair(3, **changes))
    assert made["actions"] == [
        f"Create a certificate for 17/main, since the present one {reason}.",
        "Remove the unused server-3.crt, server-3.key.",
        "Write the settings of 17/main.",
    ]
    assert made["tls"]["number"] == 4


def test_more_names_than_wanted_do_no_harm():
    assert settled(pair(names=[*NAMES, "more.home.arpa"]))["actions"] == []


def test_one_is_made_where_it_is_asked_for():
    assert settled(pair(), tls_renew=True)["tls"]["number"] == 2


def test_what_a_killed_run_made_is_used_and_what_it_left_is_removed():
    removal = "Remove the unused server-1.crt, server-1.key."
    assert settled(pair(2), pair(1), named=1)["actions"] == [removal, "Write the settings of 17/main."]
    assert settled(pair(2), pair(1), named=2)["actions"] == [removal]
    half_made = settled(pair(3, key_matches=False, fingerprints=[], owner=""), pair(2), named=2)
    assert half_made["tls"]["obsolete"] == [f"{DIRECTORY}/server-3.crt", f"{DIRECTORY}/server-3.key"]
    assert (half_made["tls"]["make"], half_made["write_drop_in"]) == (False, False)


def test_what_another_cluster_uses_is_not_removed():
    old = cluster("15", port=5433, drop_in_content=f"ssl_cert_file = '{DIRECTORY}/server-1.crt'\n")
    old["server"] = server(port=5433)
    assert settled(pair(2), pair(1), others=[old])["tls"]["obsolete"] == [f"{DIRECTORY}/server-1.key"]


def test_a_lost_authority_is_made_anew():
    made = plan(host(provisioned(), certificates=certificates(pair(), authority=None)), **OPEN)
    assert "Create a certificate authority for this host." in made["actions"]


def test_a_given_one_is_put_in_place_once():
    given = {"tls": "given", "tls_given": GIVEN}
    assert settled(**given)["actions"] == ["Install the given certificate for 17/main."]
    assert settled(pair(fingerprints=["abc"], trusted=False, days_left=3, names=["db"]), **given)["actions"] == []
    assert settled(pair(fingerprints=["another"]), **given)["tls"]["number"] == 2


@pytest.mark.parametrize(
    ("changes", "wanted", "part"),
    [
        ({"problem": "is none"}, {}, "The certificate in mission_control_postgresql_tls_certificate is none."),
        ({"days_left": -1}, {}, "expired on 2027-09-01: give a newer one."),
        ({"names": ["web.home.arpa"]}, {}, "covers web.home.arpa but not this host (db, db.home.arpa, 10.0.0.5)"),
        ({"names": []}, {}, "covers no name but not this host"),
        ({}, {"tls_names": ["pg.home.arpa"]}, "does not cover pg.home.arpa of mission_control_postgresql_tls_names, but db."),
    ],
)  # fmt: skip
def test_a_given_one_that_clients_could_not_use_is_refused(changes, wanted, part):
    assert part in problem(tls="given", tls_given={**GIVEN, **changes}, **OPEN, **wanted)


def test_a_given_one_for_the_name_that_clients_use_is_taken():
    given = {**GIVEN, "names": ["*.home.arpa"]}
    assert plan(tls="given", tls_given=given, tls_names=["pg.home.arpa"], **OPEN)["problems"] == []


def test_clients_that_must_use_tls_need_a_server_that_offers_it():
    without = host(cluster(server=server(ssl=False)))
    sentence = problem(without, tls="keep", **OPEN)
    assert "offers no TLS" in sentence
    assert "set mission_control_postgresql_tls to own_authority" in sentence
    assert "offers no TLS" in problem(settings={"ssl": False}, **OPEN)
    assert plan(without, tls="keep", client_tls=False, **OPEN)["problems"] == []
    assert plan(without, **OPEN)["problems"] == [], "by itself the role makes a certificate"


def test_a_certificate_that_another_file_overrides_is_refused():
    info = host(cluster(server=server(overridden=["ssl_cert_file"])))
    assert problem(info, **OPEN) == (
        "ssl_cert_file is also set in a file of 17/main that is read later and overrides it: remove it there."
    )


@pytest.mark.parametrize(
    ("shown", "note"),
    [
        ({"days_left": -3, "expires": "2026-01-01", "names": ["db"]}, "The certificate of 17/main expired on 2026-01-01."),
        ({"days_left": 3, "expires": "2027-01-01", "names": ["db"]}, "The certificate of 17/main expires on 2027-01-01."),
        ({"days_left": 999, "expires": "", "names": ["other"]}, "covers none of this host's names"),
        ({"days_left": 999, "expires": "", "names": ["db"]}, ""),
    ],
)  # fmt: skip
def test_what_is_wrong_with_one_that_somebody_chose_is_told(shown, note):
    theirs = cluster(server=server(certificate={"fingerprint": "x", **shown}))
    notes = plan(host(theirs), tls="keep", memory_mb="1024", **OPEN)["notes"]
    assert ([note in each for each in notes] == [True]) if note else (notes == [])


def test_the_names_are_those_by_which_clients_come():
    addresses = ["10.0.0.5", "fd00::5"]
    names = wanted_names(["DB", "not a name"], ["192.168.20.5", "::"], addresses, ["10.0.0.5", "pg.home.arpa"])
    assert names[3:] == ["db", "192.168.20.5", "10.0.0.5", "fd00::5", "pg.home.arpa"]
    assert wanted_names([], ["10.0.0.5"], ["10.0.0.6"], [])[3:] == ["10.0.0.5"]


def test_a_star_stands_for_one_label():
    assert missing_names(["a.home.arpa", "home.arpa", "b.a.home.arpa", "10.0.0.1"], ["*.home.arpa"]) == [
        *("home.arpa", "b.a.home.arpa", "10.0.0.1"),
    ]


def test_what_openssl_prints_is_read():
    printed = "X509v3 Subject Alternative Name: \n    DNS:Db, IP Address:10.0.0.5, IP Address:FD00:0:0:0:0:0:0:5\n"
    assert from_openssl(printed) == ["db", "10.0.0.5", "fd00::5"]


SHARED = {**AUTHORITY, "key_matches": False, "elsewhere": True}


@pytest.mark.parametrize(
    ("changes", "due"),
    [({}, ""), ({"days_left": 89}, "expires on 2028-01-01"), ({"names": NAMES[:-1]}, "does not cover 10.0.0.5")],
)
def test_what_the_authority_of_another_host_signed_is_kept_and_said_to_be_due(changes, due):
    made = plan(host(cluster(), certificates=certificates(pair(**changes), authority=SHARED)), **OPEN)
    assert (made["tls"]["make"], made["tls"]["due"], made["tls"]["next"]) == (False, due, 2)
    assert ("run playbooks/standby.yml" in " ".join(made["notes"])) == bool(due)


@pytest.mark.parametrize("wanted", [{"tls_renew": True}, {}])
def test_an_authority_of_its_own_is_made_when_that_is_asked_for_or_the_certificate_has_ended(wanted):
    left = 400 if wanted else -1
    info = host(cluster(), certificates=certificates(pair(days_left=left), authority=SHARED))
    assert plan(info, **OPEN, **wanted)["tls"]["make"]
