-- role: audit
-- Verification of the audit chain. The functions that write the chain stand in migrations.
--
-- Every call names its schema: in the audit owner's name nothing may run that another role has put beside it.

CREATE OR REPLACE FUNCTION verify_audit_links(
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
    SET search_path FROM CURRENT
    -- A plan for this part: one for a part of any size would read the tables as a whole.
    SET plan_cache_mode = force_custom_plan
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
            p_after_sequence + pg_catalog.row_number() OVER in_order AS due_sequence,
            pg_catalog.lag(l.digest, 1, p_after_digest) OVER in_order AS previous_digest
        FROM audit_links AS l
        WHERE l.sequence > p_after_sequence AND l.sequence <= up_to
        WINDOW in_order AS (ORDER BY l.sequence)
    ),
    judged AS (
        SELECT l.due_sequence, l.sequence,
            CASE
                WHEN l.sequence <> l.due_sequence THEN pg_catalog.format('link %s is missing', l.due_sequence)
                WHEN e.id IS NULL THEN pg_catalog.format('entry %s of link %s is missing', l.entry_id, l.sequence)
                WHEN l.digest <> audit_digest(l.previous_digest, l.sequence, e)
                    THEN pg_catalog.format('entry %s or link %s was changed', l.entry_id, l.sequence)
            END AS reason
        FROM link AS l
        LEFT JOIN audit_entries AS e ON e.id = l.entry_id
    )
    SELECT pg_catalog.count(*), pg_catalog.min(due_sequence) FILTER (WHERE reason IS NOT NULL),
        (pg_catalog.array_agg(reason ORDER BY due_sequence) FILTER (WHERE reason IS NOT NULL))[1],
        coalesce(pg_catalog.max(sequence), p_after_sequence)
    INTO verified, first_bad_sequence, problem, last_sequence
    FROM judged;

    last_digest := CASE
        WHEN last_sequence = p_after_sequence THEN p_after_digest
        ELSE (SELECT l.digest FROM audit_links AS l WHERE l.sequence = last_sequence)
    END;
    -- Numbers of entries follow the chain but roughly. Parts that follow each other leave none of them out all the same: each
    -- looks at what lies between the entries at its two ends, the last part at everything above.
    -- The first one also at those whose number no sequence would give.
    first_entry := coalesce(
        (SELECT l.entry_id FROM audit_links AS l WHERE l.sequence = p_after_sequence), -9223372036854775808
    );
    IF p_count IS NOT NULL THEN
        last_entry := coalesce((SELECT l.entry_id FROM audit_links AS l WHERE l.sequence = last_sequence), first_entry);
    END IF;
    SELECT pg_catalog.count(*) INTO unlinked
    FROM audit_entries AS e
    WHERE e.id > first_entry AND e.id <= last_entry
        AND NOT EXISTS (SELECT FROM audit_links AS l WHERE l.entry_id = e.id);
    -- Through a table that inherits from ours; on their own the rows are sound.
    IF problem IS NULL AND verified > last_sequence - p_after_sequence THEN
        problem := pg_catalog.format('%s entries are there twice', verified - (last_sequence - p_after_sequence));
    END IF;
    IF problem IS NULL AND unlinked > 0 THEN
        problem := pg_catalog.format('%s entries are not in the chain', unlinked);
    END IF;
END
$$;
COMMENT ON FUNCTION verify_audit_links(bigint, bytea, bigint) IS
    'Recompute a part of the audit chain: so many links after one whose digest is given (0 and 32 zero bytes: from its beginning), or all of them. A part of verify_audit_chain() that alone says nothing about the head.';

CREATE OR REPLACE FUNCTION verify_audit_chain(
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
    SET search_path FROM CURRENT
AS $$
DECLARE
    genesis CONSTANT bytea := pg_catalog.decode(pg_catalog.repeat('00', 32), 'hex');
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
    SELECT h.sequence, h.digest INTO head_sequence, head_digest FROM audit_head AS h;

    -- After a checkpoint only links and entries with a higher number are looked at: the time taken shall not grow with the log.
    SELECT * INTO links FROM verify_audit_links(start_sequence, start_digest);
    verified := links.verified;
    first_bad_sequence := links.first_bad_sequence;
    problem := CASE
        WHEN start_sequence > 0
            AND NOT EXISTS (SELECT FROM audit_links AS l WHERE l.sequence = start_sequence AND l.digest = start_digest)
            THEN pg_catalog.format('the checkpoint %s is not in the chain', start_sequence)
        WHEN first_bad_sequence IS NOT NULL THEN links.problem
        WHEN head_sequence IS NULL THEN 'the head is missing'
        WHEN (head_sequence, head_digest) IS DISTINCT FROM (links.last_sequence, links.last_digest)
            THEN pg_catalog.format('the chain ends at %s, its head says %s', links.last_sequence, head_sequence)
        WHEN links.problem IS NOT NULL THEN links.problem
        WHEN p_expected_sequence > head_sequence
            THEN pg_catalog.format('the chain ends at %s, before the expected %s', head_sequence, p_expected_sequence)
        WHEN p_expected_digest IS NOT NULL AND p_expected_digest IS DISTINCT FROM CASE p_expected_sequence
            WHEN 0 THEN genesis
            ELSE (SELECT l.digest FROM audit_links AS l WHERE l.sequence = p_expected_sequence)
        END
            THEN pg_catalog.format('link %s is not the expected one', p_expected_sequence)
    END;
    valid := problem IS NULL;
END
$$;
COMMENT ON FUNCTION verify_audit_chain(bigint, bytea, bigint, bytea) IS
    'Recompute the audit chain, from its beginning or after a checkpoint that was verified before, and compare it with its head and with a head kept outside this database. Without the latter a superuser''s removal of the newest entries cannot be seen.';
