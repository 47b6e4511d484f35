"""The library as a package: what it exports, and that it can be loaded where psycopg2 is missing."""

import ast
import importlib
import pathlib
import subprocess
import sys
import textwrap

import pytest

LIBRARY = pathlib.Path(__file__).parents[2] / "plugins" / "module_utils"
PACKAGE = "ansible_collections.homelab.mission_control.plugins.module_utils"


def run_python(code):
    """In a new interpreter, with the checkout's packages and without psycopg2."""
    prelude = (
        f"import sys; sys.path.insert(0, {str(LIBRARY.parents[1] / 'collections')!r}); sys.modules['psycopg2'] = None\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_the_package_imports_nothing_else():
    out = run_python(f"""
        import {PACKAGE} as library
        print([name for name in sys.modules if name.startswith(library.__name__ + ".")])
        library.Settings
        print(any(name.endswith(".driver") for name in sys.modules))
    """)
    assert out.split("\n")[:2] == ["[]", "False"]


def test_without_psycopg2_the_client_says_so_when_it_is_used():
    out = run_python(f"""
        from {PACKAGE} import Client, DriverError
        client = Client(host="nowhere", pool_timeout=5)
        for call in (client.connect, lambda: client.query("SELECT 1"), lambda: client.connect(wait=5)):
            try:
                call()
            except DriverError as error:
                print(error)
        print(client.health().error)
    """)
    lines = out.strip().split("\n")
    assert len(lines) == 4
    assert all(line.startswith("psycopg2 cannot be imported by ") and "python3-psycopg2" in line for line in lines)


def test_every_export_is_there_and_known_to_type_checkers():
    tree = ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8"))
    library = pytest.importorskip(PACKAGE)
    typed = {
        (node.module, name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
        for name in (importlib.import_module(f"{PACKAGE}.{node.module}").__all__ if alias.name == "*" else [alias.name])
    }
    assert sorted(name for _module, name in typed) == library.__all__
    for module, name in typed:
        assert getattr(library, name) is getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
    assert set(library.__all__) <= set(dir(library))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        library.Nothing  # noqa: B018


def test_every_model_and_every_error_of_what_is_exported_is_exported_too():
    library = importlib.import_module(PACKAGE)
    base = library.MissionControlError
    for module, names in {**library._EXPORTS, "models": importlib.import_module(f"{PACKAGE}.models").__all__}.items():
        content = importlib.import_module(f"{PACKAGE}.{module}")
        errors = {name for name, value in vars(content).items() if isinstance(value, type) and issubclass(value, base)}
        assert {name for name in errors if vars(content)[name].__module__ == content.__name__} <= set(names), module
        assert set(getattr(content, "__all__", ())) <= set(names)


def test_the_library_imports_neither_ansible_nor_itself_by_an_absolute_name():
    for path in sorted(LIBRARY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            bad = [
                name for name in names if name.split(".")[0] in ("ansible", "ansible_collections", "mission_control")
            ]
            assert not bad, f"{path.relative_to(LIBRARY)} imports {bad}"


def test_packages_are_sent_to_hosts_with_nothing_of_their_own():
    """Ansible sends what an __init__ below the first one imports along with every module of its package."""
    packages = {path.parent.name: path.read_text(encoding="utf-8") for path in LIBRARY.glob("*/**/__init__.py")}
    assert len(packages) > 10
    assert [name for name, content in packages.items() if content] == ["models"]
    assert {path.parent for path in LIBRARY.rglob("*.py")} == {path.parent for path in LIBRARY.rglob("__init__.py")}
