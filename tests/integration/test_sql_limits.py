"""Limits of what a writer may store, so that every row can be dumped, restored, verified and shown."""

import os
import re
import subprocess

import mission_control_database as layer
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.batches import verify_in_batches
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.recompute import recompute_audit_chain
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import QueryError
from playbook import ROOT
from sample_rows import TABLES, WRITTEN_BY_FUNCTIONS, fill_every_table, sample
from throwaway_cluster import server_bindir

AUDIT_TEXTS = ("actor", "action", "target_type", "target_id")
WILD = "(SELECT ('{\"a\":[' || string_agg('1e131000', ',') || ']}')::jsonb FROM generate_series(1, 3000))"
# Expressions for a JSON object, and what is said of it.
OVERSIZED = {
    "numbers with a large exponent": (WILD, "more than 1,000 digits"),
    "one number with a large exponent": ("'{\"a\": 1e131000}'::jsonb", "more than 1,000 digits"),
    "a number with many decimals": ("jsonb_build_object('a', round(1, 16000))", "more than 1,000 digits"),
    "a small number": ("'{\"a\": 1e-16000}'::jsonb", "more than 1,000 digits"),
    "a long text": ("jsonb_build_object('a', repeat('x', 70000))", "longer as text than 65536 bytes"),
    "a text that is printed longer": (
        "jsonb_build_object('a', repeat(E'\\x01', 15000))",
        "longer as text than 65536 bytes",
    ),
    "backslashes": ("jsonb_build_object('a', repeat(E'\\\\', 10000000))", "longer as text than 65536 bytes"),
    "many numbers": (
        "jsonb_build_object('a', (SELECT jsonb_agg(1e300) FROM generate_series(1, 3000)))",
        "longer as text",
    ),
    "many empty lists": (
        "jsonb_build_object('a', (SELECT jsonb_agg('[]'::jsonb) FROM generate_series(1, 60000)))",
        "longer as text",
    ),
    "deep nesting": ("(repeat('{\"a\":', 140) || '1' || repeat('}', 140))::jsonb", "more than 128 levels deep"),
}
# The largest that may be written, of each kind.
LARGEST = (
    "jsonb_build_object('a', repeat('x', 65500))",
    "jsonb_build_object('a', repeat(E'\\\\', 32700))",
    "jsonb_build_object('a', repeat(E'\\x01', 10900))",
    "jsonb_build_object('a', (SELECT jsonb_agg(0.1) FROM generate_series(1, 13000)))",
    "jsonb_build_object('a', (SELECT jsonb_agg(1e999) FROM generate_series(1, 65)))",
    "jsonb_build_object('a', (SELECT jsonb_agg('[]'::jsonb) FROM generate_series(1, 16000)))",
    "(repeat('{\"a\":', 127) || '1' || repeat('}', 127))::jsonb",
)


def entry(details):
    return f"INSERT INTO audit_entries (actor, action, outcome, details) SELECT 'a', 'b', 'success', {details}"


@pytest.mark.parametrize("kind", OVERSIZED)
def test_attack_entry_that_is_printed_for_long(application, kind):
    details, reason = OVERSIZED[kind]
    with pytest.raises(
        psycopg2.errors.CheckViolation, match=f"this audit entry is too large: details .*{reason}"
    ) as refused:
        application.run(entry(details))
    assert refused.value.diag.message_primary.count("\n") == 0
    assert application.value("SELECT count(*) FROM audit_entries") == 0


@pytest.mark.parametrize("column", AUDIT_TEXTS)
def test_texts_of_an_entry_hold_a_kibibyte(application, column):
    columns = {"actor": "a", "action": "b", "outcome": "success"}
    application.insert("audit_entries", **{**columns, column: "é" * 512})
    with pytest.raises(psycopg2.errors.CheckViolation, match=f"the {column} is 1025 bytes long, the limit is 1024"):
        application.insert("audit_entries", **{**columns, column: "x" + "é" * 512})


