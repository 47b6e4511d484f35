# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The WSGI application as a server loads it: mission_control_service.wsgi:application"""

from __future__ import annotations

import logging
import os

from mission_control.schema.manifest import Manifest

from .app import create_app
from .configuration import Configuration
from .credentials import Credentials
from .database import open_database

logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)

_configuration = Configuration.load()
_credentials = Credentials.load(_configuration.secrets_directory)
_credentials.forget_other_databases(os.environ)
_database = open_database(_configuration, _credentials)
application = create_app(_configuration, _credentials, _database, Manifest.built_in())
application.extensions["mission_control_database"] = _database
