-- role: audit
-- The functions of the audit log: what writes the chain, and what verifies it. 005 says what stands guard, and makes the triggers.
--
-- They run as the owner of the audit log, whoever calls, so that nothing of the caller's may count:
--   names      are looked up in pg_catalog alone, and what is ours is named with its schema: functions, operators, casts and aggregates
--              that another role has put beside it are never found, however well their arguments fit
--   settings   of the planner would rule here too: who may write an entry could hold up all others with them
--   entries    are as large as the limits below let them be, so that linking, verifying and dumping one takes milliseconds

SET LOCAL search_path = pg_catalog, pg_temp;

-- The bodies of these three are bound to what they name when they are created, and without a SET clause they are inlined: many times as
-- fast. STABLE, because convert_to() is and a stricter promise would prevent that.
CREATE OR REPLACE FUNCTION our_schema.audit_field(p_value text) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(
        int4send(octet_length(convert_to(p_value, 'UTF8'))) || convert_to(p_value, 'UTF8'), int4send(-1)
    );
COMMENT ON FUNCTION our_schema.audit_field(text) IS
    'A text for a digest: its length in bytes (4 bytes, big-endian) and its UTF-8; length -1 for NULL. So no two lists of texts look alike.';

CREATE OR REPLACE FUNCTION our_schema.audit_message(p_entry our_schema.audit_entries) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN int8send(p_entry.id)
        || int8send((extract(EPOCH FROM p_entry.recorded_at) * 1000000)::bigint)
        || int8send(p_entry.transaction_id)
        || our_schema.audit_field(p_entry.database_role)
        || our_schema.audit_field(p_entry.actor)
        || our_schema.audit_field(p_entry.action)
        || our_schema.audit_field(p_entry.target_type)
        || our_schema.audit_field(p_entry.target_id)
        || our_schema.audit_field(p_entry.outcome)
        || our_schema.audit_field(p_entry.details::text)
        || our_schema.audit_field(p_entry.source_address::text);
COMMENT ON FUNCTION our_schema.audit_message(our_schema.audit_entries) IS
    'What a digest covers of an entry: the stored values in the order of this function; the same in every time zone and date style.';

CREATE OR REPLACE FUNCTION our_schema.audit_digest(p_previous bytea, p_sequence bigint, p_entry our_schema.audit_entries) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(p_previous || int8send(p_sequence) || our_schema.audit_message(p_entry));
COMMENT ON FUNCTION our_schema.audit_digest(bytea, bigint, our_schema.audit_entries) IS
    'Digest of a link: SHA-256 over the previous digest, the position, and audit_message() of the entry.';

CREATE OR REPLACE FUNCTION our_schema.refuse_audit_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Reads neither OLD nor NEW, which a TRUNCATE does not have.
    RAISE EXCEPTION '% is immutable: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
COMMENT ON FUNCTION our_schema.refuse_audit_change() IS 'Trigger function: refuses.';

CREATE OR REPLACE FUNCTION our_schema.limit_audit_entry(p_entry our_schema.audit_entries) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- A text of four fits into an index entry, and details into a page of a report.
    text_bytes CONSTANT bigint := 1024;
    details_bytes CONSTANT bigint := 65536;
    fault text;
BEGIN
    SELECT format('the %s is %s bytes long, the limit is %s', f.name, octet_length(f.value), text_bytes) INTO fault
    FROM (
        VALUES ('actor', p_entry.actor), ('action', p_entry.action), ('target_type', p_entry.target_type), ('target_id', p_entry.target_id)
    ) AS f (name, value)
    WHERE octet_length(f.value) > text_bytes
    LIMIT 1;
    IF fault IS NULL THEN
        fault := 'details ' || our_schema.json_fault(p_entry.details, details_bytes);
    END IF;
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'this audit entry is too large: %', fault USING ERRCODE = 'check_violation';
    END IF;
END
$$;
COMMENT ON FUNCTION our_schema.limit_audit_entry(our_schema.audit_entries) IS
    'Refuse an entry with a text of more than 1,024 bytes, or with details of more than 65,536 bytes as text.';

