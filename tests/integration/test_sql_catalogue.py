"""What the catalogue says of the schema: the promised objects, and conventions that hold for every one of them."""

import mission_control_database as layer
import pytest
from sample_rows import TABLES

CHAIN_TABLES = {"audit_links", "audit_head"}
BOOKKEEPING = {"schema_migrations", "schema_repeatables", "schema_objects", "backup_runs"}
WRITTEN_BY_FUNCTIONS = {"price_lists", "token_usage_rollup", "token_usage_days", "token_usage_changes"} | {
    "tool_call_days",
    "tool_call_changes",
}
# There during an upgrade alone.
PASSING = ["tools_set_aside"]
VIEWS = {
    "active_task_runs",
    "daily_token_usage",
    "recent_token_usage_summary",
    "llm_budget_status",
    "task_run_costs",
    "tool_call_success_rate",
    "tool_call_overview",
    "inventory_source_status",
    "playbook_run_steps",
    "playbook_run_overview",
    "playbook_status",
}
UPDATED = {
    "hosts",
    "workloads",
    "services",
    "inventory_sources",
    "tasks",
    "llm_budgets",
    "usage_import_files",
}
# By a function of their own owner.
UPDATED_TOOLS = {"tool_definitions", "policies", "tool_tokens"}
# Of sums nobody knows how large they become.
SUMS = {"cost_usd numeric", "subscription_value_usd numeric"}
# Columns whose name says all there is to say.
OBVIOUS = {
    "id",
    "name",
    "description",
    "title",
    "status",
    "type",
    "kind",
    "model",
    "created_at",
    "updated_at",
    "effect",
    "outcome",
}


@pytest.fixture(scope="module")
def catalogue(shared_database):
    return shared_database.session("admin")


def test_there_are_the_agreed_tables_and_those_of_chain_and_runner(catalogue):
    assert set(catalogue.values("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")) == (
        set(TABLES) | WRITTEN_BY_FUNCTIONS | CHAIN_TABLES | BOOKKEEPING
    )
    assert len(TABLES) == 21


def test_there_are_the_agreed_views_and_each_can_be_read(catalogue):
    assert set(catalogue.values("SELECT viewname FROM pg_views WHERE schemaname = 'public'")) == VIEWS
    for view in VIEWS:
        catalogue.rows(f"SELECT * FROM {view}")


def test_there_are_at_least_forty_indexes_and_none_is_there_twice(catalogue):
    indexes = catalogue.rows(
        """
        SELECT c.relname, i.indrelid, i.indkey::text || coalesce(pg_get_expr(i.indexprs, i.indrelid), '')
            || coalesce(pg_get_expr(i.indpred, i.indrelid), '') || i.indclass::text AS what
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.relnamespace = 'public'::regnamespace AND i.indisvalid
        """
    )
    assert len(indexes) >= 40
    assert len({(index["indrelid"], index["what"]) for index in indexes}) == len(indexes)


def test_no_index_is_the_beginning_of_another_one(catalogue):
    assert (
        catalogue.rows(
            """
            SELECT a.indexrelid::regclass::text AS short, b.indexrelid::regclass::text AS long
            FROM pg_index a JOIN pg_index b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid
            JOIN pg_class ca ON ca.oid = a.indexrelid JOIN pg_class cb ON cb.oid = b.indexrelid
            JOIN pg_am am ON am.oid = ca.relam AND am.amname = 'btree'
            WHERE ca.relnamespace = 'public'::regnamespace AND ca.relam = cb.relam AND NOT a.indisunique
                AND a.indpred IS NULL AND b.indpred IS NULL AND a.indexprs IS NULL AND b.indexprs IS NULL
                AND b.indkey::text LIKE a.indkey::text || ' %'
            """
        )
        == []
    )


