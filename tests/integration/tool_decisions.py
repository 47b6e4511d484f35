"""Who may call which tool, worked out a second time: a reference in Python, and random worlds to compare it with the database.

The reference follows docs/tools.md and knows nothing of the SQL. JSON is compared as PostgreSQL's documentation says of jsonb: numbers by
their value (1 is 1.0), the last of two equal keys counts, an object contains another with the same or fewer pairs, an array another
whose elements each are contained in one of its own. A malformed condition makes its policy deny whatever it covers.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

DEFAULTS = {"READ_ONLY": "allow", "SAFE_MUTATE": "require_approval", "DESTRUCTIVE": "deny"}
STRICTNESS = {"deny": 0, "require_approval": 1, "allow": 2}
CONDITIONS = ("arguments", "arguments_in", "callers")


@dataclass(frozen=True)
class Tool:
    """A tool; its preset is JSON as it was written."""

    name: str
    risk_level: str
    enabled: bool = True
    preset: str = "{}"


@dataclass(frozen=True)
class Policy:
    """A policy; its conditions are JSON as they were written."""

    name: str
    effect: str
    tools: tuple[str, ...] = ()
    risk_levels: tuple[str, ...] = ()
    conditions: str = "{}"
    priority: int = 100
    enabled: bool = True


@dataclass(frozen=True)
class Decision:
    """What the database has to say: effect and policy to the letter, and words that its reason has to hold, one of each group."""

    effect: str
    policy: str | None
    words: tuple[tuple[str, ...], ...] = field(default=(), compare=False)


def read_json(text: str) -> Any:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal as jsonb."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def contains(whole: Any, part: Any) -> bool:
    """Whether one JSON value contains another as jsonb; a bare value within an array counts nowhere but at the top, which is an object here."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and contains(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and all(any(contains(mine, theirs) for mine in whole) for theirs in part)
    return same(whole, part)


def faulty_keys(conditions: dict[str, Any]) -> list[str]:
    """Keys of conditions that nobody knows or that hold what they may not."""
    right = {
        "arguments": lambda value: isinstance(value, dict),
        "arguments_in": lambda value: (
            isinstance(value, dict) and all(isinstance(each, list) and each for each in value.values())
        ),
        "callers": lambda value: (
            isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)
        ),
    }
    return [key for key, value in conditions.items() if key not in right or not right[key](value)]


def covers(policy: Policy, tool: Tool) -> bool:
    return tool.name in policy.tools or "*" in policy.tools or tool.risk_level in policy.risk_levels


def is_met(conditions: dict[str, Any], arguments: dict[str, Any], caller: str | None) -> bool:
    if not contains(arguments, conditions.get("arguments", {})):
        return False
    for name, values in conditions.get("arguments_in", {}).items():
        if name not in arguments or not any(same(arguments[name], value) for value in values):
            return False
    return "callers" not in conditions or caller in conditions["callers"]


def decide(
    tools: dict[str, Tool], policies: list[Policy], name: str | None, arguments: str | None, caller: str | None
) -> Decision:
    """Effect, deciding policy, and words of the reason, for a call of a tool with these arguments by this caller."""
    tool = tools.get(name) if name is not None else None
    given = {} if arguments is None else read_json(arguments)
    if tool is None or not tool.enabled or not isinstance(given, dict):
        return Decision("deny", None)
    merged = {**given, **read_json(tool.preset)}
    candidates = []
    for policy in policies:
        if not policy.enabled or not covers(policy, tool):
            continue
        conditions = read_json(policy.conditions)
        faults = faulty_keys(conditions)
        if faults:
            candidates.append((policy, "deny", ((policy.name,), tuple(faults))))
        elif is_met(conditions, merged, caller):
            candidates.append((policy, policy.effect, ((policy.name,),)))
    if not candidates:
        return Decision(DEFAULTS[tool.risk_level], None, ((tool.risk_level,),))
    policy, effect, words = min(candidates, key=lambda each: (-each[0].priority, STRICTNESS[each[1]], each[0].name))
    return Decision(effect, policy.name, words)


# Random worlds --------------------------------------------------------------------------------------------------------

# Names that look alike and are not, that mean something elsewhere, and whose order by another collation is another one.
NAMES = [
    "restart", "Restart", "RESTART", "restart ", "restart_k8s_deployment", "rest*", "re%", "r_start", "it's", 'say "no"',
    "a\\b", "$1", "{x}", "ä", "a\u0308", "z", "Z", "é", "e\u0301", "ß", "ss", "ﬀ", "ff", "\u0440estart", "😀", "\ufffd", "~", "-", "0", "NULL",
]  # fmt: skip
KEYS = [
    "a",
    "A",
    "a ",
    "á",
    "a\u0301",
    "",
    "source",
    "name",
    "*",
    'q"',
    "b\\",
    "0",
    "null",
    "😀",
    "callers",
    "arguments",
]
CALLERS = [
    "mission_control",
    "alice",
    "Alice",
    "alice ",
    "*",
    "",
    "bob's",
    "ä",
    "a\u0308",
    "null",
    "mission_control_service",
]
NUMBERS = [
    "0", "1", "-1", "100", "0.1", "0.001", "9007199254740992", "9007199254740993", "123456789012345678901234567890",
    "1.00000000000000000000000000001", "1e300", "-1e-300", "1e30",
]  # fmt: skip
STRINGS = ["", "1", "1.0", "true", "null", "a", "A", "á", "a\u0301", "*", "%", "😀", "a/b", "a\nb", "plex", "Plex"]


