"""A PostgreSQL server for one test run: made in a temporary directory, on a free port, stopped by its process id."""

import atexit
import contextlib
import ctypes
import functools
import glob
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import psycopg2

BINDIR_VARIABLE = "MISSION_CONTROL_TEST_PG_BINDIR"
# The other versions that the quick tests are to run with too, as scripts/postgresql-versions has unpacked them.
VERSIONS_VARIABLE = "MISSION_CONTROL_TEST_PG_VERSIONS"
_FETCHED = pathlib.Path(__file__).parents[2] / ".cache" / "postgresql"
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "max_prepared_transactions": "5",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_min_messages": "warning",
    # What it does and when would differ from run to run, and plans with it.
    "autovacuum": "off",
    # To compile a plan takes longer than to carry it out on the few rows of a test.
    "jit": "off",
    # Little of it lies about, which may be in memory; that it comes often is no news for the log.
    "min_wal_size": "32MB",
    "max_wal_size": "128MB",
    "checkpoint_warning": "0",
}
_MEMORY = pathlib.Path("/dev/shm")
_ENOUGH_MEMORY = 4 * 1024**3
_PR_SET_PDEATHSIG = 1


_chosen = []


def other_versions():
    return os.environ.get(VERSIONS_VARIABLE, "").split()


@contextlib.contextmanager
def programs_of(version):
    """Let server_bindir() be that of another version, such as "14"; None: of this machine's own."""
    _chosen.append(version)
    yield
    _chosen.pop()


def server_bindir():
    """Directory of the newest server programs, or the one that the environment names; of the version that programs_of() says."""
    if _chosen and _chosen[-1]:
        return str(_fetched(_chosen[-1]) / "bin")
    named = os.environ.get(BINDIR_VARIABLE)
    if named:
        return named
    found = sorted(
        (path for path in glob.glob("/usr/lib/postgresql/*/bin") if os.access(os.path.join(path, "initdb"), os.X_OK)),
        key=lambda path: float(path.split("/")[-2]),
    )
    if not found:
        raise RuntimeError(
            f"No PostgreSQL server programs in /usr/lib/postgresql: install postgresql, or name their directory in {BINDIR_VARIABLE}."
        )
    return found[-1]


@functools.cache
def _fetched(version):
    """Where the programs of a version are, for the user that runs the servers."""
    place = _FETCHED / version
    if not (place / "bin" / "initdb").exists():
        raise RuntimeError(f"No PostgreSQL {version} in {_FETCHED}: run scripts/postgresql-versions {version}.")
    try:
        subprocess.run([place / "bin" / "postgres", "--version"], check=True, capture_output=True, **_identity())
    except PermissionError:
        # The checkout is in a directory that is for its own user alone.
        copy = tempfile.mkdtemp(prefix=f"mission-control-pg{version}-")
        atexit.register(shutil.rmtree, copy, ignore_errors=True)
        place = pathlib.Path(shutil.copytree(place, copy, dirs_exist_ok=True))
        place.chmod(0o755)
    return place


def _place(settings):
    """Where the files of a server are: in memory where there is plenty, None for the disk. A copy of a database is some 450 files."""
    if settings["fsync"] == "off" and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ENOUGH_MEMORY:
        return _MEMORY
    return None


def _make_directory(what, settings):
    # By its name it is known whose it is.
    return tempfile.mkdtemp(prefix=f"mission-control-{what}-{os.getpid()}-", dir=_place(settings))


def _remove_leftovers():
    """What tests that were killed have left in memory, where nothing else ever clears up."""
    for left in _MEMORY.glob("mission-control-*-*-*"):
        pid = left.name.split("-")[3]
        with contextlib.suppress(OSError):  # another process does the same
            if time.time() - left.stat().st_mtime > 3600 and not os.path.exists(f"/proc/{pid}"):
                shutil.rmtree(left)


def _identity():
    """Whose processes the servers are: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@functools.cache
def _new_data(bindir):
    """The data directory that initdb makes, once for each process of the tests: a copy of it takes a tenth of the time."""
    _remove_leftovers()
    directory = _make_directory("initdb", _SETTINGS)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    if _identity():
        os.chown(directory, _identity()["user"], _identity()["group"])
    data = os.path.join(directory, "data")
    subprocess.run(
        [
            os.path.join(bindir, "initdb"),
            f"--pgdata={data}",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--data-checksums",
            "--no-sync",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=directory,
        **_identity(),
    )
    return data


class ThrowawayCluster:
    """Context manager around a server that is nobody else's.

    `bindir` is that of its programs. Where root runs the tests the process is that of the system user postgres.
    """

    def __init__(self, **settings):
        self.settings = {**_SETTINGS, **settings}
        self.port = 0
        self.bindir = server_bindir()
        self._directory = None
        self._server = None
        self._identity = _identity()

    @property
    def socket_directory(self):
        return self._directory

    @property
    def pid(self):
        return self._server.pid

    def __enter__(self):
        self._directory = _make_directory("pg", self.settings)
        try:
            if self._identity:
                os.chown(self._directory, self._identity["user"], self._identity["group"])
            self._initdb()
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, exc_type, exc, traceback):
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(timeout=30)
        shutil.rmtree(self._directory, ignore_errors=True)

    def connection_parameters(self, dbname="postgres", user="postgres", **more):
        return {"host": self.socket_directory, "port": self.port, "dbname": dbname, "user": user, **more}

    def connect(self, dbname="postgres", user="postgres", **more):
        """A psycopg2 connection in autocommit mode over the Unix socket, where every role may log in."""
        connection = psycopg2.connect(**self.connection_parameters(dbname, user, **more))
        connection.autocommit = True
        return connection

    def _initdb(self):
        subprocess.run(["cp", "--archive", _new_data(self.bindir), self._data], check=True, **self._identity)

    def _start(self):
        # Between the choice of a free port and its use another process may take it, so the start is tried a few times.
        for _ in range(5):
            self.port = _free_port()
            if self._started_on_port():
                return
        with open(self.log_file, encoding="utf-8", errors="replace") as log:
            raise RuntimeError(f"The throw-away PostgreSQL server did not start: {log.read()[-2000:]}")

    def _started_on_port(self):
        settings = {**self.settings, "port": str(self.port), "unix_socket_directories": self.socket_directory}
        command = [os.path.join(self.bindir, "postgres"), "-D", self._data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with open(self.log_file, "ab") as log:
            self._server = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self._directory,
                # Else modules of a server that was fetched would load the machine's libpq.
                env={**os.environ, "LD_LIBRARY_PATH": os.path.join(os.path.dirname(self.bindir), "lib")},
                preexec_fn=_stop_with_parent,
                **self._identity,
            )
        for _ in range(600):
            if self._server.poll() is not None:
                return False
            try:
                self.connect().close()
                return True
            except psycopg2.OperationalError:
                time.sleep(0.05)
        return False

    @property
    def _data(self):
        return os.path.join(self._directory, "data")

    @property
    def log_file(self):
        return os.path.join(self._directory, "server.log")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _stop_with_parent():
    """Run in the server's process before it becomes the server: a killed test run leaves no server behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
