"""The faults: what each does to the cluster while the application writes, and how it is healed again.

A kind is a function that gets a `Drill`. What it does before `with drill.load():` prepares, and what it does after undoes that; the
application writes in between, and has at least a thousand acknowledgements when the block begins.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drill_hosts import Host, StuckError, wait_until

if TYPE_CHECKING:
    from drills import Drill

# Patroni's time to live, with some room: whatever would happen for want of a renewed lock has happened by then.
TTL = 25


@dataclass(frozen=True)
class Kind:
    """A kind of drill.

    Attributes:
        name: as the journal has it.
        run: does it.
        ways: how the application may reach the database in it: by the list of hosts, or by HAProxy.
        synchronous: whether the cluster is in synchronous mode, so that no acknowledged write may be missing.
    """

    name: str
    run: Callable[[Drill], None]
    ways: tuple[str, ...] = ("list", "proxy")
    synchronous: bool = True


KINDS: dict[str, Kind] = {}


def kind(*ways: str, synchronous: bool = True) -> Callable[[Callable[[Drill], None]], Callable[[Drill], None]]:
    def add(function: Callable[[Drill], None]) -> Callable[[Drill], None]:
        KINDS[function.__name__] = Kind(function.__name__, function, ways or Kind.ways, synchronous)
        return function

    return add


POSTMASTER = "kill -9 $(head --lines 1 /var/lib/postgresql/*/main/postmaster.pid)"
PATRONI = "/bin/patroni "


def signal(host: Host, name: str, pattern: str) -> None:
    host.run(f"kill -{name} $(pgrep --full '{pattern}')")


def patroni_unit(host: Host) -> str:
    return host.run(
        "systemctl list-units --state active --plain --no-legend 'patroni@*.service' | cut --delimiter ' ' --fields 1"
    )


@kind()
def kill_postmaster(drill: Drill) -> None:
    with drill.load():
        drill.fault(lambda: drill.leader.run(POSTMASTER))
        drill.new_leader(any_host=True)
        drill.writes_go_on()
        drill.healed()


@kind()
def kill_host(drill: Drill) -> None:
    with drill.load():
        drill.fault(lambda: drill.leader.switch_off(cleanly=False))
        drill.new_leader()
        drill.writes_go_on()
        drill.heal(drill.leader.switch_on)
        drill.writes_go_on()


@kind()
def stop_host(drill: Drill) -> None:
    with drill.load():
        drill.fault(lambda: drill.leader.switch_off(cleanly=True))
        drill.new_leader()
        drill.writes_go_on()
        drill.heal(drill.leader.switch_on)
        drill.writes_go_on()


@kind("proxy", synchronous=False)
def kill_host_asynchronous(drill: Drill) -> None:
    kill_host(drill)


@kind()
def kill_patroni(drill: Drill) -> None:
    """Where systemd does not start it again its server runs on, and the drill starts it when somebody else is leader."""
    unit = patroni_unit(drill.leader)
    with drill.load():
        drill.fault(lambda: signal(drill.leader, "KILL", PATRONI))
        if "no" in drill.leader.run(f"systemctl show --property Restart {unit}").split("="):
            drill.new_leader()
        drill.heal(lambda: drill.leader.run(f"systemctl start {unit}"))
        drill.writes_go_on()


def thaw(host: Host) -> None:
    host.run(f"pkill --signal CONT --full '{PATRONI}'; true")


@kind()
def freeze_patroni(drill: Drill) -> None:
    """The example's watcher ends it, with its server, before another host leads, or as it does. A list begins with this host."""
    host = drill.leader
    frozen = host.pids(PATRONI)
    with drill.load():
        drill.fault(lambda: signal(host, "STOP", PATRONI))
        try:
            wait_until(lambda: not set(frozen) & set(host.pids(PATRONI)), "the end of the frozen Patroni")
            drill.new_leader(any_host=True)
            drill.writes_go_on()
        finally:
            drill.heal(lambda: thaw(host))
        drill.writes_go_on()


@kind()
def freeze_patroni_unwatched(drill: Drill) -> None:
    """Nothing ends it, so that its server runs on beside the new leader's, and takes writes; the application's list begins with it.

    HAProxy keeps the application away from it. By the list its calls fail until it is thawed, as no standby confirms them: not one counts as done that
    only the old leader has. A Patroni older than 3.0.3 may take the lock back when it is thawed, and what the new leader had acknowledged is lost.
    """
    host = drill.leader
    drill.may_lose |= drill.cluster.patroni_version() < (3, 0, 3)
    host.run("systemctl stop patroni-alive")
    try:
        with drill.load():
            drill.fault(lambda: signal(host, "STOP", PATRONI))
            try:
                drill.new_leader()
                drill.note(two_primaries=len(drill.cluster.primaries()) == 2)
                if drill.way == "proxy":
                    drill.writes_go_on()
                else:
                    wait_until(lambda: drill.failures() >= drill.threads, "calls that end")
            finally:
                drill.heal(lambda: thaw(host))
            drill.writes_go_on()
    finally:
        host.run("systemctl start patroni-alive")


