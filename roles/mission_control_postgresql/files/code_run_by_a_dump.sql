-- Functions of others that a restore by a superuser would run: in CHECK constraints of tables and domains, exclusion constraints, generated
-- columns, expressions of indexes and of partition keys, and casts that a foreign key may use.
WITH evaluated AS (
    SELECT d.classid, d.objid, d.objsubid, d.refclassid, d.refobjid
    FROM pg_catalog.pg_depend AS d
    WHERE d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
        OR d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        OR (
            d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
            AND d.objid IN (
                SELECT e.oid FROM pg_catalog.pg_attrdef AS e
                JOIN pg_catalog.pg_attribute AS a ON a.attrelid = e.adrelid AND a.attnum = e.adnum
                WHERE a.attgenerated <> ''
            )
        )
),
called AS (
    SELECT e.classid, e.objid, e.objsubid, e.refobjid AS function_oid
    FROM evaluated AS e WHERE e.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
    UNION ALL
    SELECT e.classid, e.objid, e.objsubid, o.oprcode::pg_catalog.oid
    FROM evaluated AS e
    JOIN pg_catalog.pg_operator AS o ON e.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = e.refobjid
    UNION ALL
    SELECT 'pg_catalog.pg_cast'::pg_catalog.regclass, c.oid, 0, c.castfunc FROM pg_catalog.pg_cast AS c WHERE c.castcontext = 'i'
)
SELECT DISTINCT
    pg_catalog.pg_describe_object(c.classid, c.objid, c.objsubid) AS used_by,
    pg_catalog.format('%I.%I', n.nspname, p.proname) AS function_name,
    r.rolname AS owner
FROM called AS c
JOIN pg_catalog.pg_proc AS p ON p.oid = c.function_oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner
WHERE NOT r.rolsuper
ORDER BY 1, 2