CREATE OR REPLACE FUNCTION our_schema.stamp_audit_entry() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Whoever may insert into every column still cannot choose what the server sets.
    IF NEW.id IS DISTINCT FROM currval('our_schema.audit_entries_id_seq'::regclass) THEN
        RAISE EXCEPTION 'the number of an audit entry is given by the server' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- What is surely small is not asked about any further; 007_row_limits.sql says why these are the bounds.
    IF octet_length(concat(NEW.actor, NEW.action, NEW.target_type, NEW.target_id)) > 1024
        OR (CASE
            WHEN pg_column_size(NEW.details #> '{}') <= 1024 THEN octet_length(NEW.details::text) > 2048
            ELSE pg_column_size(NEW.details #> '{}') > 30000
                OR jsonb_path_exists(NEW.details, 'strict $.**{129 to last}')
                OR jsonb_path_exists(NEW.details, 'strict $.** ? (@.type() == "number" && (@ >= 1e100 || @ <= -1e100))')
                OR octet_length(NEW.details::text) > 60000
        END)
    THEN
        PERFORM our_schema.limit_audit_entry(NEW);
    END IF;
    NEW.recorded_at := clock_timestamp();
    NEW.database_role := session_user;
    NEW.transaction_id := pg_current_xact_id()::text::bigint;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION our_schema.stamp_audit_entry() IS
    'Trigger function: refuses an audit entry that is too large, and sets time, role and transaction of one, whatever the client says.';

CREATE OR REPLACE FUNCTION our_schema.guard_audit_chain() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The chain is written by link_audit_entries() alone: as the owner, which nobody can become, and from within a trigger.
    IF pg_trigger_depth() > 1
        AND current_user = (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = TG_RELID)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% is written by the server alone: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;
COMMENT ON FUNCTION our_schema.guard_audit_chain() IS 'Trigger function: lets nobody but link_audit_entries() write links and head.';

CREATE OR REPLACE FUNCTION our_schema.link_audit_transaction(p_transaction_id bigint, p_first_entry_id bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- So much is hashed in less than a second on a slow machine, and fits into the memory of a session.
    most_bytes CONSTANT bigint := 67108864;
    bytes bigint := 0;
    ids bigint[] := '{}';
    messages bytea[] := '{}';
    head our_schema.audit_head;
    entry record;
BEGIN
    -- One that an earlier transaction has left has been run to its end.
    IF EXISTS (SELECT FROM pg_cursors AS c WHERE c.is_holdable AND c.creation_time >= now()) THEN
        RAISE EXCEPTION 'a transaction with audit entries cannot leave a cursor WITH HOLD'
            USING ERRCODE = 'insufficient_privilege',
                HINT = 'Its query would be run while all others wait: close the cursor, or declare it in a transaction of its own.';
    END IF;
    -- A prepared transaction would hold the head for as long as it likes; one that has exported a snapshot cannot be prepared. Neither can
    -- one that has notified, but its commit would wait for every other one of the server that notifies.
    IF current_setting('max_prepared_transactions')::bigint > 0 THEN
        PERFORM pg_export_snapshot();
    END IF;
    -- Until the end of the commit a client, which may not read it, is sent nothing that it asked for, such as debugging messages. What the
    -- server itself warns of it must hear: a cancelled wait for a synchronous standby turns into a warning and a COMMIT that succeeds.
    PERFORM set_config('client_min_messages', 'warning', true);
    -- All that can be done before the head is locked, so that others wait only for what has to be done in order.
    FOR entry IN
        SELECT e.id, our_schema.audit_message(e) AS message
        FROM our_schema.audit_entries AS e
        WHERE e.transaction_id = p_transaction_id AND e.id >= p_first_entry_id
        ORDER BY e.id
    LOOP
        IF entry.id > p_first_entry_id THEN
            CONTINUE WHEN EXISTS (SELECT FROM our_schema.audit_links AS l WHERE l.entry_id = entry.id);
        END IF;
        bytes := bytes + octet_length(entry.message);
        IF bytes > most_bytes THEN
            RAISE EXCEPTION 'the audit entries of one transaction hold more than % bytes: commit them in parts', most_bytes
                USING ERRCODE = 'check_violation';
        END IF;
        ids := array_append(ids, entry.id);
        messages := array_append(messages, entry.message);
    END LOOP;
    SELECT * INTO STRICT head FROM our_schema.audit_head FOR UPDATE;
    FOR n IN 1..cardinality(ids) LOOP
        -- As audit_digest() says.
        head.sequence := head.sequence + 1;
        head.digest := sha256(head.digest || int8send(head.sequence) || messages[n]);
        INSERT INTO our_schema.audit_links (sequence, entry_id, digest) VALUES (head.sequence, ids[n], head.digest);
    END LOOP;
    UPDATE our_schema.audit_head SET sequence = head.sequence, digest = head.digest;
END
$$;
COMMENT ON FUNCTION our_schema.link_audit_transaction(bigint, bigint) IS
    'Link the entries of a transaction from a number on to the end of the chain; a part of link_audit_entries().';

CREATE OR REPLACE FUNCTION our_schema.link_audit_entries() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- The caller's settings would rule here, where no time-out ends them. These leave the planner but one way for each query, an index;
    -- link_audit_transaction() runs with them, too. No more than that, since this is called for every entry while the head is locked.
    SET jit = off
    SET plan_cache_mode = force_generic_plan
    SET work_mem = '4MB'
    SET enable_seqscan = off
    SET enable_indexscan = on
    SET random_page_cost = 1
    SET cpu_tuple_cost = 0.01
    SET cpu_index_tuple_cost = 0.005
    SET cpu_operator_cost = 0.0025
AS $$
BEGIN
    -- The first call at a commit links all entries of the transaction, so that many of them move the head only once.
    IF NOT EXISTS (SELECT FROM our_schema.audit_links AS l WHERE l.entry_id = NEW.id) THEN
        PERFORM our_schema.link_audit_transaction(NEW.transaction_id, NEW.id);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION our_schema.link_audit_entries() IS 'Trigger function: at commit, links the transaction''s entries to the end of the chain.';

-- SECURITY DEFINER, since a deferred trigger may run in the name of whoever commits.
CREATE OR REPLACE FUNCTION our_schema.refuse_early_audit_link() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Deferred, this trigger is called after the one that moved the head, at depth 1. Called from within it, it is not deferred.
    IF pg_trigger_depth() > 1 THEN
        RAISE EXCEPTION 'audit entries are linked at commit: SET CONSTRAINTS … IMMEDIATE is refused'
            USING ERRCODE = 'insufficient_privilege',
                HINT = 'Name the constraints that are to be checked at once instead of ALL.';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION our_schema.refuse_early_audit_link() IS
    'Trigger function: keeps a session from moving the head before its commit and holding it, which would stall all others.';

CREATE OR REPLACE FUNCTION our_schema.verify_audit_links(
    p_after_sequence bigint,
    p_after_digest bytea,
    p_count bigint DEFAULT NULL,
    OUT verified bigint,
    OUT last_sequence bigint,
    OUT last_digest bytea,
    OUT first_bad_sequence bigint,
    OUT unlinked bigint,
    OUT problem text
)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- Bounds without a condition around them, so that an index finds the rows.
    endless CONSTANT bigint := 9223372036854775807;
    up_to CONSTANT bigint := coalesce(p_after_sequence + p_count, endless);
    first_entry bigint;
    last_entry bigint := endless;
BEGIN
    WITH link AS (
        SELECT l.sequence, l.digest, l.entry_id,
            p_after_sequence + row_number() OVER in_order AS due_sequence,
            lag(l.digest, 1, p_after_digest) OVER in_order AS previous_digest
        FROM our_schema.audit_links AS l
        WHERE l.sequence > p_after_sequence AND l.sequence <= up_to
        WINDOW in_order AS (ORDER BY l.sequence)
    ),
    judged AS (
        SELECT l.due_sequence, l.sequence,
            CASE
                WHEN l.sequence <> l.due_sequence THEN format('link %s is missing', l.due_sequence)
                WHEN e.id IS NULL THEN format('entry %s of link %s is missing', l.entry_id, l.sequence)
                WHEN l.digest <> our_schema.audit_digest(l.previous_digest, l.sequence, e)
                    THEN format('entry %s or link %s was changed', l.entry_id, l.sequence)
            END AS reason
        FROM link AS l
        LEFT JOIN our_schema.audit_entries AS e ON e.id = l.entry_id
    )
    SELECT count(*), min(due_sequence) FILTER (WHERE reason IS NOT NULL),
        (array_agg(reason ORDER BY due_sequence) FILTER (WHERE reason IS NOT NULL))[1],
        coalesce(max(sequence), p_after_sequence)
    INTO verified, first_bad_sequence, problem, last_sequence
    FROM judged;

    last_digest := CASE
        WHEN last_sequence = p_after_sequence THEN p_after_digest
        ELSE (SELECT l.digest FROM our_schema.audit_links AS l WHERE l.sequence = last_sequence)
    END;
    -- Numbers of entries follow the chain but roughly. Parts that follow each other leave none of them out all the same: each
    -- looks at what lies between the entries at its two ends, the last part at everything above.
    -- The first one also at those whose number no sequence would give.
    first_entry := coalesce(
        (SELECT l.entry_id FROM our_schema.audit_links AS l WHERE l.sequence = p_after_sequence), -9223372036854775808
    );
    IF p_count IS NOT NULL THEN
        last_entry := coalesce((SELECT l.entry_id FROM our_schema.audit_links AS l WHERE l.sequence = last_sequence), first_entry);
    END IF;
    SELECT count(*) INTO unlinked
    FROM our_schema.audit_entries AS e
    WHERE e.id > first_entry AND e.id <= last_entry
        AND NOT EXISTS (SELECT FROM our_schema.audit_links AS l WHERE l.entry_id = e.id);
    -- Through a table that inherits from ours; on their own the rows are sound.
    IF problem IS NULL AND verified > last_sequence - p_after_sequence THEN
        problem := format('%s entries are there twice', verified - (last_sequence - p_after_sequence));
    END IF;
    IF problem IS NULL AND unlinked > 0 THEN
        problem := format('%s entries are not in the chain', unlinked);
    END IF;
END
$$;
COMMENT ON FUNCTION our_schema.verify_audit_links(bigint, bytea, bigint) IS
    'Recompute a part of the audit chain: so many links after one whose digest is given (0 and 32 zero bytes: from its beginning), or all of them. A part of verify_audit_chain() that alone says nothing about the head.';

CREATE OR REPLACE FUNCTION our_schema.verify_audit_chain(
    p_expected_sequence bigint DEFAULT NULL,
    p_expected_digest bytea DEFAULT NULL,
    p_checkpoint_sequence bigint DEFAULT NULL,
    p_checkpoint_digest bytea DEFAULT NULL,
    OUT valid boolean,
    OUT verified bigint,
    OUT head_sequence bigint,
    OUT head_digest bytea,
    OUT first_bad_sequence bigint,
    OUT problem text
)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    genesis CONSTANT bytea := decode(repeat('00', 32), 'hex');
    start_sequence CONSTANT bigint := coalesce(p_checkpoint_sequence, 0);
    start_digest CONSTANT bytea := coalesce(p_checkpoint_digest, genesis);
    links record;
BEGIN
    IF (p_checkpoint_sequence IS NULL) <> (p_checkpoint_digest IS NULL)
        OR (p_expected_sequence IS NULL AND p_expected_digest IS NOT NULL)
    THEN
        RAISE EXCEPTION 'a checkpoint is a sequence and its digest, and an expected digest needs its sequence'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- STABLE: all statements below see the one snapshot of the calling query.
    SELECT h.sequence, h.digest INTO head_sequence, head_digest FROM our_schema.audit_head AS h;

    -- After a checkpoint only links and entries with a higher number are looked at: the time taken shall not grow with the log.
    SELECT * INTO links FROM our_schema.verify_audit_links(start_sequence, start_digest, NULL::bigint);
    verified := links.verified;
    first_bad_sequence := links.first_bad_sequence;
    problem := CASE
        WHEN start_sequence > 0
            AND NOT EXISTS (SELECT FROM our_schema.audit_links AS l WHERE l.sequence = start_sequence AND l.digest = start_digest)
            THEN format('the checkpoint %s is not in the chain', start_sequence)
        WHEN first_bad_sequence IS NOT NULL THEN links.problem
        WHEN head_sequence IS NULL THEN 'the head is missing'
        -- Another one through a table that inherits from ours; readers would see both.
        WHEN (SELECT count(*) FROM our_schema.audit_head) > 1 THEN 'there is more than one head'
        WHEN (head_sequence, head_digest) IS DISTINCT FROM (links.last_sequence, links.last_digest)
            THEN format('the chain ends at %s, its head says %s', links.last_sequence, head_sequence)
        WHEN links.problem IS NOT NULL THEN links.problem
        WHEN p_expected_sequence > head_sequence
            THEN format('the chain ends at %s, before the expected %s', head_sequence, p_expected_sequence)
        WHEN p_expected_digest IS NOT NULL AND p_expected_digest IS DISTINCT FROM CASE p_expected_sequence
            WHEN 0 THEN genesis
            ELSE (SELECT l.digest FROM our_schema.audit_links AS l WHERE l.sequence = p_expected_sequence)
        END
            THEN format('link %s is not the expected one', p_expected_sequence)
    END;
    valid := problem IS NULL;
END
$$;
COMMENT ON FUNCTION our_schema.verify_audit_chain(bigint, bytea, bigint, bytea) IS
    'Recompute the audit chain, from its beginning or after a checkpoint that was verified before, and compare it with its head and with a head kept outside this database. Without the latter a superuser''s removal of the newest entries cannot be seen.';

-- The caller's settings would rule in these functions, too. Values are those that PostgreSQL has by default; settings that its version 14
-- does not know are none that these queries could be harmed by.
DO $settings$
DECLARE
    function regprocedure;
    setting text;
BEGIN
    FOREACH function IN ARRAY ARRAY[
        'our_schema.verify_audit_links(bigint, bytea, bigint)',
        'our_schema.verify_audit_chain(bigint, bytea, bigint, bytea)'
    ]::regprocedure[] LOOP
        FOREACH setting IN ARRAY ARRAY[
            'jit = off',
            -- A plan for the part that is asked for: one for a part of any size would read the tables as a whole.
            'plan_cache_mode = force_custom_plan',
            'enable_async_append = on', 'enable_bitmapscan = on', 'enable_gathermerge = on', 'enable_hashagg = on',
            'enable_hashjoin = on', 'enable_incremental_sort = on', 'enable_indexonlyscan = on', 'enable_indexscan = on',
            'enable_material = on', 'enable_memoize = on', 'enable_mergejoin = on', 'enable_nestloop = on',
            'enable_parallel_append = on', 'enable_parallel_hash = on', 'enable_partition_pruning = on',
            'enable_partitionwise_aggregate = off', 'enable_partitionwise_join = off', 'enable_seqscan = on', 'enable_sort = on',
            'enable_tidscan = on', 'seq_page_cost = 1', 'random_page_cost = 1.1', 'cpu_tuple_cost = 0.01',
            'cpu_index_tuple_cost = 0.005', 'cpu_operator_cost = 0.0025', 'parallel_setup_cost = 1000', 'parallel_tuple_cost = 0.1',
            'min_parallel_table_scan_size = ''8MB''', 'min_parallel_index_scan_size = ''512kB''', 'max_parallel_workers_per_gather = 0',
            'effective_cache_size = ''4GB''', 'work_mem = ''16MB''', 'hash_mem_multiplier = 2', 'geqo = on', 'geqo_threshold = 12',
            'from_collapse_limit = 8', 'join_collapse_limit = 8', 'cursor_tuple_fraction = 0.1', 'constraint_exclusion = partition'
        ] LOOP
            EXECUTE format('ALTER FUNCTION %s SET %s', function, setting);
        END LOOP;
    END LOOP;
END
$settings$;
