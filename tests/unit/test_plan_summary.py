"""A long plan is counted, a short one and what matters one by one is not."""

from ansible_collections.homelab.mission_control.plugins.filter.plan_summary import plan_summary

MANY = [
    "create role keeper (no login)",
    "role keeper: comment",
    "role keeper: statement_timeout = 60s",
    "role intruder must not be a member of keeper (owner)",
    "database control: revoke CONNECT, TEMPORARY from PUBLIC",
    "default privileges of keeper in schema public: grant SELECT on tables to reader",
    *(f"table number_{number}: grant SELECT to reader" for number in range(20)),
    "table odd: revoke DELETE from reader",
    "function verify(bigint, bytea): grant EXECUTE to monitor",
]


def test_many_steps_are_counted_by_kind():
    assert plan_summary(MANY) == [
        "create role keeper (no login)",
        "role intruder must not be a member of keeper (owner)",
        "roles: 2 settings",
        "database: 1 revocation",
        "default privileges: 1 grant",
        "tables: 20 grants, 1 revocation",
        "functions: 1 grant",
        "-v or --diff shows each",
    ]


def test_all_steps_are_shown_where_they_are_few_or_wanted():
    assert plan_summary(MANY[6:16]) == MANY[6:16]
    assert plan_summary(MANY, whole=True) == MANY
    assert plan_summary([]) == []
