-- role: audit
-- The functions behind the audit log again, proof against attacks that 005 let through. Their bodies count from here on.
--
--   a function of the same name   PL/pgSQL looks a function up when it first runs, and one whose arguments fit better is preferred
--                                 wherever it stands. Whoever may create functions in our schema (the owner of the other objects does)
--                                 could so have code run as the owner of the audit log. Every call names its schema now.
--   WITH HOLD                     the query of a held cursor is run by the commit, after the head was locked, for as long as it likes.
--   a client that does not read   a server process with a message for such a client waits for it, with the head locked. From the lock
--                                 to the end of the commit nothing but an error is said to the client.

CREATE OR REPLACE FUNCTION stamp_audit_entry() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT
AS $$
BEGIN
    -- Whoever may insert into every column still cannot choose what the server sets.
    IF NEW.id IS DISTINCT FROM pg_catalog.currval('audit_entries_id_seq'::regclass) THEN
        RAISE EXCEPTION 'the number of an audit entry is given by the server' USING ERRCODE = 'insufficient_privilege';
    END IF;
    NEW.recorded_at := pg_catalog.clock_timestamp();
    NEW.database_role := session_user;
    NEW.transaction_id := pg_catalog.pg_current_xact_id()::text::bigint;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION guard_audit_chain() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
AS $$
BEGIN
    -- The chain is written by link_audit_entries() alone: as the owner, which nobody can become, and from within a trigger.
    IF pg_catalog.pg_trigger_depth() > 1
        AND current_user = (SELECT pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class AS c WHERE c.oid = TG_RELID)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% is written by the server alone: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE OR REPLACE FUNCTION link_audit_entries() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT
AS $$
DECLARE
    head audit_head;
    entry audit_entries;
BEGIN
    -- The first call at a commit links all entries of the transaction, so that many of them move the head only once.
    IF EXISTS (SELECT FROM audit_links AS l WHERE l.entry_id = NEW.id) THEN
        RETURN NULL;
    END IF;
    -- One that an earlier transaction has left has been run to its end.
    IF EXISTS (SELECT FROM pg_catalog.pg_cursors AS c WHERE c.is_holdable AND c.creation_time >= pg_catalog.now()) THEN
        RAISE EXCEPTION 'a transaction with audit entries cannot leave a cursor WITH HOLD'
            USING ERRCODE = 'insufficient_privilege',
                HINT = 'Its query would be run while all others wait: close the cursor, or declare it in a transaction of its own.';
    END IF;
    -- A prepared transaction would hold the head for as long as it likes; one that has notified cannot be prepared.
    IF pg_catalog.current_setting('max_prepared_transactions')::bigint > 0 THEN
        PERFORM pg_catalog.pg_notify('mission_control_audit', '');
    END IF;
    PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
    SELECT * INTO STRICT head FROM audit_head FOR UPDATE;
    FOR entry IN
        SELECT e.*
        FROM audit_entries AS e
        WHERE e.transaction_id = NEW.transaction_id AND e.id >= NEW.id
        ORDER BY e.id
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM audit_links AS l WHERE l.entry_id = entry.id);
        head.sequence := head.sequence + 1;
        head.digest := audit_digest(head.digest, head.sequence, entry);
        INSERT INTO audit_links (sequence, entry_id, digest) VALUES (head.sequence, entry.id, head.digest);
    END LOOP;
    UPDATE audit_head SET sequence = head.sequence, digest = head.digest;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION refuse_early_audit_link() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
AS $$
BEGIN
    -- Deferred, this trigger is called after the one that moved the head, at depth 1. Called from within it, it is not deferred.
    IF pg_catalog.pg_trigger_depth() > 1 THEN
        RAISE EXCEPTION 'audit entries are linked at commit: SET CONSTRAINTS … IMMEDIATE is refused'
            USING ERRCODE = 'insufficient_privilege',
                HINT = 'Name the constraints that are to be checked at once instead of ALL.';
    END IF;
    RETURN NULL;
END
$$;
