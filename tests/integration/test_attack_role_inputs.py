"""Whatever is given to a role: it stops with a sentence that names the input, or goes on with statements that are harmless."""

import contextlib
import json
import os

import fingerprint
import psycopg2
import pytest
from bad_inputs import NASTY, changes_of, is_sentence
from hypothesis import HealthCheck, given, settings
from mission_control_database import carry_out
from role_inputs import ROLES, options_of, refusal, template
from throwaway_cluster import ThrowawayCluster

# `make attack` asks for more.
INPUTS = int(os.environ.get("MISSION_CONTROL_ATTACK_INPUTS", "40"))
many = settings(
    deadline=None, max_examples=INPUTS, suppress_health_check=list(HealthCheck), print_blob=True, database=None
)
SYNTAX_ERROR = "42601"
PLANS = ["plan/roles.sql", "plan/schema_privileges.sql"]
# What the sentences of the server's role call an input by, where that is not its variable.
_OTHER_WORDS = ("A name of a database or role", "The name ", "mission_control_postgresql_")


def names_an_input(sentence, inputs):
    return any(name in sentence for name in inputs) or any(word in sentence for word in _OTHER_WORDS)


@pytest.mark.parametrize("role", ROLES)
def test_an_input_that_is_null_is_taken_or_refused_with_a_sentence(role):
    for name in options_of(role):
        said = refusal(role, {name: None})
        assert not said or is_sentence(said.replace("\n", " ")), (name, said)
        assert not said or names_an_input(said, {name: None}), (name, said)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_stops_with_a_sentence(role):
    @many
    @given(inputs=changes_of(options_of(role)))
    def attack(inputs):
        said = refusal(role, inputs)
        if said:
            assert is_sentence(said.replace("\n", " ")), said
            assert names_an_input(said, inputs), said

    attack()


@pytest.mark.parametrize("role", ROLES)
def test_each_nasty_text_in_each_option(role):
    for name in options_of(role):
        for text in NASTY if INPUTS >= 1000 else NASTY[:: len(NASTY) // 6]:
            said = refusal(role, {name: text})
            assert said == "" or (is_sentence(said.replace("\n", " ")) and names_an_input(said, [name])), (name, text)


def failure(work):
    """The server's error, None where there was none."""
    try:
        work()
    except psycopg2.Error as error:
        return error
    return None


@pytest.fixture(scope="module")
def cluster():
    # Not the one of all tests: roles with our names are made to be as the inputs say.
    with ThrowawayCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def server(cluster):
    """A session of the administrator in a database of its own, which has a table for privileges."""
    with contextlib.closing(cluster.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE harmless")
    connection = cluster.connect("harmless")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (id integer)")
    yield connection
    connection.close()


def test_what_is_accepted_is_quoted_where_it_becomes_a_statement(cluster, server):
    options = {
        name: option for name, option in options_of("mission_control_database").items() if "password" not in name
    }
    carried_out = 0

    @many
    @given(inputs=changes_of(options, most=2))
    def attack(inputs):
        nonlocal carried_out
        if refusal("mission_control_database", inputs):
            return
        wanted = json.loads(template("{{ __mission_control_database_wanted | to_json }}", inputs))
        wanted["database"]["name"] = "harmless"
        before = fingerprint.of_server(server), fingerprint.of_database(server)
        with contextlib.closing(cluster.connect("harmless")) as connection:
            problem = failure(lambda: carry_out(connection, wanted, PLANS, ["roles", "database", "schema"]))
        with server.cursor() as cursor:
            cursor.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace >= 16384 OR relname = 'kept'"
            )
            assert cursor.fetchall() == [("kept",)]
            cursor.execute("SELECT rolname FROM pg_roles")
            names = {row[0] for row in cursor.fetchall()}
        if problem is not None:
            assert problem.pgcode != SYNTAX_ERROR, problem
            assert (fingerprint.of_server(server), fingerprint.of_database(server)) == before
            return
        carried_out += 1
        assert {role["name"] for role in wanted["roles"]} <= names

    attack()
    assert carried_out > 0
