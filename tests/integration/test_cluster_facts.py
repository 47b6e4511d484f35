"""What cluster_info asks a running server as its superuser: the answer, and that nothing of others runs for it."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd

import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.facts import cluster as facts
from throwaway_cluster import ThrowawayCluster, server_bindir

# What a stranger puts where names without a schema are looked up. Each of them notes who ran it.
_TRAPS = """
CREATE TABLE public.caught (who text, what text);
GRANT ALL ON public.caught TO PUBLIC;
CREATE FUNCTION public.spring(what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.caught VALUES (current_user, what);
    RETURN what;
END $$;
CREATE FUNCTION public.current_setting(text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN PERFORM public.spring('current_setting'); RETURN pg_catalog.current_setting($1); END $$;
CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN PERFORM public.spring('lower'); RETURN pg_catalog.lower($1); END $$;
CREATE FUNCTION public.format(text, text, int, text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN PERFORM public.spring('format'); RETURN ''; END $$;
CREATE FUNCTION public.format(text, int, text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN PERFORM public.spring('format'); RETURN ''; END $$;
CREATE FUNCTION public.json_build_object(
    text, text, text, int, text, json, text, text, text, bool, text, bool, text, bool, text, numeric,
    text, json, text, json, text, json, text, json
) RETURNS json LANGUAGE plpgsql AS $$
BEGIN PERFORM public.spring('json_build_object'); RETURN '{}'; END $$;
CREATE FUNCTION public.same(text, text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN PERFORM public.spring('='); RETURN true; END $$;
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same);
CREATE VIEW public.pg_database AS SELECT 'trap'::name AS datname, public.spring('pg_database') AS nothing;
GRANT SELECT ON public.pg_database TO PUBLIC;
"""
# Names without a schema, as a careless administrator writes them.
_CARELESS = """
SELECT json_build_object(
    'a'::text, current_setting('server_version'), 'b'::text, 1, 'c'::text, 'null'::json, 'd'::text, lower('x'), 'e'::text, 'a'::text = 'b'::text,
    'f'::text, true, 'g'::text, true, 'h'::text, 1.0::numeric, 'i'::text, 'null'::json, 'j'::text, 'null'::json, 'k'::text, 'null'::json,
    'l'::text, 'null'::json),
    format('%s line %s: %s', 'x'::text, 1, 'y'::text), (SELECT count(datname) FROM pg_database)
"""
_ODD_SETTINGS = (
    "standard_conforming_strings = off",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "client_encoding = 'LATIN1'",
    "row_security = off",
    "search_path = ''",
    "statement_timeout = 1",
    "default_transaction_read_only = on",
)


@pytest.fixture
def trapped():
    """A server of old, in whose database postgres everybody may create, and where a stranger did."""
    with ThrowawayCluster() as server:
        execute(server, "CREATE ROLE stranger LOGIN; GRANT CREATE ON SCHEMA public TO PUBLIC")
        execute(server, _TRAPS, user="stranger")
        yield server


def execute(server, statement, **login):
    with contextlib.closing(server.connect(**login)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def described(server):
    owner = "postgres" if os.geteuid() == 0 else getpass.getuser()
    return facts.Cluster(
        version=server_bindir().split("/")[-2],
        name="main",
        port=server.port,
        running=True,
        binaries=True,
        owner=owner,
        data_directory=os.path.join(server.socket_directory, "data"),
        log="",
    )


def asked(server, drop_in):
    cluster = described(server)
    return facts.ask_server(cluster, facts.postmaster(cluster.data_directory), drop_in, "postgres")


def caught(server):
    rows = execute(server, "SELECT DISTINCT what FROM public.caught WHERE who = 'postgres'")
    return {what for (what,) in rows}


@pytest.mark.parametrize("path", ['"$user", public', "public, pg_catalog"])
def test_nothing_of_a_stranger_runs_when_the_server_is_asked(trapped, path):
    execute(trapped, f"ALTER DATABASE postgres SET search_path = {path}")
    # A broken rule, so that every part of the answer is worked out.
    with open(os.path.join(trapped.socket_directory, "data/pg_hba.conf"), "a", encoding="utf-8") as rules:
        rules.write("nonsense\n")
    answer, problem = asked(trapped, "/nowhere/mission_control.conf")
    assert problem == ""
    assert (answer["maintenance_database"], answer["port"]) == ("postgres", trapped.port)
    assert "postgres" in answer["databases"]
    assert answer["hba_errors"]
    assert caught(trapped) == set()
    execute(trapped, _CARELESS)
    assert "json_build_object" in caught(trapped), "the traps are none"
    if path.startswith("public"):
        assert {"=", "current_setting", "lower", "pg_database"} <= caught(trapped), "the traps are none"


def test_settings_of_the_role_change_no_answer(trapped):
    execute(trapped, 'CREATE DATABASE "über\\den\'bach"')
    expected, _problem = asked(trapped, "/nowhere\\'s/mission_control.conf")
    assert "über\\den'bach" in expected["databases"]
    for setting in _ODD_SETTINGS:
        execute(trapped, f"ALTER ROLE postgres SET {setting}")
    assert asked(trapped, "/nowhere\\'s/mission_control.conf")[0] == expected


def test_a_server_without_the_database_postgres_is_asked_in_another_one(trapped):
    execute(trapped, "DROP DATABASE postgres WITH (FORCE)", dbname="template1")
    answer, problem = asked(trapped, "/nowhere/mission_control.conf")
    assert (problem, answer["maintenance_database"]) == ("", "template1")


def test_a_server_that_lets_nobody_in_is_a_problem_not_an_error(trapped):
    with open(os.path.join(trapped.socket_directory, "data/pg_hba.conf"), "w", encoding="utf-8") as rules:
        rules.write("local all all scram-sha-256\n")
    execute(trapped, "SELECT pg_reload_conf()")
    for _attempt in range(200):
        try:
            trapped.connect().close()
        except psycopg2.OperationalError:
            break
    answer, problem = asked(trapped, "/nowhere/mission_control.conf")
    assert answer is None
    assert "no password supplied" in problem


def test_the_owner_is_a_user_of_this_host(trapped):
    nobody = described(trapped)._replace(owner="no-such-user")
    with pytest.raises(KeyError):
        pwd.getpwnam(nobody.owner)
    answer, problem = facts.ask_server(nobody, facts.postmaster(nobody.data_directory), "/nowhere/mission_control.conf")
    assert answer is None
    assert problem.startswith("psql cannot query it")