def test_the_compressed_size_is_not_what_counts(admin, application):
    """A value that is copied from a table comes compressed, and small."""
    admin.run("CREATE TABLE kept (details jsonb); GRANT SELECT ON kept TO PUBLIC")
    for details in (WILD, OVERSIZED["many numbers"][0]):
        admin.run(f"INSERT INTO kept SELECT {details}")
    assert admin.value("SELECT max(pg_column_size(details)) FROM kept") < 5000
    for order in ("ASC", "DESC"):
        with pytest.raises(psycopg2.errors.CheckViolation):
            application.run(entry(f"(SELECT details FROM kept ORDER BY ctid {order} LIMIT 1)"))


def test_the_library_says_it(database, application):
    server = database.cluster
    with (
        Client(
            host=server.socket_directory, port=server.port, database=database.name, user=layer.ROLES["application"]
        ) as client,
        pytest.raises(QueryError, match="the actor is 2000 bytes long, the limit is 1024"),
    ):
        client.query("INSERT INTO audit_entries (actor, action, outcome) VALUES (%s, 'b', 'success')", ["x" * 2000])


def test_attack_volume(database, application):
    large = "jsonb_build_object('a', repeat('x', 65000))"
    application.run("BEGIN")
    application.run(f"{entry(large)} FROM generate_series(1, 1040)")
    with pytest.raises(psycopg2.errors.CheckViolation, match="more than 67108864 bytes: commit them in parts"):
        application.run("COMMIT")
    assert application.value("SELECT sequence FROM audit_head") == 0
    application.run(f"{entry(large)} FROM generate_series(1, 1000)")
    assert application.value("SELECT sequence FROM audit_head") == 1000


def test_the_worst_log_that_can_be_written_is_dumped_restored_and_verified(cluster, database, application):
    for details in LARGEST:
        application.run(f"{entry(details)} FROM generate_series(1, 20)")
        application.run(
            "INSERT INTO audit_entries (actor, action, outcome) VALUES (repeat(E'\\\\', 1024), repeat(E'\\x01', 1024), 'denied')"
        )
    head = application.row("SELECT sequence, digest FROM audit_head")
    expected = (True, head["sequence"], None)
    report = application.row("SELECT * FROM verify_audit_chain(%s, %s)", head["sequence"], head["digest"])
    assert (report["valid"], report["verified"], report["problem"]) == expected
    parameters = {"host": cluster.socket_directory, "port": cluster.port, "user": layer.ROLES["application"]}
    with Client(database=database.name, **parameters) as client:
        report = recompute_audit_chain(client)
        assert (report.valid, report.verified, report.problem) == expected
        report = verify_in_batches(client, batch=10)
        assert (report.valid, report.verified, report.problem) == expected
        assert all(isinstance(row["details"], dict) for row in client.query("SELECT details FROM audit_entries"))
    copy = layer.create_database(cluster, f"{database.name}_worst")
    try:
        restore(cluster, dump(cluster, database.name), copy.name)
        report = copy.session("application").row(
            "SELECT * FROM verify_audit_chain(%s, %s)", head["sequence"], head["digest"]
        )
        assert (report["valid"], report["verified"], report["problem"]) == expected
    finally:
        copy.drop()


def dump(cluster, name):
    program = [os.path.join(server_bindir(), "pg_dump"), f"--host={cluster.socket_directory}", f"--port={cluster.port}"]
    return subprocess.run([*program, "--username=postgres", name], check=True, capture_output=True).stdout


def restore(cluster, script, name):
    program = [os.path.join(server_bindir(), "psql"), f"--host={cluster.socket_directory}", f"--port={cluster.port}"]
    subprocess.run(
        [*program, "--username=postgres", "--quiet", "--set=ON_ERROR_STOP=1", name],
        check=True,
        input=script,
        stdout=subprocess.DEVNULL,
    )


# Settings of the caller -----------------------------------------------------------------------------------------------

# These end the caller's own statement or session, or are about what the client is told.
ENDING = r"timeout|^client_|^transaction_|^default_transaction_|^session_|^search_path$|^role$|^tcp_|^log_|^debug_|^local_|encoding$"
SCANS = "SELECT sum(seq_scan) AS seq_scan, sum(idx_scan) AS idx_scan FROM pg_stat_user_tables WHERE relname IN ('audit_entries', 'audit_links')"


