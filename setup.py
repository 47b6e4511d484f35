"""The build of the library as a package; what there is to say about the package stands in pyproject.toml."""

import os
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = os.path.dirname(os.path.abspath(__file__))
SQL = os.path.join(ROOT, "files", "sql")
sys.path.insert(0, os.path.join(ROOT, "plugins"))

from module_utils.manifest import FILE_NAME, Manifest  # noqa: E402 - found by the line above


class BuildWithManifest(build_py):
    """Puts a manifest of the SQL files into the package, which has none of the files themselves."""

    def run(self):
        super().run()
        # Installed in place (pip install --editable) the library reads the checkout's files.
        if not self.editable_mode:
            with open(self._manifest, "w", encoding="utf-8") as file:
                file.write(Manifest.of_directory(SQL, self.distribution.get_version()).as_json())

    def get_outputs(self, include_bytecode=True):
        return [*super().get_outputs(include_bytecode), *([] if self.editable_mode else [self._manifest])]

    @property
    def _manifest(self):
        return os.path.join(self.build_lib, "mission_control", FILE_NAME)


setup(cmdclass={"build_py": BuildWithManifest})
