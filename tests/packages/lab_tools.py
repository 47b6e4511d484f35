"""A connector of tools for tests, in the place of Docker's: what it does to a container it writes into a file, and it goes wrong as told."""

import json
import os
import time
from pathlib import Path

from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.options import Option
from ansible_collections.homelab.mission_control.plugins.module_utils.tools.connectors.call import CallError
from lab_connector import go_wrong

NAME = "docker"
LIBRARY = DEBIAN_PACKAGE = "python3"
OPTIONS = {
    "acts": Option("text", None, "File to which each act adds a line.", required=True),
    "told": Option("text", None, "File with what containers do, by name."),
}
SECRETS = {"token": "What the source is asked with."}


def check(options, secrets):
    return []


def _told(call, name):
    told = json.loads(Path(call.options["told"]).read_text(encoding="utf-8")) if call.options["told"] else {}
    return told.get(name, {})


def _act(call, name, what):
    # One write, which is there as a whole or not at all.
    with open(call.options["acts"], "ab", buffering=0) as file:
        file.write(f"{what} {name} {os.getpid()}\n".encode())


def _list_containers(call):
    told = _told(call, "list")
    go_wrong(told.get("fault", ""), told.get("seconds", 600))
    return {"containers": told.get("containers", []), "more": False}


def _container_logs(call):
    name = call.arguments["container"]
    told = _told(call, name)
    _act(call, name, "logs")
    go_wrong(told.get("fault", ""), told.get("seconds", 600))
    text = told.get("log", "").replace("THE SECRET", call.secrets.get("token", "none"))
    return {"container": name, "log": text, **told.get("more", {})}


def _restart_container(call):
    name = call.arguments["container"]
    told = _told(call, name)
    time.sleep(told.get("before", 0))
    _act(call, name, "restart")
    time.sleep(told.get("after", 0))
    go_wrong(told.get("fault", ""), told.get("seconds", 600))
    if "error" in told:
        raise CallError(
            told["error"].replace("THE SECRET", call.secrets.get("token", "none")), told.get("status", "failed")
        )
    return {"container": name, "restarted": True}


CALLS = {
    "list_containers": _list_containers,
    "container_logs": _container_logs,
    "restart_container": _restart_container,
}
