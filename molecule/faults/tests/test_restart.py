"""The server is restarted in the middle of a migration, and of an application's writes."""

from __future__ import annotations

import pytest
from fault_tools import LOST, SESSIONS, SITE_TABLES, SLEEPING, SLOW, address, sentence, writing

RESTART = (
    "pg_ctlcluster --skip-systemctl-redirect 15 main stop --mode {mode}; "
    "until systemctl start postgresql@15-main && pg_isready --quiet; do sleep 0.2; done"
)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_leaves_nothing_half_done_and_loses_no_row(
    database, application, query, site, migrate, in_background, eventually, mode
):
    variables = site(SLOW.format(seconds=60))
    with writing(application, address(database), 5432, f"restart-{mode}", query) as writer:
        run = in_background(migrate, variables)
        eventually(lambda: query(SLEEPING) == "1")
        database.check_output(RESTART.format(mode=mode))
        outcome = run.result()
        writer.goes_on()
    assert outcome.returncode != 0
    assert "Traceback" not in outcome.output
    assert "terminating connection" in sentence(outcome) or "server closed the connection" in sentence(outcome)
    assert (query(SESSIONS), query(SITE_TABLES)) == ("0", "0")
    variables = site(SLOW.format(seconds=0))
    again = migrate(variables)
    assert again.returncode == 0, again.output
    assert query(SITE_TABLES) == "2"
    assert migrate(variables).changed == 0
    # A transaction that was under way failed with a named error; the next ones found the new server.
    assert {note["error"] for note in writer.failures()} <= LOST
