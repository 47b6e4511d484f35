"""pgBackRest on throw-away servers: a repository that they share, and on each what the role mission_control_backup installs."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import textwrap
from typing import TYPE_CHECKING, Any

import jinja2
import mission_control_database as layer
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.backup_tables import (
    table_guard,
)
from mission_control_database import ROLES
from playbook import ROOT
from processes import wait_for
from replication_lab import Member

if TYPE_CHECKING:
    from throwaway_cluster import ThrowawayCluster

ROLE = ROOT / "roles/mission_control_backup"
STANZA = "mission_control"
# In force before there is anything that it could call.
ARCHIVING = {"archive_mode": "on", "archive_timeout": "0"}


class BackedUp:
    """The program and the archive command of a server; `place` is a directory of the server's own, in which everything is."""

    def __init__(self, server: ThrowawayCluster, repository: str) -> None:
        self.server = server
        self.place = pathlib.Path(server.socket_directory)
        self.path = f"{self.place}:{server.bindir}:/usr/bin:/bin"
        program = shutil.which("pgbackrest") or str(ROOT / ".cache/pgbackrest/pgbackrest")
        assert os.path.exists(program), "There is no pgbackrest: run scripts/install-test-packages."
        # The checkout may be in a directory that is for its own user alone.
        shutil.copy(program, self.place)
        self.configuration = self.place / "pgbackrest.conf"
        self._write(
            self.configuration,
            f"""
            [global]
            repo1-path={repository}
            repo1-retention-full=9
            log-level-file=off
            log-level-console=warn
            lock-path={self.place}/locks
            start-fast=y
            [{STANZA}]
            pg1-path={server._data}
            pg1-port={server.port}
            pg1-socket-path={self.place}
            pg1-user=postgres
            pg1-database=mission_control
            """,
        )
        settings = {
            "method": "pgbackrest",
            "database": "mission_control",
            "schema": "public",
            "host": str(self.place),
            "port": server.port,
            "user": "postgres",
            "table_guard": table_guard("public", ROLES["audit"]),
            "environment": {"PATH": self.path},
            "state_directory": str(self.place),
            "configuration": str(self.configuration),
            "stanza": STANZA,
            "repositories": [1],
        }
        self._write(self.place / "settings.json", json.dumps(settings))
        self._write(self.place / "program.py", (ROLE / "files/mission_control_backup.py").read_text(encoding="utf-8"))
        self.program = self.place / "mission-control-backup"
        self._write(
            self.program,
            f"""
            #!/bin/sh
            MISSION_CONTROL_BACKUP_SETTINGS={self.place}/settings.json exec python3 {self.place}/program.py "$@"
            """,
            0o755,
        )
        template = (ROLE / "templates/archive-push.j2").read_text(encoding="utf-8")
        self.push = self.place / "pgbackrest-push"
        rendered = jinja2.Template(template, keep_trailing_newline=True).render(
            __mission_control_backup_configuration=self.configuration,
            __mission_control_backup_program=self.program,
            mission_control_backup_stanza=STANZA,
        )
        self._write(self.push, rendered.replace("PATH=", f"PATH={self.path}:"), 0o755)
        server.configure(archive_command=f'{self.push} "%p"')

    def _write(self, path: pathlib.Path, text: str, mode: int = 0o644) -> None:
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        path.chmod(mode)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={"PATH": self.path},
            **self.server._identity,
        )

    def back_up(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The program, as a timer or the archive command calls it."""
        return self._run(str(self.program), *arguments)

    def pgbackrest(self, *arguments: str) -> str:
        done = self._run("pgbackrest", f"--config={self.configuration}", f"--stanza={STANZA}", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kept(self) -> list[dict[str, Any]]:
        backups: list[dict[str, Any]] = json.loads(self.pgbackrest("--output=json", "info"))[0]["backup"]
        return backups

    def stop_archiving(self) -> None:
        """As with a repository that is out of reach."""
        self._write(self.push, "#!/bin/sh\nexit 1\n", 0o755)

    def archive(self) -> None:
        """End the segment of the write-ahead log and wait until the repository has it."""
        self.server.query("SELECT pg_current_xact_id()")
        segment = self.server.value("SELECT pg_walfile_name(pg_switch_wal())")
        wait_for(lambda: (self.server.value("SELECT last_archived_wal FROM pg_stat_archiver") or "") >= segment)


class Restored(Member):
    """A server from a backup of another one, with all that was archived since."""

    def __init__(self, source: BackedUp, label: str, **settings: str) -> None:
        super().__init__(**settings)
        self.source = source
        self.label = label

    def _initdb(self) -> None:
        self.source.pgbackrest(
            f"--set={self.label}", f"--pg1-path={self._data}", f"--cmd={self.source.place}/pgbackrest", "restore"
        )

    def __enter__(self) -> Restored:
        super().__enter__()
        wait_for(lambda: not self.value("SELECT pg_is_in_recovery()"))
        return self

    @property
    def database(self) -> layer.Database:
        return layer.Database(self, "mission_control")