def extremes(admin):
    """Every setting that any login may change, with the values at its ends."""
    for row in admin.rows(
        "SELECT name, vartype, min_val, max_val, enumvals, setting, category FROM pg_settings WHERE context = 'user' AND name !~ %s",
        ENDING,
    ):
        values = {
            "bool": ["off" if row["setting"] == "on" else "on"],
            "enum": [value for value in row["enumvals"] or [] if value != row["setting"]],
            "integer": [row["min_val"], row["max_val"]],
            "real": [row["min_val"], row["max_val"]],
        }.get(row["vartype"], [])
        for value in values:
            yield row["name"], value, row["category"].startswith("Query Tuning")


def write(database, settings, count):
    """Commit entries under some settings, which are refused or count."""
    session = layer.Session(database.cluster.connect(database.name, layer.ROLES["application"]))
    try:
        for name, value in settings:
            session.run("SELECT set_config(%s, %s, false)", name, value)
        session.run("BEGIN")
        session.run(
            f"INSERT INTO audit_entries (actor, action, outcome) SELECT 'a', 'b', 'success' FROM generate_series(1, {count})"
        )
        session.run("COMMIT")
    except psycopg2.errors.InvalidParameterValue:
        return 0
    finally:
        session.close()
    return count


def scans(admin, until):
    """Scans of entries and links so far; sessions report them when they end, so that it may take a moment."""
    row = admin.row(SCANS)
    while row["idx_scan"] < until:
        admin.run("SELECT pg_stat_clear_snapshot(), pg_sleep(0.02)")
        row = admin.row(SCANS)
    return row["seq_scan"]


def test_attack_settings_of_the_planner(database, admin):
    """Whatever a session sets, a commit finds entries and links by their indexes."""
    write(database, [], 300)
    admin.run("ANALYZE audit_entries, audit_links")
    before = scans(admin, 300)
    settings = list(extremes(admin))
    tuning = [(name, value) for name, value, is_tuning in settings if is_tuning]
    assert {("enable_indexscan", "off"), ("random_page_cost", "1.79769e+308"), ("jit_above_cost", "-1")} <= set(tuning)
    others = [(name, value) for name, value, is_tuning in settings if not is_tuning]
    off = [("enable_indexscan", "off"), ("enable_indexonlyscan", "off"), ("enable_bitmapscan", "off")]
    jit = [("jit", "on"), ("jit_above_cost", "0"), ("jit_inline_above_cost", "0"), ("jit_optimize_above_cost", "0")]
    combinations = [[pair] for pair in tuning] + [others, off, [*jit, ("plan_cache_mode", "force_custom_plan")]]
    combinations += [[*off, (name, value)] for name, value in tuning if name.endswith("_cost")]
    written = sum(write(database, combination, 3) for combination in combinations)
    assert written > 100
    assert scans(admin, 300 + written) == before
    assert admin.value("SELECT valid FROM verify_audit_chain()")


def test_the_same_query_without_the_functions_settings_reads_the_whole_table(database, admin):
    """Else the test above could not fail."""
    write(database, [], 300)
    before = scans(admin, 300)
    session = database.session("application")
    session.run("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off")
    session.run("SELECT FROM audit_links WHERE entry_id = 7")
    session.close()
    admin.run("SELECT pg_stat_clear_snapshot(), pg_sleep(0.2)")
    while scans(admin, 0) == before:
        admin.run("SELECT pg_stat_clear_snapshot(), pg_sleep(0.02)")


def test_every_setting_of_the_planner_is_fixed_for_a_verification(admin):
    """Those that a server newer than 14 brought cannot be named as long as 14 has to know them."""
    newer = {
        "enable_presorted_aggregate", "enable_group_by_reordering", "enable_distinct_reordering", "enable_self_join_elimination",
        "recursive_worktable_factor",
    }  # fmt: skip
    # Of no weight: jit is off; the genetic search is for more tables than there are; statistics are gathered by others.
    weightless = r"^jit_|^geqo_|^default_statistics_target$"
    tuning = set(
        admin.values(
            "SELECT name FROM pg_settings WHERE category LIKE 'Query Tuning%%' AND context = 'user' AND name !~ %s",
            weightless,
        )
    )
    assert len(tuning) > 25
    for name in ("verify_audit_links", "verify_audit_chain"):
        config = admin.value("SELECT proconfig FROM pg_proc WHERE proname = %s", name)
        fixed = {setting.partition("=")[0] for setting in config}
        assert {"jit", "work_mem", "hash_mem_multiplier", "plan_cache_mode"} <= fixed
        assert tuning - newer - fixed == {"geqo"} - fixed