class Dice:
    """Random JSON and random worlds, from a `random.Random`."""

    def __init__(self, chance):
        self.chance = chance

    def value(self, depth=3):
        roll = self.chance.random()
        if depth and roll < 0.2:
            return [self.value(depth - 1) for _ in range(self.chance.randrange(4))]
        if depth and roll < 0.4:
            return self.object(depth - 1)
        return self.chance.choice(
            [None, True, False, Decimal(self.chance.choice(NUMBERS)), Decimal(1), self.chance.choice(STRINGS), "a"]
        )

    def object(self, depth=3, most=4):
        return {self.chance.choice(KEYS): self.value(depth) for _ in range(self.chance.randrange(most + 1))}

    def part(self, value):
        """A value that this one contains, most of the time."""
        roll = self.chance.random()
        if roll < 0.04:
            return self.value(1)
        if isinstance(value, dict):
            return {key: self.part(each) for key, each in value.items() if self.chance.random() < 0.6}
        if isinstance(value, list):
            kept = [self.part(each) for each in value if self.chance.random() < 0.6]
            self.chance.shuffle(kept)
            return kept * (2 if self.chance.random() < 0.2 else 1)
        return value

    def spell(self, value):
        """The value as JSON, each number and string in one of its spellings, now and then a key twice."""
        if isinstance(value, dict):
            pairs = []
            for key, each in value.items():
                if self.chance.random() < 0.08:
                    pairs.append((key, self.value(1)))
                pairs.append((key, each))
            return "{" + ",".join(f"{self._text(key)}:{self.spell(each)}" for key, each in pairs) + "}"
        if isinstance(value, list):
            return "[" + " , ".join(self.spell(each) for each in value) + "]"
        if isinstance(value, Decimal):
            return self._number(value)
        if isinstance(value, str):
            return self._text(value)
        return json.dumps(value)

    def _text(self, value):
        spelled = json.dumps(value, ensure_ascii=self.chance.random() < 0.3)
        return spelled.replace("/", "\\/") if self.chance.random() < 0.3 else spelled

    def _number(self, value):
        plain = f"{value:f}"
        sign, digits, exponent = value.as_tuple()
        whole = "-" * sign + "".join(map(str, digits))
        spellings = [plain, f"{value:e}", f"{value:E}", f"{whole}e{exponent}", f"{whole}00E{exponent - 2}"]
        if "." not in plain:
            spellings += [plain + ".0", plain + ".000e0"]
        if not value:
            spellings = ["0", "-0", "0e5", "-0.0"]
        return self.chance.choice(spellings)

    def tool(self, name):
        preset = self.object(1, 2) if self.chance.random() < 0.3 else {}
        return Tool(name, self.chance.choice(list(DEFAULTS)), self.chance.random() < 0.9, self.spell(preset))

    def conditions(self, arguments):
        """Conditions that some of these arguments meet, now and then such as no present table takes."""
        conditions: dict[str, Any] = {}
        if self.chance.random() < 0.4:
            conditions["arguments"] = self.part(self.chance.choice(arguments))
        if self.chance.random() < 0.4:
            known = self.chance.choice(arguments)
            names = self.chance.sample(sorted(known), min(len(known), self.chance.randrange(3)))
            names += self.chance.sample(KEYS, self.chance.random() < 0.1)
            conditions["arguments_in"] = {name: self._alternatives(known.get(name)) for name in names}
        if self.chance.random() < 0.3:
            conditions["callers"] = self.chance.sample(CALLERS, self.chance.randrange(1, 4))
        if self.chance.random() < 0.04:
            self._spoil(conditions)
        return self.spell(conditions)

    def _alternatives(self, value):
        first = value if self.chance.random() < 0.7 else self.value(1)
        values = [first, *(self.value(1) for _ in range(self.chance.randrange(3)))]
        self.chance.shuffle(values)
        return values

    def _spoil(self, conditions):
        bad: dict[str, list[Any]] = {
            "arguments": [None, [], "a", [{}], True],
            "arguments_in": [None, [], "a", {"a": []}, {"a": "a"}, {"a": {"a": []}}, {"a": [Decimal(1)], "b": None}],
            "callers": [None, [], {}, "alice", [None], ["alice", Decimal(1)], [["alice"]], [True]],
            "Callers": [["alice"]],
            "argument": [{}],
            "hours": ["9-17"],
            "": [None],
            "callers ": [["alice"]],
        }
        key = self.chance.choice(sorted(bad))
        conditions[key] = self.chance.choice(bad[key])

    def policy(self, name, tools, arguments):
        named = self.chance.sample(tools, min(len(tools), self.chance.randrange(4)))
        if self.chance.random() < 0.15:
            named.append("*")
        if self.chance.random() < 0.1:
            named.append(self.chance.choice(NAMES))
        levels = [level for level in DEFAULTS if self.chance.random() < 0.2]
        if not named and not levels:
            levels = [self.chance.choice(list(DEFAULTS))]
        self.chance.shuffle(named)
        return Policy(
            name,
            self.chance.choice(list(STRICTNESS)),
            tuple(named),
            tuple(levels),
            self.conditions(arguments),
            self.chance.choice([100, 100, 100, 99, 101, 0, -1, 2**63 - 1, -(2**63)]),
            self.chance.random() < 0.9,
        )

    def world(self, calls):
        """(tools by name, policies, calls): each call is a name, arguments and a caller, as text or None."""
        tools = {name: self.tool(name) for name in self.chance.sample(NAMES, self.chance.randrange(1, 9))}
        arguments = [self.object() for _ in range(12)] + [{}]
        policies = [
            self.policy(name, list(tools), arguments)
            for name in self.chance.sample(NAMES, self.chance.randrange(min(len(NAMES), 25)))
        ]
        return tools, policies, list(itertools.islice(self._calls(list(tools), arguments), calls))

    def _calls(self, tools, arguments):
        while True:
            name = self.chance.choice(tools) if self.chance.random() < 0.93 else self.chance.choice([*NAMES, "", None])
            value = self.chance.choice(arguments)
            if self.chance.random() < 0.3:
                value = {**value, **self.object(1, 1)}
            text = self.spell(value)
            if self.chance.random() < 0.02:
                text = self.chance.choice([None, "null", "[]", "1", '"a"', "[{}]"])
            yield name, text, self.chance.choice([*CALLERS, None])


