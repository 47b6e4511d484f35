"""The planner's queries against a server: what they find, that carrying them out mends it, and that then nothing is left."""

from __future__ import annotations

import threading

import psycopg2
import pytest
from database_lab import DatabaseLab, prepare_cluster
from throwaway_cluster import ThrowawayCluster


@pytest.fixture(scope="module")
def cluster(server_version):
    with ThrowawayCluster() as server:
        prepare_cluster(server)
        yield server


@pytest.fixture
def lab(cluster, tmp_path):
    return DatabaseLab(cluster, tmp_path)


@pytest.fixture(params=["postgres", "keeper", "keeper_noinherit"])
def made(cluster, tmp_path, request):
    """A lab that is made, by a superuser and by administrators who are none."""
    return DatabaseLab(cluster, tmp_path, request.param).make()


def test_a_made_database_needs_nothing(made):
    assert made.plan(made.wanted()) == []
    made.make_objects()
    made.carry_out(made.wanted())
    assert made.plan(made.wanted()) == []


def test_the_roles_are_as_they_must_be(made):
    rows = made.query(
        "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname LIKE %s AND NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)",
        [f"{made.name}%"],
    )
    assert dict(rows) == {name: key == "application" for key, name in made.roles.items()}
    owner = made.query(
        "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding) FROM pg_database WHERE datname = %s", [made.name]
    )
    assert owner == [(made.user, "UTF8")]
    assert made.query("SELECT pg_has_role(%s, 'pg_monitor', 'USAGE')", [made.roles["monitor"]]) == [(True,)]


def test_nobody_stays_a_member_of_the_owners(made):
    for key in ("owner", "audit"):
        used = made.query(
            "SELECT rolname FROM pg_roles WHERE NOT rolsuper AND rolname <> %s AND pg_has_role(rolname, %s, 'USAGE')",
            [made.roles[key], made.roles[key]],
        )
        assert used == []


def test_nothing_is_left_to_public(made):
    made.make_objects()
    made.carry_out(made.wanted())
    assert (
        made.query(
            "SELECT 1 FROM pg_database d, aclexplode(d.datacl) a WHERE datname = %s AND a.grantee = 0", [made.name]
        )
        == []
    )
    assert (
        made.query("SELECT 1 FROM pg_namespace n, aclexplode(n.nspacl) a WHERE nspname = 'public' AND a.grantee = 0")
        == []
    )
    assert (
        made.query(
            """
            SELECT 'function', oid::regproc::text FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
             WHERE pronamespace = 'public'::regnamespace AND a.grantee = 0
            UNION ALL
            SELECT 'table', oid::regclass::text FROM pg_class c, aclexplode(relacl) a WHERE relnamespace = 'public'::regnamespace AND a.grantee = 0
            UNION ALL
            SELECT 'type', typname FROM pg_type t, aclexplode(coalesce(typacl, acldefault('T', typowner))) a
             WHERE typname = 'word' AND a.grantee = 0
            """
        )
        == []
    )


def test_objects_get_exactly_their_privileges(made):
    made.make_objects()
    made.carry_out(made.wanted())
    assert made.may("application", "plain", "SELECT, INSERT, UPDATE, DELETE")
    assert not made.may("application", "plain", "TRUNCATE")
    assert made.may("readonly", "look", "SELECT")
    assert made.may("application", "events", "SELECT")
    assert not made.may("application", "events", "INSERT")
    assert made.may("application", "events.a", "INSERT")
    assert not made.may("application", "events.c", "INSERT")
    assert made.may("service", "events.a", "SELECT")
    assert made.may("service", "events.b", "SELECT")
    assert not made.may("service", "events.c", "SELECT")
    assert not made.may("service", "plain", "SELECT")
    assert not made.may("application", "events", "UPDATE")
    assert made.may("application", "audit.a", "INSERT")
    assert not made.may("application", "audit.b", "INSERT")
    assert not made.may("application", "audit", "SELECT")
    assert made.may("owner", "audit", "SELECT")
    assert not made.may("owner", "audit", "DELETE")
    assert made.query("SELECT has_sequence_privilege(%s, 'audit_id_seq', 'USAGE')", [made.roles["application"]]) == [
        (False,)
    ]
    assert made.query("SELECT has_sequence_privilege(%s, 'plain_id_seq', 'USAGE')", [made.roles["application"]]) == [
        (True,)
    ]
    for key, allowed in (("monitor", True), ("application", False)):
        assert made.query(
            "SELECT has_function_privilege(%s, 'verify(bigint, bytea)', 'EXECUTE')", [made.roles[key]]
        ) == [(allowed,)]
    assert made.query("SELECT has_function_privilege(%s, 'helper()', 'EXECUTE')", [made.roles["application"]]) == [
        (False,)
    ]


