"""The examples of docs/library.md run as they stand there, in their order."""

import importlib
import logging
import pathlib
import re
import sys

import pytest
from ansible_collections.homelab.mission_control.plugins import module_utils
from ansible_collections.homelab.mission_control.plugins.module_utils.database.settings import Settings
from ansible_collections.homelab.mission_control.plugins.module_utils.health.registry import NAMES

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "library.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def as_installed(monkeypatch):
    """The package under the name that pip gives it."""
    monkeypatch.setitem(sys.modules, "mission_control", importlib.import_module(module_utils.__name__))


def test_the_examples_of_the_page_run(as_installed, database, monkeypatch, capsys, caplog):
    monkeypatch.setenv("POSTGRES_HOST", database.cluster.socket_directory)
    monkeypatch.setenv("POSTGRES_PORT", str(database.cluster.port))
    monkeypatch.setenv("POSTGRES_DB", database.name)
    monkeypatch.setenv("POSTGRES_USER", "mission_control")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    text = PAGE.read_text(encoding="utf-8")
    program = {"__name__": "library_page"}
    sys.modules["library_page"] = type(sys)("library_page")  # dataclasses look their module up
    try:
        for match in EXAMPLE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            exec(compile("\n" * line + match[1], str(PAGE), "exec"), program)
    finally:
        del sys.modules["library_page"]
        logging.getLogger("mission_control").setLevel(logging.NOTSET)
    printed = capsys.readouterr().out
    assert "{'database': '" + database.name + "'}" in printed
    for part in (
        "2 hosts",
        "nas {'rack': 1}",
        "Created run: ",
        "ck_hosts_type",
        "1 renamed",
        "True ",
        "pass migrations",
    ):
        assert part in printed
    assert "1 rows: SELECT name FROM hosts WHERE status = %s" in caplog.text


def test_the_page_names_every_setting_and_every_export():
    text = PAGE.read_text(encoding="utf-8")
    settings = set(Settings.__dataclass_fields__) - {"port"}
    missing = [name for name in settings if not re.search(rf"[`(\s?]{name}[`=]", text)]
    assert missing == []
    missing = [name for name in NAMES if f"`{name}`" not in text]
    assert missing == []
    errors = [name for name in module_utils.__all__ if name.endswith("Error") and f"`{name}`" not in text]
    assert errors == []
