"""Which functions, views and triggers a set of files ends with."""

from ansible_collections.homelab.mission_control.plugins.module_utils.schema.definitions import (
    shipped_function_names,
    shipped_functions,
    shipped_triggers,
    shipped_views,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import SqlFile

FIRST = SqlFile(
    "001_a.sql",
    "",
    """
    CREATE FUNCTION stamp(p_at timestamptz DEFAULT now()) RETURNS void LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
    CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE FUNCTION moved() RETURNS integer LANGUAGE sql RETURN 1;
    CREATE TABLE t (id integer);
    CREATE TRIGGER first AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION other();
    CREATE CONSTRAINT TRIGGER second AFTER INSERT ON t DEFERRABLE FOR EACH ROW EXECUTE FUNCTION other();
    ALTER TABLE t ENABLE ALWAYS TRIGGER second;
    """,
    "owner",
)
LATER = SqlFile(
    "002_b.sql",
    "",
    """
    CREATE OR REPLACE FUNCTION stamp(p_at timestamptz  DEFAULT now()) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM 2; END $$;
    CREATE FUNCTION stamp(p_other text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
    DROP TRIGGER first ON t;
    """,
    "audit",
)
REPEATABLE = SqlFile(
    "001_r.sql",
    "",
    "CREATE OR REPLACE FUNCTION moved() RETURNS integer LANGUAGE sql RETURN 2; CREATE OR REPLACE VIEW v AS SELECT 1;",
    "owner",
)


def test_the_last_definition_counts_with_its_role():
    functions = shipped_functions([FIRST, LATER], [REPEATABLE])
    assert [(each.name, each.role) for each in functions] == [
        ("other", "owner"),
        ("stamp", "audit"),
        ("stamp", "audit"),
    ]
    assert all(each.sql.startswith("CREATE OR REPLACE FUNCTION") for each in functions)
    assert "PERFORM 2" in functions[1].sql
    assert shipped_function_names([FIRST, LATER], [REPEATABLE]) == ["moved", "other", "stamp"]
    assert shipped_views([REPEATABLE]) == ["v"]


def test_a_trigger_is_made_with_its_state_and_a_dropped_one_not_at_all():
    (second,) = shipped_triggers([FIRST, LATER])
    assert (second.table, second.name, second.always) == ("t", "second", True)
    assert second.sql.startswith("DROP TRIGGER IF EXISTS second ON our_schema.t;")
    assert second.sql.endswith("ALTER TABLE t ENABLE ALWAYS TRIGGER second")