def stop_etcd(*hosts: Host) -> None:
    for host in hosts:
        host.run("systemctl kill --signal KILL etcd; systemctl stop etcd")


def start_etcd(*hosts: Host) -> None:
    for host in hosts:
        # It waits for the quorum, which is not there before the next one.
        host.run("systemctl reset-failed etcd; systemctl start --no-block etcd")


@kind()
def kill_etcd_on_one(drill: Drill) -> None:
    with drill.load():
        drill.fault(lambda: stop_etcd(drill.leader))
        drill.while_nothing_is_renewed()
        drill.heal(lambda: start_etcd(drill.leader))
        drill.writes_go_on()


@kind()
def kill_etcd_on_two(drill: Drill) -> None:
    """No quorum, so nobody may be elected; all members answer, so Patroni's failsafe mode keeps the leader."""
    hosts = [drill.leader, drill.standby]
    with drill.load():
        drill.fault(lambda: stop_etcd(*hosts))
        drill.while_nothing_is_renewed()
        drill.heal(lambda: start_etcd(*hosts))
        drill.writes_go_on()


@kind()
def cut_leader(drill: Drill) -> None:
    with drill.load():
        drill.fault()
        with drill.leader.cut_off():
            drill.new_leader()
            drill.writes_go_on()
        drill.healed()
        drill.writes_go_on()


@kind()
def cut_standby(drill: Drill) -> None:
    """Of the synchronous standby: commits wait until Patroni has chosen another one."""
    with drill.load():
        drill.fault()
        with drill.standby.cut_off():
            drill.writes_go_on()
        drill.healed()
        drill.writes_go_on()


@kind()
def cut_client(drill: Drill) -> None:
    with drill.load():
        drill.fault()
        with drill.cluster.client.cut_off():
            wait_until(lambda: drill.failures() >= drill.threads, "a failure for each thread")
        drill.healed()
        drill.writes_go_on()


@kind()
def cut_etcd(drill: Drill) -> None:
    """Of the leader's host, etcd's ports only: its Patroni reaches no etcd but its own, which has no quorum."""
    with drill.load():
        drill.fault()
        with drill.leader.cut_off("2379,2380"):
            drill.while_nothing_is_renewed()
            drill.writes_go_on()
        drill.healed()
        drill.writes_go_on()


@kind()
def fill_disk(drill: Drill) -> None:
    """Of the leader, whose server has a file system of its own, until the application is told or another host leads."""
    place = "/var/lib/postgresql"
    if drill.leader.run(f"findmnt --noheadings --output TARGET --target {place}") != place:
        raise StuckError(
            f"{drill.leader} has no file system of its own at {place}, and the drill would fill this machine's."
        )
    fill = f"fallocate --length $(df --output=avail --block-size=1 {place} | tail -1) {place}/filler; cat /dev/zero >{place}/rest; true"
    with drill.load():
        drill.fault(lambda: drill.leader.run(f"({fill}) 2>/dev/null"))
        try:
            wait_until(
                lambda: drill.failures() >= drill.threads or drill.cluster.primaries() not in ([], [drill.leader]),
                "a failure",
            )
        finally:
            drill.heal(lambda: drill.leader.run(f"rm --force {place}/filler {place}/rest"))
        drill.writes_go_on()


@kind()
def set_clock_back(drill: Drill) -> None:
    """By an hour, for Patroni and the server of one host, which is then the leader; the machine's clock stays."""
    host = drill.other
    unit = patroni_unit(host)
    offset, directory = "/var/lib/postgresql/clock", f"/etc/systemd/system/{unit}.d"
    library = host.run("ls /usr/lib/*/faketime/libfaketime.so.1")
    settings = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": offset,
        "FAKETIME_CACHE_DURATION": "1",
        # Time-outs and waits go on as they would on a machine whose clock was set.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    environment = "".join(f'Environment="{name}={value}"\\n' for name, value in settings.items())
    host.run(
        f"printf +0s >{offset}; mkdir --parents {directory}; printf '[Service]\\n{environment}' >{directory}/clock.conf"
    )
    try:
        host.run(f"systemctl daemon-reload && systemctl restart {unit}", timeout=120)
        drill.cluster.settle()
        drill.switch_over(drill.leader, host)
        drill.cluster.settle()
        drill.look()
        with drill.load():
            drill.fault(lambda: host.run(f"printf -- -3600s >{offset}"))
            drill.while_nothing_is_renewed()
            behind = time.time() - float(host.sql("SELECT extract(epoch FROM clock_timestamp())"))
            if behind < 3500:
                drill.finding(f"The clock of {host} was not set back: it is {behind:.0f} s behind.")
            drill.writes_go_on()
            drill.heal(lambda: host.run(f"printf +0s >{offset}"))
            drill.writes_go_on()
        drill.cluster.settle()
    finally:
        host.run(f"rm --force {directory}/clock.conf; systemctl daemon-reload; systemctl restart {unit}", timeout=120)


