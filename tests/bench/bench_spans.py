"""Print what the exporter of spans costs: in the program's own thread, and in the background beside `record_llm_call`. Run by `make bench`.

Processor time, each line the median of some rounds; asserts nothing.
"""

import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / directory) for directory in ("collections", "tests/integration", "tests/packages")]

import mission_control_database as layer  # noqa: E402
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.calls import record_llm_call  # noqa: E402
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.span_exporter import (  # noqa: E402
    LedgerSpanExporter,
)
from library_client import client_of  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult  # noqa: E402
from span_lab import CHAT, span  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

CALLS = 500
ROUNDS = 7
_numbers = iter(range(10**9))


class Nothing(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS


def own_thread(exporter):
    """Microseconds of this thread for the end of a span, the export itself being left to the background."""
    provider = TracerProvider()
    # So many that the queue is never full, and later than this lasts.
    processor = BatchSpanProcessor(
        exporter, max_queue_size=10 * CALLS, schedule_delay_millis=60_000, max_export_batch_size=10 * CALLS
    )
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("bench")
    spans = [tracer.start_span("chat gpt-5", attributes=CHAT) for _number in range(CALLS)]
    began = time.thread_time()
    for each in spans:
        each.end()
    took = time.thread_time() - began
    provider.shutdown()
    return took


def in_background(exporter):
    spans = [span({"gen_ai.response.id": f"call-{next(_numbers):020d}"}) for _number in range(CALLS)]
    began = time.process_time()
    exporter.export(spans)
    return time.process_time() - began


def directly(client):
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    began = time.process_time()
    for _number in range(CALLS):
        record_llm_call(client, provider="openai", model="gpt-5", usage=usage, external_id=f"{next(_numbers):020d}")
    return time.process_time() - began


def main():
    with ThrowawayCluster() as cluster, tempfile.TemporaryDirectory() as directory:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "bench")
        layer.provision(database)
        with client_of(database) as client, client_of(database) as other:
            exporter = LedgerSpanExporter(client, spool=f"{directory}/calls")
            away = LedgerSpanExporter(other, spool=f"{directory}/away")
            # As after a failure: the database is not asked again yet.
            away._next_try = float("inf")
            cases = {
                "in the program's thread, the exporter in the background": lambda: own_thread(
                    LedgerSpanExporter(client, spool=f"{directory}/calls")
                ),
                "in the program's thread, an exporter that does nothing": lambda: own_thread(Nothing()),
                "in the background, the exporter": lambda: in_background(exporter),
                "in the background, the exporter while the database is away": lambda: in_background(away),
                "record_llm_call": lambda: directly(client),
            }
            found = {name: [] for name in cases}
            for _round in range(ROUNDS):
                for name, work in cases.items():
                    found[name].append(work() / CALLS * 1e6)
            for name, values in found.items():
                spread = f"{min(values):,.0f} to {max(values):,.0f}"
                print(f"   {statistics.median(values):7,.1f} us a call (of {ROUNDS}: {spread})  {name}")
        database.close()


if __name__ == "__main__":
    main()
