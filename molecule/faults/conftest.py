from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import testinfra
from fault_tools import DATABASE, wait_until
from sql_on_host import as_administrator


@pytest.fixture(scope="session")
def eventually():
    return wait_until


def _host(scenario, name):
    return testinfra.get_host(f"podman://mission-control-{scenario.name}-{name}")


@pytest.fixture(scope="session")
def database(scenario):
    return _host(scenario, "database")


@pytest.fixture(scope="session")
def application(scenario):
    return _host(scenario, "application")


@pytest.fixture(scope="session")
def fresh(scenario):
    return _host(scenario, "fresh")


@pytest.fixture
def query(database):
    """A callable: what a superuser's statement answers on the provisioned server."""
    return lambda statement: as_administrator(database, statement, DATABASE)


@pytest.fixture
def site(tmp_path, query):
    """A callable: write a site-local migration, and return the extra variables that name its directory. Its tables are named site_…"""

    def write(text: str) -> dict[str, str]:
        (tmp_path / "site").mkdir(exist_ok=True)
        (tmp_path / "site" / "001_site.sql").write_text(text)
        return {"mission_control_schema_site_directory": str(tmp_path / "site")}

    yield write
    query("DELETE FROM schema_migrations WHERE origin = 'site'; DROP TABLE IF EXISTS site_slow, site_fast")


@pytest.fixture
def migrate(run_playbook, project):
    """A callable: run playbooks/migrate.yml on the database's host with extra variables."""

    def run(variables, *arguments):
        chosen = ["--limit", "database", "--extra-vars", json.dumps(variables), *arguments]
        return run_playbook(project / "playbooks/migrate.yml", *chosen)

    return run


@pytest.fixture
def in_background():
    """A callable: start a function in a thread, and return what waits for its result."""
    with ThreadPoolExecutor(4) as pool:
        yield lambda work, *arguments: pool.submit(work, *arguments)
