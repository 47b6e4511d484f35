# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the SQL that applies a migration plan, as lists of statements for one autocommit connection each.

The statements are calls of the functions in files/sql/runner/session.sql, whose text is given to each function here as
`session_sql`. Every value in a call is quoted by `sql_text`, so that the lists need no parameters and read the same
under psycopg2 and psycopg 3.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .definitions import (
    DEFINITION_SETTINGS,
    DEFINITIONS,
    DRIFT,
    SCHEMA_SETTING,
    shipped_function_names,
    shipped_functions,
    shipped_triggers,
    shipped_views,
)
from .foreign_code import FOREIGN_CODE
from .migrations import SITE, MigrationFile, SqlFile, checksum
from .objects import TRIGGERS
from .postgresql_message import short_message, whole_message
from .sql_text import concurrent_index, quote_identifier, quote_literal, split_statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .definitions import ShippedFunction, ShippedTrigger

# Arbitrary; the same for every run against one database.
LOCK_KEY = 7883946205731421
PRICE_LIST_PREFIX = "prices:"
GRANTS = "grants"
# An administrator's own statements look up names nowhere else: in the schema its owner could have put a function of the same name.
_SAFE_PATH = "search_path = pg_catalog, pg_temp"
# What the collection's own files write for the schema, whose name is a setting.
_OUR_SCHEMA = re.compile(r"\bour_schema\.")


_NAME_SCHEMA = f"PERFORM set_config('{SCHEMA_SETTING}', p_schema, true);"
_DEFINITIONS_BODY = f"BEGIN {_NAME_SCHEMA} RETURN QUERY EXECUTE {quote_literal(DEFINITIONS)}; END"
_DRIFT_QUERY = quote_literal(DRIFT.replace("<schema_objects>", "%I.schema_objects"))
_DRIFT_BODY = f"BEGIN {_NAME_SCHEMA} RETURN QUERY EXECUTE format({_DRIFT_QUERY}, p_schema); END"
_DEFINITION_SETTINGS = " ".join(f"SET {name} = {value}" for name, value in DEFINITION_SETTINGS.items())
# Before anything else, whatever the database, the role or the server has as its default: a literal is read as it is written here, and a
# transaction may write. LOCAL would be too late for the first, as a whole script is read before its first statement runs; its literals
# have no backslash that counts.
_PLAIN_SESSION = (
    "SET TRANSACTION READ WRITE",
    "SET default_transaction_read_only = off",
    "SET standard_conforming_strings = on",
    "SET transform_null_equals = off",
    "SET quote_all_identifiers = off",
    "SET array_nulls = on",
    "SET row_security = on",
    "SET check_function_bodies = on",
    # Large queries over small catalogues: compiling one takes longer than a run.
    "SET jit = off",
    f"SET {_SAFE_PATH}",
)


@dataclass(frozen=True)
class RunnerSettings:
    """How a plan is applied.

    Attributes:
        schema: the PostgreSQL schema that holds everything.
        owner_role: NOLOGIN role that owns the objects.
        audit_role: NOLOGIN role that owns the audit log.
        lock_timeout_ms: how long a statement of a migration waits for a lock, in milliseconds.
        lock_attempts: how often a file is tried that did not get its locks.
    """

    schema: str
    owner_role: str
    audit_role: str
    lock_timeout_ms: int = 5000
    lock_attempts: int = 5

    def role_name(self, part: SqlFile | ShippedFunction | ShippedTrigger | LastStep) -> str:
        """Name of the database role that executes a file or a part of one."""
        return self.audit_role if part.role == "audit" else self.owner_role

    def text(self, file: SqlFile) -> str:
        """What is executed of a file: `our_schema.` is the schema's name. A homelab's own files name it themselves."""
        if isinstance(file, MigrationFile) and file.origin == SITE:
            return file.body
        return self.named(file.body)

    def named(self, sql: str) -> str:
        """The collection's own SQL with the schema's name in it."""
        return _OUR_SCHEMA.sub(lambda _: f"{quote_identifier(self.schema)}.", sql)


