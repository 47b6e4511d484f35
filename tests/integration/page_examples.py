"""The Python examples of a page of the documentation, run in their order as a program that imports the library under its own name."""

import os
import re
import subprocess
import sys

from mission_control_database import ROLES


def run_examples(page, database, directory):
    """How many examples the page has, and how the program of them ended that logs in as the application."""
    examples = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (directory / "mission_control").symlink_to(page.parents[1] / "plugins" / "module_utils")
    program = directory / "program.py"
    program.write_text("\n".join(examples), encoding="utf-8")
    variables = {
        "POSTGRES_HOST": database.cluster.socket_directory,
        "POSTGRES_PORT": str(database.cluster.port),
        "POSTGRES_DB": database.name,
        "POSTGRES_USER": ROLES["application"],
    }
    result = subprocess.run(
        [sys.executable, str(program)], env={**os.environ, **variables}, capture_output=True, text=True, timeout=60
    )
    return len(examples), result
