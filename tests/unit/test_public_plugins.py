"""A plugin is public, by the action group of meta/runtime.yml, or its documentation says that it is not."""

import ast
import pathlib

import yaml

ROOT = pathlib.Path(__file__).parents[2]
NOTE = "Internal to this collection. Its options, its result and its name may change with any version."


def documentation(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "DOCUMENTATION":
            return yaml.safe_load(node.value.value)
    raise AssertionError(f"{path} has no DOCUMENTATION")


def test_each_plugin_says_whether_it_is_public():
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    plugins = [path for kind in ("modules", "filter", "lookup") for path in (ROOT / "plugins" / kind).glob("*.py")]
    public = {path.stem for path in plugins if NOTE not in documentation(path).get("notes", [])}
    assert public == set(runtime["action_groups"]["all"])
