-- role: audit
-- The audit log: who did what, when, to what, with what outcome. Append-only, immutable, and chained by hashes.
--
-- Everything here belongs to a role of its own that nobody is a member of. Entries and links are two tables, because an entry is
-- linked when its transaction commits: chaining at the INSERT would hold the head's lock for as long as the writer's transaction
-- stays open, and deadlock with its other locks. No foreign key leads in or out: a cascade could remove rows through one.
--
-- What stands guard:
--   privileges      nobody but the owner may UPDATE, DELETE or TRUNCATE; writers have INSERT on some columns only
--   row triggers    refuse UPDATE and DELETE, also by pg_write_all_data, through a parent table, or by a replication worker
--   stmt triggers   refuse the same statements where they touch no row, and TRUNCATE, which row triggers do not see
--   ENABLE ALWAYS   because plain triggers are skipped under session_replication_role = replica
--   the chain       shows what a superuser did all the same, down to the last entry if an earlier head is kept elsewhere
-- The triggers are created here and not in a repeatable file: CREATE OR REPLACE TRIGGER would reset ENABLE ALWAYS.

CREATE TABLE audit_entries (
    id bigint GENERATED ALWAYS AS IDENTITY,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    database_role text NOT NULL DEFAULT session_user,
    transaction_id bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    actor text NOT NULL,
    action text NOT NULL,
    target_type text,
    target_id text,
    outcome text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    source_address inet DEFAULT inet_client_addr(),
    CONSTRAINT pk_audit_entries PRIMARY KEY (id),
    CONSTRAINT ck_audit_entries_actor CHECK (btrim(actor) <> ''),
    CONSTRAINT ck_audit_entries_action CHECK (btrim(action) <> ''),
    CONSTRAINT ck_audit_entries_outcome CHECK (outcome IN ('success', 'failure', 'denied')),
    CONSTRAINT ck_audit_entries_details CHECK (jsonb_typeof(details) = 'object')
);
COMMENT ON TABLE audit_entries IS 'Immutable log of all actions. Rows can only be added; verify_audit_chain() shows whether they are still what was added.';
COMMENT ON COLUMN audit_entries.id IS 'Number given by the server; gaps are normal. The order of the chain is in audit_links.';
COMMENT ON COLUMN audit_entries.recorded_at IS 'When the entry was written, by the server''s clock.';
COMMENT ON COLUMN audit_entries.database_role IS 'Role that had logged in to the database; set by the server.';
COMMENT ON COLUMN audit_entries.transaction_id IS 'Transaction that wrote the entry; set by the server. Entries with the same number were committed together.';
COMMENT ON COLUMN audit_entries.actor IS 'Person or program that acted, as the application knows it.';
COMMENT ON COLUMN audit_entries.action IS 'What was done, such as tool_call.approve.';
COMMENT ON COLUMN audit_entries.target_type IS 'Kind of thing it was done to, such as workload.';
COMMENT ON COLUMN audit_entries.target_id IS 'Which one; text, because the thing may be gone and no foreign key may lead here.';
COMMENT ON COLUMN audit_entries.details IS 'JSON object: what else is worth knowing. It can never be removed: no secrets.';
COMMENT ON COLUMN audit_entries.source_address IS 'Address the action came from; if the writer gives none, that of the database client.';

CREATE INDEX ix_audit_entries_recorded_at ON audit_entries USING brin (recorded_at) WITH (autosummarize = on);
CREATE INDEX ix_audit_entries_actor ON audit_entries (actor, id);
CREATE INDEX ix_audit_entries_action ON audit_entries (action, id);
CREATE INDEX ix_audit_entries_target ON audit_entries (target_type, target_id, id);
CREATE INDEX ix_audit_entries_transaction_id ON audit_entries (transaction_id, id);
CREATE INDEX ix_audit_entries_not_successful ON audit_entries (id) WHERE outcome <> 'success';

CREATE TABLE audit_links (
    sequence bigint NOT NULL,
    entry_id bigint NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT pk_audit_links PRIMARY KEY (sequence),
    CONSTRAINT uq_audit_links_entry_id UNIQUE (entry_id),
    CONSTRAINT ck_audit_links_sequence CHECK (sequence > 0),
    CONSTRAINT ck_audit_links_digest CHECK (octet_length(digest) = 32)
);
COMMENT ON TABLE audit_links IS 'The hash chain over audit_entries, in the order of commits.';
COMMENT ON COLUMN audit_links.sequence IS 'Position in the chain: 1, 2, 3 … without a gap.';
COMMENT ON COLUMN audit_links.entry_id IS 'Entry at this position (audit_entries.id); not a foreign key on purpose.';
COMMENT ON COLUMN audit_links.digest IS 'SHA-256 over the digest before it and the entry; see audit_digest().';

-- fillfactor leaves room for new versions of the one row, so that they stay on its page.
CREATE TABLE audit_head (
    singleton boolean NOT NULL DEFAULT true,
    sequence bigint NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT pk_audit_head PRIMARY KEY (singleton),
    CONSTRAINT ck_audit_head_singleton CHECK (singleton),
    CONSTRAINT ck_audit_head_sequence CHECK (sequence >= 0),
    CONSTRAINT ck_audit_head_digest CHECK (octet_length(digest) = 32)
) WITH (fillfactor = 10);
COMMENT ON TABLE audit_head IS
    'End of the audit chain, one row. Its lock puts commits in order. Keep a copy outside this database: only that shows a cut-off end.';
COMMENT ON COLUMN audit_head.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN audit_head.sequence IS 'Number of links in the chain.';
COMMENT ON COLUMN audit_head.digest IS 'Digest of the last link; 32 zero bytes while there is none.';

