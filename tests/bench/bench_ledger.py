"""Print how many calls of language models the ledger records in a second. Run by `make bench`; asserts nothing.

A throw-away server that writes to disk as a real one does (fsync on); each line is the median of some rounds. MISSION_CONTROL_BENCH_BEFORE
names a commit whose SQL files are compared with those that are here, in a second database of the same server.
"""

import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration")]

import mission_control_database as layer  # noqa: E402
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.calls import record_llm_call  # noqa: E402
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.usage import normalise_usage  # noqa: E402
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.runner import PriceList  # noqa: E402
from library_client import client_of  # noqa: E402
from psycopg2.extras import Json  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
CALLS = 400
ROUNDS = 7
USAGE = {
    "prompt_tokens": 2006,
    "completion_tokens": 300,
    "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920},
    "completion_tokens_details": {"reasoning_tokens": 100},
}
PROMPT = "Which container restarts most often, and why? " * 40
CALL = {
    "provider": "openai",
    "model": "gpt-5",
    "usage": USAGE,
    "messages": [{"role": "system", "content": "You look after a homelab."}, {"role": "user", "content": PROMPT}],
    "content": "It is the one that is out of memory. " * 20,
    "finish_reason": "stop",
    "latency_ms": 850,
}
_numbers = itertools.count(1)


def record(executor, **changes):
    record_llm_call(executor, **CALL, external_id=f"call_{next(_numbers)}", **changes)


def one_by_one(client):
    for _ in range(CALLS):
        record(client)


def without_bodies(client):
    for _ in range(CALLS):
        record(client, body_storage="none")


def again(client):
    for _ in range(CALLS):
        record_llm_call(client, **CALL, external_id="the same")


def in_one_transaction(client):
    with client.transaction() as transaction:
        for _ in range(CALLS):
            record(transaction)


def by_eight_threads(client):
    with ThreadPoolExecutor(8) as pool:
        for _done in pool.map(lambda _number: record(client), range(CALLS)):
            pass


def by_hand(connection):
    """What a program would write without the library: three statements in a transaction, and a question for the cost."""
    buckets = normalise_usage(USAGE)
    for _ in range(CALLS):
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO llm_requests (provider, model, messages) VALUES (%s, %s, %s) RETURNING id",
                ("openai", "gpt-5", Json(CALL["messages"])),
            )
            (request,) = cursor.fetchone()
            cursor.execute(
                "INSERT INTO llm_responses (request_id, content, finish_reason, latency_ms) VALUES (%s, %s, %s, %s)",
                (request, CALL["content"], "stop", 850),
            )
            cursor.execute(
                "INSERT INTO token_usage (request_id, provider, model, input_tokens, output_tokens, cache_read_tokens,"
                " reasoning_tokens) VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING estimated_cost_usd",
                (
                    request,
                    "openai",
                    "gpt-5",
                    buckets.input_tokens,
                    buckets.output_tokens,
                    buckets.cache_read_tokens,
                    buckets.reasoning_tokens,
                ),
            )
            cursor.fetchone()


# The statement by which the library records a call, with the columns that there have always been.
ONE_CALL = """
WITH r AS (
    INSERT INTO llm_requests (provider, model, messages, parameters, external_id)
    VALUES ('openai', 'gpt-5', %s, '{}', %s) ON CONFLICT DO NOTHING RETURNING *
), s AS (
    INSERT INTO llm_responses (request_id, content, finish_reason, latency_ms) SELECT r.id, %s, 'stop', 850 FROM r RETURNING *
), u AS (
    INSERT INTO token_usage (request_id, provider, model, input_tokens, output_tokens, cache_read_tokens, reasoning_tokens, project, external_id)
    SELECT r.id, r.provider, r.model, 86, 200, 1920, 100, 'homelab', r.external_id FROM r ON CONFLICT DO NOTHING RETURNING *
)
SELECT * FROM r JOIN s ON true LEFT JOIN u ON true
"""
MANY_CALLS = """
INSERT INTO token_usage (provider, model, input_tokens, output_tokens, cache_read_tokens, project, occurred_at)
SELECT 'openai', 'gpt-5', n % 9000, 300, 1920, 'project ' || n % 7, now() - n * interval '30 seconds' FROM generate_series(1, 100000) AS n
"""
PRICES = json.dumps(
    [
        {
            "provider": "acme",
            "model": f"m-{number}",
            "billing_mode": mode,
            "input": "1.25",
            "output": "10",
            "cache_read": "0.125",
        }
        for number in range(1500)
        for mode in ("standard", "batch")
    ]
)


