-- A limit for every text and every JSON value that a writer gives, generous, and small enough that any row can be dumped, restored and shown.
--
-- Triggers and not constraints: a row that is over a limit already stays, can be changed elsewhere, blanked and removed, and no table is
-- read when they are created. What is small costs the evaluation of a condition; the function is called for what may be too large. A trigger is
-- only made where there is none with these limits, which its comment tells: that needs a lock on the table.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION our_schema.refuse_oversized_row() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text;
    most_bytes bigint;
    is_same boolean;
    fault text;
BEGIN
    FOR n IN 0..TG_NARGS - 1 BY 3 LOOP
        name := TG_ARGV[n];
        most_bytes := TG_ARGV[n + 2];
        IF TG_OP = 'UPDATE' THEN
            EXECUTE format('SELECT ($1).%1$I IS NOT DISTINCT FROM ($2).%1$I', name) INTO is_same USING OLD, NEW;
            CONTINUE WHEN is_same;
        END IF;
        IF TG_ARGV[n + 1] = 'jsonb' THEN
            EXECUTE format('SELECT our_schema.json_fault(($1).%I, $2)', name) INTO fault USING NEW, most_bytes;
        ELSE
            EXECUTE format(
                'SELECT ''is '' || octet_length(($1).%1$I::text) || '' bytes long, the limit is '' || $2 WHERE octet_length(($1).%1$I::text) > $2',
                name
            ) INTO fault USING NEW, most_bytes;
        END IF;
        IF fault IS NOT NULL THEN
            RAISE EXCEPTION 'this row of % is too large: % %', TG_TABLE_NAME, name, fault
                USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, COLUMN = name;
        END IF;
    END LOOP;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION our_schema.refuse_oversized_row() IS
    'Trigger function: refuses a row with a value over its limit. Arguments: column, type and limit in bytes, for each column.';

