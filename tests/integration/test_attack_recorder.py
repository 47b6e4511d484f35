"""The recorder under attack: secrets in every place of a play, spools that cannot be written, kills. Nothing of a play changes."""

import base64
import itertools
import json
import os
import re
import resource
import signal
import subprocess

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.load import load_spool
from library_client import client_of
from recorder_plays import SHORT, RecordedPlays, loaders_of, outcome_of, until
from secret_forms import leaks

# Words, since what looks random is masked whatever it is. Each is made once.
_letters = itertools.product("bdfglmnprst", "aeiou", "bdfglmnprst", "aeiou")
CANARIES = []
# An action that fails with a message from a file: what a module says need not be one of its arguments.
TELL = """
import json
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        with open(self._task.args["file"]) as file:
            message = json.load(file)[int(self._task.args["number"])]
        return {**result, "failed": True, "msg": message}
"""
# The same with the message as its argument under another name.
REPEAT = """
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        return {**result, "failed": True, "msg": "It said " + str(self._task.args["what"]), "more": self._task.args}
"""
WRITTEN = (
    str,
    str.upper,
    repr,
    lambda text: f"prefix-{text}-suffix",
    lambda text: f"postgresql://user:{text}@host/db",
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.b64encode(b"a:" + text.encode() + b"zz").decode(),
    lambda text: text.encode().hex(),
    lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    lambda text: json.dumps("".join(f"\\u{ord(each):04x}" for each in text)),
    lambda text: text[::-1],
    lambda text: f"{text[:9]}\n    {text[9:]}",
)
# Modules that fail, each with a value in an argument that becomes a part of what they say.
FAILING = """
ansible.builtin.copy: {src: "/nowhere/VALUE", dest: /nowhere/x}
ansible.builtin.copy: {content: x, dest: "/nowhere/VALUE/x"}
ansible.builtin.template: {src: "VALUE.j2", dest: /nowhere/x}
ansible.builtin.command: {argv: ["/nowhere/VALUE", "VALUE"]}
ansible.builtin.command: {cmd: "false VALUE", chdir: "/nowhere/VALUE"}
ansible.builtin.shell: {cmd: "echo VALUE; echo VALUE >&2; false"}
ansible.builtin.file: {path: "/nowhere/VALUE/x", state: file}
ansible.builtin.lineinfile: {path: "/nowhere/VALUE", line: "VALUE"}
ansible.builtin.slurp: {src: "/nowhere/VALUE"}
ansible.builtin.uri: {url: "http://user:VALUE@127.0.0.1:9/VALUE?token=VALUE", headers: {Authorization: "Bearer VALUE"}}
ansible.builtin.get_url: {url: "http://127.0.0.1:9/VALUE", dest: "/nowhere/VALUE"}
ansible.builtin.unarchive: {src: "/nowhere/VALUE.tar", dest: /nowhere/x}
ansible.builtin.script: {cmd: "/nowhere/VALUE"}
ansible.builtin.user: {name: "no:VALUE", home: "/nowhere/VALUE", password: "VALUE"}
ansible.builtin.service: {name: "VALUE", state: started}
ansible.builtin.wait_for: {path: "/nowhere/VALUE", timeout: 1, msg: "Waited for VALUE"}
ansible.builtin.include_vars: {file: "/nowhere/VALUE.yml"}
ansible.builtin.fail: {msg: "Because of VALUE"}
ansible.builtin.assert: {that: false, fail_msg: "Because of VALUE", success_msg: "VALUE"}
ansible.builtin.debug: {msg: "VALUE"}
ansible.builtin.set_fact: {"not a name VALUE": x}
homelab.mission_control.query: {login_host: 127.0.0.1, login_port: 9, login_user: x, login_password: "VALUE", query: "SELECT 'VALUE'"}
repeat: {what: "VALUE"}
repeat: {what: {list: ["VALUE"]}}
""".strip().splitlines()


def canary():
    CANARIES.append("kanarien" + "".join(next(_letters)) + "vogel")
    return CANARIES[-1]