# Compared with the database -------------------------------------------------------------------------------------------

CALLS = 125
# What a present table takes of conditions is asked elsewhere; older rows hold what they like.
_LIFT = """
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT conname FROM pg_constraint WHERE conrelid = 'policies'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%conditions_known%'
    LOOP
        EXECUTE format('ALTER TABLE policies DROP CONSTRAINT %I', name);
    END LOOP;
END
$$
"""
_TOOLS = """
INSERT INTO tool_definitions (name, risk_level, enabled, preset, origin)
SELECT name, risk_level, enabled, preset::jsonb, 'role' FROM unnest(%s::text[], %s::text[], %s::boolean[], %s::text[])
    AS t (name, risk_level, enabled, preset)
"""
_POLICIES = """
INSERT INTO policies (name, effect, tools, risk_levels, conditions, priority, enabled, origin)
SELECT name, effect, ARRAY(SELECT jsonb_array_elements_text(tools)), ARRAY(SELECT jsonb_array_elements_text(risk_levels)),
    conditions::jsonb, priority, enabled, 'role'
FROM jsonb_to_recordset(%s::jsonb)
    AS p (name text, effect text, tools jsonb, risk_levels jsonb, conditions text, priority bigint, enabled boolean)
"""
_DECISIONS = """
SELECT d.effect, d.policy, d.reason
FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS c (tool, arguments, caller, number)
CROSS JOIN LATERAL tool_policy_decision(c.tool, c.arguments::jsonb, c.caller) AS d
ORDER BY c.number
"""


def settle(session, tools, policies):
    """Put a world in the place of whatever tools and policies there are, as a superuser who passes by what guards the tables."""
    session.run("SET LOCAL session_replication_role = replica")
    session.run("DELETE FROM tool_definitions; DELETE FROM policies")
    columns = zip(*((tool.name, tool.risk_level, tool.enabled, tool.preset) for tool in tools.values()))
    session.run(_TOOLS, *map(list, columns))
    if policies:
        session.run(_POLICIES, json.dumps([vars(policy) for policy in policies]))
    session.run("SET LOCAL session_replication_role = origin")


def differing(session, number, chance):
    """Decide so many random calls here and in the database of a superuser's session.

    Nothing stays there. Returns what differs, and how often there was each (effect, whether a policy decided).
    """
    dice, differences, outcomes = Dice(chance), [], Counter()
    session.run("BEGIN")
    session.run(_LIFT)
    session.run("SAVEPOINT world")
    for begin in range(0, number, CALLS):
        tools, policies, calls = dice.world(min(CALLS, number - begin))
        settle(session, tools, policies)
        for call, row in zip(calls, session.rows(_DECISIONS, *map(list, zip(*calls))), strict=True):
            expected = decide(tools, policies, *call)
            outcomes[expected.effect, expected.policy is not None] += 1
            found = Decision(row["effect"], row["policy"])
            reason = row["reason"] or ""
            if found != expected or not all(any(word in reason for word in words) for words in expected.words):
                named = [policy for policy in policies if policy.name in (expected.policy, found.policy)]
                differences.append((call, tools.get(call[0]), named, expected, row))
        session.run("ROLLBACK TO SAVEPOINT world")
    session.run("ROLLBACK")
    return differences, outcomes
