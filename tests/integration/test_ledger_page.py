"""The examples of docs/ledger.md run, in their order, in a program that imports the library under its own name."""

import os
import pathlib
import re
import subprocess
import sys

from mission_control_database import ROLES

ROOT = pathlib.Path(__file__).parents[2]


def test_the_examples_of_the_page_run(database, tmp_path):
    page = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(examples) == 4
    (tmp_path / "mission_control").symlink_to(ROOT / "plugins" / "module_utils")
    program = tmp_path / "program.py"
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
    assert result.returncode == 0, result.stderr
    assert result.stdout == "0.024500000000 computed\n0 costs became known\n"
    assert database.session("admin").value("SELECT count(*) FROM token_usage") == 2
