"""Inputs that nobody should give: drawn from argument specs, and what SQL, shells, templates and files stumble over."""

from __future__ import annotations

import contextlib
import io
import json
import traceback
from unittest import mock

from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from hypothesis import reject
from hypothesis import strategies as st

CARRIED_IN = "carried_in"  # a table that no statement of ours makes
NASTY = [
    *("", " ", "'", '"', "a'b", 'a"b', "a\nb", "a\0b", "a\rb", "\t", "\x1b[2J", "\u2028", "\u202e"),
    *("\u00fcber", "\u5b57", "\U0001f600", "a\u0301", "\u212a", "%", "%s", "%(a)s", "$1", "$$", "\\", "\\'", "a\\"),
    *("select", "user", "public", "pg_x", "none", "null", "NaN", "a" * 63, "a" * 64, "\u00fc" * 40, "x" * 5000),
    *(
        "0",
        "-1",
        "1e999",
        "99999999999999999999",
        "1.5",
        "true",
        "[]",
        "{}",
        "../../up",
        "/dev/null",
        "~",
        "-h",
        "--help",
    ),
    f"'; CREATE TABLE {CARRIED_IN} (); --",
    f'"; CREATE TABLE {CARRIED_IN} (); --',
    f"a) ; CREATE TABLE {CARRIED_IN} (); --",
    f"$$; CREATE TABLE {CARRIED_IN} (); $$",
    "$(id)`id`;id|id&id",
    "{{ 1 / 0 }}",
    "{% raw %}",
]
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=20))
scalars = st.one_of(
    texts,
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**30]),
    st.floats(),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=5,
)


def fitting(spec):
    """Values of the type that an option has, nasty ones among them."""
    if "choices" in spec:
        return st.sampled_from(spec["choices"])
    kind = spec.get("type", "str")
    if kind in ("str", "path"):
        return texts
    if kind == "int":
        return st.one_of(st.integers(-5, 70000), st.sampled_from([2**31, 2**63, 10**30]))
    if kind == "float":
        return st.one_of(st.floats(), st.integers(-5, 10))
    if kind == "bool":
        return st.booleans()
    if kind == "list":
        return st.lists(fitting({"type": spec.get("elements", "str"), "options": spec.get("options")}), max_size=3)
    if kind == "dict" and spec.get("options"):
        return st.fixed_dictionaries({}, optional={name: value_of(each) for name, each in spec["options"].items()})
    if kind == "dict":
        return st.dictionaries(texts, anything, max_size=3)
    return anything


def value_of(spec):
    return st.one_of(fitting(spec), anything)


def changes_of(options, most=3):
    """A few options of a specification, each with a value that may or may not fit."""
    return st.lists(st.sampled_from(sorted(options)), min_size=1, max_size=most, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: value_of(options[name]) for name in names})
    )


class ModuleRun:
    """A module that ran to its end in this process: its result, and what it would have logged on the host."""

    def __init__(self, module, options, check_mode=False):
        self.logged = []
        printed = io.StringIO()
        arguments = {**options, "_ansible_check_mode": check_mode}
        with (
            patch_module_args(arguments),
            mock.patch.object(basic.AnsibleModule, "log", lambda _self, message, **_more: self.logged.append(message)),
            contextlib.redirect_stdout(printed),
        ):
            try:
                module.main()
            except SystemExit:
                pass
            except Exception as error:
                # Some values Ansible itself cannot take, before the module has begun.
                if "/ansible/module_utils/" in traceback.extract_tb(error.__traceback__)[-1].filename:
                    reject()
                raise
            else:
                raise AssertionError("the module did not end by itself")
        self.result = json.loads(printed.getvalue())
        self.failed = bool(self.result.get("failed"))
        self.message = str(self.result.get("msg", ""))


def is_sentence(message):
    """Whether a message is one a user can read: of one line, with no trace of where the program stood."""
    return bool(message.strip()) and "\n" not in message and "Traceback" not in message and " object " not in message