def test_what_is_made_later_has_its_privileges_without_another_run(made):
    made.make_objects()
    assert made.may("application", "plain", "SELECT, INSERT, UPDATE, DELETE")
    assert made.may("readonly", "plain", "SELECT")
    assert made.query("SELECT has_function_privilege(%s, 'helper()', 'EXECUTE')", [made.roles["readonly"]]) == [
        (False,)
    ]


DRIFT = {
    "attributes": "ALTER ROLE {application} CREATEDB CONNECTION LIMIT 3 INHERIT",
    "no login": "ALTER ROLE {application} NOLOGIN",
    "owner may log in": "ALTER ROLE {owner} LOGIN",
    "setting": "ALTER ROLE {application} SET statement_timeout = '1s'",
    "setting gone": "ALTER ROLE {application} RESET ALL",
    "comment": "COMMENT ON ROLE {monitor} IS 'mine'",
    "database comment": "COMMENT ON DATABASE {database} IS NULL",
    "database limit": "ALTER DATABASE {database} CONNECTION LIMIT 7",
    "search path": "ALTER DATABASE {database} SET search_path = nowhere",
    "member of the owner": "GRANT {owner} TO {application}",
    "member of the audit role": "GRANT {audit} TO keeper",
    "member of the administrator": "GRANT {administrator} TO {readonly}",
    "no monitor": "REVOKE pg_monitor FROM {monitor}",
    "service is a reader": "GRANT {readonly} TO {service}",
    "service is a monitor": "GRANT pg_monitor TO {service}",
    "application runs programs": "GRANT pg_execute_server_program TO {application}",
    "reader is the application": "GRANT {application} TO {readonly}",
    "owner reads everything": "GRANT pg_read_all_data TO {owner}",
    "monitor passes on": "GRANT pg_monitor TO {monitor} WITH ADMIN OPTION",
    "member of a member of the owner": (
        "CREATE ROLE {database}_crew; GRANT {owner} TO {database}_crew; GRANT {database}_crew TO {application}"
    ),
    "application decides": "GRANT {approver} TO {application}",
    "service executes": "GRANT {executor} TO {service}",
    "executor decides": "GRANT {approver} TO {executor}",
    "service decides by a longer way": (
        "CREATE ROLE {database}_chat; GRANT {approver} TO {database}_chat; GRANT {database}_chat TO {service}"
    ),
    "connect for all": "GRANT ALL ON DATABASE {database} TO PUBLIC",
    "no connect": "REVOKE CONNECT ON DATABASE {database} FROM {readonly}",
    "grant option on the database": "GRANT CONNECT ON DATABASE {database} TO {application} WITH GRANT OPTION",
    "create in schema": "GRANT CREATE ON SCHEMA public TO {application}",
    "schema for all": "GRANT ALL ON SCHEMA public TO PUBLIC",
    "no schema": "REVOKE USAGE ON SCHEMA public FROM {readonly}",
    "owner without create": "REVOKE CREATE ON SCHEMA public FROM {owner}",
    "table for all": "GRANT ALL ON plain TO PUBLIC",
    "table too much": "GRANT TRUNCATE, TRIGGER ON plain TO {application}",
    "table too little": "REVOKE INSERT ON plain FROM {application}",
    "grant option": "GRANT SELECT ON plain TO {application} WITH GRANT OPTION",
    "grant from a grantee": (
        "GRANT USAGE ON SCHEMA public TO keeper; GRANT SELECT ON plain TO keeper WITH GRANT OPTION; "
        "SET ROLE keeper; GRANT SELECT ON plain TO {monitor}; RESET ROLE"
    ),
    "owner shut out": "REVOKE ALL ON plain FROM {owner}",
    "column too much": "GRANT UPDATE (b) ON events TO {application}",
    "column too little": "REVOKE INSERT (b) ON events FROM {application}",
    "table instead of columns": "GRANT INSERT ON events TO {application}",
    "table revoked with its columns": "REVOKE INSERT ON events FROM {application}",
    "read column too much": "GRANT SELECT (c) ON events TO {service}",
    "read column too little": "REVOKE SELECT (a) ON events FROM {service}",
    "read table instead of columns": "GRANT SELECT ON events TO {service}",
    "read another table": "GRANT SELECT ON plain TO {service}",
    "audit for the owner": "GRANT DELETE ON audit TO {owner}",
    "audit columns": "GRANT SELECT (a), UPDATE (a) ON audit TO {readonly}",
    "sequence": "GRANT ALL ON SEQUENCE audit_id_seq TO {application}",
    "function for all": "GRANT EXECUTE ON FUNCTION helper() TO PUBLIC",
    "function gone": "REVOKE EXECUTE ON FUNCTION verify(bigint, bytea) FROM {monitor}",
    "type for all": "GRANT USAGE ON TYPE word TO PUBLIC",
    "default privileges gone": "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public REVOKE ALL ON TABLES FROM {application}",
    "default privileges for all": "ALTER DEFAULT PRIVILEGES FOR ROLE {audit} GRANT SELECT ON TABLES TO PUBLIC",
    "functions for all again": "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
}

