"""The audit log: what is refused, what the server sets, and what the verification finds."""

import datetime
import hashlib
import io
import ipaddress
import struct
import threading
import time

import psycopg2
import psycopg2.errorcodes
import psycopg2.extensions
import pytest
from mission_control_database import ROLES

GENESIS = bytes(32)
CHANGES = [
    "UPDATE audit_entries SET actor = 'nobody'",
    "UPDATE audit_entries SET actor = 'nobody' WHERE false",
    "DELETE FROM audit_entries",
    "TRUNCATE audit_entries",
    "TRUNCATE audit_entries, audit_links, audit_head CASCADE",
    "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'b', 'success') "
    "ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
    "UPDATE audit_links SET digest = sha256('')",
    "DELETE FROM audit_links",
    "TRUNCATE audit_links",
    "INSERT INTO audit_links VALUES (1000, 1000, sha256(''))",
    "UPDATE audit_head SET sequence = 0",
    "DELETE FROM audit_head",
    "TRUNCATE audit_head",
    "INSERT INTO audit_head (singleton, sequence, digest) VALUES (true, 0, sha256(''))",
]


def audit(session, **columns):
    return session.insert("audit_entries", **{"actor": "alice", "action": "task.run", "outcome": "success", **columns})


def verify(session, *arguments):
    holders = ", ".join(["%s"] * len(arguments))
    return session.row(f"SELECT * FROM verify_audit_chain({holders})", *arguments)


def head(session):
    row = session.row("SELECT sequence, digest FROM audit_head")
    return row["sequence"], row["digest"]


@pytest.fixture
def ten(application):
    """Ten linked entries."""
    for number in range(10):
        audit(application, target_type="task", target_id=str(number), details={"number": number})
    return application


@pytest.mark.parametrize("role", ["application", "owner", "audit", "admin", "readonly", "monitor", "service"])
def test_nobody_changes_it(database, ten, role):
    """Not the owner of the audit log and not a superuser either, as long as they leave its triggers alone."""
    session = database.session(role)
    for statement in CHANGES:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            session.run(statement)
    assert verify(ten)["valid"]
    assert head(ten)[0] == 10


def test_nor_under_the_replication_role(ten, admin):
    admin.run("SET session_replication_role = replica")
    for statement in CHANGES:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            admin.run(statement)
    audit(admin)
    assert verify(admin)["valid"], "an entry written under it is stamped and linked like any other"
    assert head(admin)[0] == 11


def test_nor_with_the_right_to_write_all_data(ten, writer_of_all):
    for statement in CHANGES:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            writer_of_all.run(statement)


def test_nor_through_a_parent_table(ten, admin):
    admin.run("CREATE TABLE parent (LIKE audit_entries)")
    admin.run("ALTER TABLE audit_entries INHERIT parent")
    for statement in ("UPDATE parent SET actor = 'nobody'", "DELETE FROM parent"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="immutable"):
            admin.run(statement)


@pytest.mark.parametrize("role", ["application", "owner"])
def test_the_guards_cannot_be_taken_away(database, ten, role):
    session = database.session(role)
    for statement in (
        "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
        "DROP TRIGGER tr_audit_entries_immutable_row ON audit_entries",
        "DROP TABLE audit_entries CASCADE",
        "ALTER TABLE audit_entries RENAME TO other",
        "CREATE RULE nothing AS ON INSERT TO audit_entries DO INSTEAD NOTHING",
        "CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        "CREATE TRIGGER mine BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE TABLE child () INHERITS (audit_entries)",
        "ALTER TABLE tasks ADD FOREIGN KEY (title) REFERENCES audit_entries (id)",
        "DROP FUNCTION link_audit_entries() CASCADE",
        "SELECT link_audit_entries()",
        f"SET ROLE {ROLES['audit']}",
    ):
        with pytest.raises((psycopg2.errors.InsufficientPrivilege, psycopg2.errors.FeatureNotSupported)):
            session.run(statement)
    assert verify(ten)["valid"]


