"""A throw-away primary and standbys that stream from it, all on this machine: made in a second or two, killed, promoted, cut off.

`primary()` is a server of its own, as what a test does to replication is no concern of the tests on the shared one; a `Standby` may follow any
server, another standby too. All of them stop, are killed and start again as a `RestartableCluster`. The database on one of them is
`mission_control_database.Database(standby, database.name)`, which every helper takes that takes a test's database.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import mission_control_database as layer
from processes import descendants, wait_for
from restartable_cluster import RestartableCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from throwaway_cluster import ThrowawayCluster


class Member(RestartableCluster):
    """A server whose commits wait for synchronous standbys where some are named, as those of other throw-away servers never do."""

    def __init__(self, **settings: str) -> None:
        # A standby of a standby is made only of log with whole pages, and pg_rewind needs some log.
        defaults = {"synchronous_commit": "on", "full_page_writes": "on", "wal_keep_size": "64MB"}
        super().__init__(**{**defaults, "wal_retrieve_retry_interval": "100ms", **settings})

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement by the superuser, over a connection of its own: this one survives restarts."""
        return _query(self, sql, *parameters)

    def value(self, sql: str, *parameters: Any) -> Any:
        ((value,),) = self.query(sql, *parameters)
        return value

    def configure(self, **settings: str) -> None:
        """`ALTER SYSTEM`, in force when this returns; a value is as `SHOW` prints it."""
        for name, value in settings.items():
            self.query(f"ALTER SYSTEM SET {name} = %s", value)
        self.query("SELECT pg_reload_conf()")
        wait_for(
            lambda: all(self.value("SELECT current_setting(%s)", name) == value for name, value in settings.items())
        )
        # Whether commits wait is decided by the checkpointer, which reads its settings before it does this.
        self.query("CHECKPOINT")

    @contextlib.contextmanager
    def synchronous(self, names: str = "standby") -> Iterator[None]:
        """Have commits wait for standbys, by `synchronous_standby_names`; the end of the block lets those go that still wait."""
        self.configure(synchronous_standby_names=names)
        try:
            yield
        finally:
            self.configure(synchronous_standby_names="")


class Standby(Member):
    """A standby of another server by a base backup over its socket; it streams when the `with` block begins.

    Args:
        primary: a server that runs; also another standby.
        name: its application_name, for `synchronous_standby_names`, and the name of its slot.
        slot: whether it has a physical slot on the primary.
        settings: of its server, beside those of all throw-away servers.
    """

    def __init__(self, primary: ThrowawayCluster, name: str = "standby", slot: bool = True, **settings: str) -> None:
        super().__init__(**{"cluster_name": name, **settings})
        self.primary = primary
        self.name = name
        self.slot = slot

    def __enter__(self) -> Standby:
        super().__enter__()
        try:
            self.wait_until_streaming()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *of_error: Any) -> None:
        super().__exit__(*of_error)
        # The shared server outlives it. The slot of a process that has just ended may be held for a moment.
        if self.slot and self.primary._server.poll() is None:
            drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s AND NOT active"
            wait_for(
                lambda: (
                    not _query(
                        self.primary, "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND active", self.name
                    )
                )
            )
            _query(self.primary, drop, self.name)

    def _initdb(self) -> None:
        command = [os.path.join(self.bindir, "pg_basebackup"), f"--pgdata={self._data}", "--username=postgres"]
        command += [f"--host={self.primary.socket_directory}", f"--port={self.primary.port}"]
        command += ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        command += ["--create-slot", f"--slot={self.name}"] if self.slot else []
        # Programs that were fetched would otherwise load the machine's libpq.
        libraries = os.path.join(os.path.dirname(self.bindir), "lib")
        environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
        subprocess.run(
            command, check=True, cwd=self._directory, env=environment, stdout=subprocess.DEVNULL, **self._identity
        )

    def wait_until_streaming(self) -> None:
        wait_for(lambda: self.query("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"))

    def wait_until_caught_up(self) -> None:
        """Until it has replayed all that its primary has written by now."""
        ((written,),) = _query(
            self.primary,
            "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text",
        )
        wait_for(lambda: self.value("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written))

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Have it receive nothing; its primary knows that at once."""
        conninfo = self.value("SHOW primary_conninfo")
        self.configure(primary_conninfo="")
        gone = "SELECT 1 FROM pg_stat_replication WHERE application_name = %s"
        wait_for(lambda: not _query(self.primary, gone, self.name))
        try:
            yield
        finally:
            self.configure(primary_conninfo=conninfo)
        self.wait_until_streaming()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have it receive and keep what it does not replay."""
        self.query("SELECT pg_wal_replay_pause()")
        wait_for(lambda: self.value("SELECT pg_get_wal_replay_pause_state()") == "paused")
        try:
            yield
        finally:
            self.query("SELECT pg_wal_replay_resume()")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Have all of its processes stand still: connections stay, and nothing is answered."""
        processes = (self.pid, *descendants(self.pid))
        for each in processes:
            os.kill(each, signal.SIGSTOP)
        try:
            yield
        finally:
            for each in processes:
                os.kill(each, signal.SIGCONT)

    def promote(self) -> None:
        """Make it a primary, on a timeline of its own; its old primary, where it runs, is left as it is."""
        assert self.value("SELECT pg_promote(true, 60)")


@contextlib.contextmanager
def primary(provisioned: bool = True, **settings: str) -> Iterator[layer.Database]:
    """A database on a server of its own: with our roles, and with the whole schema where that is of any matter.

    Args:
        provisioned: False leaves the database empty, which saves a few seconds.
        settings: of the server, beside those of all throw-away servers; the test can change only others.
    """
    with Member(**settings) as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "mission_control")
        if provisioned:
            layer.provision(database)
        yield database
        database.close()


def _query(cluster: ThrowawayCluster, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with contextlib.closing(cluster.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchall() if cursor.description else []