def one_call(application, _owner):
    for _ in range(CALLS):
        application.run(ONE_CALL, Json(CALL["messages"]), f"call_{next(_numbers)}", CALL["content"])


def many_calls(application, _owner):
    application.run(MANY_CALLS)


def unchanged_prices(_application, owner):
    owner.run("SELECT apply_provider_prices(%s::jsonb, 'user')", PRICES)


def compare_with(commit):
    """The same work on the SQL files of a commit and on those that are here, in turns; in seconds of the server's processes and of the clock."""
    here = layer.SQL
    # The list of the bundle may be one that the commit does not understand.
    gpt_5 = {"provider": "openai", "model": "gpt-5", "input": "1.25", "output": "10", "cache_read": "0.125"}
    layer.seed_list = lambda: PriceList("seed", [gpt_5])
    with tempfile.TemporaryDirectory() as place, ThrowawayCluster(**DURABLE) as cluster:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", commit, "files/sql"], check=True, stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "-x", "-C", place], check=True, input=archive.stdout)
        layer.create_roles(cluster)
        sessions = {}
        for name, sql in (("before", pathlib.Path(place, "files/sql")), ("now", here)):
            layer.SQL = sql
            database = layer.create_database(cluster, f"bench_{name}")
            layer.provision(database)
            sessions[name] = (database.session("application"), database.session("owner"))
            unchanged_prices(*sessions[name])
        for work, rounds in ((one_call, 4 * ROUNDS), (unchanged_prices, 3), (many_calls, 3)):
            spent = {name: [] for name in sessions}
            for turn in range(rounds):
                for name in sorted(sessions, reverse=bool(turn % 2)):
                    began, busy = time.perf_counter(), processor_seconds(sessions[name])
                    work(*sessions[name])
                    spent[name].append((time.perf_counter() - began, processor_seconds(sessions[name]) - busy))
            for what, values in (("clock", 0), ("processor", 1)):
                before, now = (statistics.median(each[values] for each in spent[name]) for name in ("before", "now"))
                print(
                    f"   {before:7.3f} s before, {now:7.3f} s now, ratio {now / before:5.2f}  {work.__name__}, {what} (median of {rounds})"
                )


def processor_seconds(sessions):
    """What the server's processes of some sessions have used of the processors."""
    ticks = 0
    for session in sessions:
        stat = (
            pathlib.Path(f"/proc/{session.connection.info.backend_pid}/stat")
            .read_text(encoding="ascii")
            .rpartition(")")[2]
            .split()
        )
        ticks += int(stat[11]) + int(stat[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main():
    commit = os.environ.get("MISSION_CONTROL_BENCH_BEFORE")
    if commit:
        compare_with(commit)
        return
    with ThrowawayCluster(**DURABLE) as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "bench")
        layer.provision(database)
        connection = cluster.connect(database.name, layer.ROLES["application"])
        connection.autocommit = False
        with client_of(database) as client:
            cases = [
                ("one by one, bodies truncated", one_by_one, client),
                ("one by one, no bodies", without_bodies, client),
                ("the same call again and again", again, client),
                (f"{CALLS} in one transaction", in_one_transaction, client),
                ("by 8 threads", by_eight_threads, client),
                ("three INSERTs by psycopg2, without identifiers", by_hand, connection),
            ]
            rates = {name: [] for name, _work, _subject in cases}
            # All cases in every round, so that a busy moment of the machine falls on all of them.
            for _ in range(ROUNDS):
                for name, work, subject in cases:
                    started = time.perf_counter()
                    work(subject)
                    rates[name].append(CALLS / (time.perf_counter() - started))
            for name, found in rates.items():
                spread = f"{min(found):,.0f} to {max(found):,.0f}"
                print(f"   {statistics.median(found):7,.0f} calls/s (of {ROUNDS}: {spread})  {name}")
        connection.close()
        database.close()

        began = time.perf_counter()
        for _ in range(100_000):
            normalise_usage(USAGE)
        print(f"   {100_000 / (time.perf_counter() - began):7,.0f} usage objects/s are normalised")


if __name__ == "__main__":
    main()