@dataclass(frozen=True)
class LastStep:
    """A statement at the end of the script, for what is neither a file nor a price list.

    Attributes:
        name: what a sentence about its failure begins with.
        sql: the statement; our objects are written with their schema.
        role: `owner` or `audit`, whose rights it runs with.
    """

    name: str
    sql: str
    role: str = "owner"


@dataclass(frozen=True)
class PriceList:
    """A list of prices for apply_provider_prices().

    Attributes:
        origin: `seed`, or `user` for a homelab's own prices, which the seed never overwrites.
        prices: entries as the function takes them.
        source: where the prices were read, for entries that do not say so themselves; empty: it is not noted which list is in force.
        read_on: the day on which they were read there, as ISO 8601.
        digest: SHA-256 of the file that they are in, which spares reading it while nothing has changed; empty: that of the entries.
    """

    origin: str
    prices: Sequence[Mapping[str, Any]]
    source: str = ""
    read_on: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Under which name the list is recorded."""
        return PRICE_LIST_PREFIX + self.origin

    @property
    def text(self) -> str:
        """The list as JSON. YAML reads a date as a date, which JSON has only as text."""
        known: dict[str, Any] = {"source": self.source} if self.source else {}
        prices = [{**known, **each} for each in self.prices]
        return json.dumps(prices, sort_keys=True, ensure_ascii=False, default=str)

    @property
    def checksum(self) -> str:
        """What the list is compared by with the one that was applied last."""
        return self.digest or checksum(self.text)

    def statements(self, settings: RunnerSettings) -> str:
        """What applies the list, and notes which one it is."""
        origin = quote_literal(self.origin)
        apply = settings.named("SELECT our_schema.apply_provider_prices")
        statements = f"{apply}({quote_literal(self.text)}::jsonb, {origin}::text)"
        if self.source:
            note = settings.named("SELECT our_schema.note_price_list")
            statements += (
                f";\n{note}({origin}::text, {quote_literal(self.source)}::text, {quote_literal(self.read_on)}::date)"
            )
        return statements


def history_statements(session_sql: str, settings: RunnerSettings, registry: bool = False) -> list[str]:
    """Statements of which the last returns what the database has recorded, in one column `history`.

    They write nothing that stays.

    Args:
        registry: whether the answer holds the tools, the policies and the checksums of tokens too, which nobody is to be shown.
    """
    history = f"pg_temp.read_history({_names(settings)})"
    if registry:
        history += f" || jsonb_build_object('registry', pg_temp.registry_state({_names(settings)}))"
    return [
        *_PLAIN_SESSION,
        "SET statement_timeout = 0",
        f"SET lock_timeout = {int(settings.lock_timeout_ms)}",
        *_session(session_sql),
        f"SELECT {history} AS history",
    ]


def migration_batches(session_sql: str, pending: Sequence[MigrationFile], settings: RunnerSettings) -> list[list[str]]:
    """Lists of statements, each for one connection in autocommit, to be run in order while none fails.

    Files that run in a transaction share a list. Each of their statements returns a column `outcome`, the first one
    whether the lock was to be had. A `-- no-transaction` file has a list of its own, which raises where the others
    return.
    """
    batches: list[list[str]] = []
    shared: list[str] | None = None
    for file in pending:
        if file.transactional:
            if shared is None:
                shared = _opening(session_sql, settings)
                batches.append(shared)
            shared.append(_apply_call(file, settings))
        else:
            shared = None
            batches.append(_opening(session_sql, settings) + _no_transaction(file, settings))
    return batches


@dataclass(frozen=True)
class Outcome:
    """The result of a list of statements, or of the script.

    Attributes:
        locked_out: another run holds the lock; nothing was done, and it may be tried again.
        applied: names of the migrations that were applied.
        failure: why it failed, with the file's name where one was being applied; empty where it did not.
        unanswered: the connection ended under a statement, so that only the database knows whether its commit took place.
    """

    locked_out: bool
    applied: tuple[str, ...]
    failure: str
    unanswered: bool = False


# How libpq says that a connection has ended, the server's last words before it included.
_ENDED = re.compile(
    r"server closed the connection|connection has been closed|terminating connection|could not (?:receive|send) data"
    r"|SSL SYSCALL error|SSL error|no connection to the server|connection (?:is )?(?:not open|already closed)"
)
_RAISED = re.compile(r"mission_control_outcome<(.*)>", re.DOTALL)


def read_outcome(result: Mapping[str, Any]) -> Outcome:
    """Read the outcome from what postgresql_query or postgresql_script returned, failed or not.

    Args:
        result: the module's result: `query_all_results` of a success, `msg` of a failure.
    """
    if "query_all_results" in result:
        rows = [rows[0]["outcome"] for rows in result["query_all_results"] if rows and "outcome" in rows[0]]
        applied = tuple(row["name"] for row in rows if row.get("outcome") == "applied")
        failed = [row for row in rows if row.get("outcome") == "failed"]
        failure = (
            f"{failed[0]['name']} failed: {failed[0]['message']} (SQLSTATE {failed[0]['sqlstate']})" if failed else ""
        )
        return Outcome(any(row.get("locked") is False for row in rows), applied, failure)
    if not result.get("failed", False) and "msg" not in result:
        return Outcome(False, (), "")
    raised = _RAISED.search(whole_message(result))
    if raised is None:
        message = short_message(result) or "no message"
        return Outcome(False, (), message, bool(_ENDED.search(message)))
    reason = raised.group(1)
    if reason in ("locked", "not tried"):
        return Outcome(True, (), "")
    return Outcome(False, (), "" if reason == "already applied" else reason)


def pending_repeatables(
    repeatables: Sequence[SqlFile], price_lists: Sequence[PriceList], recorded: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Names of the repeatable files and price lists that are not recorded as they are now."""
    known = {row["name"]: row["checksum"] for row in recorded}
    return [name for name, digest in _checksums(repeatables, price_lists) if known.get(name) != digest]