# The other tables -----------------------------------------------------------------------------------------------------


def limits(session):
    """(table, column): type and limit in bytes, as the triggers hold them."""
    found = {}
    for row in session.rows(
        "SELECT tgrelid::regclass::text AS name, string_to_array(encode(tgargs, 'escape'), '\\000') AS arguments "
        "FROM pg_trigger WHERE tgfoid = 'refuse_oversized_row'::regproc"
    ):
        arguments = row["arguments"][:-1]
        for column, kind, limit in zip(arguments[::3], arguments[1::3], arguments[2::3]):
            found[row["name"], column] = (kind, int(limit))
    return found


def test_every_text_and_every_json_value_has_a_limit(admin):
    """But for those of which a constraint lists the values. What functions alone write is as large as these let it be: see test_sql_tools."""
    free = admin.rows(
        """
        SELECT c.relname AS name, a.attname AS column
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%s) AND c.relname <> 'audit_entries' AND a.attnum > 0
            AND NOT a.attisdropped AND a.atttypid NOT IN ('uuid'::regtype, 'bigint'::regtype, 'numeric'::regtype, 'boolean'::regtype,
                'timestamptz'::regtype, 'date'::regtype)
            AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]
                AND (pg_get_constraintdef(k.oid) ~ ('^CHECK \\(\\(' || a.attname || ' = ANY') OR pg_get_constraintdef(k.oid) ~ '\\{(1,63|64)\\}|octet_length'))
        """,
        [*(table for table in TABLES if table not in WRITTEN_BY_FUNCTIONS), "price_lists"],
    )
    assert {(row["name"], row["column"]) for row in free} == set(limits(admin))


def test_a_value_over_its_limit_is_refused_and_one_at_it_is_stored(database, admin):
    """In every column, by the application where it may write it."""
    inserted = fill_every_table(admin)
    for (table, column), (kind, limit) in limits(admin).items():
        columns = {name: value for name, value in sample(table, inserted).items() if name != column}
        columns.update(
            {name: "once more" for name in ("name", "external_id", "path") if name in columns and name != column}
        )
        columns.update({"sequence": 2} if table == "task_events" else {})
        columns.update({"valid_to": "1980-01-01"} if table == "provider_pricing" else {})
        names, values = ", ".join([*columns, column]), list(columns.values())
        value = {
            "jsonb": "jsonb_build_object('a', repeat('x', {}))",
            "text": "repeat('a', {})",
            "text[]": "ARRAY[repeat('a', {})]",
        }[kind]
        insert = f"INSERT INTO {table} ({names}) SELECT {', '.join(['%s'] * len(values) + [value])}"
        admin.run("BEGIN")
        admin.run("SAVEPOINT before")
        with pytest.raises(
            psycopg2.errors.CheckViolation, match=f"this row of {table} is too large: {column} "
        ) as refused:
            admin.run(insert.format(limit + 1), *values)
        assert str(limit) in refused.value.diag.message_primary
        admin.run("ROLLBACK TO before")
        # A constraint lists risk levels, a request has one response, a task one source, a run one playbook, and the price of the sample is
        # there already.
        taken = ("llm_responses", "provider_pricing", "inventory_sources", "playbook_runs")
        if limit < 10_000_000 and column != "risk_levels" and table not in taken:
            admin.run(insert.format(limit - 20), *values)
        admin.run("ROLLBACK")


