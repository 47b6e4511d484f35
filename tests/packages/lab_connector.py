"""A connector for tests: its source is a JSON file, which may also tell it how to go wrong."""

import ctypes
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.options import Option
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.snapshot import (
    FetchError,
    HostRow,
    Listing,
    Skipped,
    Snapshot,
    WorkloadRow,
)

NAME = "docker"  # a word that the table knows; in the tests this module stands in its place
LIBRARY = DEBIAN_PACKAGE = "python3"
OPTIONS = {
    "file": Option("text", None, "File with what the source lists.", required=True),
    "trace": Option("text", None, "File to which each fetch adds its process id."),
}
SECRETS = {"token": "What the file asks for."}


def check(options, secrets):
    return []


def preflight(options, secrets):
    told = read("the source", options)
    go_wrong(told.get("fault", ""), told.get("seconds", 600))
    return told.get("missing_rights", [])


def read(source, options):
    try:
        return json.loads(Path(options["file"]).read_text(encoding="utf-8"))
    except OSError as error:
        raise FetchError(f"The file {options['file']} of {source} cannot be read: {error.strerror}.") from None


def fetch(source, cluster, options, secrets, observed_at, progress):
    if options.get("trace"):
        with open(options["trace"], "a", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    print("a library prints this")
    told = read(source, options)
    if told.get("token") not in (None, secrets.get("token")):
        raise FetchError(f"{source} refused the token.")
    go_wrong(told.get("fault", ""), told.get("seconds", 600))
    hosts = [HostRow(each["external_id"], each.get("name"), "vm") for each in told.get("hosts", [])]
    progress("hosts", len(hosts))
    workloads = [
        WorkloadRow(each["external_id"], each.get("name"), "docker-container", host=each.get("host"))
        for each in told.get("workloads", [])
    ]
    progress("workloads", len(workloads))
    labels = {"environment": sorted(os.environ)} if told.get("shows_itself") else {}
    arguments = Path("/proc/self/cmdline").read_text(encoding="utf-8") if told.get("shows_itself") else None
    if told.get("shows_itself"):
        hosts.append(HostRow("self", None, "vm", os=arguments, labels=labels))
    return Snapshot(
        source=source,
        connector=NAME,
        identity=told.get("identity", "lab"),
        cluster=cluster,
        observed_at=observed_at,
        listings=(
            Listing("hosts", ("vm",), tuple(hosts), told.get("problem"), (Skipped("odd", "odd", "it is odd"),)),
            Listing("workloads", ("docker-container",), tuple(workloads)),
        ),
    )


def go_wrong(fault, seconds):
    if fault == "hang":
        time.sleep(seconds)
    elif fault == "hang_in_child":
        if os.fork() == 0:
            time.sleep(seconds)
        time.sleep(seconds)
    elif fault == "grow":
        bytearray(1 << 30)  # more than the limit, and to be had on any machine
    elif fault == "crash":
        raise KeyError("a secret stands here")
    elif fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "fault":
        ctypes.string_at(0)
    elif fault == "exit":
        os._exit(3)
    elif fault in ("garbage", "long", "odd"):
        channel = next(int(each) for each in os.listdir("/proc/self/fd") if int(each) > 2 and _is_pipe(each))
        text = {"garbage": b"<html>\n", "long": b"x" * (1 << 20), "odd": b'{"snapshot": {"identity": 1}}\n'}[fault]
        for _each in range(600 if fault == "long" else 1):
            os.write(channel, text)
        if fault != "garbage":
            sys.stdout.flush()
            threading.Event().wait(seconds)


def _is_pipe(descriptor):
    return os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:")
