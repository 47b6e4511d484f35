# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m mission_control_service: the service under gunicorn, as its systemd unit starts it."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from gunicorn.app.wsgiapp import run
    except ImportError as error:
        print(f"gunicorn cannot be imported ({error}): install the package gunicorn.", file=sys.stderr)
        raise SystemExit(78) from None
    # Options of gunicorn may follow on the command line and go before those of the file.
    sys.argv[1:1] = ["--config", "python:mission_control_service.gunicorn_config"]
    run()


if __name__ == "__main__":
    main()