@pytest.mark.parametrize(
    "kind", [kind for kind in OVERSIZED if "65536" not in OVERSIZED[kind][1] and "longer" not in OVERSIZED[kind][1]]
)
def test_json_that_is_printed_far_longer_than_it_is_stored_is_refused_everywhere(database, admin, kind):
    details, reason = OVERSIZED[kind]
    inserted = fill_every_table(admin)
    run = inserted["task_runs"]["id"]
    for statement in (
        f"INSERT INTO task_events (task_run_id, sequence, type, payload) SELECT %s, 9, 'log', {details}",
        f"UPDATE tasks SET parameters = {details} WHERE id = (SELECT task_id FROM task_runs WHERE id = %s)",
    ):
        with pytest.raises(psycopg2.errors.CheckViolation, match=reason):
            database.session("application").run(statement, run)


def test_a_row_that_was_over_a_limit_before_can_be_changed_blanked_and_pruned(database, admin, application, owner):
    rows = fill_every_table(admin)
    admin.run("SET session_replication_role = replica")
    admin.run(f"UPDATE llm_requests SET messages = {WILD}, occurred_at = '2019-01-01'")
    admin.run(f"UPDATE llm_responses SET raw = {WILD}, error = repeat('x', 2000000), occurred_at = '2019-01-01'")
    admin.run(f"UPDATE tasks SET parameters = {WILD}, description = repeat('x', 2000000)")
    admin.run("ALTER TABLE task_events DISABLE TRIGGER USER")
    admin.run(f"UPDATE task_events SET payload = {WILD}")
    admin.run("ALTER TABLE task_events ENABLE ALWAYS TRIGGER tr_task_events_append_only_row")
    admin.run("RESET session_replication_role")
    assert application.value("SELECT prune_llm_bodies('2020-01-01')") == 2
    assert owner.value("SELECT shorten_task_events('too large', NULL, %s)", rows["task_events"]["id"]) == 1
    application.run("UPDATE tasks SET title = 'other', description = description")
    application.run("UPDATE tasks SET parameters = '{}', description = 'short'")
    with pytest.raises(psycopg2.errors.CheckViolation):
        application.run(f"UPDATE tasks SET parameters = {WILD}")


# An entry that is there already ---------------------------------------------------------------------------------------


def test_the_way_out_of_an_entry_that_no_dump_can_hold(cluster, database, admin, application):
    """The statements are those of docs/audit.md."""
    page = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    find, replace, checkpoint = re.findall(
        r"```sql\n(.*?)```", page[page.index("## An entry that is too large to dump") :], re.S
    )[:3]
    application.run(entry("'{\"n\": 1}'"))
    # As the log took it before there were limits, but for its size: this one a commit still links.
    oversized = WILD.replace("3000", "100")
    admin.run("ALTER TABLE audit_entries DISABLE TRIGGER tr_audit_entries_stamp")
    admin.run("INSERT INTO audit_entries (actor, action, outcome, details, transaction_id) "
        f"SELECT 'x', 'x', 'success', {oversized}, pg_current_xact_id()::text::bigint")  # fmt: skip
    admin.run("ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER tr_audit_entries_stamp")
    application.run(entry("'{\"n\": 3}'"))
    numbers = [row["id"] for row in admin.rows(find)]
    assert len(numbers) == 1
    admin.run(replace.replace("4711", str(numbers[0])))
    assert admin.values(find) == []
    report = application.row("SELECT * FROM verify_audit_chain()")
    assert (report["valid"], report["first_bad_sequence"]) == (False, 2), "the chain says that it was changed"
    last = application.row("SELECT action, target_id, details FROM audit_entries ORDER BY id DESC LIMIT 1")
    assert (last["action"], last["target_id"]) == ("audit_entries.replace_details", str(numbers[0]))
    assert application.value("SELECT details ->> 'replaced' FROM audit_entries WHERE id = %s", numbers[0])
    sequence, _, digest = admin.value(checkpoint.replace("4711", str(numbers[0]))).partition(":")
    report = application.row(
        "SELECT * FROM verify_audit_chain(p_checkpoint_sequence => %s, p_checkpoint_digest => decode(%s, 'hex'))",
        int(sequence),
        digest,
    )
    assert (report["valid"], report["verified"], report["problem"]) == (True, 2, None)
    for table in ("audit_entries", "audit_links", "audit_head"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            admin.run(f"DELETE FROM {table}")
    assert dump(cluster, database.name)
