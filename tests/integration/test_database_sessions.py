"""Every session that the role begins as an administrator: its names are bound before the first statement, and odd settings change nothing."""

from __future__ import annotations

import contextlib
import re
from types import SimpleNamespace

import pytest
import traps
from database_lab import DatabaseLab, prepare_cluster
from mission_control_database import Session
from playbook import run_playbook
from throwaway_cluster import ThrowawayCluster

BOUND = re.compile(r"SET (LOCAL )?search_path = pg_catalog, pg_temp")
LINE = re.compile(r"^(\S+)\|(\S*)\|(\S*)\|LOG:  statement: (.*)")
# What somebody may have set for his administrator; each of them has led a statement of ours astray or stopped it.
ODD = {
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "row_security": "off",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "client_encoding": "LATIN1",
    "DateStyle": "'SQL, DMY'",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "search_path": "public, pg_catalog",
    "role": "lesser",
    "constraint_exclusion": "on",
    "array_nulls": "off",
    "xmlbinary": "hex",
}


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster(log_statement="all", log_line_prefix="%c|%u|%d|") as server:
        prepare_cluster(server)
        yield server


@pytest.fixture
def odd(cluster):
    """The administrators and the maintenance database with odd settings, and strangers' traps in it."""
    with contextlib.closing(Session(cluster.connect())) as session:
        session.run("CREATE ROLE lesser; GRANT CREATE ON SCHEMA public TO PUBLIC")
        session.run("GRANT lesser TO keeper")
        session.run("ALTER DATABASE postgres SET search_path = public, pg_catalog")
    place = SimpleNamespace(cluster=cluster, name="postgres")
    with traps.planter(place, of="") as stranger:
        planted = [traps.plant(stranger, sort) for sort in traps.BY_NAME]
        with contextlib.closing(Session(cluster.connect())) as session:
            for name, value in ODD.items():
                for user in ("postgres", "keeper"):
                    session.run(f"ALTER ROLE {user} SET {name} = {value}")
        try:
            yield planted
        finally:
            with contextlib.closing(
                Session(cluster.connect(options="-c default_transaction_read_only=off -c role=none"))
            ) as session:
                session.run(
                    "ALTER ROLE postgres RESET ALL; ALTER ROLE keeper RESET ALL; ALTER DATABASE postgres RESET ALL"
                )
                session.run("DROP OWNED BY lesser; DROP ROLE lesser")


def sessions(log, user):
    """Statements of each session of a user, in order, without the one that the driver sends where dates have another style, which names nothing."""
    found: dict[str, list[str]] = {}
    for line in log.splitlines():
        match = LINE.match(line)
        if match and match[2] == user and match[4] != "SET datestyle TO 'ISO'":
            found.setdefault(match[1], []).append(match[4])
    return list(found.values())


@pytest.mark.parametrize("user", ["postgres", "keeper"])
def test_it_works_under_odd_settings_and_binds_its_names_first(cluster, tmp_path, odd, user):
    lab = DatabaseLab(cluster, tmp_path, user)
    with open(cluster.log_file, encoding="utf-8", errors="replace") as log:
        log.seek(0, 2)
        lab.run().succeeded()
        second = lab.run().succeeded()
        assert second.recap["changed"] == 0
        removed = run_playbook(
            "playbooks/remove.yml",
            {
                **lab.variables,
                "mission_control_postgresql_mode": "existing",
                "mission_control_database_remove_confirm": lab.name,
            },
            home=tmp_path,
        )
        removed.succeeded()
        text = log.read()
    begun = sessions(text, user)
    assert len(begun) >= 6
    for statements in begun:
        first = next(each for each in statements if each != "BEGIN")
        bound = BOUND.fullmatch(first)
        # In a transaction the path lasts as long as that does, and all statements are in one.
        assert bound, statements[:2]
        assert (statements[0] == "BEGIN") == bool(bound[1])
        assert statements.count("BEGIN") == (1 if bound[1] else 0)
    # The log holds the traps' own text, too, where a name is still a "%".
    assert [traps.fired(cluster, trap, but="%") for trap in odd] == [set()] * len(odd)
    with contextlib.closing(Session(cluster.connect(options="-c search_path=public,pg_catalog -c role=none"))) as admin:
        for trap in odd:
            traps.set_off(admin, trap)
    assert [traps.fired(cluster, trap, but="%") for trap in odd] == [{"postgres"}] * len(odd)
