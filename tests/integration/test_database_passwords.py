"""Passwords of the logins: made, kept, changed, left alone, and nowhere to be read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path

import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.passwords.scram import (
    make_verifier,
    matches,
)
from database_lab import ADMINISTRATOR_PASSWORD, DatabaseLab, prepare_cluster, run_together
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playbook import ROOT, playbook_command
from psycopg2.extensions import encrypt_password
from role_inputs import template
from throwaway_cluster import ThrowawayCluster

PASSWORD = "mission_control_database_password"


@pytest.fixture(scope="module")
def cluster():
    # Everything that the server can be made to write down about statements.
    with ThrowawayCluster(
        log_statement="all", log_min_duration_statement="0", log_min_error_statement="debug5"
    ) as server:
        prepare_cluster(server)
        yield server


@pytest.fixture(params=["postgres", "keeper"])
def lab(cluster, tmp_path, request):
    return DatabaseLab(cluster, tmp_path, request.param)


@pytest.fixture
def labs(cluster, tmp_path):
    """Of a superuser and of an administrator who is none; most runs have both as hosts of one play."""
    return [DatabaseLab(cluster, tmp_path, user) for user in ("postgres", "keeper")]


def changes(runs):
    """How many tasks have changed something on each host; fails the test where one failed."""
    return [run.succeeded().recap["changed"] for run in runs]


@pytest.fixture(scope="module")
def connection(cluster):
    connection = cluster.connect()
    yield connection
    connection.close()


def test_what_sets_passwords_is_not_shown_to_those_who_see_all_sessions(cluster, connection):
    """Neither while it works nor before the transaction ends; other transactions of the session are shown as ever."""
    seen = "SELECT query FROM pg_stat_activity WHERE pid = %s"
    with contextlib.closing(cluster.connect()) as other, other.cursor() as work, connection.cursor() as look:
        for quiet, shown in (
            ("SELECT 1", "SELECT 'verifier'"),
            (template("{{ __mission_control_database_quiet }}", {}), ""),
        ):
            work.execute("BEGIN")
            work.execute(quiet)
            work.execute("SELECT 'verifier'")
            look.execute(seen, [other.info.backend_pid])
            assert look.fetchone()[0] == shown
            work.execute("ROLLBACK")


# Characters for which preparation matters: spaces, marks, what is not assigned, right-to-left, compatibility forms.
characters = st.one_of(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"),
    st.sampled_from(
        "a1\u00a0\u1680\u200b\u00ad\u034f\ufeff\u06dd\u0627\u05d0\u2168\u00aa\ufb01\u0301\u0221\u0340\ue000\U000e0001"
    ),
)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(password=st.text(characters, min_size=1, max_size=12))
def test_our_verifiers_are_those_that_libpq_makes(connection, password):
    verifier = encrypt_password(password, "anybody", scope=connection, algorithm="scram-sha-256")
    assert matches(password, verifier)
    assert not matches(password + "x", verifier)


@pytest.mark.parametrize(
    "password",
    [
        "plain",
        "with space",
        "p\u00e4ssw\u00f6rd\u20ac",
        "I\u00adX",
        "\u2168",
        "\u0627\u0628 1",
        "'; DROP ROLE x; --",
        "%s %(a)s",
    ],
)
def test_a_role_logs_in_with_the_password_of_our_verifier(cluster, connection, password):
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS scram_test")
        cursor.execute("CREATE ROLE scram_test LOGIN PASSWORD %s", [make_verifier(password)])
    psycopg2.connect(
        host="127.0.0.1", port=cluster.port, user="scram_test", password=password, dbname="postgres"
    ).close()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(
            host="127.0.0.1", port=cluster.port, user="scram_test", password=password + "x", dbname="postgres"
        )


def test_a_changed_password_is_one_change_and_an_unchanged_one_none(labs):
    changes(run_together(labs, **{PASSWORD: "first-secret"}))
    assert not any(lab.file.exists() for lab in labs)
    assert changes(run_together(labs, **{PASSWORD: "first-secret"})) == [0, 0]
    assert changes(run_together(labs, "--check", **{PASSWORD: "second-secret"})) == [1, 1]
    for lab in labs:
        lab.log_in("first-secret")
    assert changes(run_together(labs, **{PASSWORD: "second-secret"})) == [1, 1]
    for lab in labs:
        assert lab.log_in("second-secret") == lab.roles["application"]
        with pytest.raises(psycopg2.OperationalError):
            lab.log_in("first-secret")
    assert changes(run_together(labs, **{PASSWORD: "second-secret"})) == [0, 0]


def test_without_a_password_at_hand_a_login_is_left_alone(labs):
    changes(run_together(labs, **{PASSWORD: "given-secret"}))
    before = [lab.verifier() for lab in labs]
    runs = run_together(labs)
    assert changes(runs) == [0, 0]
    assert [lab.verifier() for lab in labs] == before
    assert all("unchanged (not stored on this controller)" in run.told for run in runs)
    assert not any(lab.file.exists() for lab in labs)


def test_a_password_that_is_put_into_the_file_is_used(labs):
    labs[0].file.parent.mkdir(mode=0o700)
    for lab in labs:
        lab.file.write_text("my own secret\n", encoding="utf-8")
        lab.file.chmod(0o600)
    changes(run_together(labs))
    for lab in labs:
        assert lab.log_in("my own secret") == lab.roles["application"]
        lab.file.chmod(0o644)
    for run in run_together(labs):
        assert run.failed
        assert "others may have read it" in run.sentence
        assert "my own secret" not in run.output


def test_a_password_from_a_vault(labs):
    home = labs[0].home
    key = home / "vault.key"
    key.write_text("vault-key\n", encoding="utf-8")
    command, environment = playbook_command(labs[0].playbook, {}, home=home)
    vault = str(Path(command[0]).with_name("ansible-vault"))
    text = subprocess.run(
        [vault, "encrypt_string", "--vault-password-file", str(key), "vaulted-secret", "--name", PASSWORD],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    variables = home / "secrets.yml"
    variables.write_text(text, encoding="utf-8")
    arguments = ["--vault-password-file", str(key), "--extra-vars", f"@{variables}"]
    changes(run_together(labs, *arguments))
    for lab in labs:
        assert lab.log_in("vaulted-secret") == lab.roles["application"]
    assert changes(run_together(labs, *arguments)) == [0, 0]


def test_a_stored_md5_hash_is_replaced_once(cluster, tmp_path):
    lab = DatabaseLab(cluster, tmp_path)
    lab.run(**{PASSWORD: "given-secret"}).succeeded()
    hashed = encrypt_password("given-secret", lab.roles["application"], algorithm="md5")
    lab.query(f"ALTER ROLE {lab.roles['application']} PASSWORD '{hashed}'")
    assert lab.run(**{PASSWORD: "given-secret"}).succeeded().recap["changed"] == 1
    assert lab.verifier().startswith("SCRAM-SHA-256$")
    assert lab.run(**{PASSWORD: "given-secret"}).succeeded().recap["changed"] == 0


def test_on_create_leaves_the_password_of_a_login_alone(labs):
    once = {"mission_control_database_update_passwords": "on_create"}
    changes(run_together(labs, **once, **{PASSWORD: "first-secret"}))
    assert changes(run_together(labs, **once, **{PASSWORD: "second-secret"})) == [0, 0]
    for lab in labs:
        assert lab.log_in("first-secret") == lab.roles["application"]


@pytest.mark.parametrize("lab", ["keeper"], indirect=True)
def test_secrets_are_nowhere_to_be_read(lab):
    """Everything is printed and logged that can be, in success and in failure; no password is in it, and no output holds a verifier.

    Of a superuser, who can keep verifiers from the log, too, test_attack_secrets.py looks at all of it.
    """
    loud = ["-vvv", "--diff"]
    env_file = {"mission_control_database_env_file": str(lab.home / "app.env")}
    given_password = {PASSWORD: "given-secret-1", "mission_control_database_readonly_login": True}
    outputs = [
        lab.run("--check", *loud, **env_file).succeeded(),
        lab.run(*loud, **env_file).succeeded(),
        lab.run(*loud, **env_file).succeeded(),
        lab.run(*loud, **env_file, **given_password).succeeded(),
        lab.run(*loud, "--check", **{**env_file, **given_password, PASSWORD: "given-secret-2"}).succeeded(),
    ]
    # Another run that does not end: the lock is not to be had.
    with contextlib.closing(lab.cluster.connect(lab.name)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended('mission_control: roles and privileges', 0))")
        failed = lab.run(
            *loud,
            **{
                PASSWORD: "given-secret-3",
                "mission_control_database_readonly_login": True,
                "mission_control_database_lock_wait": 1,
            },
        )
    assert failed.returncode != 0
    assert "lock timeout" in failed.sentence, failed.output
    outputs.append(failed)

    kept = [path.read_text(encoding="utf-8").strip() for path in (lab.home / "passwords").iterdir()]
    verifiers = [lab.verifier(key) for key in ("application", "readonly")]
    secrets = [
        *kept,
        *verifiers,
        *[verifier.split("$")[2] for verifier in verifiers],
        "given-secret-",
        ADMINISTRATOR_PASSWORD,
    ]
    assert len(kept) == 2
    assert len([secret for secret in secrets if secret]) == len(secrets)
    for run in outputs:
        # What the user typed as extra variables is in the command line that -vvv shows no more than its options.
        for secret in secrets:
            assert secret not in run.output
        assert not re.search(r"SCRAM-SHA-256\$[0-9]", run.output)
    log = Path(lab.cluster.socket_directory, "server.log").read_text(encoding="utf-8", errors="replace")
    assert "ALTER ROLE" in log or "DO $apply$" in log  # it does log statements
    for secret in [*kept, "given-secret-"]:
        assert secret not in log


def test_no_password_is_left_in_the_files_of_the_run(labs):
    changes(run_together(labs))
    for lab in labs:
        password = lab.file.read_text(encoding="utf-8").strip()
        holders = [
            path
            for directory, _, names in os.walk(lab.home)
            for path in (Path(directory, name) for name in names)
            if path.is_file() and password in path.read_text(encoding="utf-8", errors="replace")
        ]
        assert holders == [lab.file]


def test_of_two_controllers_that_generate_a_password_at_once_the_second_takes_nothing(lab):
    """The second has found a role without one; when it is its turn to set its own, there is one."""
    lab.make()
    statement = (ROOT / "files/sql/plan/set_passwords.sql").read_text(encoding="utf-8")

    def set_first(password):
        connection = lab.connect()
        connection.autocommit = False
        with contextlib.closing(connection), connection, connection.cursor() as cursor:
            values = {
                "verifiers": {lab.roles["application"]: make_verifier(password)},
                "first_passwords": [lab.roles["application"]],
            }
            for name, value in values.items():
                cursor.execute("SELECT set_config('mission_control.' || %s, %s, true)", [name, json.dumps(value)])
            cursor.execute(statement)

    set_first("of the first")
    if lab.user != "postgres":
        return  # it cannot see whether a role has one
    set_first("of the second")
    assert lab.log_in("of the first") == lab.roles["application"]
