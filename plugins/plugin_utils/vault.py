# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values came from a vault."""

from __future__ import annotations

from typing import Any

from ansible._internal._datatag._tags import Origin
from ansible.parsing.vault import EncryptedString, VaultHelper

_ENCRYPTED_FILE = b"$ANSIBLE_VAULT;"
_files: dict[str, bool] = {}


def was_encrypted(value: Any) -> bool:
    """Whether a value is encrypted, was, or stands in a file that is."""
    if isinstance(value, EncryptedString) or VaultHelper.get_ciphertext(value, with_tags=False):
        return True
    origin = Origin.get_tag(value)
    if origin is None or not origin.path:
        return False
    return _is_encrypted_file(str(origin.path))


def _is_encrypted_file(path: str) -> bool:
    if path not in _files:
        try:
            with open(path, "rb") as file:
                _files[path] = file.read(len(_ENCRYPTED_FILE)) == _ENCRYPTED_FILE
        except OSError:
            _files[path] = False
    return _files[path]
