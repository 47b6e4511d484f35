"""The build of the library as a package; what there is to say about the package stands in pyproject.toml."""

import os
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = os.path.dirname(os.path.abspath(__file__))
SQL = os.path.join(ROOT, "files", "sql")
sys.path.insert(0, os.path.join(ROOT, "plugins"))

from module_utils.manifest import FILE_NAME, Manifest, collection_version  # noqa: E402 - found by the line above

# A collection may hold no module of this name: Galaxy refuses it.
MAIN = '''"""`python -m mission_control`."""

from .command_line import main

if __name__ == "__main__":
    raise SystemExit(main())
'''


class BuildPackage(build_py):
    """Puts into the package what the collection does not have: a manifest of the SQL files, which stay behind, and __main__."""

    def run(self):
        super().run()
        # Installed in place (pip install --editable) the library reads the checkout's files, and its command is the script.
        if not self.editable_mode:
            manifest = Manifest.of_directory(SQL, self.distribution.get_version()).as_json()
            for path, text in zip(self._made, (manifest, MAIN)):
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)

    def get_outputs(self, include_bytecode=True):
        return [*super().get_outputs(include_bytecode), *([] if self.editable_mode else self._made)]

    @property
    def _made(self):
        return [os.path.join(self.build_lib, "mission_control", name) for name in (FILE_NAME, "__main__.py")]


setup(version=collection_version(ROOT), cmdclass={"build_py": BuildPackage})