def test_the_updated_at_triggers_fire_on_a_change_only(catalogue):
    triggers = catalogue.rows(
        """
        SELECT t.tgrelid::regclass::text AS on_table, t.tgname, pg_get_triggerdef(t.oid) AS definition
        FROM pg_trigger t WHERE t.tgname ~ '_updated_at$'
        """
    )
    assert {trigger["on_table"] for trigger in triggers} == UPDATED | UPDATED_TOOLS
    for trigger in triggers:
        assert trigger["tgname"] == f"tr_{trigger['on_table']}_updated_at"
        function = "stamp_tool_row" if trigger["on_table"] in UPDATED_TOOLS else "set_updated_at"
        assert trigger["definition"].endswith(f"EXECUTE FUNCTION {function}()")
        # A condition may not read the row as a whole where a column of it is computed.
        whole = "(old.* IS DISTINCT FROM new.*)"
        assert ("IS DISTINCT FROM jsonb_build_array" if trigger["on_table"] == "policies" else whole) in trigger[
            "definition"
        ]


def test_guards_of_the_logs_are_always_enabled(catalogue):
    plain = catalogue.values(
        """
        SELECT tgrelid::regclass || '.' || tgname FROM pg_trigger
        WHERE NOT tgisinternal AND tgenabled <> 'A' AND tgname !~ '_limits$'
            AND tgrelid IN ('task_events'::regclass, 'audit_entries'::regclass, 'audit_links'::regclass, 'audit_head'::regclass)
        """
    )
    assert plain == []
    always = catalogue.values("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgenabled = 'A'")
    assert len(always) == 16


def test_every_table_view_and_function_has_a_comment(catalogue):
    assert (
        catalogue.values(
            """
            SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
                AND obj_description(oid, 'pg_class') IS NULL
            UNION ALL
            SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prolang <> (
                SELECT oid FROM pg_language WHERE lanname = 'internal') AND obj_description(oid, 'pg_proc') IS NULL
            """
        )
        == []
    )


def test_every_column_that_is_not_obvious_has_a_comment(catalogue):
    """Also every number, whose unit the comment says; foreign keys are obvious where the table they lead to is required."""
    missing = catalogue.rows(
        """
        SELECT c.relname, a.attname
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
            AND col_description(a.attrelid, a.attnum) IS NULL
            AND NOT (a.attnotnull AND EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.conkey = ARRAY[a.attnum]
                AND k.contype = 'f'))
        """
    )
    assert [row for row in missing if row["attname"] not in OBVIOUS and row["relname"] not in BOOKKEEPING] == []


def test_types_are_the_agreed_ones(catalogue):
    strange = catalogue.rows(
        """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
            AND format_type(a.atttypid, NULL) NOT IN ('uuid', 'text', 'text[]', 'timestamp with time zone', 'bigint', 'numeric',
                'jsonb', 'boolean', 'bytea', 'inet', 'date')
        """
    )
    assert [row for row in strange if row["relname"] not in BOOKKEEPING] == []


def test_money_is_exact(catalogue):
    types = set(
        catalogue.values(
            """
            SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
            FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attname ~ 'usd'
            """
        )
    )
    assert {"estimated_cost_usd numeric(20,12)", "subscription_value_usd numeric(20,12)"} < types
    assert all(
        text.endswith(("_mtok numeric(12,6)", "numeric(20,12)")) for text in types - SUMS - {"amount_usd numeric(14,6)"}
    )


def test_constraints_are_named_by_the_convention(catalogue):
    prefixes = {"p": "pk", "f": "fk", "u": "uq", "c": "ck", "x": "ex"}
    for row in catalogue.rows(
        """
        SELECT k.conname, k.contype, c.relname, a.attname
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        LEFT JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.contype = 'f' AND a.attnum = k.conkey[1]
        WHERE c.relnamespace = 'public'::regnamespace AND k.contype IN ('p', 'f', 'u', 'c', 'x')
        """
    ):
        start = f"{prefixes[row['contype']]}_{row['relname']}"
        assert row["conname"] == start or row["conname"].startswith(f"{start}_")
        if row["contype"] == "f":
            assert row["conname"] == f"{start}_{row['attname']}"


