# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m mission_control_tools: the command line of the library, whose executor the systemd unit starts."""

from __future__ import annotations

from mission_control.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
