"""Tools for tests of the exporter of spans: the library as an installed package, spans of any content, and programs that are instrumented."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

import tomllib
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.span_exporter import LedgerSpanExporter
from library_client import client_of
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags
from recorder_lab import url_of

ROOT = pathlib.Path(__file__).parents[2]
BEGAN = 1_795_000_000_000_000_000
_IDS = RandomIdGenerator()
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}


def span(attributes=None, parent=None, *, scope="a.scope", error=None, resource=None, seconds=1.5, **more):
    """An ended span; `parent` another one. A call of gpt-5, unless `attributes` say something else; None in them leaves one out."""
    given = {**CHAT, **(attributes or {}), **more}
    trace = parent.context.trace_id if parent else _IDS.generate_trace_id()
    context = SpanContext(trace, _IDS.generate_span_id(), is_remote=False, trace_flags=TraceFlags(1))
    return ReadableSpan(
        name="chat",
        context=context,
        parent=parent and parent.context,
        resource=Resource(resource or {}),
        attributes={name: value for name, value in given.items() if value is not None},
        status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.UNSET),
        start_time=BEGAN,
        end_time=BEGAN + int(seconds * 1e9),
        instrumentation_scope=InstrumentationScope(scope),
    )


def context(number, trace=1):
    return SpanContext(trace, number + 1, is_remote=False, trace_flags=TraceFlags(1))


def other_span(parent=None, **attributes):
    """One that is no call, such as that of an agent or of a request over HTTP."""
    return span(dict.fromkeys(CHAT), parent, **attributes)


def install_library(directory):
    """Put the library into a directory as an installed package is, with the entry points of pyproject.toml; returns the directory."""
    (directory / "mission_control").symlink_to(ROOT / "plugins" / "module_utils")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    described = directory / f"{project['name'].replace('-', '_')}-0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0\n", encoding="utf-8"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (described / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory


def environment(library, database_url, spool, **more):
    """Of a program whose spans the exporter gets."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(library),
        "DATABASE_URL": database_url,
        "MISSION_CONTROL_SPANS_SPOOL": str(spool),
        "OTEL_TRACES_EXPORTER": "mission_control",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        **more,
    }


def calls_in(spool):
    """What a spool holds."""
    lines = [line for file in sorted(spool.glob("*.jsonl")) for line in file.read_bytes().splitlines(keepends=True)]
    # The last one of a process that was killed may not be whole.
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


# Ends a span of a call for each line that it reads, and says so when the exporter has acknowledged it.
_TELLER = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from mission_control.ledger.span_exporter import LedgerSpanExporter
import span_lab
exporter = LedgerSpanExporter()
for line in sys.stdin:
    told = span_lab.span({"gen_ai.response.id": line.strip()})
    if exporter.export([told]) is SpanExportResult.SUCCESS:
        print(line.strip(), flush=True)
"""


class Teller:
    """A process with an exporter of its own, which is told of calls by their names."""

    def __init__(self, library, url, spool):
        path = os.pathsep.join([str(library), str(ROOT / "tests" / "integration"), str(ROOT / "tests" / "packages")])
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TELLER],
            env={**environment(path, url, spool), "PYTHONPATH": os.pathsep.join([path, *sys.path])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def tell(self, names):
        self._process.stdin.write("".join(f"{name}\n" for name in names))
        self._process.stdin.flush()

    def acknowledged(self):
        """Wait for the next name that is acknowledged."""
        return self._process.stdout.readline().strip()

    def kill(self):
        """`kill -9`; returns what was acknowledged until then and has not been waited for."""
        self._process.kill()
        return self.end()

    def end(self):
        return self._process.communicate(timeout=120)[0].split()


def kill_exporters(database, spool, library, dice, kills):
    """Kill exporters at random moments, with the database there and away, and assert that nothing acknowledged is lost, and nothing twice.

    Returns how many calls were acknowledged, and how many of them the spool held.
    """
    acknowledged, told, kept = set(), set(), 0
    for number in range(kills):
        away = number % 2
        teller = Teller(library, "postgresql://nobody@127.0.0.1:1/none" if away else url_of(database), spool)
        names = [f"call-{number:08d}-{each:08d}" for each in range(2000)]
        told.update(names)
        teller.tell(names[:1])
        acknowledged.add(teller.acknowledged())
        teller.tell(names[1:])
        time.sleep(dice.uniform(0, 0.2))
        acknowledged.update(teller.kill())
        with client_of(database) as client:
            stored = {row["external_id"] for row in client.query_many("SELECT external_id FROM token_usage")}
        waiting = {call["id"] for call in calls_in(spool)}
        kept += len(waiting)
        assert acknowledged <= stored | waiting
    assert_nothing_lost(database, spool, acknowledged, told)
    return len(acknowledged), kept


def assert_nothing_lost(database, spool, acknowledged, told):
    """Empty a spool, and compare what the ledger then has with what was acknowledged and what could have been."""
    with client_of(database) as client:
        LedgerSpanExporter(client, spool=str(spool)).export([])
        rows = [row["external_id"] for row in client.query_many("SELECT external_id FROM token_usage")]
    assert calls_in(spool) == []
    assert len(rows) == len(set(rows))
    assert acknowledged - set(rows) == set()
    assert set(rows) <= told


def page_program(page):
    """The program of a page of the documentation, what its first commands install, and the command that runs it."""
    text = page.read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (commands,) = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    install, *run = commands.strip().splitlines()
    return program, re.findall(r"[\w.\[\]-]+", install.removeprefix("pip install")), "\n".join(run)
