"""The backups' program on the databases of a throw-away server."""

import contextlib
import json
import os
import subprocess
import sys

from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.backup_tables import (
    table_guard,
)
from mission_control_database import ROLES, Session, create_database
from playbook import ROOT
from throwaway_cluster import server_bindir

PROGRAM = ROOT / "roles/mission_control_backup/files/mission_control_backup.py"


class BackupLab:
    """Dumps of databases of a cluster, by the program that the role installs, in a directory of the test's own."""

    def __init__(self, cluster, home):
        self.cluster = cluster
        self.home = home
        self.dumps = home / "dumps"
        self.dumps.mkdir()

    @property
    def path(self):
        """Where programs of the server's version are found."""
        return f"{server_bindir()}:/usr/bin:/bin"

    def program(self, database, *arguments, caller=None, **settings):
        """Run it; what it says and its exit code."""
        written = {
            "method": "dump",
            "database": database.name,
            "schema": "public",
            "host": self.cluster.socket_directory,
            "port": self.cluster.port,
            "user": "postgres",
            "table_guard": table_guard("public", ROLES["audit"]),
            "environment": {"PATH": self.path},
            "state_directory": str(self.home),
            "dump_directory": str(self.dumps),
            "dump_keep": 3,
            **settings,
        }
        file = self.home / "settings.json"
        file.write_text(json.dumps(written), encoding="utf-8")
        return subprocess.run(
            [sys.executable, str(PROGRAM), *arguments],
            env={**os.environ, **(caller or {}), "MISSION_CONTROL_BACKUP_SETTINGS": str(file)},
            capture_output=True,
            text=True,
            check=False,
        )

    def dump(self, database):
        """Path of a new dump."""
        done = self.program(database, "dump")
        assert "is complete" in done.stdout, done.stderr
        [path] = self.dumps.glob(f"{database.name}-*.dump")
        return str(path)

    def restore(self, database, path):
        return self.program(database, "restore", path)

    def restore_plainly(self, database, path):
        """As a superuser with PostgreSQL's own program, which evaluates what it restores."""
        where = (
            "-h",
            self.cluster.socket_directory,
            "-p",
            str(self.cluster.port),
            "-U",
            "postgres",
            "-d",
            database.name,
        )
        command = [f"{server_bindir()}/pg_restore", "--single-transaction", "--exit-on-error", *where]
        return subprocess.run([*command, path], capture_output=True, text=True, check=False)

    def text(self, database):
        """A plain dump."""
        where = ("-h", self.cluster.socket_directory, "-p", str(self.cluster.port), "-U", "postgres")
        command = [f"{server_bindir()}/pg_dump", *where, database.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    @contextlib.contextmanager
    def empty(self, name, template="template0"):
        database = create_database(self.cluster, name, template)
        try:
            yield database
        finally:
            database.drop()

    def is_superuser(self, role):
        with contextlib.closing(Session(self.cluster.connect())) as admin:
            return admin.value("SELECT rolsuper FROM pg_roles WHERE rolname = %s", role)
