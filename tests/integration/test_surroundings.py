"""No test meets what the machine or its user has: env file, server, home directory, environment, locale, time zone, umask."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from playbook import ROOT

HERE = pathlib.Path(__file__).parent
# One of each way to come by a login: this process, a command, a module, a play, a program of the documentation, the service.
SAMPLE = (
    "tests/unit/test_client_settings.py",
    "tests/unit/test_connection_options.py",
    "tests/integration/test_client_queries.py::test_wrong_parameters_are_described_without_their_values",
    "tests/integration/test_client_rotation.py::test_a_password_that_was_given_is_not_replaced",
    "tests/integration/test_health_module.py::test_the_ad_hoc_line",
    "tests/integration/test_health_module.py::test_a_wrong_option_is_a_sentence",
    "tests/integration/test_health_playbook.py::test_it_says_that_the_database_is_healthy_and_changes_nothing",
    "tests/integration/test_library_page.py",
)
DATABASE = {
    "DATABASE_URL": "postgresql://of_the_caller:wrong@127.0.0.1/of_the_caller",
    "MISSION_CONTROL_ENV_FILE": "/nowhere/database.env",
    "PGDATABASE": "of_the_caller",
    "PGHOST": "/nowhere",
    "PGHOSTADDR": "127.0.0.1",
    "PGOPTIONS": "-c no_such_setting=1",
    "PGPASSFILE": "/nowhere/pgpass",
    "PGPASSWORD": "wrong",
    "PGPORT": "5432",
    "PGSERVICE": "no_such_service",
    "PGSSLMODE": "verify-full",
    "PGUSER": "of_the_caller",
    "POSTGRES_DB": "of_the_caller",
    "POSTGRES_HOST": "/nowhere",
    "POSTGRES_PASSWORD": "wrong",
    "POSTGRES_PORT": "1",
    "POSTGRES_USER": "of_the_caller",
}
OTHERS = {
    "ANSIBLE_BECOME": "true",
    "ANSIBLE_CONFIG": "/nowhere/ansible.cfg",
    "ANSIBLE_INVENTORY": "/nowhere/hosts",
    "ANSIBLE_REMOTE_USER": "nobody",
    "ANSIBLE_STDOUT_CALLBACK": "no_such_callback",
    "ANSIBLE_STRATEGY": "no_such_strategy",
    "GIT_DIR": "/nowhere",
    "LANGUAGE": "de",
    "LC_ALL": "C",
    "TZ": "Pacific/Kiritimati",
    "XDG_CONFIG_HOME": "/nowhere",
}


@pytest.fixture
def home(tmp_path):
    """The home directory of somebody who works with other databases."""
    home = tmp_path / "home"
    (home / ".config" / "mission_control" / "localhost").mkdir(parents=True)
    (home / ".config" / "mission_control" / "localhost" / "mission_control.password").write_text("wrong\n")
    (home / ".ansible.cfg").write_text("[defaults]\nstrategy = no_such_strategy\n")
    (home / ".pg_service.conf").write_text("[no_such_service]\nhost=/nowhere\n")
    (home / ".psqlrc").write_text("\\quit\n")
    passwords = home / ".pgpass"
    passwords.write_text("*:*:*:*:wrong\n")
    passwords.chmod(0o600)
    return home


def test_no_test_meets_what_the_machine_has(home, tmp_path):
    """A sample passes where all of it is wrong, and turns to none of it: the env file is not even read."""
    # Root alone can plant an env file and a server; and nobody else can read the one that `make site` has written.
    alone = ["unshare", "--net", str(ROOT / "scripts" / "on-used-machine")] if os.geteuid() == 0 else []
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tmp_path / 'inner'}",
        *SAMPLE,
    ]
    command = [*alone, sys.executable, str(HERE / "used_machine.py"), "alone" if alone else "beside", *tests]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **DATABASE, **OTHERS, "HOME": str(home)},
        umask=0o077,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    seen = json.loads(run.stdout.splitlines()[-1])
    assert seen == {"returncode": 0, "visits": [], "planted": bool(alone), "read": False}, run.stdout + run.stderr


def test_the_wrong_surroundings_are_met_by_who_looks(home):
    """The control: what is planted is found by a program that is started with it."""
    library = f"import sys; sys.path.insert(0, {str(ROOT / 'tests' / 'packages')!r}); from mission_control import Client; Client().connect()"
    told = {}
    for name, variables in {"environment": DATABASE, "env file": {}}.items():
        run = subprocess.run(
            [str(ROOT / "scripts" / "on-used-machine"), sys.executable, "-c", library],
            env={"PATH": os.environ["PATH"], "HOME": str(home), **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        told[name] = run.stderr
    assert "of_the_caller" in told["environment"]
    assert os.geteuid() != 0 or "port 9" in told["env file"]
