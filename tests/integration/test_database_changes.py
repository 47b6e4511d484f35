"""What the role mission_control_database does to a server that it has provisioned: it repairs, changes, and leaves what is not its own."""

from __future__ import annotations

import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from database_lab import DatabaseLab, bundle_privileges, prepare_cluster, run_together
from throwaway_cluster import ThrowawayCluster

ENV_FILE = "mission_control_database_env_file"


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster(log_statement="all") as server:
        prepare_cluster(server)
        yield server


@pytest.fixture
def lab(cluster, tmp_path):
    return DatabaseLab(cluster, tmp_path)


@pytest.fixture(scope="module")
def provisioned(cluster, tmp_path_factory):
    """A lab after its first run, for tests that leave it as it was."""
    lab = DatabaseLab(cluster, tmp_path_factory.mktemp("provisioned"))
    lab.run().succeeded()
    return lab


def test_check_mode_shows_what_would_be_repaired_and_leaves_it(provisioned):
    provisioned.query(f"GRANT ALL ON DATABASE {provisioned.name} TO PUBLIC")
    run = provisioned.run("--check", "--diff").succeeded()
    assert run.recap["changed"] == 1
    assert f"REVOKE CONNECT, CREATE, TEMPORARY ON DATABASE {provisioned.name} FROM PUBLIC" in " ".join(
        run.output.split()
    )
    assert provisioned.query("SELECT has_database_privilege('public', current_database(), 'TEMPORARY')") == [(True,)]
    provisioned.run().succeeded()


def test_what_was_changed_by_hand_is_put_back_as_one_change(provisioned):
    provisioned.query(
        f"""
        ALTER ROLE {provisioned.roles["application"]} CREATEDB CONNECTION LIMIT 1;
        ALTER ROLE {provisioned.roles["application"]} SET statement_timeout = 0;
        GRANT {provisioned.roles["owner"]} TO {provisioned.roles["application"]};
        GRANT CREATE ON SCHEMA public TO PUBLIC;
        ALTER DEFAULT PRIVILEGES FOR ROLE {provisioned.roles["owner"]} GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
        """
    )
    run = provisioned.run().succeeded()
    assert run.recap["changed"] == 1
    assert "must not be a member of" in run.output
    assert provisioned.run().succeeded().recap["changed"] == 0


def test_changed_limits_are_one_change(provisioned):
    changed = {
        "mission_control_database_statement_timeout": "5s",
        "mission_control_database_connection_limit": 7,
        "mission_control_database_reporting_time_zone": "Europe/Berlin",
    }
    assert provisioned.run(**changed).succeeded().recap["changed"] == 1
    assert provisioned.run(**changed).succeeded().recap["changed"] == 0
    assert provisioned.query("SHOW mission_control.reporting_time_zone") == [("Europe/Berlin",)]
    password = provisioned.file.read_text(encoding="utf-8").strip()
    connection = psycopg2.connect(
        host="127.0.0.1",
        port=provisioned.cluster.port,
        user=provisioned.roles["application"],
        password=password,
        dbname=provisioned.name,
    )
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("5s",)
    connection.close()
    assert provisioned.run().succeeded().recap["changed"] == 1


def test_the_bundles_privileges_are_planned_for_a_database_without_tables(provisioned):
    wanted = {**provisioned.wanted(), "privileges": bundle_privileges()}
    assert [row for row in provisioned.plan(wanted, "schema_privileges") if row[0] == "refuse"] == []


def test_a_site_grants_on_its_own_tables(provisioned):
    provisioned.query(f"SET ROLE {provisioned.roles['owner']}; CREATE TABLE site_notes (id integer)")
    own = {
        "mission_control_database_privileges": [
            {"name": "site_notes", "kind": "table", "application": ["SELECT"], "monitor": ["SELECT"]}
        ]
    }
    assert provisioned.run(**own).succeeded().recap["changed"] == 1
    assert provisioned.may("application", "site_notes", "SELECT")
    assert not provisioned.may("application", "site_notes", "INSERT")
    assert provisioned.may("monitor", "site_notes", "SELECT")
    assert provisioned.run(**own).succeeded().recap["changed"] == 0
    provisioned.query("DROP TABLE site_notes")


def test_optional_logins_get_passwords_of_their_own(lab):
    logins = {"mission_control_database_readonly_login": True, "mission_control_database_monitor_login": True}
    lab.run(**logins, mission_control_database_monitor_password="monitors-secret").succeeded()
    readonly = (lab.file.parent / f"{lab.roles['readonly']}.password").read_text(encoding="utf-8").strip()
    assert lab.log_in(readonly, "readonly") == lab.roles["readonly"]
    assert lab.log_in("monitors-secret", "monitor") == lab.roles["monitor"]
    assert readonly != lab.file.read_text(encoding="utf-8").strip()
    assert (
        lab.run(**logins, mission_control_database_monitor_password="monitors-secret").succeeded().recap["changed"] == 0
    )
    assert lab.run().succeeded().recap["changed"] == 1
    with pytest.raises(psycopg2.OperationalError, match="not permitted to log in"):
        lab.log_in(readonly, "readonly")


