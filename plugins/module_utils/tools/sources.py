# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sources of tools as they are configured: in the form of the inventory's, with connectors that it does not have."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..inventory.sources import read_sources
from .connectors.registry import check_tool_source

if TYPE_CHECKING:
    from ..inventory.sources import Source

DEFAULT_FILE = "/etc/mission-control/tools/sources.json"
DEFAULT_CREDENTIALS = "/etc/mission-control/tools/credentials"


def read_tool_sources(path: str, credentials_directory: str) -> dict[str, Source]:
    """The sources that a file configures, by name; none where there is no file, as for Mission Control's own tools alone.

    Args:
        path: JSON, a list of sources.
        credentials_directory: need not be there where no source has a secret.

    Raises:
        SourcesError: the file or the directory cannot be read, may be written by others, or a source is wrong.
    """
    if not os.path.lexists(path):
        return {}
    return {source.name: source for source in read_sources(path, credentials_directory, check_tool_source)}