# From PostgreSQL 16 on only a superuser can take away what he has granted: with these statements he does.
GRANTED_BY_A_SUPERUSER = {
    "member of the owner": "REVOKE {owner} FROM {application}",
    "service is a reader": "REVOKE {readonly} FROM {service}",
    "service is a monitor": "REVOKE pg_monitor FROM {service}",
    "application runs programs": "REVOKE pg_execute_server_program FROM {application}",
    "reader is the application": "REVOKE {application} FROM {readonly}",
    "owner reads everything": "REVOKE pg_read_all_data FROM {owner}",
    "monitor passes on": "REVOKE pg_monitor FROM {monitor}",
    "member of a member of the owner": "DROP ROLE {database}_crew",
    "application decides": "REVOKE {approver} FROM {application}",
    "service executes": "REVOKE {executor} FROM {service}",
    "executor decides": "REVOKE {approver} FROM {executor}",
    "service decides by a longer way": "DROP ROLE {database}_chat",
}


@pytest.fixture(scope="module", params=["postgres", "keeper"])
def drifting(cluster, tmp_path_factory, request):
    lab = DatabaseLab(cluster, tmp_path_factory.mktemp("drift"), request.param).make()
    lab.make_objects()
    lab.carry_out(lab.wanted())
    assert lab.plan(lab.wanted()) == []
    return lab


@pytest.mark.parametrize("name", DRIFT)
def test_what_somebody_changed_by_hand_is_found_and_put_back(drifting, name):
    owns_grants = drifting.user != "postgres" and drifting.version >= 160000
    names = {"database": drifting.name, "administrator": drifting.user, **drifting.roles}
    change = DRIFT[name].format(**names)
    if owns_grants and name == "member of the administrator":
        # The administrator is a member of the roles that it has made, and memberships have no circles.
        with pytest.raises(psycopg2.errors.InvalidGrantOperation):
            drifting.query(change)
        return
    drifting.query(change)
    if owns_grants and name in ("member of the audit role", "no monitor"):
        # What the administrator has granted is granted by nobody else, and revoked by nobody else.
        assert drifting.plan(drifting.wanted()) == []
        return
    plan = drifting.plan(drifting.wanted())
    assert plan
    if owns_grants and name in GRANTED_BY_A_SUPERUSER:
        assert any(row[0] == "refuse" and "run as a superuser" in row[1] for row in plan)
        drifting.query(GRANTED_BY_A_SUPERUSER[name].format(**names))
        assert drifting.plan(drifting.wanted()) == []
        return
    assert "refuse" not in {row[0] for row in plan}
    assert drifting.carry_out(drifting.wanted())
    assert drifting.plan(drifting.wanted()) == []
    assert drifting.carry_out(drifting.wanted()) == []


def test_other_peoples_privileges_and_objects_are_left_alone(drifting):
    drifting.query(
        f"""
        CREATE ROLE {drifting.name}_people;
        CREATE ROLE {drifting.name}_alice LOGIN;
        GRANT {drifting.roles["approver"]} TO {drifting.name}_people;
        GRANT {drifting.name}_people TO {drifting.name}_alice;
        CREATE ROLE {drifting.name}_grafana;
        GRANT CONNECT ON DATABASE {drifting.name} TO {drifting.name}_grafana;
        GRANT USAGE ON SCHEMA public TO {drifting.name}_grafana;
        GRANT SELECT ON plain TO {drifting.name}_grafana;
        CREATE TABLE foreign_table (a integer);
        GRANT ALL ON foreign_table TO PUBLIC;
        """
    )
    assert drifting.plan(drifting.wanted()) == []


