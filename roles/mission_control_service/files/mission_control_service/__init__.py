# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mission Control over HTTP: health, metrics, a read API and one page. It reads the database and never writes to it."""

import os

# Read by prometheus_client when it is first imported: a second series with the birthday of every counter is of use to nobody here.
os.environ.setdefault("PROMETHEUS_DISABLE_CREATED_SERIES", "true")
