"""The hosts of the cluster as the drills see them: from outside, by a shell on each that was opened before the fault.

A shell that is there already gets a fault at the moment at which it is sent, however loaded the machine is, and needs none of the
networks that a fault cuts. Times are in seconds of the monotonic clock, which the hosts share with this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Callable

# How long anything may take before a drill counts as stuck. Not a bound that is promised to anybody: see Limits in drill_judge.
PATIENCE = 180
STATE = """
SELECT json_build_object(
  'standby', pg_is_in_recovery(),
  'timeline', CASE WHEN pg_is_in_recovery() THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), 0)
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,
  'wanted', current_setting('synchronous_standby_names'),
  'standbys', (SELECT coalesce(json_agg(json_build_object('name', application_name, 'state', state, 'sync', sync_state)), '[]')
    FROM pg_stat_replication))
"""


# Rules of iptables for a host that nobody hears.
_SILENT = ("INPUT ! -i lo -j DROP", "OUTPUT ! -o lo -j DROP")


def _restored(verb: str, rules: Sequence[str]) -> str:
    """A command that puts these rules at the front (-I) or removes them (-D), all at one moment."""
    lines = "\\n".join(["*filter", *(f"{verb} {rule}" for rule in rules), "COMMIT"])
    return f"printf '{lines}\\n' | iptables-restore --noflush"


class StuckError(Exception):
    """Something did not come in time; the message says what."""


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE, pause: float = 0.2) -> Any:
    """Return what the condition gives as soon as that is true.

    Raises:
        StuckError: it was not in `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise StuckError(f"{what}: not so within {patience:.0f} s")
        time.sleep(pause)


class Shell:
    """A root shell on a host that waits for its next command."""

    def __init__(self, container: str) -> None:
        self._process = subprocess.Popen(
            ["podman", "exec", "--interactive", container, "bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._number = 0
        self._rest = b""

    def run(self, command: str, timeout: float) -> tuple[int, str]:
        """The command's exit code, and what it printed.

        Raises:
            ConnectionError: the shell has ended, as its host has.
            TimeoutError: the command has not ended in time.
        """
        self._number += 1
        end = f"--- {self._number} "
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(f"{{ {command}\n}} 2>&1 </dev/null; printf '\\n{end}%s\\n' $?\n".encode())
            self._process.stdin.flush()
        except OSError as error:
            raise ConnectionError("the shell has ended") from error
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        while True:
            output, found, rest = self._rest.partition(b"\n" + end.encode())
            if found and b"\n" in rest:
                code, _, self._rest = rest.partition(b"\n")
                return int(code), output.decode(errors="replace")
            ready, _, _ = select.select([self._process.stdout], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                self.close()
                raise TimeoutError(f"not ended in {timeout} s: {command}")
            piece = os.read(self._process.stdout.fileno(), 1 << 20)
            if not piece:
                raise ConnectionError("the shell has ended")
            self._rest += piece

    def close(self) -> None:
        self._process.kill()
        with contextlib.suppress(OSError):
            self._process.communicate()


class Host:
    """A test host: runs commands, and is switched off and on."""

    def __init__(self, name: str, container: str) -> None:
        self.name, self.container = name, container
        self._shell: Shell | None = None
        question = ["podman", "inspect", "--format", "{{.State.Pid}}", container]
        self._first = int(subprocess.run(question, check=True, capture_output=True, text=True).stdout)
        self.address = self.run("hostname --all-ip-addresses").split()[0]

    def __repr__(self) -> str:
        return self.name

    def attempt(self, command: str, timeout: float = 60) -> tuple[int, str]:
        """A command's exit code and output; -1 where the host does not answer."""
        for _ in range(2):
            self._shell = self._shell or Shell(self.container)
            try:
                return self._shell.run(command, timeout)
            except (ConnectionError, TimeoutError) as error:
                self._shell.close()
                self._shell = None
                if isinstance(error, TimeoutError):
                    return -1, str(error)
        return -1, "the host does not answer"

    def run(self, command: str, timeout: float = 60) -> str:
        code, output = self.attempt(command, timeout)
        if code != 0:
            raise StuckError(f"{self.name}: {command} ended with {code}: {output[-1000:]}")
        return output.strip()

    def write(self, path: str, text: str) -> None:
        self.run(f"umask 077; printf %s {shlex.quote(text)} >{path}")

    def sql(self, statement: str, database: str = "postgres", timeout: float = 60) -> str:
        """What the server's superuser gets from the server of this host; no other host has a part in it."""
        psql = (
            f"psql --no-psqlrc --tuples-only --no-align --quiet --dbname {database} --command {shlex.quote(statement)}"
        )
        return self.run(
            f"cd / && setpriv --reuid postgres --regid postgres --init-groups env PGHOST=/var/run/postgresql PGCONNECT_TIMEOUT=5 "
            f"timeout {timeout} {psql}",
            timeout + 5,
        )

    def state(self) -> dict[str, Any] | None:
        """What the server of this host is and which standbys it has; None where it gives no answer."""
        with contextlib.suppress(StuckError, ValueError):
            answer: dict[str, Any] = json.loads(self.sql(STATE, timeout=5))
            return answer
        return None

    def is_primary(self) -> bool:
        state = self.state()
        return bool(state and not state["standby"])

    def pids(self, pattern: str) -> list[str]:
        """Processes of this host whose command line matches."""
        return self.attempt(f"pgrep --full {shlex.quote(pattern)}")[1].split()

    def switch_off(self, *, cleanly: bool) -> None:
        """As by systemd, which stops its services first, or by the plug: it is silent at once, and all its processes are gone.

        Only its first process is left, which is stopped, so that nothing is started again. Podman itself is not asked: version 4 loses
        addresses where a loaded machine ends and starts containers.
        """
        if cleanly:
            self.run("systemctl stop 'patroni@*' patroni-alive etcd", timeout=120)
        self.run(_restored("-I", _SILENT))
        if not cleanly:
            os.kill(self._first, signal.SIGSTOP)
            self.run("kill -9 -1; true")

    def switch_on(self) -> None:
        """Start what systemd starts with the host."""
        os.kill(self._first, signal.SIGCONT)
        self.run("iptables --flush; systemctl reset-failed; systemctl start --no-block multi-user.target")

    def repair(self) -> None:
        """Undo what a drill has left that was stuck, whatever it was."""
        self.switch_on()
        self.attempt(
            "pkill --signal CONT --full '/bin/patroni '; pkill --signal CONT --full walreceiver; "
            "rm --force /var/lib/postgresql/filler /var/lib/postgresql/rest"
        )

    @contextlib.contextmanager
    def rules(self, *rules: str) -> Iterator[None]:
        """With these rules of iptables at the front, all at one moment."""
        self.run(_restored("-I", rules))
        try:
            yield
        finally:
            self.run(_restored("-D", rules))

    def cut_off(self, ports: str = "") -> contextlib.AbstractContextManager[None]:
        """Packets vanish on the way to and from all other hosts; with ports only those of these."""
        if not ports:
            return self.rules(*_SILENT)
        return self.rules(
            *(
                f"{chain} {device} -p tcp -m multiport --{side} {ports} -j DROP"
                for chain, device in (("INPUT", "! -i lo"), ("OUTPUT", "! -o lo"))
                for side in ("dports", "sports")
            )
        )


@dataclass
class Cluster:
    """The members of the Patroni cluster, and the host of the application."""

    members: list[Host]
    client: Host

    def primaries(self) -> list[Host]:
        return [each for each in self.members if each.is_primary()]

    def leader(self) -> Host:
        """The only primary.

        Raises:
            StuckError: there is not exactly one for long.
        """
        found: list[Host] = wait_until(lambda: one if len(one := self.primaries()) == 1 else None, "one primary")
        return found[0]

    def problem(self, synchronous: bool) -> str:
        """What keeps the cluster from being whole: one primary, all others streaming, one of them synchronous if that is wanted; "" for nothing."""
        states = {each.name: each.state() for each in self.members}
        away = [name for name, state in states.items() if state is None]
        if away:
            return f"no answer from {', '.join(away)}"
        primaries = [name for name, state in states.items() if state and not state["standby"]]
        if len(primaries) != 1:
            return f"primaries: {', '.join(primaries) or 'none'}"
        state = states[primaries[0]] or {}
        streaming = [each for each in state["standbys"] if each["state"] == "streaming"]
        # A base backup of a member that is made anew streams, too.
        names = {each["name"] for each in streaming} & set(states)
        if len(names) != len(self.members) - 1:
            return f"{primaries[0]} has {len(names)} standbys that stream"
        timelines = {each["timeline"] for each in states.values() if each}
        if len(timelines) != 1:
            return f"timelines {sorted(timelines)}"
        if any(each["sync"] in ("sync", "quorum") for each in streaming) != synchronous:
            return f"{'no' if synchronous else 'a'} synchronous standby"
        return ""

    def settle(self, synchronous: bool = True) -> None:
        """Return when the cluster is whole again.

        Raises:
            StuckError: it is not for long; the message says what is missing.
        """
        last = ""

        def whole() -> bool:
            nonlocal last
            last = self.problem(synchronous)
            return not last

        try:
            wait_until(whole, "whole", patience=PATIENCE, pause=0.3)
        except StuckError as error:
            raise StuckError(f"The cluster did not become whole: {last}.") from error

    def patronictl(self, host: Host, command: str, timeout: float = 30) -> str:
        """patronictl on a host, which would wait for minutes where etcd does not answer."""
        configuration = host.run("ls /etc/patroni/*.yml | grep --invert-match dcs.yml | head --lines 1")
        return host.run(f"timeout {timeout} patronictl -c {configuration} {command}", timeout + 5)

    def patroni_version(self) -> tuple[int, ...]:
        """Such as (3, 0, 2)."""
        words = self.members[0].run("patroni --version").split()
        return tuple(int(part) for part in words[-1].split("."))

    def set_synchronous(self, wanted: bool) -> None:
        self.patronictl(self.leader(), f"edit-config --force --quiet --set synchronous_mode={str(wanted).lower()}")
        self.settle(wanted)