DO $limits$
DECLARE
    -- Prompts, replies, results and the like; two of them in a row, with every character escaped, are far below the 1 GB of a line in a dump.
    body CONSTANT bigint := 33554432;
    -- Descriptions, messages, parameters, labels.
    long CONSTANT bigint := 1048576;
    -- Names, kinds, addresses.
    short CONSTANT bigint := 8192;
    -- What may be as long as an entry of an index, however badly it is compressed.
    indexed CONSTANT bigint := 2048;
    -- May a JSON value be too large? What is stored in a kilobyte has 128 levels at most; what is printed here is bounded by the stored size,
    -- and above a kilobyte by the size of its numbers, too: 12 MB of 85 numbers, or 41 MB of 2,500.
    suspicious CONSTANT text := $condition$
        CASE
            WHEN pg_column_size(value #> '{}') <= 1024 THEN octet_length(value::text) > 2048
            ELSE pg_column_size(value #> '{}') > 30000
                OR jsonb_path_exists(value, 'strict $.**{129 to last}')
                OR jsonb_path_exists(value, 'strict $.** ? (@.type() == "number" && (@ >= 1e100 || @ <= -1e100))')
                OR octet_length(value::text) > 60000
        END $condition$;
    limits record;
    statement text;
    digest text;
BEGIN
    FOR limits IN
        SELECT l.relation, min(a.attrelid::bigint)::oid AS oid,
            string_agg(quote_ident(l.name), ', ' ORDER BY a.attnum) AS columns,
            string_agg(
                format(
                    CASE a.atttypid
                        WHEN 'jsonb'::regtype
                            THEN replace(suspicious, 'value', format('NEW.%I', l.name))
                        WHEN 'text'::regtype THEN 'octet_length(NEW.%1$I) > %2$s'
                        ELSE 'octet_length(NEW.%1$I::text) > %2$s'
                    END,
                    l.name, l.most_bytes
                ),
                ' OR ' ORDER BY a.attnum
            ) AS condition,
            string_agg(format('%L, %L, %L', l.name, format_type(a.atttypid, NULL), l.most_bytes), ', ' ORDER BY a.attnum) AS arguments
        FROM (
            VALUES
                ('services', 'name', short), ('services', 'description', long), ('services', 'owner', short), ('services', 'url', short),
                ('services', 'metadata', long), ('services', 'source', short), ('services', 'external_id', short),
                ('services', 'namespace', short), ('services', 'labels', long),
                ('hosts', 'name', short), ('hosts', 'cluster', short), ('hosts', 'address', short), ('hosts', 'os', short),
                ('hosts', 'labels', long), ('hosts', 'metadata', long), ('hosts', 'source', short), ('hosts', 'external_id', short),
                ('workloads', 'name', short), ('workloads', 'namespace', short), ('workloads', 'image', short),
                ('workloads', 'labels', long), ('workloads', 'metadata', long), ('workloads', 'source', short),
                ('workloads', 'external_id', short),
                ('inventory_sources', 'cluster', short), ('inventory_sources', 'identity', short),
                ('inventory_sources', 'last_complete_at', long),
                ('tasks', 'title', short), ('tasks', 'description', long), ('tasks', 'created_by', short), ('tasks', 'parameters', long),
                ('tasks', 'playbook', indexed),
                ('task_runs', 'user_prompt', body), ('task_runs', 'error', long),
                ('task_events', 'payload', body),
                ('playbook_runs', 'controller', short), ('playbook_runs', 'run_by', short), ('playbook_runs', 'limited_to', short),
                ('playbook_runs', 'tags', short), ('playbook_runs', 'skip_tags', short), ('playbook_runs', 'ansible_version', short),
                ('playbook_run_hosts', 'host_name', indexed),
                ('artifacts', 'name', short), ('artifacts', 'uri', short), ('artifacts', 'content', body),
                ('artifacts', 'media_type', short),
                ('provider_pricing', 'provider', short), ('provider_pricing', 'model', short), ('provider_pricing', 'source', short),
                ('price_lists', 'source', short),
                ('llm_budgets', 'name', indexed), ('llm_budgets', 'provider', short), ('llm_budgets', 'model', short),
                ('llm_budgets', 'project', short), ('llm_budgets', 'agent', short),
                ('usage_import_files', 'path', indexed), ('usage_import_files', 'fingerprint', short),
                ('usage_import_files', 'state', long),
                ('llm_requests', 'provider', short), ('llm_requests', 'model', short), ('llm_requests', 'messages', body),
                ('llm_requests', 'parameters', body), ('llm_requests', 'source', short), ('llm_requests', 'external_id', short),
                ('llm_responses', 'content', body), ('llm_responses', 'finish_reason', short), ('llm_responses', 'error', long),
                ('llm_responses', 'raw', body),
                ('token_usage', 'provider', short), ('token_usage', 'model', short), ('token_usage', 'project', short),
                ('token_usage', 'agent', short), ('token_usage', 'source', short), ('token_usage', 'external_id', short)
        ) AS l (relation, name, most_bytes)
        JOIN pg_attribute AS a ON a.attrelid = ('our_schema.' || quote_ident(l.relation))::regclass AND a.attname = l.name
        GROUP BY l.relation
        ORDER BY l.relation
    LOOP
        statement := format(
            'CREATE OR REPLACE TRIGGER %I BEFORE INSERT OR UPDATE OF %s ON our_schema.%I FOR EACH ROW WHEN (%s) '
            'EXECUTE FUNCTION our_schema.refuse_oversized_row(%s)',
            'tr_' || limits.relation || '_limits', limits.columns, limits.relation, limits.condition, limits.arguments
        );
        digest := encode(sha256(convert_to(statement, 'UTF8')), 'hex');
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_trigger AS t
            WHERE t.tgrelid = limits.oid AND t.tgname = 'tr_' || limits.relation || '_limits'
                AND obj_description(t.oid, 'pg_trigger') LIKE '%' || digest
        );
        EXECUTE statement;
        EXECUTE format(
            'COMMENT ON TRIGGER %I ON our_schema.%I IS %L', 'tr_' || limits.relation || '_limits', limits.relation,
            'Refuses values over their limit; made by ' || digest
        );
    END LOOP;
END
$limits$;