def test_a_listed_membership_of_the_service_stays(made):
    wanted = made.wanted()
    next(role for role in wanted["roles"] if role["key"] == "service")["memberships"] = ["pg_monitor"]
    assert f"role {made.roles['service']} becomes a member of pg_monitor" in made.carry_out(wanted)
    assert made.plan(wanted) == []
    assert any("the service only reads" in reason for reason in made.carry_out(made.wanted()))
    assert made.query("SELECT pg_has_role(%s, 'pg_monitor', 'MEMBER')", [made.roles["service"]]) == [(False,)]


def without_service(made):
    """What a version of the collection wanted that knew no such role."""
    wanted = made.wanted()
    wanted["roles"] = [role for role in wanted["roles"] if role["key"] != "service"]
    del wanted["database"]["privileges"]["service"]
    return wanted


@pytest.mark.parametrize("user", ["postgres", "keeper", "keeper_noinherit"])
def test_a_database_of_an_earlier_version_gets_the_new_role(cluster, tmp_path, user):
    lab = DatabaseLab(cluster, tmp_path, user)
    lab.make(without_service(lab))
    lab.make_objects()
    lab.carry_out(without_service(lab))
    shown = [reason for _, reason, _ in lab.plan(lab.wanted())]
    # What only the schema role needs can be carried out before there is a role: the rest waits for it.
    assert lab.carry_out(lab.wanted(), "schema_privileges", stages=("schema",)) == []
    assert sorted(lab.carry_out(lab.wanted())) == sorted(shown)
    assert f"table events: grant SELECT (a), SELECT (b) to {lab.roles['service']}" in shown
    assert lab.plan(lab.wanted()) == []


def test_a_schema_of_its_own_is_made_and_stays_the_administrators(made):
    wanted = made.wanted(schema="mission")
    wanted["database"]["settings"]["search_path"] = "mission"
    made.carry_out(wanted)
    assert made.plan(wanted) == []
    assert made.query("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'mission'") == [(made.user,)]
    assert made.query("SHOW search_path") == [("mission",)]
    assert made.carry_out(made.wanted()) == [f"database {made.name}: search_path = default"]


def refusals(lab, wanted=None, database=None):
    names = ("roles",) if database else ()
    return [row[1] for row in lab.plan(wanted or lab.wanted(), *names, database=database) if row[0] == "refuse"]


def test_a_database_with_another_encoding_is_refused_and_stays(lab):
    lab.query(f"CREATE DATABASE {lab.name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", database="postgres")
    (sentence,) = refusals(lab)
    assert f"{lab.name} has the encoding LATIN1" in sentence
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState, match="LATIN1"):
        lab.carry_out(lab.wanted())
    assert lab.existing_roles() == []


def test_a_database_of_the_application_is_refused_until_an_owner_is_named(lab):
    lab.make()
    lab.query(f"ALTER DATABASE {lab.name} OWNER TO {lab.roles['application']}")
    (sentence,) = refusals(lab)
    assert "could then drop it" in sentence
    wanted = lab.wanted()
    wanted["database"]["owner"] = "postgres"
    assert refusals(lab, wanted) == []
    assert f"database {lab.name}: owner postgres instead of {lab.roles['application']}" in lab.carry_out(wanted)
    assert lab.plan(wanted) == []


@pytest.mark.parametrize(
    ("preparation", "words"),
    [
        ("ALTER DATABASE {database} ALLOW_CONNECTIONS false", "accepts no connections"),
        ("ALTER SCHEMA public OWNER TO {owner}", "could then drop the audit log"),
    ],
)
def test_a_state_that_cannot_be_mended_safely_is_refused(lab, preparation, words):
    lab.make()
    other = "postgres" if "ALLOW_CONNECTIONS" in preparation else None
    lab.query(preparation.format(database=lab.name, **lab.roles), database=other)
    (sentence,) = refusals(lab, database=other)
    assert words in sentence