@pytest.mark.parametrize("column", ["id", "recorded_at", "database_role", "transaction_id"])
def test_the_application_cannot_name_what_the_server_sets(application, column):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        application.run(
            f"INSERT INTO audit_entries (actor, action, outcome, {column}) OVERRIDING SYSTEM VALUE "
            "VALUES ('a', 'b', 'success', NULL)"
        )


def test_nor_can_a_superuser(admin, application):
    audit(application)
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState):
        admin.run(
            "INSERT INTO audit_entries (id, actor, action, outcome) OVERRIDING SYSTEM VALUE VALUES (99, 'a', 'b', 'success')"
        )
    audit(admin)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="given by the server"):
        admin.run(
            "INSERT INTO audit_entries (id, actor, action, outcome) OVERRIDING SYSTEM VALUE VALUES (99, 'a', 'b', 'success')"
        )
    row = audit(admin, recorded_at="2000-01-01Z", database_role="somebody", transaction_id=1)
    assert row["database_role"] == "postgres"
    assert row["transaction_id"] > 1
    assert abs(row["recorded_at"] - admin.value("SELECT clock_timestamp()")) < datetime.timedelta(minutes=1)
    assert verify(admin)["valid"]


def test_copy_writes_entries_that_are_stamped_and_linked(application, admin):
    lines = "".join(f"alice\tcopy\tsuccess\t{number}\n" for number in range(5))
    with application.connection.cursor() as cursor:
        cursor.copy_expert("COPY audit_entries (actor, action, outcome, target_id) FROM STDIN", io.StringIO(lines))
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.copy_expert("COPY audit_entries (actor, action, outcome, recorded_at) FROM STDIN", io.StringIO(""))
    admin.value("SELECT nextval('audit_entries_id_seq')")
    with admin.connection.cursor() as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        cursor.copy_expert(
            "COPY audit_entries (id, actor, action, outcome) FROM STDIN", io.StringIO("77\ta\tb\tsuccess\n")
        )
    assert verify(application)["verified"] == 5
    assert set(application.values("SELECT database_role FROM audit_entries")) == {ROLES["application"]}


def test_merge_is_refused_where_the_server_has_it(ten, admin):
    merge = """
        MERGE INTO audit_entries AS e USING (SELECT 1) AS one ON true
        WHEN MATCHED THEN {}
    """
    # Before PostgreSQL 15 MERGE is not even a word.
    refusals = (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.SyntaxError)
    for action in ("DELETE", "UPDATE SET actor = 'nobody'"):
        with pytest.raises(refusals):
            admin.run(merge.format(action))
    assert verify(ten)["valid"]


def test_the_role_that_logged_in_is_recorded(database, application):
    assert audit(application)["database_role"] == ROLES["application"]
    admin = database.session("admin")
    admin.run(f"SET ROLE {ROLES['application']}")
    assert audit(admin)["database_role"] == "postgres"


def test_the_address_of_the_client_is_the_default(application, cluster, database):
    assert audit(application)["source_address"] is None, "over a Unix socket there is none"
    assert audit(application, source_address="192.0.2.7")["source_address"] == "192.0.2.7"
    admin = database.session("admin")
    admin.run(f"ALTER ROLE {ROLES['application']} PASSWORD 'integration'")
    connection = psycopg2.connect(
        host="127.0.0.1", port=cluster.port, dbname=database.name, user=ROLES["application"], password="integration"
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'b', 'denied') RETURNING source_address"
        )
        assert cursor.fetchone() == ("127.0.0.1",)
    connection.close()


