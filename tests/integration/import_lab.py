"""Transcripts that grow while imports of them are killed, and what has to be in the database in the end."""

import signal
import time

from command import start_command
from processes import wait_for
from transcripts import as_lines, claude_line, rest

_CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mission-control import' AND datname = current_database()"


class GrowingTranscripts:
    """Files to which calls are added, often in the middle of a line and with messages that have no end yet.

    Attributes:
        expected: output tokens of each call by its identifier.
    """

    def __init__(self, place, dice, files=6):
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self.expected = {}
        self._dice = dice
        self._files = [place / f"{number}.jsonl" for number in range(files)]
        self._rests = dict.fromkeys(self._files, b"")

    def grow(self, calls=3000):
        """Add so many calls; of the last line of a file a part is left for the next time."""
        for file in self._files:
            lines = []
            for _call in range(calls // len(self._files)):
                key, output = f"msg_{len(self.expected):07d}", self._dice.randrange(1, 1000)
                self.expected[key] = output
                blocks = self._dice.randrange(3)
                lines += [*[claude_line(key, 1, None)] * blocks, claude_line(key, output)]
            if self._dice.random() < 0.5:
                # A copy, as resumed sessions have it.
                key = self._dice.choice(list(self.expected))
                lines.append(claude_line(key, self.expected[key]))
            content = self._rests[file] + as_lines(lines)
            cut = self._dice.randrange(1, 3000)
            self._rests[file] = content[-cut:]
            with file.open("ab") as out:
                out.write(content[:-cut])

    def finish(self):
        """Write what is left, and let an hour pass."""
        for file in self._files:
            with file.open("ab") as out:
                out.write(self._rests[file])
            self._rests[file] = b""
            rest(file)


def start_and_kill(database, session, transcripts, dice, *arguments, within):
    """Start an import and kill it within so many seconds of its work. Whether it was killed, and had not ended before."""
    process = start_command(database, "import", "claude-code", str(transcripts.place), *arguments)
    if dice.random() < 0.9:
        wait_for(lambda: session.value(_CONNECTED) or process.poll() is not None)
    time.sleep(dice.uniform(0, within))
    process.kill()
    _out, error = process.communicate(timeout=60)
    assert (process.returncode in (0, -signal.SIGKILL), error) == (True, b"")
    return process.returncode != 0


def assert_each_call_once(session, expected):
    rows = session.rows("SELECT external_id, output_tokens FROM token_usage WHERE source = 'claude-code'")
    assert len(rows) == len(expected)
    assert {row["external_id"]: row["output_tokens"] for row in rows} == expected
    sums = session.row(
        "SELECT (SELECT sum(output_tokens) FROM daily_token_usage) AS days, (SELECT sum(output_tokens) FROM token_usage) AS calls"
    )
    assert sums["days"] == sums["calls"] == sum(expected.values())
