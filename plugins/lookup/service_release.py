# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: service_release
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Pack a service and the library that it stands on into one archive
description:
  - Reads the files on the controller and returns an archive for M(homelab.mission_control.service_release). It holds the client library, the
    application and the manifest of the schema that they expect. The same files always give the same archive.
options:
  _terms:
    description: Directory of the application's package, whose name it has.
    type: list
    elements: path
    required: true
  collection:
    description: Root directory of the collection, with the library and the schema that are packed.
    type: path
    required: true
  site_directory:
    description: Directory of a homelab's own migrations; empty for none.
    type: str
    default: ""
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Say which release this checkout makes
  ansible.builtin.debug:
    msg: >-
      {{ lookup('homelab.mission_control.service_release', 'roles/mission_control_service/files/mission_control_service',
                collection='.').checksum }}
"""

RETURN = r"""
_raw:
  description: One archive.
  type: list
  elements: dict
  contains:
    checksum: {description: SHA-256 of what is in the archive., type: str}
    archive: {description: "The archive, in Base64.", type: str}
"""

import base64

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.releases.archive import build_release
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.manifest import ManifestError


class LookupModule(LookupBase):
    """Read the files and pack them."""

    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        collection, site_directory = self.get_option("collection"), self.get_option("site_directory")
        try:
            archives = [build_release(application, collection, site_directory) for application in terms]
        except ManifestError as error:
            raise AnsibleLookupError(str(error)) from error
        except OSError as error:
            raise AnsibleLookupError(f"{error.filename} cannot be read: {error.strerror}.") from error
        return [{"checksum": each.checksum, "archive": base64.b64encode(each.content).decode()} for each in archives]