def digest_in_python(previous, sequence, entry):
    """The digest as its specification reads, computed without PostgreSQL."""
    message = previous
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    microseconds = (entry["recorded_at"] - epoch) // datetime.timedelta(microseconds=1)
    for number in (sequence, entry["id"], microseconds, entry["transaction_id"]):
        message += struct.pack(">q", number)
    address = entry["source_address"] and str(ipaddress.ip_interface(entry["source_address"]))
    for text in (
        *(
            entry[name]
            for name in ("database_role", "actor", "action", "target_type", "target_id", "outcome", "details")
        ),
        address,
    ):
        encoded = b"" if text is None else text.encode()
        message += struct.pack(">i", -1 if text is None else len(encoded)) + encoded
    return hashlib.sha256(message).digest()


def test_the_digest_is_what_its_specification_says_in_every_session(database, application):
    audit(application, actor="Łukasz 🦊", target_type="", target_id=None, details={"b": 1.50, "a": ["é", None]})
    audit(application, source_address="2001:db8::/32")
    audit(application, source_address="192.0.2.1")
    rows = application.rows(
        "SELECT e.*, e.details::text AS details, l.digest, l.sequence FROM audit_links l JOIN audit_entries e ON e.id = l.entry_id ORDER BY 1"
    )
    previous = GENESIS
    for row in rows:
        previous = digest_in_python(previous, row["sequence"], row)
        assert row["digest"] == previous
    admin = database.session("admin")
    for settings in (
        {"timezone": "Pacific/Chatham", "datestyle": "German", "intervalstyle": "sql_standard"},
        {"timezone": "America/St_Johns", "datestyle": "SQL, DMY", "bytea_output": "escape", "extra_float_digits": "-5"},
        {"client_encoding": "LATIN2", "lc_numeric": "C", "search_path": "pg_catalog"},
    ):
        for name, value in settings.items():
            admin.run(f"SET {name} = '{value}'")
        assert admin.value("SELECT valid FROM public.verify_audit_chain()")


def test_entries_are_linked_at_commit_in_the_order_of_commits(database, application):
    other = database.session("application")
    application.run("BEGIN")
    first = audit(application)
    second = audit(other)
    audit(application)
    application.run("COMMIT")
    rolled_back = database.session("application")
    rolled_back.run("BEGIN")
    audit(rolled_back)
    rolled_back.run("ROLLBACK")
    last = audit(other)
    order = application.values("SELECT entry_id FROM audit_links ORDER BY sequence")
    assert order == [second["id"], first["id"], first["id"] + 2, last["id"]]
    assert verify(application) | {"head_digest": None} == {
        "valid": True,
        "verified": 4,
        "head_sequence": 4,
        "head_digest": None,
        "first_bad_sequence": None,
        "problem": None,
    }


def test_savepoints_and_many_entries_in_one_transaction(application):
    with application.transaction():
        audit(application)
        application.run("SAVEPOINT s")
        audit(application)
        application.run("ROLLBACK TO s")
        audit(application)
        application.run(
            "INSERT INTO audit_entries (actor, action, outcome) SELECT 'a', 'b', 'success' FROM generate_series(1, 1000)"
        )
    result = verify(application)
    assert (result["valid"], result["verified"]) == (True, 1002)
    assert application.value("SELECT count(DISTINCT transaction_id) FROM audit_entries") == 1


@pytest.mark.parametrize("which", ["ALL", "tr_audit_chain"])
@pytest.mark.parametrize("early", [True, False])
def test_the_head_cannot_be_held_before_commit(database, application, which, early):
    """A session that could make the trigger immediate would move the head, and then hold its lock for as long as it likes."""
    application.run("BEGIN")
    entry = "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'b', 'success')"
    immediate = f"SET CONSTRAINTS {which} IMMEDIATE"
    first, second = (immediate, entry) if early else (entry, immediate)
    application.run(first)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="linked at commit"):
        application.run(second)
    other = database.session("application")
    other.run("SET lock_timeout = '2s'")
    audit(other)
    application.run("ROLLBACK")
    assert verify(other)["valid"]


def test_nor_by_a_prepared_transaction(application):
    application.run("BEGIN")
    audit(application)
    with pytest.raises(psycopg2.errors.FeatureNotSupported, match="PREPARE"):
        application.run("PREPARE TRANSACTION 'forever'")


