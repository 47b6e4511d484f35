"""docs/cluster.md and the example that it tells of name the same files, groups and variables."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "molecule/cluster"
PAGE = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
FILES = [
    EXAMPLE / "cluster.yml",
    *sorted((EXAMPLE / "templates").iterdir()),
    *(EXAMPLE / "inventory/group_vars" / f"{group}.yml" for group in ("database_proxies", "mission_control")),
]


def shown(language):
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL))


def test_every_file_of_the_example_is_linked():
    assert set(re.findall(r"\(\.\./(molecule/[^)]+)\)", PAGE)) == {str(path.relative_to(ROOT)) for path in FILES}


def test_the_inventory_has_the_groups_and_variables_that_the_example_uses():
    inventory = yaml.safe_load(shown("yaml"))
    tests = yaml.safe_load((EXAMPLE / "inventory/hosts.yml").read_text(encoding="utf-8"))
    assert inventory.keys() == tests.keys() - {"test_hosts"}
    assert inventory["database_proxies"]["children"] == tests["database_proxies"]["children"]
    assert len(inventory["database_cluster"]["hosts"]) == 3
    variables = {name for path in FILES for name in re.findall(r"\bcluster_[a-z_]+", path.read_text(encoding="utf-8"))}
    defaults = yaml.safe_load((EXAMPLE / "inventory/group_vars/database_proxies.yml").read_text(encoding="utf-8"))
    given = inventory["database_proxies"]["vars"].keys() | defaults.keys()
    assert variables <= given
    assert set(re.findall(r"\bcluster_[a-z_]+", PAGE)) <= given


def test_patronictl_never_waits_without_end():
    assert "patronictl -c" in PAGE
    assert re.findall(r"(?<!timeout \d\d )(?<!timeout \d\d\d )patronictl -c", PAGE) == []
