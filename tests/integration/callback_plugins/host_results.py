"""Write what became of every host of a run as lines of JSON, for tests that run one play on many hosts."""

from __future__ import annotations

import json

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: host_results
type: notification
short_description: Keep the results and the counters of each host
description:
  - One line of JSON for each task that was carried out and, at the end, one for each host with its counters.
options:
  path:
    description: The file to write.
    type: path
    required: true
    env:
      - name: HOST_RESULTS_PATH
"""


class CallbackModule(CallbackBase):
    """Keep results and counters."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "host_results"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result):
        if not result.task.action.endswith("include_tasks"):  # which asks nothing of the host
            self._keep("done", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._keep("done" if ignore_errors else "failure", result)

    def v2_runner_on_unreachable(self, result):
        self._keep("failure", result)

    def v2_playbook_on_stats(self, stats):
        for host in stats.processed:
            self._write(host=host, counters=stats.summarize(host))

    def _keep(self, kind, result):
        text = self._dump_results(result.result)
        self._write(host=result.host.get_name(), task=result.task_name, **{kind: json.loads(text)})

    def _write(self, **line):
        with open(self.get_option("path"), "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
