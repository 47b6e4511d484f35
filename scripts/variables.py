#!/usr/bin/env python3
"""Write the reference of the variables into a Markdown file, from the roles' argument specs, which are its one source.

Usage: variables.py [--check] FILE. The text between the two marker lines is replaced; with --check nothing is written, and the exit code
is 1 where the file is out of date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- variables: begin -->\n", "<!-- variables: end -->\n"
_MARKUP = re.compile(r"[A-Z]\(([^)#]*)(?:#\w+)?\)")


def plain(text: str) -> str:
    """Ansible's markup as Markdown, on one line."""
    return _MARKUP.sub(r"`\1`", " ".join(text.split())).replace("|", "\\|")


def description(spec: dict) -> str:
    texts = spec.get("description", "")
    words = " ".join([texts] if isinstance(texts, str) else texts)
    choices = spec.get("choices")
    return plain(words) + (f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else "")


def default(spec: dict) -> str:
    if "default" not in spec:
        return "required" if spec.get("required") else ""
    value = spec["default"]
    if value in ("", None):
        return "*(empty)*"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def table(options: dict) -> list[str]:
    if not options:
        return []
    lines = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{name}` | {spec.get('type', 'str')} | {default(spec)} | {description(spec)} |"
        for name, spec in options.items()
    ]
    return [*lines, ""]


def role_section(role: str) -> list[str]:
    specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    main = specs["argument_specs"]["main"]
    lines = [f"### {role}", "", plain(main["short_description"]) + ".", "", *table(main.get("options", {}))]
    for entry in specs["argument_specs"].values():
        own = {name: spec for name, spec in entry.get("options", {}).items() if name not in main.get("options", {})}
        if own:
            lines += [f"{plain(entry['short_description'])}:", "", *table(own)]
    return lines


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    path = Path(next(argument for argument in arguments if not argument.startswith("--")))
    text = path.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    roles = sorted(role.name for role in (ROOT / "roles").iterdir() if (role / "meta" / "argument_specs.yml").exists())
    reference = "\n".join(line for role in roles for line in role_section(role))
    new = head + BEGIN + "\n" + reference + "\n" + END + tail
    if check:
        return int(new != text)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
