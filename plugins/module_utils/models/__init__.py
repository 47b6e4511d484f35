# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One typed class for each table and view, and an input for each table that a program may write to.

    task = client.insert(CreateTask(title="Restart Plex", created_by="system"))
    hosts = client.query_many("SELECT * FROM hosts WHERE status = %s", ["online"], model=Host)

What an input does not name is left to the database's default; None is NULL. A test compares all classes with the catalogue of
a live database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import audit as _audit
from . import inventory as _inventory
from . import llm as _llm
from . import tasks as _tasks
from . import tools as _tools
from . import views as _views
from .audit import *

# pylint: disable=useless-import-alias
from .base import NOT_GIVEN as NOT_GIVEN
from .base import Create as Create
from .base import Model as Model
from .base import ModelError as ModelError
from .base import NotGiven as NotGiven
from .base import from_row as from_row
from .base import insert as insert
from .base import row_maker as row_maker
from .inventory import *
from .llm import *
from .tasks import *
from .tools import *
from .views import *

# mypy reads no sum of lists, and goes by the imports instead.
if not TYPE_CHECKING:
    __all__ = ["NOT_GIVEN", "Create", "Model", "ModelError", "NotGiven", "from_row", "insert", "row_maker"]
    for _topic in (_audit, _inventory, _llm, _tasks, _tools, _views):
        __all__ += _topic.__all__