@kind()
def switch_over(drill: Drill) -> None:
    with drill.load():
        drill.fault(lambda: drill.switch_over(drill.leader, drill.standby))
        drill.new_leader()
        drill.writes_go_on()
        drill.healed()


@kind("proxy")
def switch_over_in_migration(drill: Drill) -> None:
    """A migration of the homelab's own is under way: it is rolled back as a whole, and made up for by the next run."""
    with drill.load(), drill.migration() as migration:
        migration.begin()
        drill.fault(lambda: drill.switch_over(drill.leader, drill.standby))
        drill.new_leader()
        drill.writes_go_on()
        drill.healed()
        drill.whole()
        migration.fails_and_is_made_up_for()


@kind()
def kill_host_in_backup(drill: Drill) -> None:
    """A copy of the leader's data is under way: it fails, and the new leader can be copied."""

    def copy(options: str) -> str:
        """As Patroni makes its copies; the password is in no command line."""
        return (
            "rm --recursive --force /var/tmp/copy; cd / && "
            "PGPASSWORD=$(sed --quiet '/username: replicator/{n;s/.*password: //p}' /etc/patroni/*-main.yml) "
            "setpriv --reuid postgres --regid postgres --init-groups pg_basebackup --host /var/run/postgresql "
            f"--username replicator --pgdata /var/tmp/copy --checkpoint fast {options}"
        )

    with drill.load():
        drill.leader.run(f"({copy('--max-rate 4M')}) >/dev/null 2>&1 &")
        wait_until(lambda: drill.leader.pids("pg_basebackup"), "a copy under way")
        drill.fault(lambda: drill.leader.switch_off(cleanly=False))
        leader = drill.new_leader()
        drill.writes_go_on()
        leader.run(f"({copy('')}) && rm --recursive /var/tmp/copy", timeout=120)
        drill.heal(drill.leader.switch_on)
        drill.writes_go_on()
    drill.leader.run("rm --recursive --force /var/tmp/copy")


@kind()
def second_fault_in_promotion(drill: Drill) -> None:
    """The new leader's server is killed as soon as it is one, while the old one's host is away."""
    with drill.load():
        drill.fault(lambda: drill.leader.switch_off(cleanly=False))
        drill.new_leader().run(POSTMASTER)
        drill.writes_go_on()
        drill.heal(drill.leader.switch_on)
        drill.writes_go_on()


@kind()
def kill_standby(drill: Drill) -> None:
    """The server and Patroni of the synchronous standby: commits wait until it is back, or Patroni has chosen another one."""
    unit = patroni_unit(drill.standby)
    with drill.load():
        drill.fault(lambda: drill.standby.run(f"kill -9 $(pgrep --full '{PATRONI}'); {POSTMASTER}"))
        drill.writes_go_on()
        drill.heal(lambda: drill.standby.run(f"systemctl start {unit}"))
        drill.writes_go_on()


@kind()
def cancel_commits(drill: Drill) -> None:
    """Somebody cancels commits that wait for their standby; the server makes successes of them, and the library must not."""
    waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename <> 'postgres'"
    with drill.load():
        drill.fault(lambda: signal(drill.standby, "STOP", "walreceiver"))
        unsure = 0
        try:
            wait_until(lambda: int(drill.leader.sql(f"SELECT count(*) {waiting}")), "a commit that waits")
            cancelled = int(drill.leader.sql(f"SELECT count(pg_cancel_backend(pid)) {waiting}"))
            # Before the next one is cut by the time-out for commits, which takes ten seconds.
            with contextlib.suppress(StuckError):
                unsure = wait_until(drill.failures, "an error for a commit that was cancelled", patience=8)
        finally:
            drill.heal(lambda: signal(drill.standby, "CONT", "walreceiver"))
        drill.note(cancelled=cancelled)
        if not unsure:
            drill.finding(
                f"{cancelled} commits were cancelled while they waited, and the library called each of them done."
            )
        drill.writes_go_on()
