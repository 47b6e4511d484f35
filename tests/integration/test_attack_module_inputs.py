"""Whatever the options of a module are: it ends with a sentence, and where it refuses or fails nothing was changed."""

import os
import pwd

import fingerprint
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.certificates.facts import (
    describe_directory,
)
from ansible_collections.homelab.mission_control.plugins.modules import cluster_info, health, query, server_certificate
from bad_inputs import CARRIED_IN, ModuleRun, anything, changes_of, is_sentence, scalars, texts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mission_control_database import ROLES

# `make attack` asks for more.
INPUTS = int(os.environ.get("MISSION_CONTROL_ATTACK_INPUTS", "40"))
SECRET = "s3cret-of-the-login"
many = settings(
    deadline=None, max_examples=INPUTS, suppress_health_check=list(HealthCheck), print_blob=True, database=None
)
QUERY_OPTIONS = {
    **query.CONNECTION_OPTIONS,
    "query": {"type": "str"},
    **query.ARGUMENTS,
    "queries": {"type": "list", "elements": "dict", "options": {"query": {"type": "str"}, **query.ARGUMENTS}},
    "fetch": {"type": "str", "choices": ["all", "one", "value", "none"]},
    "read_only": {"type": "bool"},
    "statement_timeout": {"type": "float"},
    "lock_timeout": {"type": "float"},
}
HEALTH_OPTIONS = {
    **health.CONNECTION_OPTIONS,
    "fail_on": {"type": "str", "choices": list(health.FAILS_ON)},
    "expected_role": {"type": "str", "choices": ["", *health.ROLES]},
    "timeout": {"type": "float"},
    "thresholds": {"type": "dict", "options": health.THRESHOLDS},
    "manifest": {"type": "dict"},
}
CLUSTER_OPTIONS = {
    "packages": {"type": "list", "elements": "str"},
    "port": {"type": "int"},
    "drop_in": {"type": "str"},
    "administrator": {"type": "str"},
    "creation_marker": {"type": "path"},
    "database": {"type": "str"},
    "certificates": {"type": "path"},
    "networks": {"type": "list", "elements": "str"},
}
CERTIFICATE_OPTIONS = {
    "number": {"type": "int"},
    "owner": {"type": "str"},
    "names": {"type": "list", "elements": "str"},
    "days": {"type": "int"},
    "certificate": {"type": "str"},
    "private_key": {"type": "str"},
}
statements = st.one_of(
    texts,
    st.sampled_from(
        [
            "INSERT INTO hosts (name, type) VALUES (%s, 'vm')",
            "INSERT INTO tasks (title, created_by) VALUES (%s, %s)",
            "UPDATE hosts SET labels = %s",
            "DELETE FROM hosts WHERE name = %s",
            "SELECT %s::text AS value",
            "INSERT INTO hosts (name, type) VALUES ('once', 'vm'); DROP TABLE hosts",
            "COMMIT",
            "SELECT 1 / 0",
            "INSERT INTO hosts (name, type) VALUES (%(name)s, %(type)s)",
        ]
    ),
)
parameters = st.fixed_dictionaries(
    {}, optional={"positional_args": st.lists(scalars, max_size=2), "named_args": st.dictionaries(texts, scalars)}
)


@pytest.fixture(scope="module")
def login(shared_database):
    return {
        "login_unix_socket": shared_database.cluster.socket_directory,
        "login_port": shared_database.cluster.port,
        "login_db": shared_database.name,
        "login_user": ROLES["application"],
        "login_password": SECRET,
        "connect_timeout": 5,
    }


@pytest.fixture(scope="module")
def state(shared_database):
    """A function that returns the fingerprint of server and database."""
    connection = shared_database.cluster.connect(shared_database.name)
    yield lambda: (fingerprint.of_server(connection), fingerprint.of_database(connection))
    connection.close()


def fails_well(run):
    # Ansible repeats the names of options that there are not as they are.
    of_ansible = run.message.startswith("Unsupported parameters for ")
    assert is_sentence(run.message.replace("\n", " ") if of_ansible else run.message), run.result
    assert SECRET not in str(run.result)
    assert not any(SECRET in line for line in run.logged)


@many
@given(changes=changes_of(QUERY_OPTIONS), statement=statements, values=parameters, check_mode=st.booleans())
def test_query(login, state, changes, statement, values, check_mode):
    before = state()
    run = ModuleRun(query, {**login, "query": statement, **values, **changes}, check_mode)
    after = state()
    if run.failed:
        fails_well(run)
    if run.failed or check_mode or not run.result["changed"]:
        assert after == before, run.result
    assert CARRIED_IN not in str(run.result.get("columns"))


@many
@given(value=texts.filter(lambda text: "\0" not in text), data=st.data())
def test_a_value_is_stored_as_it_is(login, shared_database, value, data):
    name = data.draw(st.sampled_from(["positional_args", "named_args"]))
    holder, values = ("%s", [value]) if name == "positional_args" else ("%(v)s", {"v": value})
    options = {**login, "query": f"SELECT {holder}::text AS value", name: values, "fetch": "value", "read_only": True}
    assert ModuleRun(query, options).result["value"] == value


@many
@given(changes=changes_of(HEALTH_OPTIONS), check_mode=st.booleans())
def test_health(login, state, changes, check_mode):
    before = state()
    run = ModuleRun(health, {**login, "fail_on": "never", **changes}, check_mode)
    assert state() == before
    if run.failed:
        fails_well(run)
    else:
        assert is_sentence(run.message), run.result


@many
@given(changes=changes_of(CLUSTER_OPTIONS))
def test_cluster_info(monkeypatch, tmp_path, changes):
    # Read as root, but for the clusters of this machine, which are nobody's here.
    monkeypatch.setattr(cluster_info.os, "geteuid", lambda: 0)
    ask = cluster_info._output_of
    monkeypatch.setattr(
        cluster_info,
        "_output_of",
        lambda module, program, arguments: "" if program == "pg_lsclusters" else ask(module, program, arguments),
    )
    before = fingerprint.of_files(tmp_path)
    run = ModuleRun(cluster_info, {"port": 5432, "creation_marker": str(tmp_path / "none"), **changes})
    assert fingerprint.of_files(tmp_path) == before
    if run.failed:
        assert is_sentence(run.message), run.result
    else:
        assert run.result["clusters"] == []


@many
@given(changes=changes_of(CERTIFICATE_OPTIONS))
def test_server_certificate(monkeypatch, tmp_path, changes):
    monkeypatch.setattr(server_certificate.os, "geteuid", lambda: 0)
    user = pwd.getpwuid(os.getuid()).pw_name
    given = {"directory": str(tmp_path), "number": 1, "owner": user, "names": ["db.home.arpa"]}
    # The module sets it for its own process, which is this one here.
    monkeypatch.setattr(server_certificate.os, "umask", lambda _mask: 0)
    for path in tmp_path.iterdir():
        path.unlink()
    run = ModuleRun(server_certificate, {**given, **changes})
    pairs = describe_directory(str(tmp_path))["pairs"]
    if run.failed:
        assert is_sentence(run.message), run.result
        assert pairs == []
    else:
        assert [each["key_matches"] for each in pairs] == [True]


@many
@given(
    options=st.dictionaries(texts.filter(str.isprintable), anything, min_size=1, max_size=2),
    module=st.sampled_from([query, health]),
)
def test_options_that_there_are_not(login, module, options):
    run = ModuleRun(module, {**login, **options})
    assert run.failed
    fails_well(run)
