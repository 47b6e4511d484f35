-- role: audit
-- Tools come under policy in three steps. Their tables become those of the owner of the audit log, so that neither the application nor a migration of
-- the homelab's own can write them, and are made anew for that: what their owner may have put on the old ones (a trigger, a rule, a policy for
-- rows) would otherwise run with the rights of the new owner.
--
--   013  a table to which the owner of the objects may hand the rows over, and the actions of the audit log that nobody else may write
--   014  the owner hands the rows over and drops the old tables
--   015  the new tables, with the rows
--
-- A row that is handed over is data: nothing of the other role is ever run here.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE our_schema.tools_set_aside (
    relation text NOT NULL,
    data jsonb NOT NULL,
    result jsonb
);
COMMENT ON TABLE our_schema.tools_set_aside IS 'Rows of the old tables of tools, until the new ones have been made; it is gone then.';
COMMENT ON COLUMN our_schema.tools_set_aside.relation IS 'Table that the row was in.';
COMMENT ON COLUMN our_schema.tools_set_aside.data IS 'The row as a JSON object, without the column result.';
COMMENT ON COLUMN our_schema.tools_set_aside.result IS 'Result of a call; by itself, since JSON''s null and NULL are one in an object.';
DO $grant$
BEGIN
    EXECUTE format(
        'GRANT INSERT ON our_schema.tools_set_aside TO %I',
        (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = 'our_schema.tasks'::regclass)
    );
END
$grant$;

CREATE FUNCTION our_schema.refuse_reserved_audit_action() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- In the name of whoever inserts: that is the owner within its functions alone, since nobody can become it.
    IF current_user = (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = TG_RELID) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit entries about tools, policies and their tokens are written by the functions that decide about tool calls: choose another action than %',
        left(NEW.action, 100)
        USING ERRCODE = 'insufficient_privilege';
END
$$;
COMMENT ON FUNCTION our_schema.refuse_reserved_audit_action() IS
    'Trigger function: leaves the actions tool_call.…, tool.…, policy.… and tool_token.… to functions of the owner of the audit log.';

-- Whatever a person would not see in it: blanks, tabs, characters of no width.
CREATE TRIGGER tr_audit_entries_reserved BEFORE INSERT ON our_schema.audit_entries
    FOR EACH ROW WHEN (regexp_replace(lower(NEW.action), '[^a-z_.]', '', 'g') ~ '^(tool_call|tool|policy|tool_token)[.]')
    EXECUTE FUNCTION our_schema.refuse_reserved_audit_action();
ALTER TABLE our_schema.audit_entries ENABLE ALWAYS TRIGGER tr_audit_entries_reserved;
