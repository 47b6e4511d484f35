-- Hands the rows of the tables of tools over to the owner of the audit log, and drops these tables; 013 says why.
-- squawk-ignore-file ban-drop-table

SET LOCAL search_path = pg_catalog, pg_temp;

LOCK TABLE our_schema.tool_definitions, our_schema.tool_call_records, our_schema.policies IN ACCESS EXCLUSIVE MODE;

DO $hand_over$
DECLARE
    others text;
BEGIN
    SELECT string_agg(format('%s.%I', c.relname, a.attname), ', ' ORDER BY c.relname, a.attnum) INTO others
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    JOIN (
        VALUES ('our_schema.tool_definitions'::regclass, ARRAY[
                'id', 'name', 'description', 'arguments_schema', 'risk_level', 'connector', 'version', 'enabled', 'created_at', 'updated_at'
            ]),
            ('our_schema.tool_call_records'::regclass, ARRAY[
                'id', 'task_run_id', 'tool_id', 'arguments', 'result', 'error', 'status', 'approved_by', 'approved_at', 'created_at',
                'started_at', 'finished_at', 'duration_ms'
            ]),
            ('our_schema.policies'::regclass, ARRAY[
                'id', 'name', 'description', 'tools', 'risk_levels', 'effect', 'conditions', 'priority', 'enabled', 'created_at', 'updated_at'
            ])
    ) AS ours (relation, columns) ON ours.relation = a.attrelid
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL (ours.columns::name[]);
    IF others IS NOT NULL THEN
        RAISE EXCEPTION 'the tables of tools are made anew, and hold columns of your own (%): move these to a table of your own, and run again', others
            USING ERRCODE = 'dependent_objects_still_exist';
    END IF;
    INSERT INTO our_schema.tools_set_aside (relation, data)
    SELECT 'tool_definitions', to_jsonb(t) FROM our_schema.tool_definitions AS t;
    INSERT INTO our_schema.tools_set_aside (relation, data)
    SELECT 'policies', to_jsonb(p) FROM our_schema.policies AS p;
    INSERT INTO our_schema.tools_set_aside (relation, data, result)
    SELECT 'tool_call_records', to_jsonb(r) - 'result', r.result FROM our_schema.tool_call_records AS r;
    BEGIN
        -- These two are of the collection, and made again afterwards; in a new database they are not there yet.
        DROP VIEW IF EXISTS our_schema.active_task_runs, our_schema.tool_call_success_rate;
        DROP TABLE our_schema.tool_call_records, our_schema.tool_definitions, our_schema.policies;
    EXCEPTION
        WHEN dependent_objects_still_exist THEN
            GET STACKED DIAGNOSTICS others = PG_EXCEPTION_DETAIL;
            RAISE EXCEPTION 'the tables of tools are made anew, and something of your own stands on them (%): drop it and run again; a view may be created again afterwards, a foreign key may not',
                replace(others, E'\n', ', ')
                USING ERRCODE = 'dependent_objects_still_exist';
    END;
    EXECUTE format(
        'GRANT REFERENCES (id) ON our_schema.task_runs TO %I',
        (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = 'our_schema.audit_entries'::regclass)
    );
END
$hand_over$;