def test_the_env_file_lets_an_application_in(lab):
    path = lab.home / "etc" / "mission control" / "app.env"
    variables = {ENV_FILE: str(path), "mission_control_database_password": 'a "b" c#$d&e'}
    lab.run(**variables).succeeded()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    command = (
        'set -a; . "$1"; export PGPASSWORD="$POSTGRES_PASSWORD"; '
        'exec psql -h "$POSTGRES_HOST" -p "$POSTGRES_PORT" -U "$POSTGRES_USER" -d "$POSTGRES_DB" -Atc "SELECT current_user"'
    )
    shown = subprocess.run(
        ["sh", "-c", command, "sh", str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.strip() == lab.roles["application"]
    (second,) = run_together([lab], **variables)
    assert second.succeeded().recap["changed"] == 0
    assert second.tasks_with_a_module() == ["Read roles, database and privileges", "Inspect the env file"]

    path.chmod(0o644)
    assert lab.run("--check", **variables).succeeded().recap["changed"] == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert lab.run(**variables).succeeded().recap["changed"] == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    kept = path.read_text(encoding="utf-8")
    without = lab.run(**{ENV_FILE: str(path)}).succeeded()
    assert without.recap["changed"] == 0
    assert f"the password of {lab.roles['application']} is not stored on this controller" in " ".join(
        without.output.split()
    )
    assert path.read_text(encoding="utf-8") == kept


def test_a_link_in_place_of_the_env_file_is_replaced_and_not_followed(lab):
    target, path = lab.home / "target", lab.home / "app.env"
    target.write_text("mine", encoding="utf-8")
    path.symlink_to(target)
    lab.run(**{ENV_FILE: str(path)}).succeeded()
    assert target.read_text(encoding="utf-8") == "mine"
    assert not path.is_symlink()
    assert "POSTGRES_PASSWORD=" in path.read_text(encoding="utf-8")


def test_first_runs_at_once_leave_one_result(lab):
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: lab.run(), range(4)))
    assert [run.returncode for run in runs] == [0] * 4, "\n".join(run.output for run in runs if run.returncode)
    assert lab.run().succeeded().recap["changed"] == 0
    assert lab.log_in(lab.file.read_text(encoding="utf-8").strip()) == lab.roles["application"]


def test_a_locale_that_the_server_does_not_have_makes_nothing_on_the_server(lab):
    run = lab.run(mission_control_database_locale="xx_YY.UTF-8")
    assert run.returncode != 0
    server = f"on the server at 127.0.0.1, port {lab.cluster.port}"
    sentence = f'Nothing was changed in the database {lab.name} {server}: invalid locale name: "xx_YY.UTF-8"'
    assert sentence in run.sentence, run.output
    assert lab.existing_roles() == []
    assert not lab.exists()


def test_each_tag_works_alone(provisioned):
    provisioned.query(f"GRANT ALL ON DATABASE {provisioned.name} TO PUBLIC")
    assert provisioned.run("--tags", "preflight").succeeded().recap["changed"] == 0
    assert provisioned.run("--tags", "schema").succeeded().recap["changed"] == 0
    assert provisioned.run("--tags", "database").succeeded().recap["changed"] == 1
    assert provisioned.run("--tags", "database").succeeded().recap["changed"] == 0


def test_the_callers_settings_lead_nowhere_and_template1_stands_in_for_postgres(tmp_path, monkeypatch):
    """PGHOST names another cluster, PGSERVICE one that is defined nowhere; in the wanted one somebody has dropped the database postgres."""
    with ThrowawayCluster() as wanted, ThrowawayCluster() as other:
        prepare_cluster(wanted)
        connection = wanted.connect("template1")
        with connection.cursor() as cursor:
            cursor.execute("DROP DATABASE postgres")
        connection.close()
        for name, value in {
            "PGHOST": other.socket_directory,
            "PGHOSTADDR": "127.0.0.1",
            "PGPORT": str(other.port),
            "PGSERVICE": "another",
            "PGUSER": "nobody",
            "PGDATABASE": "another",
            "PGOPTIONS": "-c role=nobody",
            "PGTARGETSESSIONATTRS": "standby",
            "PGPASSWORD": "wrong",
        }.items():
            monkeypatch.setenv(name, value)
        lab = DatabaseLab(wanted, tmp_path)
        local = {
            "mission_control_login_host": "",
            "mission_control_login_password": "",
            "mission_control_login_become_user": "",
            "mission_control_postgresql_server": {"reachable": True, "socket_directory": wanted.socket_directory},
        }
        run = lab.run(**local).succeeded()
        assert run.recap["changed"] > 0
        monkeypatch.undo()
        assert [
            row[0] for row in lab.query("SELECT datname FROM pg_database WHERE datname = %s", [lab.name], "template1")
        ] == [lab.name]
        connection = other.connect()
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'lab%'")
            assert cursor.fetchone() == (0,)
        connection.close()
