"""Look for secrets in every place where runs on a booted host could leave one, here and there."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import testinfra
from secret_forms import forms_of, leaks
from sql_on_host import as_administrator

# Looks at the sessions of the server until its standard input ends.
SAMPLER = """
import json, select, sys
import psycopg2

connection = psycopg2.connect(dbname="postgres")
connection.autocommit = True
looks, statements = 0, set()
with connection.cursor() as cursor:
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        cursor.execute("SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        statements.update(query for (query,) in cursor if query)
        looks += 1
print(json.dumps([looks, sorted(statements)]))
"""
# All but what packages brought, and what is no file.
DIRECTORIES = ["/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr/local", "/var"]


@dataclass(frozen=True)
class Known:
    """A secret, and the beginnings of the paths on the host where it belongs."""

    value: str
    places: tuple[str, ...] = ()


class HostWatch:
    """Context manager that looks at processes and sessions for as long as it is open; a host's processes are seen from here, too."""

    def __init__(self, host: testinfra.host.Host) -> None:
        self._host = host
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.command_lines: set[str] = set()
        self.environments: set[str] = set()
        self.activity: list[str] = []
        self.looks = 0

    def __enter__(self) -> HostWatch:
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "python3", "-c", SAMPLER]
        self._sampler = subprocess.Popen(
            ["podman", "exec", "--interactive", self._host.backend.name, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()
        output, _nothing = self._sampler.communicate("", timeout=60)
        assert self._sampler.returncode == 0
        looks, self.activity = json.loads(output)
        self.looks = min(self.looks, looks)

    def _look(self) -> None:
        while not self._stop.is_set():
            for process in filter(str.isdigit, os.listdir("/proc")):
                # One that ends meanwhile, or is somebody else's.
                with contextlib.suppress(OSError):
                    self.command_lines.add(Path(f"/proc/{process}/cmdline").read_bytes().decode("utf-8", "replace"))
                with contextlib.suppress(OSError):
                    self.environments.add(Path(f"/proc/{process}/environ").read_bytes().decode("utf-8", "replace"))
            self.looks += 1
            time.sleep(0.05)

    def places(self) -> dict[str, str]:
        """All that was seen, by where."""
        return {
            "command lines": "\n".join(self.command_lines),
            "environments": "\n".join(self.environments),
            "pg_stat_activity": "\n".join(self.activity),
        }


def journal(host: testinfra.host.Host) -> str:
    """All that systemd's journal holds."""
    output = host.run("journalctl --no-pager --output=export")
    assert output.rc == 0, output.stderr
    return output.stdout_bytes.decode("utf-8", "replace")


def places_on(host: testinfra.host.Host) -> dict[str, str]:
    """What the host keeps in places that are no files, or no files that can be read as such."""
    return {
        "pg_stat_statements": as_administrator(host, "SELECT query FROM pg_stat_statements"),
        "journal": journal(host),
        "units": host.check_output("systemctl show --no-pager '*'; systemctl show-environment"),
    }


def files_here(directory: Path) -> dict[str, str]:
    """The text of all files below a directory of this machine, by their paths."""
    return {str(path): path.read_text(errors="replace") for path in directory.rglob("*") if path.is_file()}


def files_with(host: testinfra.host.Host, values: list[str]) -> dict[str, str]:
    """The text of those files of the host that hold one of the secrets, by their paths."""
    # By standard input: on a command line they would find themselves.
    forms = {form for value in values for form in forms_of(value) if "\n" not in form}
    patterns = "".join(f"{form}\n" for form in sorted(forms))
    search = ["grep", "--recursive", "--files-with-matches", "--text", "--fixed-strings", "--no-messages"]
    found = subprocess.run(
        ["podman", "exec", "--interactive", host.backend.name, *search, "--devices=skip", "--file=-", *DIRECTORIES],
        input=patterns,
        capture_output=True,
        text=True,
        check=False,
    )
    # 2: a file that vanished, or a socket.
    assert found.returncode in (0, 1, 2), found.stderr
    return {path: host.file(path).content.decode("utf-8", "replace") for path in found.stdout.splitlines()}


def misplaced(secrets: dict[str, Known], texts: dict[str, str]) -> list[tuple[str, str]]:
    """(name of a secret, place) for each that stands where it does not belong."""
    names = list(secrets)
    found = leaks([secrets[name].value for name in names], texts)
    return [(names[number], place) for number, place in found if not place.startswith(secrets[names[number]].places)]
