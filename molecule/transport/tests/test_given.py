"""A certificate that somebody gives: put in place where clients can use it, refused before anything is changed where not."""

from __future__ import annotations

import json

import pytest
from secrets_on_host import Known, files_with, journal, misplaced
from sql_on_host import as_administrator

CERTIFICATES = "/etc/mission-control/postgresql"
PREFIX = "mission_control_postgresql_tls"


@pytest.fixture(scope="module")
def make(server):
    """A callable: a certificate for a name and its key, as texts."""

    def run(name, *options):
        made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=given -keyout /root/given.key"
        server.check_output(f"{made} -addext subjectAltName=DNS:{name} -out /root/given.crt {' '.join(options)}")
        texts = [server.file(f"/root/given.{part}").content_string for part in ("crt", "key")]
        server.check_output("rm /root/given.*")
        return texts

    return run


@pytest.fixture(scope="module")
def give(run_playbook, scenario):
    def run(certificate, key, *arguments):
        variables = {PREFIX: "given", f"{PREFIX}_certificate": certificate, f"{PREFIX}_key": key}
        named = ["--limit", "server", "--tags", "server", "--extra-vars", json.dumps(variables)]
        outcome = run_playbook(scenario / "converge.yml", *named, *arguments)
        assert key.split("\n")[1] not in outcome.output
        return outcome

    return run


def state(server):
    files = "find /etc/postgresql /etc/mission-control -type f -exec sha256sum {} + | sort"
    return server.check_output(files), as_administrator(server, "SELECT pg_conf_load_time()")


def test_one_that_clients_could_not_use_is_one_sentence_and_changes_nothing(server, make, give):
    before = state(server)
    certificate, key = make("server")
    refused = {
        "expired on 2021-01-01: give a newer one.": make(
            "server", "-not_before", "20200101000000Z", "-not_after", "20210101000000Z"
        ),
        "does not match the key in mission_control_postgresql_tls_key.": (certificate, make("server")[1]),
        "does not cover db.home.arpa of mission_control_postgresql_tls_names, but server.": (
            certificate,
            key,
        ),
    }
    for sentence, (certificate, key) in refused.items():
        outcome = give(certificate, key)
        assert outcome.returncode != 0
        said = " ".join(outcome.output.split("fatal: ")[-1].split())
        assert f"The certificate in mission_control_postgresql_tls_certificate {sentence}" in said
    assert state(server) == before


def test_one_for_the_host_is_put_in_place_and_taken_away_again(
    server, client, psql, make, give, run_playbook, scenario
):
    certificate, key = make("db.home.arpa")
    started = as_administrator(server, "SELECT pg_postmaster_start_time()")
    outcome = give(certificate, key, "-vvv", "--diff")
    assert outcome.returncode == 0, outcome.output
    secrets = {"key": Known(key.split("\n")[1], (CERTIFICATES,))}
    places = {"output": outcome.output, "journal": journal(server), **files_with(server, [secrets["key"].value])}
    assert any(place.startswith(CERTIFICATES) for place in places)
    assert misplaced(secrets, places) == []
    client.check_output("cat >/root/given.crt <<'END'\n" + certificate + "END")
    given = psql.but(server="db.home.arpa", options="sslmode=verify-full sslrootcert=/root/given.crt")
    assert given.value("SELECT 1") == "1"
    assert "certificate verify failed" in psql.but(server="db.home.arpa").refusal()
    assert give(certificate, key).changed == 0
    again = run_playbook(scenario / "converge.yml", "--limit", "server", "--tags", "server")
    assert again.returncode == 0, again.output
    assert psql.value("SELECT 1") == "1", "the authority is the one that clients know"
    assert as_administrator(server, "SELECT pg_postmaster_start_time()") == started