def test_the_head_cannot_be_locked_by_others(database, ten):
    for role in ("application", "owner", "readonly", "monitor", "service"):
        session = database.session(role)
        for statement in (
            "SELECT * FROM audit_head FOR UPDATE",
            "SELECT * FROM audit_head FOR KEY SHARE",
            "LOCK TABLE audit_head IN SHARE MODE",
            "LOCK TABLE audit_links IN ROW EXCLUSIVE MODE",
            "LOCK TABLE audit_entries IN SHARE ROW EXCLUSIVE MODE",
        ):
            session.run("BEGIN")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                session.run(statement)
            session.run("ROLLBACK")


def test_every_advisory_lock_may_be_held_meanwhile(database, application):
    holder = database.session("application")
    holder.run("SELECT pg_advisory_lock(key) FROM generate_series(-50, 50) AS key")
    application.run("SET lock_timeout = '2s'")
    audit(application)


# Verification ---------------------------------------------------------------------------------------------------------

TAMPERINGS = [
    (
        "first entry edited",
        "UPDATE audit_entries SET actor = 'mallory' WHERE id = (SELECT min(id) FROM audit_entries)",
        1,
    ),
    (
        "time edited",
        "UPDATE audit_entries SET recorded_at = recorded_at + interval '1 microsecond' WHERE target_id = '4'",
        5,
    ),
    ("NULL for an empty text", "UPDATE audit_entries SET details = '{\"number\": 9.0}' WHERE target_id = '9'", 10),
    ("last entry edited", "UPDATE audit_entries SET outcome = 'failure' WHERE target_id = '9'", 10),
    ("first entry removed", "DELETE FROM audit_entries WHERE target_id = '0'", 1),
    ("middle entry removed", "DELETE FROM audit_entries WHERE target_id = '5'", 6),
    ("last entry removed", "DELETE FROM audit_entries WHERE target_id = '9'", 10),
    ("first link removed", "DELETE FROM audit_links WHERE sequence = 1", 1),
    ("middle link removed", "DELETE FROM audit_links WHERE sequence = 6", 6),
    ("a link forged", "UPDATE audit_links SET digest = sha256('x') WHERE sequence = 3", 3),
    ("entry and link moved", "UPDATE audit_links SET sequence = sequence + 1 WHERE sequence = 10", 10),
    (
        "entries swapped",
        "UPDATE audit_links SET entry_id = CASE sequence WHEN 3 THEN -1 ELSE entry_id END; "
        "UPDATE audit_links a SET entry_id = a.entry_id - 1 WHERE sequence = 4; "
        "UPDATE audit_links a SET entry_id = (SELECT entry_id + 1 FROM audit_links b WHERE b.sequence = 4) WHERE sequence = 3",
        3,
    ),
    (
        "middle removed with its link",
        "DELETE FROM audit_entries WHERE target_id = '5'; DELETE FROM audit_links WHERE sequence = 6",
        6,
    ),
    (
        "front removed with its links",
        "DELETE FROM audit_entries WHERE target_id < '3'; DELETE FROM audit_links WHERE sequence <= 3",
        1,
    ),
    (
        "tail removed with its link",
        "DELETE FROM audit_entries WHERE target_id = '9'; DELETE FROM audit_links WHERE sequence = 10",
        None,
    ),
    ("head set back", "UPDATE audit_head SET sequence = 9", None),
    ("head forged", "UPDATE audit_head SET digest = sha256('x')", None),
    ("head removed", "DELETE FROM audit_head", None),
    ("all removed but the head", "DELETE FROM audit_entries; DELETE FROM audit_links", None),
]