class Attack:
    """A play with canaries, and what its tasks say of them."""

    def __init__(self, plays):
        self.plays = plays
        self.extra, self.secret, self.nested, self.plain, self.vaulted = {}, {}, {}, {}, {}
        self.environment = {}
        self.messages = []
        self.tasks = []
        self.vault = VaultLib([("default", VaultSecret(b"vault-password"))])

    def add(self, name, **keywords):
        self.tasks.append({"name": name, "ignore_errors": True, **keywords})

    def tell(self, secret, number):
        """A task that fails with a message in which a secret stands, written in one of the ways."""
        message = f"Something went wrong with {WRITTEN[number % len(WRITTEN)](secret)} on this host"
        self.messages.append(message)
        self.add("Tell", tell={"file": str(self.plays.home / "messages.json"), "number": len(self.messages) - 1})

    def write(self):
        plays = self.plays
        (plays.home / "action_plugins").mkdir()
        (plays.home / "library").mkdir()
        for name, text in (("tell", TELL), ("repeat", REPEAT)):
            plays.write(f"action_plugins/{name}.py", text)
            plays.write(f"library/{name}.py", "")
        plays.write("messages.json", json.dumps(self.messages))
        plays.write("vault-password", "vault-password")
        inline = {name: self.vault.encrypt(value).decode() for name, value in self.vaulted.items()}
        plays.write(
            "vaulted.yml",
            "".join(
                f"{name}: !vault |\n  " + text.replace("\n", "\n  ").rstrip() + "\n" for name, text in inline.items()
            ),
        )
        encrypted = self.vault.encrypt(json.dumps({"whole_file": {"some": [canary() for _ in range(5)]}}))
        plays.write("whole.yml", encrypted.decode())
        play = {
            "name": "Attack",
            "hosts": "web1",
            "gather_facts": False,
            "vars": {**self.secret, "configuration": {"passwords": self.nested}, **self.plain},
            "vars_files": ["vaulted.yml", "whole.yml"],
            "tasks": self.tasks,
        }
        return plays.write("attack.yml", json.dumps([play]))


def attack_on(plays):
    attack = Attack(plays)
    for number in range(len(WRITTEN)):
        attack.extra[f"extra_{number}"] = canary()
        attack.tell(CANARIES[-1], number)
        attack.secret[f"db_password_{number}"] = canary()
        attack.tell(CANARIES[-1], number)
        attack.nested[f"user_{number}"] = canary()
        attack.tell(CANARIES[-1], number)
        attack.vaulted[f"ordinary_{number}"] = canary()
        attack.tell(CANARIES[-1], number)
        attack.environment[f"SOMETHING_{number}"] = canary()
        attack.tell(CANARIES[-1], number)
        attack.tasks.append({"name": "Set", "set_fact": {f"fact_{number}": canary()}})
        attack.tell(CANARIES[-1], number)
        attack.tasks.append(
            {"name": "Register", "debug": {"msg": f"The output is {canary()}\nand more"}, "register": f"told_{number}"}
        )
        attack.tell(f"The output is {CANARIES[-1]}", number)
        attack.tell("x", number)
        attack.tasks[-1]["environment"] = {"ANYTHING": canary()}
        attack.messages[-1] = f"It cannot be done with {WRITTEN[number](CANARIES[-1])}"
    for number, line in enumerate(FAILING):
        attack.plain[f"plain_{number}"] = canary()
        action = yaml.safe_load(line.replace("VALUE", f"{{{{ plain_{number} }}}}"))
        attack.add(f"Use {{{{ plain_{number} }}}}", **action)
    hidden = (
        {"no_log": True},
        {"no_log": "{{ true }}"},
        {"no_log": "{{ item is defined }}", "loop": ["x"]},
        {"loop": [canary()]},
    )
    for number, keywords in enumerate(hidden):
        attack.plain[f"hidden_{number}"] = canary()
        attack.add("Hide", repeat={"what": canary() if "no_log" in keywords else "{{ item }}"}, **keywords)
    attack.plays.write(
        "hidden.yml", json.dumps([{"name": "Hide", "ignore_errors": True, "repeat": {"what": canary()}}])
    )
    attack.tasks.append({"name": "Include", "no_log": True, "include_tasks": {"file": "hidden.yml"}})
    for no_log in (True, "{{ 1 == 1 }}"):
        inner = {"name": "Hide", "ignore_errors": True, "repeat": {"what": canary()}}
        attack.tasks.append({"name": "Block", "no_log": no_log, "block": [inner]})
    for text in ("when", "failed_when", "changed_when"):
        attack.plain[f"condition_{text}"] = canary()
        attack.add("Decide", debug={"msg": "x"}, **{text: f"condition_{text}"})
    for number in range(20):
        attack.plain[f"name_{number}"] = canary()
        attack.tasks.append({"name": f"Look after {{{{ name_{number} }}}}", "debug": {"msg": "x"}})
    attack.plain["no_file"] = canary()
    include = {"name": "Include", "ansible.builtin.include_tasks": {"file": "/nowhere/{{ no_file }}.yml"}}
    attack.tasks.append({"name": "Recover", "block": [include], "rescue": [{"name": "Go on", "debug": {"msg": "x"}}]})
    attack.plain["no_number"] = canary()
    attack.add("Template", debug={"msg": "{{ no_number | int / (no_number | length - 20) + no_number }}"})
    attack.add("Template", debug={"msg": "{{ no_number.nothing }}"})
    attack.add("Facts", **{"ansible.builtin.set_fact": {"ansible_facts_like": canary(), "cacheable": True}})
    attack.add(
        "Loop", debug={"msg": "{{ item.password }}"}, loop=[{"password": canary()} for _ in range(40)], failed_when=True
    )
    attack.add("Diff", copy={"content": canary(), "dest": str(plays.home / "written")}, diff=True)
    return attack


