"""The build of the library as a package; what there is to say about the package stands in pyproject.toml."""

import os
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = os.path.dirname(os.path.abspath(__file__))
SQL = os.path.join(ROOT, "files", "sql")
LIBRARY = os.path.join(ROOT, "plugins", "module_utils")
sys.path.insert(0, os.path.join(ROOT, "plugins"))

from module_utils.provisioning.releases.imports import PACKAGE, needed_files  # noqa: E402 - found by the line above
from module_utils.schema.manifest import FILE_NAME, Manifest, collection_version  # noqa: E402

# A collection may hold no module of this name: Galaxy refuses it.
MAIN = '''"""`python -m mission_control`."""

from .cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
'''


# What is exported, what the command and the exporter of spans need, and nothing of what provisions hosts.
FILES = needed_files(LIBRARY, ["", "cli.main", "ledger.span_exporter"])
PACKAGES = sorted({os.path.dirname(f"{PACKAGE}/{path}").replace("/", ".") for path in FILES})


class BuildPackage(build_py):
    """Puts into the package what the collection does not have: a manifest of the SQL files, which stay behind, and __main__."""

    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        return [each for each in found if os.path.relpath(each[2], LIBRARY) in FILES]

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
        return [os.path.join(self.build_lib, PACKAGE, name) for name in (FILE_NAME, "__main__.py")]


setup(version=collection_version(ROOT), packages=PACKAGES, cmdclass={"build_py": BuildPackage})
