# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`python -m mission_control`."""

from __future__ import annotations

from .command_line import main

if __name__ == "__main__":
    raise SystemExit(main())
