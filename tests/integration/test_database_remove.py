"""playbooks/remove.yml: it says what will be lost, asks, keeps a last dump, and leaves what is not ours."""

from __future__ import annotations

import re
import stat
import subprocess

import pytest
from database_lab import DatabaseLab, prepare_cluster
from playbook import run_playbook
from throwaway_cluster import ThrowawayCluster, server_bindir


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster() as server:
        prepare_cluster(server)
        yield server


class RemoveLab(DatabaseLab):
    """A lab with files as the role leaves them."""

    def remove(self, *arguments, confirmed=True, **variables):
        confirmation = {"mission_control_database_remove_confirm": self.name} if confirmed else {}
        all_variables = {
            **self.variables,
            "mission_control_postgresql_mode": "existing",
            "mission_control_database_env_file": str(self.env_file),
            **confirmation,
            **variables,
        }
        return run_playbook("playbooks/remove.yml", all_variables, *arguments, home=self.home)

    @property
    def env_file(self):
        return self.home / "app.env"

    def fill(self):
        self.make()
        self.make_objects()
        self.query("INSERT INTO plain (a) SELECT generate_series(1, 12); INSERT INTO audit (a) VALUES (7)")
        self.file.parent.mkdir()
        self.file.write_text("secret\n", encoding="utf-8")
        self.env_file.write_text("x", encoding="utf-8")
        return self

    def is_whole(self):
        return [self.exists(), len(self.existing_roles()), self.file.exists(), self.env_file.exists()] == [
            True,
            len(self.roles),
            True,
            True,
        ]


@pytest.fixture(params=["postgres", "keeper"])
def lab(cluster, tmp_path, request):
    return RemoveLab(cluster, tmp_path, request.param).fill()


def test_without_a_confirmation_it_says_what_would_be_lost_and_stops(lab):
    for variables in ({}, {"mission_control_database_remove_confirm": "yes"}):
        run = lab.remove(confirmed=False, **variables)
        assert run.returncode != 0
        assert f"set mission_control_database_remove_confirm to {lab.name}" in run.sentence
    assert f"database {lab.name} of {lab.user}: " in run.output
    assert ("public.plain: 12 rows" in run.output) == (lab.user == "postgres")  # another one may not read it
    assert f"drop role {lab.roles['audit']}" in run.output
    assert str(lab.env_file) in run.output
    assert str(lab.file) in run.output
    assert lab.is_whole()


def test_it_removes_everything_and_a_second_run_changes_nothing(lab):
    session = lab.connect()
    assert lab.remove("--check").succeeded().recap["changed"] > 0
    assert lab.is_whole()
    assert lab.remove().succeeded().recap["changed"] > 0
    assert not lab.exists()
    assert lab.existing_roles() == []
    assert not lab.file.exists()
    assert not lab.env_file.exists()
    second = lab.remove().succeeded()
    assert second.recap["changed"] == 0
    assert "There is nothing to remove." in second.output
    assert lab.remove(confirmed=False).succeeded().recap["changed"] == 0
    session.close()


def test_a_last_dump_holds_everything_and_is_for_its_owner_only(lab):
    dump = lab.home / "last.dump"
    lab.remove(mission_control_database_remove_dump=str(dump)).succeeded()
    assert not lab.exists()
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    assert not (lab.home / "last.dump.partial").exists()
    program = f"{server_bindir()}/pg_restore"
    data = subprocess.run(
        [program, "--data-only", "--file=-", str(dump)], capture_output=True, text=True, check=True
    ).stdout
    assert "COPY public.audit" in data
    assert "12\t" in data
    assert lab.remove(mission_control_database_remove_dump=str(dump)).succeeded().recap["changed"] == 0


@pytest.mark.parametrize("lab", ["keeper"], indirect=True)
def test_where_the_dump_fails_nothing_is_removed(lab):
    existing = lab.home / "last.dump"
    existing.write_text("older", encoding="utf-8")
    run = lab.remove(mission_control_database_remove_dump=str(existing))
    assert run.returncode != 0
    assert "the file already exists, so name another" in run.sentence
    run = lab.remove(mission_control_database_remove_dump="/nowhere/last.dump")
    assert run.returncode != 0
    assert "Nothing was removed, because the dump" in run.sentence
    assert existing.read_text(encoding="utf-8") == "older"
    assert lab.is_whole()
    assert lab.query("SELECT pg_has_role('keeper', %s, 'USAGE')", [lab.roles["audit"]]) == [(False,)]


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
def test_what_is_not_ours_stays(lab):
    lab.query("CREATE TABLE diary (id integer)")
    run = lab.remove()
    assert run.returncode != 0
    assert "also holds tables of others (1), such as public.diary of postgres" in run.sentence
    assert lab.is_whole()
    lab.query("DROP TABLE diary")

    neighbour = lab.make_neighbour()
    lab.query(f"GRANT CONNECT ON DATABASE {neighbour} TO {lab.roles['readonly']}", database="postgres")
    run = lab.remove().succeeded()
    assert f"role {lab.roles['readonly']} is kept, because it is used in {neighbour}" in " ".join(run.output.split())
    assert lab.existing_roles() == [lab.roles["readonly"]]
    assert lab.query("SELECT 1", database=neighbour) == [(1,)]
    assert lab.remove().succeeded().recap["changed"] == 0


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
def test_wrong_credentials_are_a_sentence(lab):
    run = lab.remove(mission_control_login_password="wrong")
    assert run.returncode != 0
    assert re.search("Cannot use the server at .* as postgres: ", run.sentence)
    assert lab.is_whole()


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
@pytest.mark.parametrize(
    "name",
    ["mission_control_postgresql_remove_settings", "mission_control_service_enabled", "mission_control_service_port"],
)
def test_an_input_of_a_later_part_is_refused_before_anything_is_removed(lab, name):
    run = lab.remove(**{name: "perhaps"})
    assert run.returncode != 0
    assert name in run.output
    assert "perhaps" in run.output
    assert "Traceback" not in run.output
    assert run.recap["changed"] == 0
    assert lab.is_whole()
