"""Attacks that first take away what guards the audit log.

Whoever owns the tables, a superuser, and on some ways the database's owner succeed with these. So each goes on with the
change that it is for, and that has to be found against a head that was kept outside.
"""

from attacks import DETECTED, DETECTED_BEFORE_16, DETECTED_SINCE_15, TAMPER, UNSEEN, attack

_MIGHTY = {"audit": DETECTED, "superuser": DETECTED}
_SUPERUSER = {"superuser": DETECTED}
_OFF = "ALTER TABLE audit_entries DISABLE TRIGGER USER"
_REWRITE = "ALTER TABLE audit_entries ALTER COLUMN outcome TYPE text USING 'denied'"
_LIE = "LANGUAGE plpgsql AS $$ BEGIN valid := true; verified := 10; head_sequence := 10; END $$"
_VERIFIER = """verify_audit_chain(
    p_expected_sequence bigint DEFAULT NULL, p_expected_digest bytea DEFAULT NULL,
    p_checkpoint_sequence bigint DEFAULT NULL, p_checkpoint_digest bytea DEFAULT NULL,
    OUT valid boolean, OUT verified bigint, OUT head_sequence bigint, OUT head_digest bytea,
    OUT first_bad_sequence bigint, OUT problem text)"""

GUARDS = [
    attack("disable-triggers", f"{_OFF};; {TAMPER}", others=_MIGHTY),
    attack(
        "triggers-for-replicas-only",
        f"""
        ALTER TABLE audit_entries ENABLE REPLICA TRIGGER tr_audit_entries_immutable_row;;
        ALTER TABLE audit_entries ENABLE REPLICA TRIGGER tr_audit_entries_immutable_statement;;
        {TAMPER}
        """,
        others=_MIGHTY,
    ),
    attack(
        "drop-triggers",
        f"""
        DROP TRIGGER tr_audit_entries_immutable_row ON audit_entries;;
        DROP TRIGGER tr_audit_entries_immutable_statement ON audit_entries;;
        {TAMPER}
        """,
        others=_MIGHTY,
    ),
    attack("drop-trigger-function", f"DROP FUNCTION refuse_audit_change() CASCADE;; {TAMPER}", others=_MIGHTY),
    attack(
        "replace-trigger-function",
        f"""
        CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';;
        {TAMPER}
        """,
        others=_MIGHTY,
    ),
    attack(
        "edit-the-catalogue",
        f"UPDATE pg_class SET relhastriggers = false WHERE oid = 'audit_entries'::regclass;; {TAMPER}",
        others=_SUPERUSER,
    ),
    attack("take-the-table", f"ALTER TABLE audit_entries OWNER TO CURRENT_USER;; {_OFF};; {TAMPER}", others=_MIGHTY),
    attack(
        "take-all-that-is-owned",
        f"REASSIGN OWNED BY mission_control_audit TO CURRENT_USER;; {_OFF};; {TAMPER}",
        others=_MIGHTY,
    ),
    attack("grant-to-oneself", f"GRANT ALL ON audit_entries TO CURRENT_USER;; {TAMPER}"),
    attack("become-the-owner", f"SET LOCAL ROLE mission_control_audit;; {TAMPER}"),
    attack("log-in-as-the-owner", f"SET LOCAL SESSION AUTHORIZATION mission_control_audit;; {TAMPER}"),
    attack(
        "join-the-owner",
        f"GRANT mission_control_audit TO me;; SET LOCAL ROLE mission_control_audit;; {_OFF};; {TAMPER}",
        # To 14 a role's being a member of itself is an impossible grant before it is one of somebody without the right.
        others={"administrator": DETECTED_BEFORE_16, "superuser": DETECTED, "audit": (150000, "0LP01", "42501")},
    ),
    attack("become-superuser", f"ALTER ROLE me SUPERUSER;; {_OFF};; {TAMPER}", others=_SUPERUSER),
    attack(
        "write-all-data",
        f"GRANT pg_write_all_data TO me;; {TAMPER}",
    ),
    attack(
        "rename-the-table",
        "ALTER TABLE audit_entries RENAME TO other;; CREATE TABLE audit_entries (LIKE other INCLUDING ALL)",
        others=_MIGHTY,
    ),
    attack("move-the-table", "CREATE SCHEMA hidden;; ALTER TABLE audit_entries SET SCHEMA hidden", others=_SUPERUSER),
    attack("drop-a-column", "ALTER TABLE audit_entries DROP COLUMN details CASCADE", others=_MIGHTY),
    attack(
        "rewrite-a-column-in-use",
        _REWRITE,
        # Of the owner and of a superuser, since a function is bound to the column.
        others={"audit": "0A000", "superuser": "0A000"},
    ),
    attack(
        "rewrite-a-column",
        f"""
        DO $$
        DECLARE
            message text := pg_get_functiondef('audit_message(audit_entries)'::regprocedure);
            digest text := pg_get_functiondef('audit_digest(bytea, bigint, audit_entries)'::regprocedure);
        BEGIN
            DROP FUNCTION audit_message(audit_entries) CASCADE;
            {_REWRITE};
            EXECUTE message;
            EXECUTE digest;
        END $$
        """,
        others=_MIGHTY,
    ),
    attack(
        "drop-the-table",
        "DROP TABLE audit_entries CASCADE",
        others={**_MIGHTY, "administrator": DETECTED_SINCE_15},
    ),
    attack(
        "drop-the-schema",
        "DROP SCHEMA public CASCADE",
        others={**_SUPERUSER, "administrator": DETECTED_SINCE_15},
    ),
    attack("drop-what-is-owned", "DROP OWNED BY mission_control_audit CASCADE", others=_SUPERUSER),
    attack(
        "hide-rows",
        """
        ALTER TABLE audit_entries ENABLE ROW LEVEL SECURITY;;
        ALTER TABLE audit_entries FORCE ROW LEVEL SECURITY;;
        CREATE POLICY hidden ON audit_entries USING (target_id <> '4')
        """,
        others=_MIGHTY,
    ),
    attack(
        "add-a-child-table",
        """
        CREATE TABLE child () INHERITS (audit_entries);;
        INSERT INTO child SELECT * FROM audit_entries WHERE target_id = '4'
        """,
        others=_MIGHTY,
    ),
    attack(
        "add-a-child-table-of-links",
        """
        CREATE TABLE child () INHERITS (audit_links);;
        INSERT INTO child SELECT * FROM audit_links WHERE sequence = 5
        """,
        others=_MIGHTY,
    ),
    attack(
        "add-a-child-table-of-the-head",
        """
        CREATE TABLE child () INHERITS (audit_head);;
        INSERT INTO child SELECT true, 5, digest FROM audit_links WHERE sequence = 5
        """,
        others=_MIGHTY,
    ),
    attack(
        "swallow-entries-by-rule",
        """
        CREATE RULE nothing AS ON INSERT TO audit_entries DO INSTEAD NOTHING;;
        INSERT INTO audit_entries (actor, action, outcome) VALUES ('mallory', 'write', 'success')
        """,
        others={"audit": UNSEEN, "superuser": UNSEEN},
    ),
    attack(
        "swallow-entries-by-trigger",
        """
        CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';;
        CREATE TRIGGER swallow BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION swallow();;
        INSERT INTO audit_entries (actor, action, outcome) VALUES ('mallory', 'write', 'success')
        """,
        others={"audit": UNSEEN, "superuser": UNSEEN},
    ),
    attack(
        "replace-the-verifier",
        f"CREATE OR REPLACE FUNCTION {_VERIFIER} {_LIE};; {_OFF};; {TAMPER}",
        others=_MIGHTY,
        blinds=True,
    ),
    attack(
        "replace-the-digest",
        f"""
        CREATE OR REPLACE FUNCTION audit_digest(p_previous bytea, p_sequence bigint, p_entry audit_entries) RETURNS bytea
            LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT digest FROM public.audit_links WHERE sequence = p_sequence';;
        {_OFF};;
        {TAMPER}
        """,
        others=_MIGHTY,
        blinds=True,
    ),
    attack(
        "counterfeit-the-log",
        f"""
        CREATE TABLE copy AS SELECT 'mallory' AS actor;;
        DROP FUNCTION verify_audit_chain(bigint, bytea, bigint, bytea);;
        DROP TABLE audit_entries, audit_links CASCADE;;
        CREATE FUNCTION {_VERIFIER} {_LIE}
        """,
        others={**_MIGHTY, "administrator": DETECTED_SINCE_15},
        blinds=True,
    ),
]
