"""Print what imports of transcripts cost. Run by `make bench`; asserts nothing but that the sums are right.

A million lines of made-up transcripts of Claude Code, some 1.2 GB, in a throw-away server that writes to disk as a real one does (fsync on):
the first import, the same again, and again from the start; beside ccusage, which is installed from npm for it, on the same files.
"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration"), str(ROOT / "tests" / "packages")]

import mission_control_database as layer  # noqa: E402
from command import COMMAND, environment_of  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
LINES = int(os.environ.get("MISSION_CONTROL_BENCH_LINES", "1000000"))
# The newest version with a program for Linux.
PEER = "ccusage@20.0.24"
PEER_PLACE = ROOT / ".cache" / "bench-peers-npm"
_PROMPT = (
    '{"parentUuid":null,"isSidechain":false,"userType":"external","cwd":"/srv/src/p%(project)d","sessionId":"%(session)s",'
    '"version":"2.1.94","gitBranch":"main","type":"user","message":{"role":"user","content":[{"tool_use_id":"toolu_%(number)d",'
    '"type":"tool_result","content":"%(text)s"}]},"uuid":"%(number)d","timestamp":"%(at)s"}\n'
)
_BLOCK = (
    '{"parentUuid":null,"isSidechain":false,"userType":"external","cwd":"/srv/src/p%(project)d","sessionId":"%(session)s",'
    '"version":"2.1.94","gitBranch":"main","message":{"model":"claude-opus-4-5-20251101","id":"%(key)s","type":"message",'
    '"role":"assistant","content":[{"type":"text","text":"%(text)s"}],"stop_reason":%(stop)s,"stop_sequence":null,"usage":{'
    '"input_tokens":%(told)d,"cache_creation_input_tokens":%(written)d,"cache_read_input_tokens":%(read)d,"cache_creation":{'
    '"ephemeral_5m_input_tokens":%(written)d,"ephemeral_1h_input_tokens":0},"output_tokens":%(answered)d,"service_tier":"standard",'
    '"server_tool_use":{"web_search_requests":0,"web_fetch_requests":0}}},"requestId":"req_%(key)s","type":"assistant",'
    '"uuid":"%(number)d-%(block)d","timestamp":"%(at)s"}\n'
)


def generate(place: pathlib.Path) -> tuple[int, int, int]:
    """How many messages with how many tokens, and the bytes of all files."""
    dice = random.Random(1)
    texts = ["word " * dice.randrange(20, 200) for _number in range(50)]
    lines = messages = tokens = size = sessions = 0
    while lines < LINES:
        values = {"session": f"{sessions:08x}-0000-4000-8000-000000000000", "project": sessions % 20}
        second, sessions, made = dice.randrange(86400 * 28 * 9), sessions + 1, []
        for number in range(dice.randrange(100, 1200)):
            second += dice.randrange(40)
            day, clock = divmod(second, 86400)
            at = f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}T{time.strftime('%H:%M:%S', time.gmtime(clock))}.{number % 1000:03d}Z"
            counts = {"told": dice.randrange(20), "read": dice.randrange(200_000), "written": dice.randrange(6_000)}
            answered, blocks = dice.randrange(1, 900), dice.choice((1, 2, 2, 3, 4))
            values.update(counts, at=at, number=number, key=f"msg_{sessions:06d}{number:06d}", text=dice.choice(texts))
            made.append(_PROMPT % values)
            for block in range(blocks):
                is_last = block == blocks - 1
                values.update(
                    block=block, answered=answered if is_last else 1, stop='"tool_use"' if is_last else "null"
                )
                made.append(_BLOCK % values)
            messages += 1
            tokens += answered + sum(counts.values())
        file = place / "projects" / f"-srv-src-p{values['project']}" / f"{values['session']}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(made), encoding="ascii")
        lines += len(made)
        size += file.stat().st_size
    print(f"  {lines:,} lines in {sessions:,} files, {size / 1e6:,.0f} MB, {messages:,} messages")
    return messages, tokens, size


def run(command: list[str], environment: dict[str, str]) -> tuple[bytes, float, float, float]:
    """What a process printed, with its seconds, its processor time and its memory at most in MiB."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, env=environment, cwd="/", stdout=out)
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, command
        out.seek(0)
        return out.read(), time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def server_seconds(cluster: ThrowawayCluster) -> float:
    """Processor time of the server's processes that have ended, as an import's has."""
    fields = pathlib.Path(f"/proc/{cluster.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def time_imports(cluster: ThrowawayCluster, place: pathlib.Path, messages: int, tokens: int) -> None:
    database = layer.create_database(cluster, "bench_import")
    layer.provision(database)
    session = database.session("admin")
    command = [*COMMAND, "import", "claude-code", str(place / "projects"), "--json"]
    for title, options in (
        ("the first import", []),
        ("the same again", []),
        ("again from the start", ["--from-start"]),
    ):
        before = server_seconds(cluster)
        out, seconds, own, memory = run([*command, *options], environment_of(database))
        told = json.loads(out)
        print(
            f"  {title:<24} {seconds:7.2f} s   own processor time {own:6.2f} s   server {server_seconds(cluster) - before:6.2f} s   {memory:5.0f} MiB   "
            f"{told['new']:>9,} new   {told['known']:>9,} known"
        )
    stored = session.row(
        "SELECT count(*) AS rows, sum(input_tokens + output_tokens + cache_read_tokens + cache_write_5m_tokens)::bigint AS tokens FROM token_usage"
    )
    assert (stored["rows"], stored["tokens"]) == (messages, tokens), stored
    database.drop()


def time_peer(place: pathlib.Path, tokens: int) -> None:
    program = PEER_PLACE / "node_modules" / ".bin" / "ccusage"
    if not program.exists():
        PEER_PLACE.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["npm", "install", "--silent", "--no-save", "--prefix", str(PEER_PLACE), PEER],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "CLAUDE_CONFIG_DIR": str(place)}
    out, seconds, own, memory = run([str(program), "claude", "daily", "--json", "--offline"], environment)
    total = json.loads(out)["totals"]["totalTokens"]
    print(
        f"  {PEER + ', into nothing':<24} {seconds:7.2f} s   own processor time {own:6.2f} s   {memory:5.0f} MiB   "
        f"tokens {'equal' if total == tokens else f'{total:,}, not {tokens:,}'}"
    )


def main() -> None:
    memory = pathlib.Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4e9
    with tempfile.TemporaryDirectory(dir=memory if roomy else None) as directory:
        place = pathlib.Path(directory)
        messages, tokens, _size = generate(place)
        with ThrowawayCluster(**DURABLE) as cluster:
            layer.create_roles(cluster)
            time_imports(cluster, place, messages, tokens)
        time_peer(place, tokens)


if __name__ == "__main__":
    main()
