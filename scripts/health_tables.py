"""Write the tables of health checks and of their thresholds into docs/library.md, from the registry of the library.

    scripts/health_tables.py       write them

tests/unit/test_health_registry.py compares the committed page with the registry.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "library.md"
sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.homelab.mission_control.plugins.module_utils.health.registry import CHECKS  # noqa: E402
from ansible_collections.homelab.mission_control.plugins.module_utils.health.thresholds import (  # noqa: E402
    DEFAULTS,
    MEANINGS,
)

_MARKED = re.compile(r"(?<=<!-- BEGIN HEALTH CHECKS -->\n).*(?=<!-- END HEALTH CHECKS -->)", re.DOTALL)


def render(page):
    """The text of the page with the tables that the registry makes."""
    lines = [
        "<!-- Generated from plugins/module_utils/health/registry.py and thresholds.py by make docs. -->",
        "",
        "| check | warns or fails | thresholds | what a login needs to see it |",
        "| --- | --- | --- | --- |",
        *(
            f"| `{check.name}` | {check.verdict} | {_names(check.thresholds)} | {_needs(check)} |".replace("  ", " ")
            for check in CHECKS
        ),
        "",
        "| threshold | default | meaning |",
        "| --- | --- | --- |",
        *(f"| `{name}` | {DEFAULTS[name]:.10g} | {meaning} |" for name, meaning in MEANINGS.items()),
        "",
    ]
    text, count = _MARKED.subn(lambda _match: "\n".join(lines), page)
    if count != 1:
        raise ValueError("docs/library.md needs the marks of the health checks once")
    return text


def _names(names):
    return ", ".join(f"`{name}`" for name in names)


def _needs(check):
    return check.needs or (f"`SELECT` on {_names(check.reads)}" if check.reads else "")


def main():
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