def objects_to_restore(drifted: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """What is to be made anew because the catalogue has it otherwise than it was made, in words; None: that was never recorded."""
    if drifted is None:
        return ["definitions of functions, views and triggers"]
    return [str(each["text"]) for each in drifted]


def repeatable_script(
    session_sql: str,
    migrations: Sequence[SqlFile],
    repeatables: Sequence[SqlFile],
    price_lists: Sequence[PriceList],
    settings: RunnerSettings,
    run_id: str,
    more: Sequence[LastStep] = (),
) -> str:
    """One script, to be sent as one string and so in one implicit transaction, that applies all of them and records it.

    All are applied when one changed, since functions and views use each other. A row is recorded only where its
    checksum is new, with the run's id: so a run that came second, after waiting for the lock, can see that it changed
    nothing.

    Args:
        more: what is executed at the end.
    """
    parts = [
        *_PLAIN_SESSION,
        "SET LOCAL application_name = 'mission_control migrations'",
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL client_min_messages = warning",
        f"SET LOCAL lock_timeout = {int(settings.lock_timeout_ms)}",
        *_session(session_sql),
        f"SELECT pg_temp.require_lock({LOCK_KEY})",
        f"SELECT pg_temp.require_trusted_schema({_names(settings)})",
    ]
    parts.append(f"SELECT pg_temp.prepare_objects({_names(settings)})")
    functions = shipped_functions(migrations, repeatables)
    parts += [
        _repeatable_call(settings.role_name(each), f"function {each.name}", settings.named(each.sql), settings)
        for each in functions
    ]
    triggers = [
        {"table": each.table, "name": each.name, "role": settings.role_name(each), "sql": settings.named(each.sql)}
        for each in shipped_triggers(migrations)
    ]
    audit = quote_literal(settings.audit_role)
    schema = quote_literal(settings.schema)
    parts.append(
        f"SELECT pg_temp.restore_triggers({schema}, {audit}, {int(settings.lock_attempts)}, {quote_literal(json.dumps(triggers))})"
    )
    parts += [
        _repeatable_call(settings.role_name(file), file.name, settings.text(file), settings) for file in repeatables
    ]
    shipped = {
        "function": shipped_function_names(migrations, repeatables),
        "view": shipped_views(repeatables),
        "trigger": [{"table": table, "name": name} for table, name in TRIGGERS],
    }
    parts.append(
        f"SELECT pg_temp.record_objects({schema}, {audit}, {quote_literal(run_id)}, {quote_literal(json.dumps(shipped))})"
    )
    lists = [LastStep(prices.name, prices.statements(settings)) for prices in price_lists]
    parts += [_last_call(step, settings) for step in (*lists, *more)]
    records = [_record(name, digest, run_id) for name, digest in _checksums(repeatables, price_lists)]
    parts.append(_repeatable_call(settings.owner_role, "schema_repeatables", ";\n".join(records), settings))
    return "\n;\n".join(parts) + "\n"


def script_with(script: str, step: LastStep, settings: RunnerSettings) -> str:
    """The script of `repeatable_script` with one more step, which no plan shows."""
    return f"{script};\n{_last_call(step, settings)}\n"


def fill_statements(settings: RunnerSettings) -> list[str]:
    """Statements that compute costs which have become known, after those of `history_statements` but the last; the last returns `filled`."""
    fill = settings.named("our_schema.fill_unpriced_token_usage()")
    # A function of the owner hands nothing over to the administrator but this text.
    body = f"SELECT pg_catalog.set_config('mission_control.filled', {fill}::text, false)"
    return [
        f"SELECT pg_temp.require_trusted_schema({_names(settings)})",
        _repeatable_call(settings.owner_role, "fill_unpriced_token_usage", body, settings),
        "SELECT current_setting('mission_control.filled')::bigint AS filled",
    ]


def grants_checksum(privileges: str, files: Sequence[SqlFile]) -> str:
    """What the recorded grants belong to: the text that declares them, and every file that makes objects."""
    return checksum("\n".join([privileges, *(f"{file.name} {file.checksum}" for file in files)]))


def record_grants_statements(session_sql: str, digest: str, settings: RunnerSettings, run_id: str) -> list[str]:
    """Statements for one transaction that record that the grants were applied, so that a run that was killed before is noticed."""
    return [
        *_PLAIN_SESSION,
        *_session(session_sql),
        _repeatable_call(settings.owner_role, GRANTS, _record(GRANTS, digest, run_id), settings),
    ]


def _record(name: str, digest: str, run_id: str) -> str:
    return (
        "INSERT INTO schema_repeatables AS recorded (name, checksum, run_id) "  # noqa: S608 - quoted
        f"VALUES ({quote_literal(name)}, {quote_literal(digest)}, {quote_literal(run_id)}) "
        "ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, run_id = excluded.run_id, "
        "applied_at = now(), applied_by = session_user WHERE recorded.checksum <> excluded.checksum"
    )


def _checksums(repeatables: Sequence[SqlFile], price_lists: Sequence[PriceList]) -> list[tuple[str, str]]:
    return [(file.name, file.checksum) for file in repeatables] + [
        (prices.name, prices.checksum) for prices in price_lists
    ]


def _opening(session_sql: str, settings: RunnerSettings) -> list[str]:
    return [
        *_PLAIN_SESSION,
        "SET application_name = 'mission_control migrations'",
        "SET statement_timeout = 0",
        "SET idle_in_transaction_session_timeout = 0",
        "SET client_min_messages = warning",
        "SET default_transaction_isolation = 'read committed'",
        f"SET lock_timeout = {int(settings.lock_timeout_ms)}",
        # The server notices a killed run during a long statement and rolls back, where its platform is able to.
        "DO $$ BEGIN SET client_connection_check_interval = '1s'; "
        "EXCEPTION WHEN invalid_parameter_value THEN NULL; END $$",
        # Of a client whose network was cut it hears nothing: without these it would keep the lock for two hours.
        "SET tcp_keepalives_idle = 15",
        "SET tcp_keepalives_interval = 5",
        "SET tcp_keepalives_count = 3",
        "SET tcp_user_timeout = '30s'",
        *_session(session_sql),
        f"SELECT pg_temp.begin_run({_names(settings)}, {LOCK_KEY}) AS outcome",
    ]


def _session(session_sql: str) -> list[str]:
    """The runner's functions. Those that inspect the history and find drift are the health check's queries, so that both trust the same."""
    return [
        session_sql,
        "CREATE FUNCTION pg_temp.foreign_code() RETURNS TABLE (name text, problem text) LANGUAGE sql "
        f"SET {_SAFE_PATH} AS {quote_literal(FOREIGN_CODE)}",
        "CREATE FUNCTION pg_temp.definitions(p_schema text) RETURNS TABLE (kind text, name text, table_name text, checksum text, oid oid) "
        f"LANGUAGE plpgsql {_DEFINITION_SETTINGS} AS {quote_literal(_DEFINITIONS_BODY)}",
        "CREATE FUNCTION pg_temp.drift(p_schema text) RETURNS TABLE "
        "(kind text, name text, table_name text, made_by text, run_id uuid, oid oid, text text, comparable boolean, differs boolean) "
        f"LANGUAGE plpgsql {_DEFINITION_SETTINGS} AS {quote_literal(_DRIFT_BODY)}",
    ]


def _names(settings: RunnerSettings) -> str:
    """Schema, owner and audit owner, as the runner's functions take them."""
    return ", ".join(quote_literal(name) for name in (settings.schema, settings.owner_role, settings.audit_role))


def _repeatable_call(role: str, name: str, body: str, settings: RunnerSettings) -> str:
    return (
        f"SELECT pg_temp.apply_repeatable({quote_literal(settings.schema)}, {quote_literal(role)}, "
        f"{quote_literal(settings.audit_role)}, {quote_literal(name)}, {quote_literal(body)})"
    )


def _last_call(step: LastStep, settings: RunnerSettings) -> str:
    return _repeatable_call(settings.role_name(step), step.name, step.sql, settings)


def _file_key(file: MigrationFile) -> str:
    return f"{quote_literal(file.origin)}, {int(file.version)}"


def _apply_call(file: MigrationFile, settings: RunnerSettings) -> str:
    return (
        f"SELECT pg_temp.apply_migration({_names(settings)}, "
        f"{quote_literal(settings.role_name(file))}, {int(settings.lock_attempts)}, {_file_key(file)}, "
        f"{quote_literal(file.name)}, {quote_literal(file.checksum)}, {quote_literal(settings.text(file))}) AS outcome"
    )


def _no_transaction(file: MigrationFile, settings: RunnerSettings) -> list[str]:
    schema, owner = quote_literal(settings.schema), quote_literal(settings.owner_role)
    role = quote_literal(settings.role_name(file))
    (statement,) = split_statements(settings.text(file))
    index = concurrent_index(statement.text)
    return [
        f"SELECT pg_temp.require_pending({schema}, {owner}, {_file_key(file)}, {quote_literal(file.checksum)})",
        *([f"SELECT pg_temp.drop_half_built_index({schema}, {role}, {quote_literal(index)})"] if index else []),
        f"SELECT pg_temp.require_valid_indexes({schema})",
        f"SELECT pg_temp.keep_role({role})",
        f"SET search_path = {quote_identifier(settings.schema)}, pg_temp",
        "SELECT set_config('mission_control.started', clock_timestamp()::text, false)",
        statement.text,
        f"SET {_SAFE_PATH}",
        "RESET ROLE",
        f"SELECT pg_temp.require_valid_indexes({schema})",
        f"SELECT pg_temp.run_as({schema}, {owner}, {quote_literal(settings.audit_role)}, pg_temp.record_of({_file_key(file)}, "
        f"{quote_literal(file.name)}, {quote_literal(file.checksum)}, current_setting('mission_control.started')::timestamptz))",
        f"SELECT jsonb_build_object('outcome', 'applied', 'name', {quote_literal(file.name)}) AS outcome",
    ]
