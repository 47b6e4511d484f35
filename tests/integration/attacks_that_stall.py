"""Attacks that want to hold up everybody else's audit entries: the statements are run, and their transaction is left open."""

from attacks import HARMLESS, attack

# The statements succeed; others wait until their lock_timeout, lose nothing, and go on when the holder is gone.
STALLS = "stalls"

_ENTRY = "INSERT INTO audit_entries (actor, action, outcome) VALUES ('mallory', 'hold', 'success')"
_MIGHTY = {"audit": STALLS, "superuser": STALLS, "writer": STALLS}
_WRITES = ("application", "owner", "audit", "writer", "superuser")
_READS = ("application", "readonly", "audit", "writer", "superuser")


def _only(roles, outcome):
    return dict.fromkeys(roles, outcome)


HOLDS = [
    attack("lock-head-row", "SELECT * FROM audit_head FOR UPDATE", others=_MIGHTY),
    attack("lock-head-row-shared", "SELECT * FROM audit_head FOR KEY SHARE", others=_MIGHTY),
    attack("share-head-row", "SELECT * FROM audit_head FOR SHARE", others=_MIGHTY),
    attack("lock-entries-rows", "SELECT * FROM audit_entries FOR UPDATE", others=_only(_MIGHTY, HARMLESS)),
    attack("lock-head-table", "LOCK TABLE audit_head IN SHARE MODE", others=_MIGHTY),
    attack("lock-links-table", "LOCK TABLE audit_links IN EXCLUSIVE MODE", others=_MIGHTY),
    attack("lock-entries-table", "LOCK TABLE audit_entries IN ACCESS EXCLUSIVE MODE", others=_MIGHTY),
    attack(
        "lock-to-read",
        "LOCK TABLE audit_entries, audit_links, audit_head IN ACCESS SHARE MODE",
        others=_only(_READS, HARMLESS),
    ),
    attack(
        "lock-other-tables",
        "LOCK TABLE tasks, task_runs, services IN ACCESS EXCLUSIVE MODE",
        others=_only(("application", "owner", "writer", "superuser"), HARMLESS),
    ),
    attack("advisory-locks", "SELECT pg_advisory_lock(key) FROM generate_series(-50, 50) AS key", everybody=HARMLESS),
    attack(
        "entry-without-commit",
        f"{_ENTRY};; SAVEPOINT one;; {_ENTRY};; ROLLBACK TO one",
        others=_only(_WRITES, HARMLESS),
    ),
    attack("link-before-commit", f"{_ENTRY};; SET CONSTRAINTS ALL IMMEDIATE"),
    attack("link-before-commit-by-name", f"{_ENTRY};; SET CONSTRAINTS tr_audit_chain IMMEDIATE"),
    attack("link-at-once", f"SET CONSTRAINTS ALL IMMEDIATE;; {_ENTRY}"),
    attack(
        "prepared-transaction",
        f"{_ENTRY};; PREPARE TRANSACTION 'for-ever'",
        others=_only(_WRITES, "0A000"),
    ),
    attack(
        "old-snapshot",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;; SELECT count(*) FROM pg_class",
        everybody=HARMLESS,
    ),
]