@pytest.fixture
def tamper(admin):
    """Do, as a superuser who switches the triggers off, what the triggers refuse."""

    def statements(sql):
        tables = ("audit_entries", "audit_links", "audit_head")
        admin.run("BEGIN")
        for table in tables:
            admin.run(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        admin.run(sql)
        for table in tables:
            admin.run(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
        admin.run("COMMIT")

    return statements


def test_every_tampering_is_found(database, ten, tamper, admin):
    """Each is tried in a transaction of its own that is rolled back, so that all of them meet the same ten entries."""
    assert verify(ten)["valid"]
    for name, statement, bad in TAMPERINGS:
        admin.run("BEGIN")
        for table in ("audit_entries", "audit_links", "audit_head"):
            admin.run(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        admin.run(statement)
        result = verify(admin)
        admin.run("ROLLBACK")
        assert not result["valid"], name
        assert result["problem"], name
        assert result["first_bad_sequence"] == bad, name
    assert verify(ten)["valid"]


def test_only_a_head_kept_elsewhere_shows_a_tail_that_was_cut_off_with_care(ten, tamper):
    kept = head(ten)
    assert verify(ten, *kept)["valid"]
    tamper(
        """
        DELETE FROM audit_entries WHERE target_id >= '8';
        DELETE FROM audit_links WHERE sequence > 8;
        UPDATE audit_head SET sequence = 8, digest = (SELECT digest FROM audit_links WHERE sequence = 8)
        """
    )
    assert verify(ten)["valid"], "from inside nothing can be seen"
    result = verify(ten, *kept)
    assert (result["valid"], result["problem"]) == (False, "the chain ends at 8, before the expected 10")
    audit(ten)
    audit(ten)
    assert head(ten)[0] == 10
    result = verify(ten, *kept)
    assert (result["valid"], result["problem"]) == (False, "link 10 is not the expected one")


def test_an_entry_slipped_in_without_a_link_is_found(ten, tamper):
    tamper("INSERT INTO audit_entries (actor, action, outcome) VALUES ('m', 'm', 'success')")
    result = verify(ten)
    assert (result["valid"], result["problem"]) == (False, "1 entries are not in the chain")


def test_a_chain_that_has_grown_still_holds_the_older_head(ten):
    kept = head(ten)
    audit(ten)
    assert verify(ten, *kept)["valid"]
    assert verify(ten, 0, GENESIS)["valid"]
    assert verify(ten, kept[0])["valid"], "the number alone shows a loss"
    assert not verify(ten, 0, hashlib.sha256(b"x").digest())["valid"]
    assert not verify(ten, 12)["valid"]


def test_from_a_checkpoint_only_what_came_after_is_read(ten, tamper):
    checkpoint = head(ten)
    for _ in range(5):
        audit(ten, target_id="later")
    result = verify(ten, None, None, *checkpoint)
    assert (result["valid"], result["verified"]) == (True, 5)
    assert verify(ten, *head(ten), *checkpoint)["valid"]
    assert verify(ten, *head(ten), *head(ten))["verified"] == 0
    wrong = verify(ten, None, None, 10, hashlib.sha256(b"x").digest())
    assert (wrong["valid"], wrong["problem"]) == (False, "the checkpoint 10 is not in the chain")
    tamper(
        "UPDATE audit_entries SET actor = 'm' WHERE target_id = 'later' AND id = (SELECT max(id) FROM audit_entries)"
    )
    result = verify(ten, None, None, *checkpoint)
    assert (result["valid"], result["first_bad_sequence"]) == (False, 15)


@pytest.mark.parametrize("arguments", [(None, GENESIS), (None, None, 1), (None, None, None, GENESIS)])
def test_half_an_expectation_is_refused(application, arguments):
    with pytest.raises(psycopg2.errors.InvalidParameterValue):
        verify(application, *arguments)


def test_an_empty_log_is_valid(application):
    result = verify(application, 0, GENESIS)
    assert (result["valid"], result["verified"], result["head_sequence"]) == (True, 0, 0)


@pytest.mark.parametrize("role", ["readonly", "monitor", "service", "admin"])
def test_those_who_watch_may_verify(database, ten, role):
    assert verify(database.session(role))["valid"]


# Concurrency ----------------------------------------------------------------------------------------------------------


def write_concurrently(database, isolation, writers, each, pause):
    """Every writer commits `each` transactions with one or two entries, tried again after a serialisation error."""
    results = {"committed": 0, "entries": 0, "serialisation": 0, "other": []}
    lock = threading.Lock()
    sessions = [database.session("application") for _ in range(writers)]
    start = threading.Barrier(writers)

    def write(number):
        session = sessions[number]
        start.wait()
        done = 0
        while done < each:
            entries = 1 + done % 2
            try:
                with session.transaction(isolation):
                    for _ in range(entries):
                        audit(session, actor=f"writer {number}", details={"done": done})
                    session.run("SELECT pg_sleep(%s)", pause)
            except psycopg2.Error as error:
                with lock:
                    if error.pgcode == psycopg2.errorcodes.SERIALIZATION_FAILURE:
                        results["serialisation"] += 1
                        continue
                    results["other"].append(str(error))
                return
            done += 1
            with lock:
                results["committed"] += 1
                results["entries"] += entries

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert not any(thread.is_alive() for thread in threads)
    return results


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_sixteen_writers_never_fork_the_chain(database, isolation):
    each = 20 if isolation == "READ COMMITTED" else 5
    results = write_concurrently(database, isolation, writers=16, each=each, pause=0.002)
    assert results["other"] == []
    assert results["committed"] == 16 * each
    if isolation == "READ COMMITTED":
        assert results["serialisation"] == 0
    admin = database.session("admin")
    result = verify(admin)
    assert (result["valid"], result["problem"]) == (True, None)
    assert result["verified"] == results["entries"] == admin.value("SELECT count(*) FROM audit_entries")
    # Independently of the verifier: one link for each entry, positions without a gap.
    links = admin.row(
        "SELECT count(*), count(DISTINCT entry_id) AS entries, min(sequence), max(sequence) FROM audit_links"
    )
    assert links == {"count": result["verified"], "entries": result["verified"], "min": 1, "max": result["verified"]}


def test_the_chain_does_not_deadlock_with_row_locks(database):
    """Two writers that update the same two rows around their audit entries, in one order, wait and never deadlock."""
    setup = database.session("application")
    for name in ("a", "b"):
        setup.insert("services", name=name)
    errors = []
    sessions = [database.session("application") for _ in range(8)]

    def write(session):
        try:
            for _ in range(10):
                with session.transaction():
                    audit(session)
                    session.run("UPDATE services SET description = clock_timestamp()::text WHERE name = 'a'")
                    audit(session)
                    session.run("UPDATE services SET description = clock_timestamp()::text WHERE name = 'b'")
        except psycopg2.Error as error:
            errors.append(str(error))

    threads = [threading.Thread(target=write, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert errors == []
    assert verify(setup)["verified"] == 160


@pytest.mark.parametrize("asked_for", ["debug5", "error"])
def test_the_warning_of_a_cancelled_wait_for_a_standby_is_sent(application, absent_standby, asked_for):
    """The only sign by which a client can know that what it wrote is on one server alone: its COMMIT succeeds."""
    connection = application.connection
    application.run("SET synchronous_commit = on")
    application.run(f"SET client_min_messages = '{asked_for}'")
    deadline = time.monotonic() + 60
    warned = []

    def commit():
        # The first ones may come before the server has read that there is a standby to wait for.
        while not warned and time.monotonic() < deadline:
            connection.notices.clear()
            audit(application)
            warned.extend(each for each in connection.notices if "canceling wait for synchronous replication" in each)

    thread = threading.Thread(target=commit)
    thread.start()
    while thread.is_alive():
        absent_standby.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'",
            [connection.info.backend_pid],
        )
        thread.join(0.05)
    assert warned
    assert verify(application)["valid"]