INSERT INTO audit_head (sequence, digest) VALUES (0, decode(repeat('00', 32), 'hex'));

-- The bodies of these two are bound to what they name when they are created, so no search_path can lead them astray, and without
-- a SET clause they are inlined: many times as fast. STABLE, because convert_to() is and a stricter promise would prevent that.
CREATE FUNCTION audit_field(p_value text) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(
        int4send(octet_length(convert_to(p_value, 'UTF8'))) || convert_to(p_value, 'UTF8'), int4send(-1)
    );
COMMENT ON FUNCTION audit_field(text) IS
    'A text for a digest: its length in bytes (4 bytes, big-endian) and its UTF-8; length -1 for NULL. So no two lists of texts look alike.';

CREATE FUNCTION audit_digest(p_previous bytea, p_sequence bigint, p_entry audit_entries) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(
        p_previous
        || int8send(p_sequence)
        || int8send(p_entry.id)
        || int8send((extract(EPOCH FROM p_entry.recorded_at) * 1000000)::bigint)
        || int8send(p_entry.transaction_id)
        || audit_field(p_entry.database_role)
        || audit_field(p_entry.actor)
        || audit_field(p_entry.action)
        || audit_field(p_entry.target_type)
        || audit_field(p_entry.target_id)
        || audit_field(p_entry.outcome)
        || audit_field(p_entry.details::text)
        || audit_field(p_entry.source_address::text)
    );
COMMENT ON FUNCTION audit_digest(bytea, bigint, audit_entries) IS
    'Digest of a link: SHA-256 over the previous digest, the position, and the stored values in the order of this function; the same in every time zone and date style.';

CREATE FUNCTION refuse_audit_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
AS $$
BEGIN
    -- Reads neither OLD nor NEW, which a TRUNCATE does not have.
    RAISE EXCEPTION '% is immutable: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
COMMENT ON FUNCTION refuse_audit_change() IS 'Trigger function: refuses.';

CREATE FUNCTION stamp_audit_entry() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT
AS $$
BEGIN
    -- Whoever may insert into every column still cannot choose what the server sets.
    IF NEW.id IS DISTINCT FROM currval('audit_entries_id_seq') THEN
        RAISE EXCEPTION 'the number of an audit entry is given by the server' USING ERRCODE = 'insufficient_privilege';
    END IF;
    NEW.recorded_at := clock_timestamp();
    NEW.database_role := session_user;
    NEW.transaction_id := pg_current_xact_id()::text::bigint;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION stamp_audit_entry() IS 'Trigger function: sets time, role and transaction of an audit entry, whatever the client says.';

CREATE FUNCTION guard_audit_chain() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
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
COMMENT ON FUNCTION guard_audit_chain() IS 'Trigger function: lets nobody but link_audit_entries() write links and head.';

CREATE FUNCTION link_audit_entries() RETURNS trigger
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
    -- A prepared transaction would hold the head for as long as it likes; one that has notified cannot be prepared.
    IF current_setting('max_prepared_transactions')::bigint > 0 THEN
        PERFORM pg_notify('mission_control_audit', '');
    END IF;
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
COMMENT ON FUNCTION link_audit_entries() IS 'Trigger function: at commit, links the transaction''s entries to the end of the chain.';

CREATE FUNCTION refuse_early_audit_link() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
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
COMMENT ON FUNCTION refuse_early_audit_link() IS
    'Trigger function: keeps a session from moving the head before its commit and holding it, which would stall all others.';

CREATE TRIGGER tr_audit_entries_stamp BEFORE INSERT ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION stamp_audit_entry();
CREATE TRIGGER tr_audit_entries_immutable_row BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER tr_audit_entries_immutable_statement BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
-- These two share a name on purpose: SET CONSTRAINTS takes names, so no session can make one immediate without the other.
CREATE CONSTRAINT TRIGGER tr_audit_chain AFTER INSERT ON audit_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION link_audit_entries();
CREATE CONSTRAINT TRIGGER tr_audit_chain AFTER UPDATE ON audit_head
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_early_audit_link();

CREATE TRIGGER tr_audit_links_guard BEFORE INSERT ON audit_links
    FOR EACH ROW EXECUTE FUNCTION guard_audit_chain();
CREATE TRIGGER tr_audit_links_immutable_row BEFORE UPDATE OR DELETE ON audit_links
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER tr_audit_links_immutable_statement BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_links
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

CREATE TRIGGER tr_audit_head_guard BEFORE UPDATE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION guard_audit_chain();
CREATE TRIGGER tr_audit_head_immutable_row BEFORE INSERT OR DELETE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER tr_audit_head_immutable_statement BEFORE INSERT OR DELETE OR TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER tr_audit_entries_stamp;
ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER tr_audit_entries_immutable_row;
ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER tr_audit_entries_immutable_statement;
ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER tr_audit_chain;
ALTER TABLE audit_links ENABLE ALWAYS TRIGGER tr_audit_links_guard;
ALTER TABLE audit_links ENABLE ALWAYS TRIGGER tr_audit_links_immutable_row;
ALTER TABLE audit_links ENABLE ALWAYS TRIGGER tr_audit_links_immutable_statement;
ALTER TABLE audit_head ENABLE ALWAYS TRIGGER tr_audit_chain;
ALTER TABLE audit_head ENABLE ALWAYS TRIGGER tr_audit_head_guard;
ALTER TABLE audit_head ENABLE ALWAYS TRIGGER tr_audit_head_immutable_row;
ALTER TABLE audit_head ENABLE ALWAYS TRIGGER tr_audit_head_immutable_statement;
