"""The process that loads runs beside a playbook: how long it stays, where it connects, and what it says, which is little."""

import fcntl

import pytest
from mission_control_database import ROLES
from processes import wait_for
from recorder_lab import PlaybookProcess, Recording, Wire, dead_process, log_of, start_loader, url_of

SECRET = "s3cret-of-the-recorder"


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def playbook():
    process = PlaybookProcess()
    yield process
    process.kill()


@pytest.fixture
def loader(spool):
    """A function that starts the loader's process; whatever happens, it is ended."""
    processes = []

    def start(*arguments, **environment):
        processes.append(start_loader(spool, *arguments, **environment))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def end_of(process):
    """Exit code of a process that says nothing."""
    out, _nothing = process.communicate(timeout=60)
    assert out == b""
    return process.returncode


def statuses(session):
    return session.values("SELECT status FROM task_runs ORDER BY created_at")


def test_it_stays_with_its_run_until_that_ends(loader, spool, database, application, playbook):
    other = Recording(spool, process=dead_process()).whole(2, end=False)
    run = Recording(spool, process=playbook.told)
    run.play()
    process = loader("--url", url_of(database), "--follow", run.run)
    wait_for(lambda: sorted(statuses(application)) == ["failed", "running"])
    assert not other.file.exists()
    assert application.values(
        "SELECT application_name FROM pg_stat_activity WHERE usename = %s AND pid <> pg_backend_pid()",
        ROLES["application"],
    ) == ["mission_control recorder"]
    run.task()
    wait_for(lambda: application.value("SELECT count(*) FROM task_events WHERE task_run_id = %s", run.run) == 2)
    run.end()
    assert end_of(process) == 0
    assert sorted(statuses(application)) == ["failed", "succeeded"]
    assert list(spool.iterdir()) == []


def test_it_closes_its_run_when_the_playbook_is_killed(loader, spool, database, application, playbook):
    run = Recording(spool, process=playbook.told)
    run.play()
    process = loader("--url", url_of(database), "--follow", run.run)
    wait_for(lambda: statuses(application) == ["running"])
    playbook.kill()
    assert end_of(process) == 0
    assert statuses(application) == ["failed"]
    assert list(spool.iterdir()) == []


def test_it_waits_for_the_database_while_the_playbook_goes_on(loader, spool, database, application, playbook, tmp_path):
    wire = Wire(database.cluster, tmp_path / "wire")
    run = Recording(spool, process=playbook.told)
    run.play()
    process = loader("--url", url_of(database, wire.directory), "--follow", run.run)
    wait_for(lambda: log_of(spool))
    wire.connect()
    wait_for(lambda: statuses(application) == ["running"])
    wire.cut()
    for _number in range(3000):
        run.play()
    wait_for(lambda: len(log_of(spool)) == 2)
    wire.connect()
    run.end()
    assert end_of(process) == 1
    assert statuses(application) == ["succeeded"]
    assert application.value("SELECT count(*) FROM task_events") == 3001
    first, second = log_of(spool)
    assert first.startswith("Cannot connect to the database ")
    assert "connection" in second
    wire.cut()


def test_it_does_not_wait_for_the_database_when_the_playbook_has_ended(loader, spool, tmp_path, database, application):
    run = Recording(spool, process=dead_process())
    run.play()
    for more in ([], ["--follow", run.run]):
        assert end_of(loader("--url", url_of(database, tmp_path), *more)) == 1
    assert run.file.exists()
    assert end_of(loader("--url", url_of(database))) == 0
    assert statuses(application) == ["failed"]
    assert (spool / "loader.log").stat().st_mode & 0o777 == 0o600


def test_no_variable_of_the_environment_leads_it_elsewhere(loader, spool, database, application):
    Recording(spool).whole()
    elsewhere = {
        "DATABASE_URL": f"postgresql://me:{SECRET}@127.0.0.1:1/elsewhere",
        "POSTGRES_HOST": "/nowhere",
        "POSTGRES_PASSWORD": SECRET,
        "MISSION_CONTROL_ENV_FILE": "/nowhere",
        "PGHOST": "/nowhere",
        "PGPORT": "1",
        "PGPASSWORD": SECRET,
        "PGSERVICE": "elsewhere",
        "PGOPTIONS": "-c search_path=elsewhere",
    }
    assert end_of(loader("--url", url_of(database), **elsewhere)) == 0
    assert statuses(application) == ["succeeded"]


def test_the_password_comes_from_its_file_or_from_the_env_file(loader, spool, database, admin, application, tmp_path):
    admin.run(f"CREATE ROLE recorder LOGIN PASSWORD '{SECRET}' IN ROLE mission_control")
    try:
        url = f"postgresql://recorder@127.0.0.1:{database.cluster.port}/{database.name}"
        right, wrong, env_file = tmp_path / "right", tmp_path / "wrong", tmp_path / "database.env"
        right.write_text(f"{SECRET}\n", encoding="ascii")
        wrong.write_text(f"not-{SECRET}", encoding="ascii")
        env_file.write_text(
            f"POSTGRES_HOST=127.0.0.1\nPOSTGRES_PORT={database.cluster.port}\nPOSTGRES_DB={database.name}\n"
            f"POSTGRES_USER=recorder\nPOSTGRES_PASSWORD={SECRET}\n",
            encoding="ascii",
        )
        run = Recording(spool).whole()
        for arguments, sentence in (
            (["--url", url, "--password-file", str(wrong)], "password authentication failed"),
            (["--url", url, "--password-file", str(tmp_path / "none")], "no password supplied"),
            (["--url", url, "--password-file", str(tmp_path)], "The password file"),
            (["--url", url.replace("recorder@", f"recorder:{SECRET}@")], "The URL of the recorder holds a password"),
            (["--env-file", str(tmp_path / "none")], "cannot be read"),
        ):
            assert end_of(loader(*arguments)) == 1
            assert sentence in log_of(spool)[-1]
            assert run.file.exists()
        assert SECRET not in (spool / "loader.log").read_text(encoding="utf-8")
        assert end_of(loader("--url", url, "--password-file", str(right))) == 0
        Recording(spool).whole()
        assert end_of(loader("--env-file", str(env_file), "--password-file", str(wrong))) == 0
        assert statuses(application) == ["succeeded", "succeeded"]
    finally:
        admin.run("DROP ROLE recorder")


def test_it_waits_for_its_run_while_another_loader_has_the_file(loader, spool, database, application):
    run = Recording(spool).whole()
    with run.file.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = loader("--url", url_of(database), "--follow", run.run)
        other = Recording(spool).whole()
        wait_for(lambda: not other.file.exists())
        assert process.poll() is None
    assert end_of(process) == 0
    assert statuses(application) == ["succeeded", "succeeded"]
