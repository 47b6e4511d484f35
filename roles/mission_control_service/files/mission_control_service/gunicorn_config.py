# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""gunicorn's settings: gunicorn --config python:mission_control_service.gunicorn_config

One worker process with threads: pool, caches and counters are one, and a request that waits for the database costs a
thread and not a process. gunicorn reads the names below; those that a release does not know it passes over.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from mission_control.schema.manifest import Manifest, ManifestError

from .configuration import Configuration, ConfigurationError
from .credentials import Credentials
from .database import open_database
from .lifecycle import Lifecycle, notify_systemd
from .port import check_port

EX_CONFIG = 78


def _checked() -> Configuration:
    """All settings, before anything listens: what is wrong is one sentence and an exit code that asks for no restart."""
    try:
        found = Configuration.load()
        credentials = Credentials.load(found.secrets_directory)
        credentials.forget_other_databases(os.environ)
        open_database(found, credentials)
        Manifest.built_in()
        check_port(found)
    except (ConfigurationError, ManifestError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(EX_CONFIG) from None
    return found


_configuration = _checked()

wsgi_app = "mission_control_service.wsgi:application"
proc_name = "mission-control-service"
bind = [_configuration.bind]
workers = 1
worker_class = "mission_control_service.worker.ServiceWorker"
threads = _configuration.threads
graceful_timeout = _configuration.graceful_timeout
keepalive = 5
# The worker is killed and started anew if its accept loop does not turn for so long.
timeout = 30
preload_app = False
# An answer is made whole before it is sent.
sendfile = False
loglevel = "warning"
limit_request_line = 4094
limit_request_fields = 50
limit_request_field_size = 8190
# Its sign of life is a file: not on a disk that may be slow.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a directory, and mkstemp in it
# Newer releases can be told things over a socket in the home directory, which a service user does not have.
control_socket_disable = True


def post_worker_init(worker: Any) -> None:
    """Called by gunicorn in the worker process when the application is loaded."""
    Lifecycle(worker, worker.wsgi.extensions["mission_control_database"], graceful_timeout, notify_systemd).start()


def worker_exit(server: Any, worker: Any) -> None:
    """Called by gunicorn in the worker process when all answers are given."""
    application = getattr(worker, "wsgi", None)
    if application is not None:
        application.extensions["mission_control_database"].close(1)
