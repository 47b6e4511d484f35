"""The clock of the database's host is set back, by an hour, while the server runs: for the server alone, since a container's clock is the machine's."""

from __future__ import annotations

import pytest
from fault_tools import wait_until
from sql_on_host import Login

RUNNING_CLOCK = "/etc/postgresql/15/main/environment"
OFFSET = "/var/lib/postgresql/clock"


@pytest.fixture(scope="module")
def clock(database):
    """A callable: set the server's clock, in seconds before or after the true time. The next statement sees it."""
    database.check_output(f"cp --preserve {RUNNING_CLOCK} /root/environment")
    library = database.check_output("ls /usr/lib/*/faketime/libfaketime.so.1")
    settings = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": OFFSET,
        "FAKETIME_NO_CACHE": "1",
        # Time-outs and waits go on as they would on a machine whose clock was set.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    database.check_output("printf %%s %s >>" + RUNNING_CLOCK, lines)

    def set_clock(seconds: int) -> None:
        database.check_output(f"printf '%+ds' {seconds} >{OFFSET}")

    def restart():
        database.check_output("systemctl restart postgresql@15-main")
        wait_until(lambda: database.run("pg_isready").succeeded)

    set_clock(0)
    restart()
    yield set_clock
    database.check_output(f"cp --preserve /root/environment {RUNNING_CLOCK}; rm {OFFSET}")
    restart()


@pytest.fixture
def application(database):
    return Login(database, "mission_control", "application-password", "mission_control")


@pytest.fixture
def write(application):
    return lambda statement, *parameters: application.rows(statement, *parameters, commit=True)


HOUR = 3600
ENTRY = "INSERT INTO audit_entries (actor, action, outcome) VALUES ('clock', %s, 'success') RETURNING id"


def test_audit_entries_keep_their_order_and_the_chain_verifies(clock, application, write, query):
    moments = (0, -HOUR, -2 * HOUR, 60)
    numbers = []
    for moment in moments:
        clock(moment)
        numbers += [row[0] for row in write(ENTRY, f"at {moment}")]
    assert numbers == sorted(numbers)
    rows = query(
        "SELECT l.sequence, e.action, e.recorded_at FROM audit_entries AS e JOIN audit_links AS l ON l.entry_id = e.id "
        f"WHERE e.id >= {numbers[0]} ORDER BY l.sequence"
    )
    actions = [line.split("|")[1] for line in rows.splitlines()]
    assert actions == [f"at {moment}" for moment in moments], "the chain is in the order of the commits"
    times = [line.split("|")[2] for line in rows.splitlines()]
    assert times != sorted(times), "each entry has the time that the server's clock showed"
    assert application.value("SELECT valid FROM verify_audit_chain()") is True


def test_a_cost_is_that_of_the_time_of_use_and_stays(clock, application, write):
    """A price that begins between the hour that the clock went back and now."""
    clock(0)
    model = "('openai', 'clock', %s, 0, now() - interval '{begin}', {end})"
    columns = "provider, model, input_usd_per_mtok, output_usd_per_mtok, valid_from, valid_to"
    for price, begin, end in (("1", "1 day", "now() - interval '30 minutes'"), ("5", "30 minutes", "NULL")):
        write(
            f"INSERT INTO provider_pricing ({columns}) VALUES {model.format(begin=begin, end=end)} RETURNING id", price
        )
    usage = "INSERT INTO token_usage (provider, model, input_tokens, occurred_at) VALUES ('openai', 'clock', 1000000, {at}) RETURNING id, estimated_cost_usd"
    costs = "SELECT id, estimated_cost_usd::text FROM token_usage WHERE model = 'clock' ORDER BY id"
    [[first, cost]] = write(usage.format(at="now()"))
    assert float(cost) == 5
    kept = application.rows(costs)
    clock(-HOUR)
    assert application.rows(costs) == kept, "a frozen cost does not move with the clock"
    [[second, cost]] = write(usage.format(at="now()"))
    assert float(cost) == 1, "the price of the time that the clock shows, which is the time of the row"
    [[third, cost]] = write(usage.format(at="now() + interval '1 hour'"))
    assert float(cost) == 5, "whoever knows the time of use gives it, and the clock is beside the point"
    assert first < second < third
    clock(0)
    assert [row[1] for row in application.rows(costs)] == [kept[0][1], "1.000000000000", "5.000000000000"]


def test_what_was_begun_before_can_be_finished_after(clock, application, write, query):
    clock(0)
    [[task]] = write("INSERT INTO tasks (title, created_by) VALUES ('clock', 'test') RETURNING id")
    [[run]] = write(
        "INSERT INTO task_runs (task_id, status, started_at) VALUES (%s, 'running', now()) RETURNING id", task
    )
    [[call_id]] = write("SELECT call_id FROM request_tool_call(%s, 'list_hosts')", run)
    assert query(f"SELECT accepted FROM start_tool_call('{call_id}', '{run}', '{{}}')") == "t"
    event = "INSERT INTO task_events (task_run_id, sequence, type) VALUES (%s, %s, 'log') RETURNING id"
    write(event, run, 1)
    clock(-HOUR)
    write(event, run, 2)
    finished = "UPDATE task_runs SET status = 'succeeded', finished_at = now() WHERE id = %s RETURNING finished_at < started_at"
    assert write(finished, run) == [[True]]
    assert query(f"SELECT accepted FROM finish_tool_call('{call_id}', '{run}', 'succeeded', '{{}}', NULL)") == "t"
    ended = "SELECT finished_at < started_at, duration_ms FROM tool_call_records WHERE id = %s"
    assert application.rows(ended, call_id) == [[True, 0]]
    events = "SELECT sequence FROM task_events WHERE task_run_id = %s ORDER BY {order}"
    assert (
        application.rows(events.format(order="sequence"), run)
        == application.rows(events.format(order="id"), run)
        == [[1], [2]]
    )
    [[went_back]] = write("UPDATE tasks SET title = 'set back' WHERE id = %s RETURNING updated_at < created_at", task)
    assert went_back, "updated_at is when the clock says it was"
    clock(0)


def test_a_price_list_that_is_brought_in_again_changes_nothing(clock, query):
    """The seed's prices are in force; an hour earlier, as the clock says, the same list does not open or close a period."""
    again = 'SELECT apply_provider_prices(\'[{"provider": "openai", "model": "again", "input": 1, "output": 2}]\', \'user\')'
    clock(0)
    assert query(again) == "1"
    clock(-HOUR)
    assert query(again) == "0"
    periods = "SELECT count(*), bool_and(valid_to IS NULL) FROM provider_pricing WHERE model = 'again'"
    assert query(periods) == "1|t"
    changed = again.replace('"input": 1', '"input": 3')
    assert query(changed) == "2"
    open_periods = "SELECT input_usd_per_mtok::float FROM provider_pricing WHERE model = 'again' AND valid_to IS NULL"
    assert query(open_periods) == "3"
    clock(0)
    # The new price began by a clock that went wrong: it counts from then on, and periods neither overlap nor leave a gap.
    assert query(changed) == "0"
    gaps = (
        "SELECT count(*) FROM (SELECT valid_from, lag(valid_to) OVER (ORDER BY valid_from) AS before "
        "FROM provider_pricing WHERE model = 'again') AS periods WHERE before <> valid_from"
    )
    assert query(gaps) == "0"