@pytest.mark.parametrize("key", ["owner", "approver"])
def test_a_listed_membership_that_leads_to_a_guarded_role_is_refused(lab, key):
    lab.make()
    team = f"{lab.name}_team"
    lab.query(f"CREATE ROLE {team}; GRANT {lab.roles[key]} TO {team}; GRANT {team} TO {lab.roles['monitor']}")
    wanted = lab.wanted()
    wanted["roles"][4]["memberships"].append(team)
    (sentence,) = refusals(lab, wanted)
    assert f"is a member of {lab.roles[key]} through {team}" in sentence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"owner": "nobody_there"}, "There is no role nobody_there"),
        ({"settings": {"mission_control.reporting_time_zone": "Mars/Olympus"}}, "There is no time zone Mars/Olympus"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(lab, change, words):
    wanted = lab.wanted()
    wanted["database"].update(change)
    (sentence,) = refusals(lab, wanted, database="postgres")
    assert words in sentence


def test_a_tablespace_that_is_not_there_is_refused_while_the_database_is_to_be_made(lab):
    wanted = lab.wanted()
    wanted["database"]["tablespace"] = "nowhere"
    (sentence,) = refusals(lab, wanted, database="postgres")
    assert sentence.startswith("There is no tablespace nowhere for the database ")
    lab.make()
    assert refusals(lab, wanted) == []


@pytest.mark.parametrize(
    "privilege",
    [
        "SELECT ON TABLE plain TO PUBLIC; CREATE TABLE carried_in (); --",
        "SELECT (a) ON TABLE plain TO PUBLIC; CREATE TABLE carried_in (); --",
        "SELECT (a) (b); CREATE TABLE carried_in (); --",
        'INSERT (a, b"); CREATE TABLE carried_in (); --)',
        "SELECT\n; CREATE TABLE carried_in (); --",
    ],
)
def test_a_privilege_that_carries_sql_is_refused_or_quoted(lab, privilege):
    lab.make().make_objects()
    wanted = lab.wanted()
    wanted["privileges"]["objects"].append({"name": "plain", "kind": "table", "readonly": [privilege]})
    before = lab.query("SELECT count(*) FROM pg_class")
    sentences = refusals(lab, wanted)
    if sentences:
        assert "is not a privilege that readonly can have on the table plain: " in sentences[0]
        with pytest.raises(psycopg2.Error, match="is not a privilege"):
            lab.carry_out(wanted)
    else:
        lab.carry_out(wanted)
    assert lab.query("SELECT to_regclass('carried_in')") == [(None,)]
    assert lab.query("SELECT count(*) FROM pg_class") == before


def test_an_administrator_without_rights_is_refused_with_what_is_missing(cluster, tmp_path):
    lab = DatabaseLab(cluster, tmp_path, "weakling")
    lab.query("DROP ROLE IF EXISTS weakling; CREATE ROLE weakling LOGIN", database="postgres")
    first, second = refusals(lab, database="postgres")[:2]
    assert "needs CREATEROLE" in first
    assert "needs CREATEDB" in second


def test_what_only_a_superuser_may_change_is_refused_to_another(cluster, tmp_path):
    lab = DatabaseLab(cluster, tmp_path, "keeper").make()
    lab.query(f"ALTER ROLE {lab.roles['application']} REPLICATION")
    assert any("run as a superuser" in sentence for sentence in refusals(lab))
    lab.query(f"ALTER ROLE {lab.roles['application']} NOREPLICATION")
    wanted = lab.wanted()
    wanted["database"]["settings"]["mission_control.reporting_time_zone"] = "Europe/Berlin"
    (sentence,) = refusals(lab, wanted)
    assert "is not allowed to set mission_control.reporting_time_zone" in sentence
    if lab.version >= 150000:
        lab.query('GRANT SET ON PARAMETER "mission_control.reporting_time_zone" TO keeper')
        lab.carry_out(wanted)
        assert lab.query("SHOW mission_control.reporting_time_zone") == [("Europe/Berlin",)]
        lab.query('REVOKE SET ON PARAMETER "mission_control.reporting_time_zone" FROM keeper')


def test_a_schema_that_belongs_to_somebody_else_is_refused_with_the_cure(cluster, tmp_path):
    lab = DatabaseLab(cluster, tmp_path, "keeper").make()
    # As schema public is on PostgreSQL 14: it belongs to the superuser that made the server.
    lab.query("ALTER SCHEMA public OWNER TO postgres; GRANT CREATE ON SCHEMA public TO PUBLIC")
    (sentence,) = refusals(lab)
    assert "mission_control_database_schema" in sentence
    assert refusals(lab, lab.wanted(schema="mission")) == []
    lab.carry_out(lab.wanted(schema="mission"))
    assert lab.plan(lab.wanted(schema="mission")) == []


def test_a_database_of_another_administrator_is_refused(cluster, tmp_path):
    lab = DatabaseLab(cluster, tmp_path).make()
    lab.query(f"GRANT ALL ON DATABASE {lab.name} TO PUBLIC")
    lab.user = "keeper"
    assert any("connect as its owner or as a superuser" in sentence for sentence in refusals(lab))


def test_a_schema_that_will_belong_to_somebody_else_is_refused_before_there_is_a_database(cluster, tmp_path):
    lab = DatabaseLab(cluster, tmp_path, "keeper")
    sentences = refusals(lab, database="postgres")
    if lab.version < 150000:
        (sentence,) = sentences
        assert "Before PostgreSQL 15 the schema public of a new database belongs to the superuser postgres" in sentence
    else:
        assert sentences == []
    assert refusals(lab, lab.wanted(schema="mission"), database="postgres") == []
    assert not lab.exists()


def test_the_administrator_is_none_of_the_roles(cluster, tmp_path):
    lab = DatabaseLab(cluster, tmp_path)
    lab.roles["monitor"] = "keeper"
    lab.user = "keeper"
    assert any("cannot be one of the managed roles" in sentence for sentence in refusals(lab, database="postgres"))


def test_values_that_carry_sql_do_no_harm(lab):
    wanted = lab.wanted()
    evil = "$apply$; DROP TABLE x; -- ' \" \\ %s %(a)s $$"
    wanted["database"]["comment"] = evil
    wanted["roles"][2]["comment"] = evil
    lab.make(wanted)
    assert lab.plan(wanted) == []
    assert lab.query(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [lab.name]
    ) == [(evil,)]


def test_of_two_runs_at_once_the_second_waits_and_finds_nothing(lab):
    lab.make()
    lab.query(f"GRANT ALL ON DATABASE {lab.name} TO PUBLIC; ALTER ROLE {lab.roles['application']} CONNECTION LIMIT 9")
    results, errors = [], []

    def run():
        try:
            results.append(len(lab.carry_out(lab.wanted())))
        except psycopg2.Error as error:
            errors.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(results) == [0] * 7 + [2]


def test_a_statement_that_fails_is_named_and_leaves_no_trace(lab):
    lab.make()
    lab.query(f"ALTER ROLE {lab.roles['application']} CONNECTION LIMIT 9; GRANT ALL ON DATABASE {lab.name} TO PUBLIC")
    holder = lab.cluster.connect(lab.name)
    holder.autocommit = False
    with holder.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {lab.name} CONNECTION LIMIT 5")
        with pytest.raises(psycopg2.errors.LockNotAvailable) as error:
            lab.carry_out(lab.wanted(), "roles", lock_timeout="300ms")
    holder.rollback()
    holder.close()
    assert f"database {lab.name}: " in str(error.value).splitlines()[0]
    assert len(lab.plan(lab.wanted())) == 2


def test_of_many_alike_each_is_seen(drifting):
    """The plan compares objects with the same privileges once; it must name each of them, and those that differ from them."""
    lab = drifting
    names = [f"alike_{number}" for number in range(40)]
    lab.query(f"SET ROLE {lab.roles['owner']}; " + "; ".join(f"CREATE TABLE {name} (a integer)" for name in names))
    assert lab.plan(lab.wanted()) == []
    lab.query(
        f"REVOKE INSERT ON {', '.join(names)} FROM {lab.roles['application']};"
        f"GRANT UPDATE (a) ON alike_7 TO {lab.roles['readonly']}; GRANT TRUNCATE ON alike_8 TO {lab.roles['readonly']}"
    )
    expected = {f"table {name}: grant INSERT to {lab.roles['application']}" for name in names} | {
        f"table alike_7: revoke UPDATE (a) from {lab.roles['readonly']}",
        f"table alike_8: revoke TRUNCATE from {lab.roles['readonly']}",
    }
    assert set(lab.carry_out(lab.wanted())) == expected
    assert lab.plan(lab.wanted()) == []
    lab.query(f"DROP TABLE {', '.join(names)}")
