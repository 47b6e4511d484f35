"""Attacks that go for the rows of the audit log: the triggers refuse them to everybody, superusers included."""

from attacks import HARMLESS, REFUSED_SINCE_15, attack

_WRITERS = {"audit": HARMLESS, "writer": HARMLESS, "superuser": HARMLESS}
_ENTRY = "INSERT INTO audit_entries (actor, action, outcome) VALUES ('mallory', 'write', 'success')"

CHANGES = [
    attack("update-entries", "UPDATE audit_entries SET actor = 'mallory'"),
    attack("update-nothing", "UPDATE audit_entries SET actor = 'mallory' WHERE false"),
    attack("delete-entries", "DELETE FROM audit_entries"),
    attack("delete-in-cte", "WITH gone AS (DELETE FROM audit_entries RETURNING 1) SELECT count(*) FROM gone"),
    attack("truncate-entries", "TRUNCATE audit_entries"),
    attack("truncate-cascade", "TRUNCATE audit_entries, audit_links, audit_head CASCADE"),
    attack(
        "truncate-through-key",
        """
        CREATE TABLE parent (id text PRIMARY KEY);;
        ALTER TABLE audit_entries ADD FOREIGN KEY (target_id) REFERENCES parent NOT VALID;;
        TRUNCATE parent CASCADE
        """,
    ),
    attack(
        "delete-through-key",
        """
        CREATE TABLE parent (id text PRIMARY KEY);;
        INSERT INTO parent SELECT DISTINCT target_id FROM audit_entries WHERE target_id IS NOT NULL;;
        ALTER TABLE audit_entries ADD FOREIGN KEY (target_id) REFERENCES parent ON DELETE CASCADE;;
        DELETE FROM parent
        """,
    ),
    attack(
        "refer-to-entries",
        """
        CREATE TABLE child (entry bigint REFERENCES audit_entries ON DELETE CASCADE);;
        DELETE FROM audit_entries
        """,
    ),
    attack(
        "through-parent-table",
        """
        CREATE TABLE parent (LIKE audit_entries);;
        ALTER TABLE audit_entries INHERIT parent;;
        UPDATE parent SET actor = 'mallory'
        """,
    ),
    attack(
        "delete-through-parent-table",
        """
        CREATE TABLE parent (LIKE audit_links);;
        ALTER TABLE audit_links INHERIT parent;;
        DELETE FROM parent
        """,
    ),
    attack("through-view", "CREATE VIEW mine AS SELECT * FROM audit_entries;; UPDATE mine SET actor = 'mallory'"),
    attack(
        "through-rule",
        "CREATE VIEW mine AS SELECT 1 AS one;; CREATE RULE away AS ON UPDATE TO mine DO INSTEAD DELETE FROM audit_entries;; UPDATE mine SET one = 2",
    ),
    attack(
        "on-conflict-update",
        """
        INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'b', 'success')
        ON CONFLICT (id) DO UPDATE SET actor = 'mallory'
        """,
    ),
    attack(
        "merge-update",
        "MERGE INTO audit_entries AS e USING (SELECT 1) AS one ON true WHEN MATCHED THEN UPDATE SET actor = 'mallory'",
        everybody=REFUSED_SINCE_15,
    ),
    attack(
        "merge-delete",
        "MERGE INTO audit_entries AS e USING (SELECT 1) AS one ON true WHEN MATCHED THEN DELETE",
        everybody=REFUSED_SINCE_15,
    ),
    attack(
        "replication-role", "SET LOCAL session_replication_role = replica;; UPDATE audit_entries SET actor = 'mallory'"
    ),
    attack("replication-role-truncate", "SET LOCAL session_replication_role = replica;; TRUNCATE audit_entries"),
    attack("in-do-block", "DO $$ BEGIN DELETE FROM audit_entries; EXCEPTION WHEN division_by_zero THEN NULL; END $$"),
    attack("update-links", "UPDATE audit_links SET digest = sha256('')"),
    attack("delete-links", "DELETE FROM audit_links"),
    attack("truncate-links", "TRUNCATE audit_links"),
    attack("insert-link", "INSERT INTO audit_links VALUES (1000, 1000, sha256(''))"),
    attack("copy-links", "COPY audit_links FROM STDIN", rows="1000\t1000\t\\\\x" + "00" * 32 + "\n"),
    attack("update-head", "UPDATE audit_head SET sequence = 0"),
    attack("delete-head", "DELETE FROM audit_head"),
    attack("truncate-head", "TRUNCATE audit_head"),
    attack("insert-head", "INSERT INTO audit_head (singleton, sequence, digest) VALUES (true, 0, sha256(''))"),
    attack("call-the-writer", "SELECT link_audit_entries()", others={"audit": "0A000", "superuser": "0A000"}),
]

FORGERIES = [
    attack(
        "choose-number",
        f"""
        {_ENTRY};;
        INSERT INTO audit_entries (id, actor, action, outcome) OVERRIDING SYSTEM VALUE
        VALUES (999999, 'mallory', 'write', 'success')
        """,
    ),
    attack(
        "copy-number",
        f"{_ENTRY};; COPY audit_entries (id, actor, action, outcome) FROM STDIN",
        rows="999999\tmallory\twrite\tsuccess\n",
    ),
    attack(
        "choose-time",
        """
        INSERT INTO audit_entries (actor, action, outcome, recorded_at)
        VALUES ('mallory', 'write', 'success', '2000-01-01Z')
        """,
        others=_WRITERS,
    ),
    attack(
        "copy-time",
        "COPY audit_entries (actor, action, outcome, recorded_at) FROM STDIN",
        rows="mallory\twrite\tsuccess\t2000-01-01 00:00:00+00\n",
        others=_WRITERS,
    ),
    attack(
        "choose-role",
        """
        INSERT INTO audit_entries (actor, action, outcome, database_role)
        VALUES ('mallory', 'write', 'success', 'somebody')
        """,
        others=_WRITERS,
    ),
    attack(
        "choose-transaction",
        "INSERT INTO audit_entries (actor, action, outcome, transaction_id) VALUES ('mallory', 'write', 'success', 1)",
        others=_WRITERS,
    ),
    attack(
        "copy-program",
        "COPY audit_entries (actor, action, outcome) FROM PROGRAM 'printf ''mallory\\twrite\\tsuccess\\n'''",
        others={"superuser": HARMLESS},
    ),
    attack(
        "shadow-by-temporary-table",
        f"""
        CREATE TEMPORARY TABLE audit_head (singleton boolean, sequence bigint, digest bytea) ON COMMIT DROP;;
        INSERT INTO audit_head VALUES (true, 0, sha256(''));;
        {_ENTRY.replace("audit_entries", "public.audit_entries")}
        """,
        others={"superuser": HARMLESS},
    ),
    attack(
        "shadow-by-own-schema",
        f"""
        CREATE SCHEMA mine;;
        CREATE TABLE mine.audit_head (singleton boolean, sequence bigint, digest bytea);;
        SET LOCAL search_path = mine, public;;
        {_ENTRY.replace("audit_entries", "public.audit_entries")};;
        DROP SCHEMA mine CASCADE
        """,
        others={"superuser": HARMLESS},
    ),
]