@pytest.fixture
def plays(tmp_path):
    plays = RecordedPlays(tmp_path)
    yield plays
    for process in loaders_of(plays.spool):
        os.kill(process, signal.SIGKILL)


def test_two_hundred_canaries_are_neither_in_the_spool_nor_in_the_database(plays, database, cluster):
    attack = attack_on(plays)
    playbook = attack.write()
    done = plays.run(
        playbook,
        "-vvv",
        "--diff",
        "--vault-password-file",
        str(plays.home / "vault-password"),
        variables=attack.extra,
        **attack.environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(CANARIES) >= 200
    lines = plays.lines()
    assert lines[-1]["end"] == {"status": "succeeded", "error": None, "dropped": 0}
    names = [line["payload"]["task"] for line in lines if "payload" in line and "outcome" in line["payload"]]
    assert names.count("Tell") == len(attack.messages)
    # Most still say something.
    messages = [line["payload"]["message"] for line in lines if "message" in line.get("payload", {})]
    assert sum("went wrong with ***" in each or "-***-" in each for each in messages) >= 20
    texts = {file.name: file.read_text(encoding="utf-8") for file in plays.spool.iterdir()}
    assert leaks(CANARIES, texts) == []
    assert [each for each in CANARIES if re.search(each, str(texts), re.IGNORECASE)] == []
    # The run's own loader has the file as long as it tries.
    until(lambda: not loaders_of(plays.spool))
    with client_of(database, pool_size=1) as client:
        assert load_spool(client, str(plays.spool)).problems == []
    dump = subprocess.run(
        [
            f"{cluster.bindir}/pg_dump",
            "--data-only",
            "-h",
            cluster.socket_directory,
            "-p",
            str(cluster.port),
            "-U",
            "postgres",
            database.name,
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Something went wrong with ***" in dump
    assert leaks(CANARIES, {"dump": dump}) == []
    # They are no secret to whoever looks at the screen: else nothing was tried.
    assert sum(each in done.stdout for each in CANARIES) > 100


def little_room():
    # The first line fits, and nothing more: as on a disk that is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, resource.RLIM_INFINITY))


def without_times(done):
    return done.returncode, re.sub(r'"(?:start|end|id)": "[^"]*"', "", done.stdout), done.stderr


def test_a_play_is_the_same_whatever_becomes_of_its_spool(plays):
    playbook = plays.write("short.yml", SHORT)
    plays.spool.mkdir(parents=True, mode=0o700)
    link = plays.home / "link"
    link.symlink_to(plays.spool)
    off = {"ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.default"}
    usual = plays.run(playbook, **off)
    assert usual.returncode == 2
    assert plays.files == []
    for options in (
        {"spool": str(link)},
        {"spool": "/dev/null"},
        {"spool": "/proc/nowhere/runs"},
        {"spool": str(playbook)},
        {"max_spool_bytes": "0"},
        {"url": "nonsense", "env_file": "/nowhere", "password_file": "/dev/null"},
        {"max_bytes": "1000"},
        {"before": little_room},
        {"ANSIBLE_FORKS": "1", "PATH": "/nowhere"},
    ):
        assert outcome_of(plays.run(playbook, **options)) == outcome_of(usual), options
    in_json = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    as_json, other = plays.run(playbook, **in_json), plays.run(playbook, **in_json, **off)
    assert without_times(as_json) == without_times(other)
    assert json.loads(as_json.stdout)["stats"]["web1"]["failures"] == 1
    runs = [[json.loads(line) for line in file.read_bytes().splitlines()] for file in plays.files]
    # Where there was room for the first line alone, the end tells how many events are missing, or is missing itself.
    *others, most = sorted(run[-1].get("end", {}).get("dropped", -1) for run in runs)
    assert others == [-1, 0, 0, 0]
    assert most > 0


def test_two_playbooks_of_one_command_are_two_runs_with_counts_of_their_own(plays):
    first = plays.write("first.yml", SHORT.replace("    - name: Fail\n      ansible.builtin.fail: {msg: x}\n", ""))
    second = plays.write("second.yml", SHORT)
    command, environment = plays.command(first)
    command.insert(command.index(str(first)) + 1, str(second))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "PLAY RECAP" in done.stdout, done.stderr
    runs = [[json.loads(line) for line in file.read_bytes().splitlines()] for file in plays.files]
    told = {
        run[0]["begin"]["playbook"]: (run[-2]["host"]["ok"], run[-2]["host"]["failed"], run[-1]["end"]["status"])
        for run in runs
    }
    assert told == {"~/first.yml": (2, 0, "succeeded"), "~/second.yml": (2, 1, "failed")}
