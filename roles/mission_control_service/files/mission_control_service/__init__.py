# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mission Control over HTTP: health, metrics, a read API and one page. It reads the database and never writes to it."""
