"""Write the tables of health checks, thresholds, addresses of the API and tools into docs/ and the module's documentation, from the code that declares them.

    scripts/reference_tables.py    write them

tests/unit/test_reference_tables.py compares the committed pages with the code.
"""

import pathlib
import re
import sys
import textwrap

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "packages"))

from mission_control.health.registry import CHECKS  # noqa: E402
from mission_control.health.thresholds import DEFAULTS, MEANINGS  # noqa: E402
from mission_control.tools.operations import OPERATIONS, find_operation  # noqa: E402
from mission_control_service.openapi import openapi_document  # noqa: E402
from mission_control_service.pagination import CURSOR, LIMIT  # noqa: E402


def health_checks():
    yield "| check | warns or fails | thresholds | what a login needs to see it |"
    yield "| --- | --- | --- | --- |"
    for check in CHECKS:
        needs = check.needs or (f"`SELECT` on {_names(check.reads)}" if check.reads else "")
        yield f"| `{check.name}` | {check.verdict} | {_names(check.thresholds)} | {needs} |"


def health_thresholds():
    yield "| threshold | default | meaning |"
    yield "| --- | --- | --- |"
    for name, meaning in MEANINGS.items():
        yield f"| `{name}` | {DEFAULTS[name]:.10g} | {meaning} |"


def api_addresses():
    yield "| address below `/api/v1` | gives | filters |"
    yield "| --- | --- | --- |"
    for path, operations in openapi_document("/api/v1", "")["paths"].items():
        for method, operation in operations.items():
            names = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
            filters = [name for name in names if name not in (LIMIT.name, CURSOR.name)]
            address = path if method == "get" else f"{method.upper()} {path}"
            yield f"| `{address}` | {operation['summary'].rstrip('.')} | {_names(filters)} |"


def tools():
    yield "| tool | does | arguments | risk | time and output limit |"
    yield "| --- | --- | --- | --- | --- |"
    for tool in yaml.safe_load((ROOT / "files" / "tools.yml").read_text(encoding="utf-8"))["tools"]:
        schema = tool["arguments_schema"]
        required = schema.get("required", ())
        names = ", ".join(f"`{name}`{'' if name in required else '?'}" for name in schema["properties"])
        limits = f"{tool.get('timeout_seconds', 60)} s, {tool.get('output_limit_bytes', 65_536) // 1024} KiB"
        operation = find_operation(tool["connector"], tool["operation"])
        yield f"| `{tool['name']}` | {operation.description} | {names} | `{tool['risk_level']}` | {limits} |"


def tool_operations():
    yield "| operation | arguments | risk at least | what the login of the source needs |"
    yield "| --- | --- | --- | --- |"
    for name, operation in OPERATIONS.items():
        known = operation.known_arguments()
        names = ", ".join(f"`{each}`{'' if argument.required else '?'}" for each, argument in known.items())
        yield f"| `{name}` | {names} | `{operation.risk_level}` | {operation.right} |"


def health_fragment():
    """As YAML."""
    yield "notes:"
    for check in CHECKS:
        yield "  - >-"
        yield from _wrapped(f"C({check.name}): {_ansible_markup(check.verdict)}.", "    ")
    yield "options:"
    yield "  thresholds:"
    yield "    description: Thresholds at which a check warns or fails. An infinite number (C(.inf)) switches one off."
    yield "    type: dict"
    yield "    suboptions:"
    for name, meaning in MEANINGS.items():
        yield f"      {name}:"
        yield "        description: >-"
        yield from _wrapped(_ansible_markup(meaning), "          ")
        yield "        type: float"
        yield f"        default: {DEFAULTS[name]}"


TABLES = {
    "HEALTH CHECKS": (ROOT / "docs" / "library.md", health_checks),
    "HEALTH THRESHOLDS": (ROOT / "docs" / "library.md", health_thresholds),
    "API ADDRESSES": (ROOT / "docs" / "service.md", api_addresses),
    "TOOLS": (ROOT / "docs" / "tool-reference.md", tools),
    "TOOL OPERATIONS": (ROOT / "docs" / "tool-reference.md", tool_operations),
    "HEALTH FRAGMENT": (ROOT / "plugins" / "doc_fragments" / "health.py", health_fragment),
}


def render(mark, text):
    """The text of a page with the table of this mark as the code declares it."""
    page, lines = TABLES[mark]
    marked = re.compile(rf"(\n\S+ BEGIN {mark} \(make docs\)[^\n]*\n).*(?=\n\S+ END {mark})", re.DOTALL)
    # In Markdown a table needs an empty line before and after it.
    empty = [""] if page.suffix == ".md" else []
    table = "\n".join([*empty, *(line.replace("|  |", "| |") for line in lines()), *empty])
    new, count = marked.subn(lambda match: match[1] + table, text)
    if count != 1:
        raise ValueError(f"the page needs the marks of {mark} once")
    return new


def _wrapped(text, indent):
    return textwrap.wrap(text, 150, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _ansible_markup(markdown):
    return re.sub("`([^`]+)`", r"C(\1)", markdown)


def _names(names):
    return ", ".join(f"`{name}`" for name in names)


def main():
    for mark, (page, _lines) in TABLES.items():
        page.write_text(render(mark, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