def test_indexes_and_triggers_are_named_by_the_convention(catalogue):
    for name, table in catalogue_pairs(
        catalogue,
        "SELECT c.relname AS a, i.indrelid::regclass::text AS b FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE c.relnamespace = 'public'::regnamespace",
    ):
        assert name.split("_", 1)[0] in ("pk", "uq", "ix", "ex")
        assert name.split("_", 1)[1].startswith(table)
    for name, table in catalogue_pairs(
        catalogue, "SELECT tgname AS a, tgrelid::regclass::text AS b FROM pg_trigger WHERE NOT tgisinternal"
    ):
        assert name == "tr_audit_chain" or name.startswith(f"tr_{table}_")


def catalogue_pairs(catalogue, sql):
    rows = catalogue.rows(sql)
    assert rows
    return [(row["a"], row["b"]) for row in rows]


def test_every_foreign_key_is_indexed_and_says_what_a_deletion_does(catalogue):
    keys = catalogue.rows(
        """
        SELECT k.conname, k.confdeltype, EXISTS (
            SELECT FROM pg_index i
            WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = k.conkey[1]
        ) AS indexed
        FROM pg_constraint k WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace
        """
    )
    assert len(keys) == 18
    assert [key["conname"] for key in keys if not key["indexed"]] == []
    assert {key["conname"] for key in keys if key["confdeltype"] == "n"} == {
        "fk_workloads_host_id",
        "fk_workloads_service_id",
        "fk_inventory_sources_last_run_id",
        "fk_tasks_template_id",
        "fk_playbook_run_hosts_host_id",
    }
    assert {key["confdeltype"] for key in keys} == {"n", "r"}, "nothing cascades"


def test_the_audit_log_has_no_foreign_key_in_or_out(catalogue):
    assert (
        catalogue.values(
            """
            SELECT conname FROM pg_constraint WHERE contype = 'f'
                AND (conrelid::regclass::text ~ '^audit_' OR confrelid::regclass::text ~ '^audit_')
            """
        )
        == []
    )


def test_no_index_stops_hot_updates_of_updated_at(catalogue):
    assert (
        catalogue.values(
            """
            SELECT i.indexrelid::regclass::text FROM pg_index i
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) AND a.attname IN ('updated_at', 'last_seen_at')
            """
        )
        == []
    )


def test_every_function_looks_names_up_in_pg_catalog_alone(catalogue):
    """Or its body was bound when it was created: a name that another role puts into our schema is never found."""
    assert (
        catalogue.values(
            """
            SELECT p.proname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
            WHERE p.pronamespace = 'public'::regnamespace AND l.lanname <> 'internal' AND p.prosqlbody IS NULL
                AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)
            """
        )
        == []
    )


def test_owners_are_apart(catalogue):
    owners = catalogue.rows(
        """
        SELECT relname, pg_get_userbyid(relowner) AS owner FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S')
        """
    )
    tools = ("tool_", "policies")
    for row in owners:
        # What the backups record is written by the administrator: no trigger of the objects' owner may run in that name.
        # What definitions are compared with is out of reach for whoever may change them.
        audit = row["relname"].startswith(("audit_", "backup_runs", "schema_objects", *tools))
        expected = layer.ROLES["audit" if audit else "owner"]
        assert row["owner"] == expected, row["relname"]


def test_what_was_provisioned_is_what_is_declared(shared_database):
    """The planner finds no privilege missing and none too many."""
    with_nothing_to_do = layer.carry_out(
        shared_database.cluster.connect(shared_database.name),
        layer.wanted(shared_database.name),
        ["plan/schema_privileges.sql"],
        ["schema"],
    )
    assert with_nothing_to_do == []


def test_every_declared_object_exists(catalogue):
    """A misspelt name in privileges.yml would silently leave the defaults in force."""
    existing = {
        row["name"].replace(" ", "")
        for row in catalogue.rows(
            """
            SELECT relname::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
            UNION ALL
            SELECT proname || '(' || oidvectortypes(proargtypes) || ')' FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            """
        )
    }
    declared = [entry["name"] for entry in layer.wanted("x")["privileges"]["objects"]]
    assert [name for name in declared if name.replace(" ", "") not in existing] == PASSING
    assert len(declared) == len(set(declared))
