"""What the roles hand over to programs where several servers are listed: all of them, and which of them is meant."""

import pytest
from role_inputs import ROOT, template


@pytest.mark.parametrize(
    ("variable", "prefix", "attributes"),
    [
        ("__mission_control_service_database", "mission_control_service_", "primary"),
        ("__mission_control_database_env_values", "mission_control_database_env_file_", "read-write"),
    ],
)
def test_env_files_name_all_servers_and_which_of_them_is_meant(variable, prefix, attributes):
    host = f"{prefix}database_host" if prefix.endswith("service_") else f"{prefix}host"
    word = host.replace("host", "target_session_attrs")
    login = {"__mission_control_service_login": {"password": "x"}, "__mission_control_database_passwords": []}

    def values(**inputs):
        return template(f"{{{{ {variable} }}}}", {**login, **inputs})

    assert "POSTGRES_TARGET_SESSION_ATTRS" not in values(**{host: "db"})
    several = values(**{host: ["db-1", "db-2"]})
    assert (several["POSTGRES_HOST"], several["POSTGRES_TARGET_SESSION_ATTRS"]) == ("db-1,db-2", attributes)
    assert values(**{host: "db-1,db-2", word: "any"})["POSTGRES_TARGET_SESSION_ATTRS"] == "any"
    assert values(**{host: "db", word: "primary"})["POSTGRES_TARGET_SESSION_ATTRS"] == "primary"


@pytest.mark.parametrize("role", ["inventory", "tools"])
def test_so_do_those_of_workers(role):
    def values(host):
        inputs = {"mission_control_login_host": host}
        names = ("database", "login")
        worker = {name: template(f"{{{{ __mission_control_{role}_worker.{name} }}}}", inputs) for name in names}
        known = {"__mission_control_common_worker": worker, "__mission_control_worker_login": {"password": "x"}}
        return template("{{ __mission_control_worker_database }}", {**inputs, **known})

    several = values(["db-1", "db-2"])
    assert (several["POSTGRES_HOST"], several["POSTGRES_TARGET_SESSION_ATTRS"]) == ("db-1,db-2", "read-write")
    assert values("db")["POSTGRES_HOST"] == "db"
    assert "POSTGRES_TARGET_SESSION_ATTRS" not in values("db")


def test_so_does_the_service_file_of_the_maintenance():
    text = (ROOT / "roles/mission_control_maintenance/templates/database.conf.j2").read_text(encoding="utf-8")
    login = {"__mission_control_maintenance_login": {"password": "x"}}
    several = template(text, {**login, "mission_control_login_host": "db-1,db-2"}).splitlines()
    assert {"host=db-1,db-2", "target_session_attrs=read-write"} <= set(several)
    assert "target_session_attrs" not in template(text, {**login, "mission_control_login_host": "db"})
