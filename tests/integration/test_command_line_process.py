"""The command line as a process: signals, pipes, encodings, and where it finds the database."""

import os
import select
import signal
import socket
import subprocess
import time

import pytest
from command import COMMAND, environment_of, on_terminal, run_command, run_process, start_command

SLEEP = "SELECT pg_sleep(600) AS a_long_sleep"
_AT_WORK = "FROM pg_stat_activity WHERE application_name = 'mission-control query' AND wait_event = 'PgSleep'"


def wait_until(condition, what):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def sleepers(admin):
    return admin.value(f"SELECT count(*) {_AT_WORK}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_statement_and_ends_it_quietly_as_that_signal_does(database, admin, number):
    process = start_command(database, "query", SLEEP)
    wait_until(lambda: sleepers(admin) == 1, "the statement began")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == -number, "a shell makes 128 and the number of it"
    assert (out, err) == (b"", b"")
    wait_until(lambda: sleepers(admin) == 0, "the statement was cancelled")


def test_a_signal_ends_it_while_it_connects_too(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # and never answers
        environment = environment_of(POSTGRES_HOST="127.0.0.1", POSTGRES_PORT=str(listener.getsockname()[1]))
        process = subprocess.Popen(
            [*COMMAND, "status"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        connection, _address = listener.accept()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        connection.close()
    assert (process.returncode, out, err) == (-signal.SIGTERM, b"", b"")


def test_a_signal_ends_it_while_it_waits_for_standard_input(database):
    process = start_command(database, "query", stdin=subprocess.PIPE)
    # It reads in a thread of its own by then.
    wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1, "it runs")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")


def test_a_signal_that_is_ignored_stays_ignored(database, admin):
    process = start_command(
        database,
        "query",
        "--csv",
        "SELECT 1 AS n FROM pg_sleep(1)",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1, "it runs")
    process.send_signal(signal.SIGHUP)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, b"n\n1\n", b"")


@pytest.mark.parametrize("form", ["--csv", "--json", "--json-lines"])
def test_a_reader_that_has_seen_enough_ends_it_quietly(database, admin, form):
    process = start_command(database, "query", form, "SELECT * FROM generate_series(1, 10000000) AS n")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == -signal.SIGPIPE
    assert process.stderr.read() == b""
    process.stderr.close()
    wait_until(
        lambda: (
            admin.value("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'mission-control%'") == 0
        ),
        "its connection is closed",
    )


@pytest.mark.parametrize("arguments", [["--help"], ["usage", "--help"], ["--version"]])
def test_nobody_reads_the_help(arguments):
    ours, theirs = os.pipe()
    os.close(ours)
    process = subprocess.Popen([*COMMAND, *arguments], env=environment_of(), stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    _out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (-signal.SIGPIPE, b"")


def test_output_that_cannot_be_written_is_an_error(database):
    with open("/dev/full", "wb") as full:
        process = start_command(database, "query", "SELECT 1", stdout=full)
        _out, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert err == b"mission-control: The output could not be written: No space left on device.\n"
        process = start_command(database, "health", stdout=full)
        process.communicate(timeout=60)
        assert process.returncode == 3, "unknown to Nagios"


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-"])
def test_streams_may_be_closed(database, redirection):
    shell = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, "query", "SELECT 1 AS one"],
        env=environment_of(database),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (shell.returncode, shell.stderr) == (0, b"")
    assert shell.stdout == (b"" if redirection == ">&-" else b"one\n  1\n(1 row)\n")


WORDS = "SELECT 'é€ 漢' AS \"wört\", 1 AS n"


def test_any_locale_will_do(database):
    for locale in ("C", "POSIX", "C.UTF-8", "no_SUCH.locale"):
        result = run_process(database, "query", WORDS, LC_ALL=locale)
        assert (result.returncode, result.stdout) == (0, "wört   n\né€ 漢  1\n(1 row)\n")
        assert (
            run_process(database, "query", "-v", "a=é", "--csv", "SELECT %(a)s AS a", LC_ALL=locale).stdout == "a\né\n"
        )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_a_terminal_cannot_show_is_written_as_an_escape_and_data_stays_utf_8(database, encoding):
    result = subprocess.run(
        [*COMMAND, "query", WORDS],
        env=environment_of(database, PYTHONIOENCODING=encoding),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"\\u20ac \\u6f22" in result.stdout
    for form in ("--csv", "--json", "--json-lines"):
        assert "é€ 漢" in run_process(database, "query", form, WORDS, PYTHONIOENCODING=encoding).stdout
    result = run_process(database, "query", 'SELECT "é漢"', PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stdout) == (1, "")
    assert '"\\xe9\\u6f22" does not exist' in result.stderr


def test_colours_are_for_terminals_that_want_them(database):
    code, text = on_terminal(database, "status")
    assert code == 0
    assert "\x1b[32mapplied\x1b[0m" in text
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in on_terminal(database, "status", **variables)[1]
    assert "\x1b" not in run_command(database, "status", TERM="xterm").stdout


PASSWORD = "pW-7/Qz%x@y z'q\"b\\s"
QUOTED = "pW-7%2FQz%25x%40y%20z'q%22b%5Cs"


@pytest.fixture
def keeper(database, admin):
    """A login that needs its password, over TCP."""
    admin.run("CREATE ROLE keeper LOGIN PASSWORD %s", PASSWORD)
    yield {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_USER": "keeper"}
    admin.run("DROP ROLE keeper")


WHO = ("query", "--csv", "SELECT current_user AS who, current_setting('application_name') AS program")


def test_the_ways_to_a_password(database, keeper, tmp_path):
    expected = "who,program\nkeeper,mission-control query\n"
    result = run_command(database, *WHO, **keeper, POSTGRES_PASSWORD=PASSWORD)
    assert (result.stdout, result.stderr) == (expected, "")
    url = f"postgresql://keeper:{QUOTED}@127.0.0.1:{database.cluster.port}/{database.name}"
    assert run_command(None, *WHO, DATABASE_URL=url).stdout == expected
    bare = url.replace(f":{QUOTED}", "")
    assert run_command(None, "--url", bare, *WHO, PGPASSWORD=PASSWORD).stdout == expected
    file = tmp_path / "database.env"
    file.write_text(f"DATABASE_URL='{url.replace(chr(39), '%27')}'\n", encoding="utf-8")
    assert run_command(None, *WHO, "--env-file", str(file)).stdout == expected
    passfile = tmp_path / "pgpass"
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    passfile.write_text(f"*:*:*:keeper:{escaped}\n", encoding="utf-8")
    passfile.chmod(0o600)
    assert run_command(None, *WHO, "--url", bare, PGPASSFILE=str(passfile)).stdout == expected


def test_options_stand_before_or_after_the_command_and_win_over_the_environment(database):
    place = ("--host", database.cluster.socket_directory, "--port", str(database.cluster.port))
    login = ("--user", "mission_control_readonly", "--database", database.name)
    for arguments in ((*place, *login, *WHO), (*WHO, *place, *login), (*place, *WHO, *login)):
        result = run_command(None, *arguments, POSTGRES_HOST="nowhere.invalid", POSTGRES_USER="nobody")
        assert result.stdout == "who,program\nmission_control_readonly,mission-control query\n", result.stderr


def test_the_password_never_appears(database, keeper, tmp_path):
    """In whatever goes wrong."""
    url = f"postgresql://keeper:{QUOTED}@127.0.0.1:{database.cluster.port}/{database.name}"
    login = {**keeper, "POSTGRES_PASSWORD": PASSWORD}
    file = tmp_path / "database.env"
    file.write_text(f'POSTGRES_PASSWORD="{PASSWORD}\n', encoding="utf-8")
    literal = PASSWORD.replace("'", "''")
    results = [
        run_command(database, "query", f"SELECT '{literal}'::integer", **login),
        run_command(database, "query", f'SELECT "{PASSWORD}"', **login),
        run_command(database, "query", "SELECT * FROM audit_entries", **login),
        run_command(database, "query", "--statement-timeout", "0.1", "SELECT pg_sleep(9)", **login),
        run_command(database, "usage", **login),
        run_command(database, "status", **login),
        run_command(database, "audit", "verify", **login),
        run_command(database, "health", **login),
        run_command(database, "health", "--json", **login),
        run_command(database, "health", **{**login, "POSTGRES_PASSWORD": PASSWORD + "x"}),
        run_command(database, "health", **{**login, "POSTGRES_DB": "missing"}),
        run_command(database, "health", **{**login, "POSTGRES_PORT": "1"}),
        run_command(database, "status", "--sslmode", "require", **login),
        run_command(None, "status", DATABASE_URL=url + "?sslmode=nonsense"),
        run_command(None, "status", DATABASE_URL=url.replace("%2F", "/")),
        run_command(None, "status", DATABASE_URL=url.replace("%40", "@") + "#"),
        run_command(None, "status", "--url", url),
        run_command(None, "status", "--password", PASSWORD),
        run_command(None, "status", f"--password={PASSWORD}"),
        run_command(None, "status", f"-W{PASSWORD}"),
        run_command(None, "status", "--pasword", PASSWORD),
        run_command(None, "query", "-v", PASSWORD, "SELECT 1"),
        run_command(None, "status", "--env-file", str(file)),
    ]
    assert [result.returncode for result in results].count(0) <= 2, "health may have nothing to complain of"
    for result in results:
        for piece in (PASSWORD, QUOTED, "pW-7"):
            assert piece not in result.stdout + result.stderr
        assert result.stderr.count("\n") <= 1


def test_an_unreachable_server_is_3_and_one_line(database):
    for arguments in (["status"], ["query", "SELECT 1"], ["usage"], ["audit", "verify"], ["audit", "head"]):
        result = run_command(database, *arguments, POSTGRES_PORT="1")
        assert (result.returncode, result.stdout) == (3, "")
        assert result.stderr.startswith("mission-control: Cannot connect to the database")
        assert result.stderr.count("\n") == 1


def test_a_connection_that_breaks_is_told(database, admin):
    process = start_command(database, "query", SLEEP)
    wait_until(lambda: sleepers(admin) == 1, "the statement began")
    admin.run(f"SELECT pg_terminate_backend(pid) {_AT_WORK}")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (3, b"")
    assert err.startswith(b"mission-control: The connection to the database")
    assert err.count(b"\n") == 1


def test_nothing_is_printed_twice_or_late(database):
    """Rows reach the reader while the rest is still being made."""
    sql = "SELECT n, CASE WHEN n > 4000 THEN pg_sleep(600) END FROM generate_series(1, 4001) AS n"
    process = start_command(database, "query", "--csv", sql)
    ready, _writable, _failed = select.select([process.stdout], [], [], 60)
    assert ready
    assert process.stdout.readline() == b"n,case\n"
    process.terminate()
    process.communicate(timeout=30)
