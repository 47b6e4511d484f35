"""playbooks/remove.yml: it says what will be lost, asks, keeps a last dump, and leaves what is not ours."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from database_lab import DatabaseLab, prepare_cluster
from host_plays import run_on_hosts
from playbook import run_playbook
from throwaway_cluster import ThrowawayCluster, server_bindir


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster() as server:
        prepare_cluster(server)
        yield server


class RemoveLab(DatabaseLab):
    """A lab with files as the role leaves them."""

    def inputs(self, confirmed=True, **variables):
        confirmation = {"mission_control_database_remove_confirm": self.name} if confirmed else {}
        return {
            **self.variables,
            "mission_control_postgresql_mode": "existing",
            "mission_control_database_env_file": str(self.env_file),
            **confirmation,
            **variables,
        }

    def remove(self, *arguments, **variables):
        return run_playbook("playbooks/remove.yml", self.inputs(**variables), *arguments, home=self.home)

    @property
    def env_file(self):
        return self.home / f"{self.name}.env"

    def fill(self):
        self.make()
        self.make_objects()
        self.query("INSERT INTO plain (a) SELECT generate_series(1, 12); INSERT INTO audit (a) VALUES (7)")
        self.file.parent.mkdir(exist_ok=True)
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


@pytest.fixture
def lab(cluster, tmp_path, request):
    return RemoveLab(cluster, tmp_path, getattr(request, "param", "postgres")).fill()


@pytest.fixture
def labs(cluster, tmp_path):
    """Of a superuser and of an administrator who is none: their runs are the hosts of one play."""
    return [RemoveLab(cluster, tmp_path, user).fill() for user in ("postgres", "keeper")]


def remove_together(labs, *arguments, **variables):
    hosts = [lab.inputs(**variables) for lab in labs]
    return run_on_hosts(Path("playbooks/remove.yml"), hosts, *arguments, home=labs[0].home)


def changes(runs):
    """How many tasks have changed something on each host; fails the test where one failed."""
    return [run.succeeded().recap["changed"] for run in runs]


def test_without_a_confirmation_it_says_what_would_be_lost_and_stops(labs):
    for variables in ({}, {"mission_control_database_remove_confirm": "yes"}):
        for lab, run in zip(labs, remove_together(labs, confirmed=False, **variables)):
            assert run.failed
            assert f"set mission_control_database_remove_confirm to {lab.name}" in run.sentence
            assert f"database {lab.name} of {lab.user}: " in run.told
            assert ("public.plain: 12 rows" in run.told) == (lab.user == "postgres")  # another one may not read it
            assert f"drop role {lab.roles['audit']}" in run.told
            assert str(lab.env_file) in run.told
            assert str(lab.file) in run.told
            assert lab.is_whole()


def test_it_removes_everything_and_a_second_run_changes_nothing(labs):
    sessions = [lab.connect() for lab in labs]
    for lab in labs:
        # Of a person, who stays.
        lab.query(f"CREATE ROLE {lab.name}_alice IN ROLE {lab.roles['approver']}", database="postgres")
    assert all(changed > 0 for changed in changes(remove_together(labs, "--check")))
    assert all(lab.is_whole() for lab in labs)
    assert all(changed > 0 for changed in changes(remove_together(labs)))
    for lab in labs:
        assert not lab.exists()
        assert lab.existing_roles() == []
        assert lab.query("SELECT to_regrole(%s) IS NOT NULL", [f"{lab.name}_alice"], database="postgres") == [(True,)]
        assert not lab.file.exists()
        assert not lab.env_file.exists()
    second = remove_together(labs)
    assert changes(second) == [0, 0]
    assert all("There is nothing to remove." in run.told for run in second)
    assert changes(remove_together(labs, confirmed=False)) == [0, 0]
    for session in sessions:
        session.close()


def test_a_last_dump_holds_everything_and_is_for_its_owner_only(labs):
    dumps = [lab.home / f"{lab.name}.dump" for lab in labs]
    dumped = {
        "mission_control_database_remove_dump": "{{ mission_control_database_env_file | replace('.env', '.dump') }}"
    }
    changes(remove_together(labs, **dumped))
    for lab, dump in zip(labs, dumps):
        assert not lab.exists()
        assert stat.S_IMODE(dump.stat().st_mode) == 0o600
        assert not dump.with_name(f"{dump.name}.partial").exists()
        program = f"{server_bindir()}/pg_restore"
        data = subprocess.run(
            [program, "--data-only", "--file=-", str(dump)], capture_output=True, text=True, check=True
        ).stdout
        assert "COPY public.audit" in data
        assert "12\t" in data
    assert changes(remove_together(labs, **dumped)) == [0, 0]


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


REFUSED = [
    ({"mission_control_login_password": "wrong"}, " as postgres: "),
    # Inputs of a later part.
    ({"mission_control_postgresql_remove_settings": "perhaps"}, "mission_control_postgresql_remove_settings"),
    ({"mission_control_service_enabled": "perhaps"}, "mission_control_service_enabled"),
    ({"mission_control_service_port": "perhaps"}, "mission_control_service_port"),
]


@pytest.fixture(scope="module")
def refusals(cluster, tmp_path_factory):
    """A lab for each wrong input and what became of it, as the hosts of one play."""
    home = tmp_path_factory.mktemp("refusals")
    labs = [RemoveLab(cluster, home).fill() for _ in REFUSED]
    hosts = [lab.inputs(**variables) for lab, (variables, _words) in zip(labs, REFUSED)]
    return list(zip(labs, run_on_hosts(Path("playbooks/remove.yml"), hosts, home=home)))


@pytest.mark.parametrize(("number", "words"), [(number, words) for number, (_, words) in enumerate(REFUSED)])
def test_a_wrong_input_is_refused_before_anything_is_removed(refusals, number, words):
    lab, run = refusals[number]
    variables, _words = REFUSED[number]
    assert run.failed
    assert words in run.told
    assert all(value in run.told for value in variables.values() if value != "wrong")
    assert "Traceback" not in run.output
    assert run.recap["changed"] == 0
    assert lab.is_whole()
