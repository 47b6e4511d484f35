"""A FAKE of Proxmox VE: no Proxmox VE runs in these tests. It holds nodes and guests and answers, by HTTPS on loopback, the few requests
that the connector makes, in the form of Proxmox VE's published API schema and with what its published source does where rights are missing
or a node is offline. What a real one does otherwise, it does not show.
"""

import re
from urllib.parse import unquote

from answering_server import AnsweringServer, as_json
from certificates import Authority

USER, TOKEN_NAME, TOKEN = "mission-control@pve", "inventory", "4e1f6d3c-9a5b-4c8e-8d7a-1b2c3d4e5f60"
ALL_RIGHTS = {"VM.Audit": 1, "Sys.Audit": 1}
_GIB = 2**30


class ProxmoxFake:
    """A cluster whose state tests change.

    Attributes:
        name: of the cluster; None: a node without one.
        nodes: node -> whether it is online.
        guests: vmid -> its fields; "type" and "node" are always there.
        interfaces: vmid -> what the guest agent or the container says of interfaces; a guest without an entry has no agent.
        rights: path -> privileges of the token.
        answers: path -> an Answer that is given instead.
        ends: vmid -> how the next task of this guest ends, else OK; None: it does not end.
        posted: path and body of what was sent by POST.
    """

    def __init__(self, directory, name="home"):
        self.name = name
        self.nodes = {"pve1": True, "pve2": True}
        self.guests = {}
        self.interfaces = {}
        self.rights = {path: dict(ALL_RIGHTS) for path in ("/", "/vms", "/nodes")}
        self.answers = {}
        self.ends = {}
        self.posted = []
        self._tasks = {}
        self.fingerprint = "AB:CD:" + "01:" * 29 + "EF"
        self._authority = Authority(directory, "proxmox-authority")
        self.ca_certificate = self._authority.path.read_text()
        self._server = AnsweringServer(
            self._answer, None, *self._authority.issue("pve1", "127.0.0.1"), answer_post=self._post
        )

    def __enter__(self):
        self._server.__enter__()
        return self

    def __exit__(self, *details):
        self._server.__exit__(*details)

    @property
    def options(self):
        """Of a source, as the role takes them."""
        return {
            "url": self._server.url,
            "ca_certificate": self.ca_certificate,
            "user": USER,
            "token_name": TOKEN_NAME,
        }

    @property
    def asked(self):
        return [path.removeprefix("/api2/json") for path in self._server.asked]

    def add(self, vmid, name, node="pve1", kind="qemu", status="running", **fields):
        self.guests[vmid] = {"type": kind, "node": node, "name": name, "status": status, "template": 0, **fields}

    def _answer(self, path, headers):
        path = path.removeprefix("/api2/json")
        if path in self.answers:
            return self.answers[path]
        if headers.get("Authorization") != f"PVEAPIToken={USER}!{TOKEN_NAME}={TOKEN}":
            return as_json({"data": None}, 401, f"no such token '{TOKEN_NAME}' for user '{USER}'")
        if path == "/access/permissions":
            return as_json({"data": self.rights})
        if path == "/cluster/status":
            if "Sys.Audit" not in self.rights.get("/", ()):
                return as_json({"data": None}, 403, "Permission check failed (/, Sys.Audit)")
            return as_json({"data": self._status()})
        if path.partition("?")[0] == "/cluster/resources":
            return as_json({"data": self._resources()})
        certificates = re.fullmatch(r"/nodes/([^/]+)/certificates/info", path)
        if certificates and unquote(certificates.group(1)) in self.nodes:
            return as_json({"data": [{"filename": "pve-root-ca.pem", "fingerprint": self.fingerprint}]})
        task = re.fullmatch(r"/nodes/([^/]+)/tasks/([^/]+)/status", path)
        if task:
            return as_json({"data": self._task(unquote(task.group(2)))})
        return self._interfaces(path)

    def _post(self, path, headers, body):
        path = path.removeprefix("/api2/json")
        self.posted.append((path, body.decode()))
        if path in self.answers:
            return self.answers[path]
        if headers.get("Authorization") != f"PVEAPIToken={USER}!{TOKEN_NAME}={TOKEN}":
            return as_json({"data": None}, 401, f"no such token '{TOKEN_NAME}' for user '{USER}'")
        found = re.fullmatch(r"/nodes/([^/]+)/(qemu|lxc)/(\d+)/status/(start|shutdown)", path)
        vmid = int(found.group(3)) if found else None
        if vmid not in self.guests or self.guests[vmid]["node"] != unquote(found.group(1)):
            return as_json({"data": None}, 500, "Configuration file does not exist")
        if "VM.PowerMgmt" not in self.rights.get("/vms", ()):
            return as_json({"data": None}, 403, f"Permission check failed (/vms/{vmid}, VM.PowerMgmt)")
        kind = {"qemu": "qm", "lxc": "vz"}[found.group(2)] + found.group(4)
        upid = f"UPID:{found.group(1)}:000A{len(self._tasks):04X}:00F3A1B2:6748A0C0:{kind}:{vmid}:{USER}!{TOKEN_NAME}:"
        self._tasks[upid] = [2, vmid, {"start": "running", "shutdown": "stopped"}[found.group(4)]]
        return as_json({"data": upid})

    def _task(self, upid):
        """A task that has ended when it is looked at the second time."""
        task = self._tasks[upid]
        left, vmid, becomes = task
        end = self.ends.get(vmid, "OK")
        task[0] = max(0, left - 1)
        if task[0] or end is None:
            return {"upid": upid, "status": "running"}
        if end == "OK":
            self.guests[vmid]["status"] = becomes
        return {"upid": upid, "status": "stopped", "exitstatus": end}

    def _status(self):
        nodes = [
            {
                "type": "node",
                "id": f"node/{node}",
                "name": node,
                "nodeid": number,
                "ip": f"192.0.2.{number}",
                "local": int(number == 1),
                "online": int(online),
                "level": "",
            }
            for number, (node, online) in enumerate(self.nodes.items(), 1)
        ]
        if self.name is None:
            return [{**nodes[0], "nodeid": 0}]
        quorate = int(sum(self.nodes.values()) * 2 > len(nodes))
        about = {"type": "cluster", "id": "cluster", "name": self.name, "nodes": len(nodes), "version": 2}
        return [{**about, "quorate": quorate}, *nodes]

    def _resources(self):
        audited = "VM.Audit" in self.rights.get("/vms", ())
        listed = [self._guest(vmid, guest) for vmid, guest in self.guests.items()] if audited else []
        listed += [self._node(node, online) for node, online in self.nodes.items()]
        storage = {"storage": "local", "plugintype": "dir", "content": "iso", "status": "available"}
        listed += [{"type": "storage", "id": f"storage/{node}/local", "node": node, **storage} for node in self.nodes]
        listed.append(
            {"type": "sdn", "id": "sdn/pve1/localnetwork", "node": "pve1", "sdn": "localnetwork", "status": "ok"}
        )
        return listed

    def _node(self, node, online):
        about = {"type": "node", "id": f"node/{node}", "node": node, "level": ""}
        about["status"] = "online" if online else "offline"
        if "Sys.Audit" in self.rights.get("/nodes", ()):
            about |= {"maxcpu": 8 if online else 0, "maxmem": 32 * _GIB if online else 0}
        return about

    def _guest(self, vmid, guest):
        about = {"type": guest["type"], "id": f"{guest['type']}/{vmid}", "vmid": vmid, "node": guest["node"]}
        about |= {name: guest[name] for name in ("tags", "pool", "hastate") if name in guest}
        if not self.nodes[guest["node"]]:
            return {**about, "status": "unknown"}
        told = {name: guest[name] for name in ("name", "status", "template")}
        return {**about, **told, "maxcpu": guest.get("maxcpu", 2), "maxmem": guest.get("maxmem", 2 * _GIB)}

    def _interfaces(self, path):
        agent = re.fullmatch(r"/nodes/([^/]+)/qemu/(\d+)/agent/network-get-interfaces", path)
        found = agent or re.fullmatch(r"/nodes/([^/]+)/lxc/(\d+)/interfaces", path)
        vmid = int(found.group(2)) if found else None
        if vmid not in self.guests or self.guests[vmid]["node"] != unquote(found.group(1)):
            return as_json({"data": None}, 500, "Configuration file does not exist")
        if vmid not in self.interfaces:
            return as_json({"data": None}, 500, "QEMU guest agent is not running")
        return as_json({"data": {"result": self.interfaces[vmid]} if agent else self.interfaces[vmid]})
