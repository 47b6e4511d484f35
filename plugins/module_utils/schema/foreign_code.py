# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which tables would run somebody's code in the session that reads or writes them.

A superuser that reads a table may run code of the table's owner: of a view, a rule, a policy, a foreign table that inherits
from it; and already the planner computes functions that stand in an index, a constraint or a statistics object, with the
rights of whoever asks. The query below looks at the catalogue only.

Send it in a session whose search_path is `pg_catalog, pg_temp`, and after the tables have been locked in the same transaction
(`lock_statement`), so that they cannot be changed afterwards. Then read them with `FROM ONLY schema.table`.

Input: the setting `mission_control.relations`, a JSON list of objects:
    schema, name: of the table.
    owner: optional; who it has to belong to.
    written: optional; true where it is written too, so that triggers and defaults count.
Output: a row `name`, `problem` for each table that is not an ordinary one, none for the others. With its name before it the
problem is a sentence without its full stop: "schema_migrations is a view".

The text has neither a percent sign nor a psql variable, so psycopg2, psql and EXECUTE of PL/pgSQL take it as it is.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SETTING = "mission_control.relations"
# What a session says before anything else, if it has more rights than the owners of what it is about to read.
BOUND_PATH = "pg_catalog, pg_temp"
# Objects with a lower number came with the server (FirstNormalObjectId).
_FOREIGN = 16384
_QUERY = f"""
WITH judged AS MATERIALIZED (
    SELECT r.name, CASE
        WHEN r.oid IS NULL THEN 'does not exist'
        WHEN r.relkind <> 'r' THEN 'is ' || CASE r.relkind
            WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
            WHEN 'p' THEN 'a partitioned table' ELSE 'no table'
        END
        WHEN r.owner <> pg_catalog.pg_get_userbyid(r.relowner) THEN
            pg_catalog.concat('belongs to ', pg_catalog.pg_get_userbyid(r.relowner), ', not to ', r.owner)
        WHEN r.relhasrules AND EXISTS (SELECT FROM pg_catalog.pg_rewrite AS w WHERE w.ev_class = r.oid) THEN 'has a rule'
        WHEN r.relrowsecurity OR EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid = r.oid)
            THEN 'has row security policies'
        WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = r.oid) THEN 'has a table that inherits from it'
        WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = r.oid) THEN 'inherits from another table'
        ELSE coalesce(
            (
                SELECT pg_catalog.concat('has the column ', pg_catalog.min(a.attname::text), ', which is computed when it is read')
                FROM pg_catalog.pg_attribute AS a
                WHERE a.attrelid = r.oid AND a.attgenerated = 'v'
                HAVING pg_catalog.count(*) > 0
            ),
            (
                SELECT pg_catalog.concat('has the column ', pg_catalog.min(a.attname::text), ', whose type is not one of PostgreSQL''s own')
                FROM pg_catalog.pg_attribute AS a
                WHERE a.attrelid = r.oid AND a.attnum > 0 AND a.atttypid >= {_FOREIGN}
                HAVING pg_catalog.count(*) > 0
            ),
            (
                SELECT 'uses what is not PostgreSQL''s own: ' || pg_catalog.min(
                    pg_catalog.concat(
                        pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0), ' in the ',
                        pg_catalog.pg_describe_object(d.classid, d.objid, 0)
                    )
                )
                FROM (
                    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid AS classid, r.oid AS objid
                    UNION ALL
                    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, x.indexrelid
                    FROM pg_catalog.pg_index AS x WHERE x.indrelid = r.oid
                    UNION ALL
                    SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid
                    FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = r.oid
                    UNION ALL
                    SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, f.oid
                    FROM pg_catalog.pg_attrdef AS f WHERE f.adrelid = r.oid
                    UNION ALL
                    SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, s.oid
                    FROM pg_catalog.pg_statistic_ext AS s WHERE s.stxrelid = r.oid
                ) AS part
                -- OFFSET: from the few parts to what they use, never from all that is used anywhere to the parts.
                CROSS JOIN LATERAL (
                    SELECT e.classid, e.objid, e.refclassid, e.refobjid
                    FROM pg_catalog.pg_depend AS e
                    WHERE e.classid = part.classid AND e.objid = part.objid
                    OFFSET 0
                ) AS d
                WHERE d.refobjid >= {_FOREIGN} AND d.refclassid IN (
                    'pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass,
                    'pg_catalog.pg_type'::pg_catalog.regclass, 'pg_catalog.pg_opclass'::pg_catalog.regclass,
                    'pg_catalog.pg_opfamily'::pg_catalog.regclass, 'pg_catalog.pg_collation'::pg_catalog.regclass,
                    'pg_catalog.pg_am'::pg_catalog.regclass, 'pg_catalog.pg_cast'::pg_catalog.regclass,
                    'pg_catalog.pg_ts_config'::pg_catalog.regclass, 'pg_catalog.pg_ts_dict'::pg_catalog.regclass
                )
            ),
            <written>
        )
    END AS problem
    FROM (
        SELECT w.name, w.owner, w.written, c.oid, c.relkind, c.relowner, c.relhasrules, c.relrowsecurity
        FROM pg_catalog.jsonb_to_recordset(pg_catalog.current_setting('{SETTING}')::pg_catalog.jsonb)
            AS w (schema text, name text, owner text, written boolean)
        LEFT JOIN (
            pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        ) ON n.nspname = w.schema AND c.relname = w.name
    ) AS r
)
SELECT t.name, t.problem FROM judged AS t WHERE t.problem IS NOT NULL ORDER BY t.name
"""  # noqa: S608 - constants
_WRITTEN = """
            CASE WHEN r.written THEN coalesce(
                (
                    SELECT 'has the trigger ' || pg_catalog.min(g.tgname::text)
                    FROM pg_catalog.pg_trigger AS g
                    WHERE g.tgrelid = r.oid AND NOT g.tgisinternal
                ),
                -- Some of the server's own functions run a text as SQL (query_to_xml) or read files; none of these is immutable.
                (
                    SELECT pg_catalog.concat('has a default or a constraint that calls ', pg_catalog.min(p.proname::text), '()')
                    FROM (
                        SELECT f.adbin::text AS tree FROM pg_catalog.pg_attrdef AS f WHERE f.adrelid = r.oid
                        UNION ALL
                        SELECT k.conbin::text FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = r.oid
                    ) AS expression
                    CROSS JOIN LATERAL pg_catalog.regexp_matches(expression.tree, ':(?:funcid|opfuncid) ([0-9]+)', 'g') AS called (matched)
                    JOIN pg_catalog.pg_proc AS p ON p.oid = called.matched[1]::pg_catalog.oid
                    WHERE p.provolatile <> 'i' AND p.proname NOT IN (
                        'now', 'transaction_timestamp', 'statement_timestamp', 'clock_timestamp', 'gen_random_uuid', 'nextval',
                        'pg_current_xact_id', 'inet_client_addr', 'concat', 'to_char', 'timezone', 'date', 'convert_to'
                    )
                    HAVING pg_catalog.count(*) > 0
                )
            ) END
"""
FOREIGN_CODE = _QUERY.replace("<written>", _WRITTEN)
# The same without what concerns writing, for a health check that counts its milliseconds.
FOREIGN_CODE_OF_READING = _QUERY.replace("<written>", "NULL")
# Statistics are made and dropped under no lock that conflicts with one of ours on the table, so their catalogue is locked:
# in a mode that keeps nobody from using statistics, ANALYZE included. Only a superuser may.
LOCK_STATISTICS = "LOCK TABLE pg_catalog.pg_statistic_ext IN SHARE MODE"


def relations_json(relations: Iterable[Mapping[str, Any]]) -> str:
    """The value of the setting."""
    return json.dumps([dict(each) for each in relations])


def quoted(schema: str, name: str) -> str:
    """The name of a relation as SQL has it."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name))


def lock_statement(schema: str, name: str, may_write: bool, wait: bool = True) -> str:
    """Keep a table as it is until the transaction ends.

    Args:
        schema, name: of the table.
        may_write: whether the session has the right to write to it. Then the lock keeps indexes from being added too; the lock
            that a reader may take does not.
        wait: whether to wait for a lock of somebody else's.
    """
    mode = "ROW EXCLUSIVE" if may_write else "ACCESS SHARE"
    return f"LOCK TABLE ONLY {quoted(schema, name)} IN {mode} MODE{'' if wait else ' NOWAIT'}"
