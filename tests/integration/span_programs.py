"""Programs with the providers' SDKs and their instrumentations, run as a user runs them, in the environment of scripts/sdks."""

import functools
import os
import pathlib
import subprocess

from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.calls import record_llm_call
from library_client import client_of
from recorder_lab import url_of
from span_lab import ROOT, environment, install_library

RUN = "opentelemetry-instrument python program.py"
BUCKETS = """input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens,
    audio_input_tokens, audio_cache_read_tokens, audio_output_tokens, image_input_tokens, image_cache_read_tokens, image_output_tokens"""


@functools.cache
def sdk_programs():
    """Directory of the programs in the environment with the SDKs."""
    made = subprocess.run(
        [str(ROOT / "scripts" / "sdks"), "-c", "import sys; print(sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return pathlib.Path(made.stdout.strip()) / "bin"


class SdkPrograms:
    """Runs programs that are instrumented, with an environment in which their SDKs find a provider.

    Attributes:
        database: with what they recorded.
        spool: where they put what it did not take.
    """

    def __init__(self, database, providers, directory):
        self.database = database
        self.spool = directory / "spool"
        self._directory = directory
        library = directory / "library"
        library.mkdir()
        self._path = [install_library(library)]
        self._variables = environment(library, url_of(database), self.spool, **providers)
        self._variables["PATH"] = os.pathsep.join([str(sdk_programs()), os.environ["PATH"]])
        self._variables["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

    def run(self, program, command=RUN, *also, **variables):
        (self._directory / "program.py").write_text(program, encoding="utf-8")
        path = os.pathsep.join(str(each) for each in (*self._path, *also))
        ended = subprocess.run(
            ["sh", "-c", command],
            cwd=self._directory,
            env={**self._variables, "PYTHONPATH": path, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 0, ended.stderr
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    def recorded(self, source="opentelemetry"):
        """(provider, model, billing mode, buckets, cost) of each call, in the order of the calls."""
        with client_of(self.database) as client:
            rows = client.query_many(
                f"SELECT provider, model, billing_mode, cost_source, {BUCKETS}, estimated_cost_usd FROM token_usage "
                "WHERE source = %s ORDER BY occurred_at",
                [source],
            )
        return [tuple(row.values()) for row in rows]

    def directly(self, calls):
        """The same of calls (provider, model, usage of its SDK) that are recorded without a detour."""
        with client_of(self.database) as client:
            for number, (provider, model, usage) in enumerate(calls):
                record_llm_call(
                    client, provider=provider, model=model, usage=usage, source="direct", external_id=str(number)
                )
        return self.recorded("direct")
