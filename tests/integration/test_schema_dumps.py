"""The dumps that the schema role makes before an upgrade, by administrators who may read everything and who may not."""

from __future__ import annotations

import subprocess

import pytest
from schema_lab import SchemaLab, create_roles, keeper, memberships
from throwaway_cluster import ThrowawayCluster


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster() as server:
        create_roles(server)
        yield server


@pytest.fixture
def lab(cluster, tmp_path):
    return SchemaLab(cluster, tmp_path)


def test_dumps_are_made_before_an_upgrade_and_the_oldest_removed(lab, tmp_path):
    dumps = tmp_path / "dumps"
    dumped = {"mission_control_schema_dump_directory": str(dumps), "mission_control_schema_dump_keep": 2}
    lab.run(**dumped).succeeded()
    assert not dumps.exists()  # there was nothing to lose
    for number in range(4, 7):
        lab.write({f"migrations/{number:03d}_more.sql": f"CREATE TABLE more_{number} (id integer);"})
        lab.run(**dumped).succeeded()
    kept = sorted(dumps.iterdir())
    assert len(kept) == 2
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    listing = subprocess.run(["pg_restore", "--list", str(kept[-1])], capture_output=True, text=True, check=True).stdout
    assert "more_5" in listing
    assert "more_6" not in listing


def test_an_administrator_without_superuser_dumps_what_the_owners_own_and_stays_no_member(lab, tmp_path):
    login = {"mission_control_login_user": "keeper", "mission_control_login_password": "keeper"}
    dumped = {**login, "mission_control_schema_dump_directory": str(tmp_path / "dumps")}
    with keeper(lab):
        lab.migration("keeper").run()
        lab.query("INSERT INTO first VALUES (1701); INSERT INTO third VALUES (1702)")
        lab.write({"migrations/004_fourth.sql": "CREATE TABLE fourth (id integer);"})
        lab.run("--tags", "schema", **dumped).succeeded()
        (dump,) = (tmp_path / "dumps").iterdir()
        data = subprocess.run(
            ["pg_restore", "--data-only", "--file=-", str(dump)], capture_output=True, text=True, check=True
        ).stdout
        assert "1701" in data
        assert "1702" in data
        assert memberships(lab) == []

        lab.query("GRANT mission_control_owner TO keeper")  # by somebody else, so it stays
        lab.query("CREATE TABLE diary (id integer)")  # that of a superuser
        lab.write({"migrations/005_fifth.sql": "CREATE TABLE fifth (id integer);"})
        run = lab.run(**dumped)
        assert run.returncode != 0
        assert f"Nothing was applied, because the dump to {tmp_path}/dumps/{lab.database}-" in run.sentence
        assert "permission denied for table diary" in run.sentence
        assert "fifth" not in lab.tables()
        assert list((tmp_path / "dumps").iterdir()) == [dump]
        assert memberships(lab) == [("mission_control_owner",)]
