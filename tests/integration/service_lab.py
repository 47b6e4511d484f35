"""The HTTP service on a test's database: in this process, or under a real gunicorn."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

from mission_control.schema.manifest import Manifest
from mission_control_database import ROLES
from mission_control_service.app import create_app
from mission_control_service.configuration import Configuration
from mission_control_service.credentials import Credentials
from mission_control_service.database import open_database
from mission_control_service.tokens import Tokens

PACKAGES = pathlib.Path(__file__).parents[1] / "packages"
TOKEN = "correct-horse-battery-staple"
OTHER_TOKEN = "another-token-of-another-program"
REFRESH_TOKEN = "a-token-that-asks-for-a-refresh"
REFRESHER = "home-assistant"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}
REFRESH_AUTHORIZATION = {"Authorization": f"Bearer {REFRESH_TOKEN}"}


def env_file(directory, database, **more):
    """A database.env for the service's own login on a test's database."""
    settings = {
        "POSTGRES_HOST": database.cluster.socket_directory,
        "POSTGRES_PORT": database.cluster.port,
        "POSTGRES_DB": database.name,
        "POSTGRES_USER": ROLES["service"],
        **more,
    }
    path = pathlib.Path(directory) / "database.env"
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
    return path


def application(directory, database, tokens=(TOKEN, OTHER_TOKEN), manifest=None, refresh_tokens=None, **settings):
    """The Flask application in this process; its database is closed by `close_application`.

    `refresh_tokens` are by their names; one if they are not given.
    """
    refresh_tokens = {REFRESHER: REFRESH_TOKEN} if refresh_tokens is None else refresh_tokens
    configuration = Configuration(health_cache_seconds=settings.pop("health_cache_seconds", 0), **settings)
    credentials = Credentials(
        str(env_file(directory, database)),
        Tokens(tokens),
        Tokens(tuple(refresh_tokens.values()), tuple(refresh_tokens)),
    )
    opened = open_database(configuration, credentials)
    app = create_app(configuration, credentials, opened, manifest or Manifest.built_in())
    app.extensions["mission_control_database"] = opened
    return app


def close_application(app):
    app.extensions["mission_control_database"].close(1)


class Service:
    """python3 -m mission_control_service as a process of its own, on a free port.

    `program`: what Python is to run instead, as its arguments.
    """

    def __init__(
        self,
        directory,
        database,
        tokens=(TOKEN,),
        python=sys.executable,
        program=("-m", "mission_control_service"),
        **variables,
    ):
        secrets = pathlib.Path(directory) / "secrets"
        secrets.mkdir(exist_ok=True)
        env_file(secrets, database)
        (secrets / "api-tokens").write_text("# of the tests\n" + "".join(f"{token}\n" for token in tokens))
        (secrets / "refresh-tokens").write_text(f"{REFRESHER} {REFRESH_TOKEN}\n")
        self.port = free_port()
        self.log = pathlib.Path(directory) / "service.log"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "PYTHONPATH": str(PACKAGES),
            "MISSION_CONTROL_SERVICE_BIND": f"127.0.0.1:{self.port}",
            "MISSION_CONTROL_SERVICE_SECRETS_DIRECTORY": str(secrets),
            "MISSION_CONTROL_SERVICE_HEALTH_CACHE_SECONDS": "0.2",
            **{f"MISSION_CONTROL_SERVICE_{name}": str(value) for name, value in variables.items()},
        }
        self._command = [python, *program]
        self.process = None

    def __enter__(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.wait_for("/live", 200)
        return self

    def __exit__(self, kind, error, traceback):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=10)
        # A worker whose master was killed ends by itself within a second.

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def connection(self, timeout=10):
        return contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout))

    def get(self, path, headers=AUTHORIZATION, timeout=10):
        """Status and body, which is parsed where it is JSON."""
        return self._ask("GET", path, headers, timeout)

    def post(self, path, headers=REFRESH_AUTHORIZATION, timeout=10):
        """The same, of a request without a body."""
        return self._ask("POST", path, headers, timeout)

    def _ask(self, method, path, headers, timeout):
        with self.connection(timeout) as connection:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        if "json" in (answer.getheader("Content-Type") or ""):
            return answer.status, json.loads(body)
        return answer.status, body.decode("utf-8", "replace")

    def wait_for(self, path, status, within=20):
        """Ask until the status is this one; returns the body."""
        deadline = time.monotonic() + within
        seen = None
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                seen, body = self.get(path)
                if seen == status:
                    return body
            except OSError as error:
                seen = error
            time.sleep(0.05)
        raise AssertionError(f"{path} did not become {status} but {seen}: {self.log.read_text()[-3000:]}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
