"""One run of everything, as loud as it can be, and then no password in any place where one could have been left."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import tempfile
from pathlib import Path

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.passwords.scram import make_verifier
from command import COMMAND, environment_of
from database_lab import DatabaseLab
from playbook import ROOT, playbook_command
from secret_forms import leaks
from secret_watch import SecretWatch, files_below
from throwaway_cluster import ThrowawayCluster

# Each with what quoting stumbles over, and with a part that no quoting changes.
ADMINISTRATOR = "adm/%s'q\\b\u20ac Kq7ZtXw9Lm+1"
FIRST, SECOND, WRONG = 'f/%(a)s "q&=+\u00fc Tr4VbNs2Hd', 's/%%"&=+\u20ac{x Wm8JcYp5Gk', "w/'\\q%&=+ Zx3QfBd6Rv"
# Of those who decide on calls of tools, and of an assistant that asks for them: only their checksums leave the controller.
TOKENS = ("alice-Vq5RnKd8Zc" * 3, "alice-Lt3HwPx6Mb" * 3, "assistant-Yj9FsTg2Ue" * 2)
CHECKSUMS = [hashlib.sha256(token.encode()).hexdigest() for token in TOKENS]
MODULES = """
- name: Ask
  hosts: mission_control
  gather_facts: false
  tasks:
    - name: Ask with a value that is a secret
      homelab.mission_control.query: &login
        login_host: 127.0.0.1
        login_port: "{{ mission_control_postgresql_port }}"
        login_db: "{{ mission_control_database_name }}"
        login_user: "{{ mission_control_database_user }}"
        login_password: "{{ mission_control_database_password }}"
        query: SELECT length(%s)
        positional_args: ["{{ wrong }}"]
    - name: Fail with a value that is a secret
      homelab.mission_control.query:
        <<: *login
        query: SELECT %s::integer
      failed_when: false
    - name: Log in with a password that is wrong
      homelab.mission_control.query:
        <<: *login
        login_password: "{{ wrong }}"
        query: SELECT 1
        positional_args: []
      failed_when: false
    - name: Log in by the env file
      homelab.mission_control.health:
        env_file: "{{ mission_control_database_env_file }}"
        fail_on: never
    - name: Look with a password that is wrong
      homelab.mission_control.health:
        login_host: 127.0.0.1
        login_port: "{{ mission_control_postgresql_port }}"
        login_user: "{{ mission_control_database_user }}"
        login_password: "{{ wrong }}"
      failed_when: false
"""


# The value of a statement is no secret to the server: it may log it, as it logs the statement.
PASSED_AS_VALUE = {(3, "log of the server"), (3, "pg_stat_activity"), (3, "pg_stat_statements")}
# The checksum of a token is a value of a statement too.
SERVER = {"log of the server", "pg_stat_activity", "pg_stat_statements"}


@pytest.fixture(scope="module")
def cluster():
    # Everything that the server can be made to write down about statements.
    with ThrowawayCluster(
        log_statement="all",
        log_min_duration_statement="0",
        log_min_error_statement="debug5",
        log_connections="on",
        log_parameter_max_length="-1",
        log_parameter_max_length_on_error="-1",
        shared_preload_libraries="pg_stat_statements",
        **{"pg_stat_statements.track": "all"},
    ) as server:
        with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION pg_stat_statements")
            cursor.execute("ALTER ROLE postgres PASSWORD %s", [make_verifier(ADMINISTRATOR)])
        yield server


@pytest.fixture
def place():
    """A short path: Ansible makes a socket below its home, whose path may have about a hundred characters."""
    with tempfile.TemporaryDirectory(prefix="loud-") as directory:
        yield Path(directory)


class LoudLab(DatabaseLab):
    """Plays whose variables are in a file, as loud as they can be."""

    def __init__(self, cluster, home):
        super().__init__(cluster, home)
        self.file_of_variables = home / "variables.json"
        self.env_file = home / "etc" / "app.env"
        self.outputs = {}
        (home / "tmp").mkdir()
        (home / "modules.yml").write_text(MODULES, encoding="utf-8")

    def play(self, playbook, *arguments, **variables):
        """The exit code of a playbook; its output is kept."""
        everything = {
            **self.variables,
            "mission_control_postgresql_mode": "existing",
            "mission_control_login_password": ADMINISTRATOR,
            "mission_control_database_env_file": str(self.env_file),
            "mission_control_database_readonly_login": True,
            "mission_control_database_monitor_login": True,
            "mission_control_database_executor_login": True,
            "mission_control_database_approver_login": True,
            "mission_control_schema_tool_approvers": {"alice": TOKENS[0]},
            "mission_control_schema_tool_requesters": {"assistant": TOKENS[2]},
            "wrong": WRONG,
            **variables,
        }
        self.file_of_variables.write_text(json.dumps(everything), encoding="utf-8")
        command, environment = playbook_command(playbook, {}, home=self.home)
        return self.keep(
            [*command, "--extra-vars", f"@{self.file_of_variables}", "-vvv", "--diff", *arguments],
            {**environment, "TMPDIR": str(self.home / "tmp"), "ANSIBLE_LOG_PATH": str(self.home / "ansible.log")},
        )

    def keep(self, command, environment):
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=300, check=False)
        text = (run.stdout + run.stderr).decode("utf-8", "replace")
        self.outputs[f"output of run {len(self.outputs) + 1}"] = text
        return run.returncode

    def mission_control(self, *arguments, **variables):
        return self.keep([*COMMAND, *arguments], environment_of(None, **variables))


def test_no_secret_is_left_anywhere(cluster, place):
    lab = LoudLab(cluster, place)
    first, second = (
        {"mission_control_database_password": password, "mission_control_schema_tool_approvers": {"alice": token}}
        for password, token in zip((FIRST, SECOND), TOKENS)
    )
    site = place / "site"
    site.mkdir()
    with SecretWatch(cluster) as watch:
        assert lab.play("site.yml", "--check", **first) == 0, lab.outputs
        assert lab.play("site.yml", **first) == 0, lab.outputs
        lab.log_in(FIRST)
        verifiers = [lab.verifier(key) for key in ("application", "readonly", "monitor")]
        assert lab.play("site.yml", "--check", **second) == 0
        assert lab.play("site.yml", **second) == 0
        lab.log_in(SECOND)
        verifiers.append(lab.verifier())
        assert lab.play(place / "modules.yml", **second) == 0, lab.outputs
        # What fails: a login, a password that an env file cannot hold, a migration, a password whose lock is not to be had.
        assert lab.play("site.yml", **first, mission_control_login_password=WRONG) != 0
        assert lab.play("site.yml", mission_control_database_password=WRONG) != 0
        (site / "001_fails.sql").write_text("SELECT 1 / 0;\n", encoding="utf-8")
        assert lab.play("site.yml", **second, mission_control_schema_site_directory=str(site)) != 0
        with contextlib.closing(cluster.connect(lab.name)) as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtextextended('mission_control: roles and privileges', 0))")
            assert lab.play("site.yml", **first, mission_control_database_lock_wait=1) != 0
        # The command line, by the env file and by variables.
        assert lab.mission_control("health", MISSION_CONTROL_ENV_FILE=str(lab.env_file)) in (0, 1, 2)
        url = f"postgresql://{lab.roles['application']}@127.0.0.1:{cluster.port}/{lab.name}"
        assert lab.mission_control("query", "SELECT 1", DATABASE_URL=url, PGPASSWORD=SECOND) == 0, lab.outputs
        assert lab.mission_control("query", "SELECT 1", DATABASE_URL=url, PGPASSWORD=WRONG) != 0
        dump = place / "last.dump"
        removal = {
            "mission_control_database_remove_confirm": lab.name,
            "mission_control_database_remove_dump": str(dump),
        }
        kept = [path.read_text(encoding="utf-8").strip() for path in (place / "passwords").iterdir()]
        texts = files_below(place, *map(str, [lab.file_of_variables, lab.env_file, *lab.home.glob("passwords/*")]))
        assert lab.play("playbooks/remove.yml", **second, **removal) == 0, lab.outputs
        texts.update(files_below(place, str(lab.file_of_variables)))
    assert len(kept) == 4  # of the roles for reading, monitoring, executing and approving
    assert watch.looks > 100
    assert any("ansible-playbook" in line for line in watch.command_lines)
    assert any("pg_dump" in line for line in watch.command_lines)
    statements = [row[0] for row in lab.query("SELECT query FROM pg_stat_statements", database="postgres")]
    log = Path(cluster.socket_directory, "server.log").read_text(encoding="utf-8", errors="replace")
    assert len(statements) > 100
    assert "DO $apply$" in log
    places = {
        **lab.outputs,
        **texts,
        "process list": "\n".join(watch.command_lines),
        "pg_stat_activity": "\n".join(watch.activity),
        "pg_stat_statements": "\n".join(statements),
        "log of the server": log,
    }
    assert len(set(verifiers)) == 4
    secrets = [ADMINISTRATOR, FIRST, SECOND, WRONG, *kept, *verifiers]
    assert leaks(secrets, {"itself": "".join(secrets)})  # it does find one
    assert [each for each in leaks(secrets, places) if each not in PASSED_AS_VALUE] == []
    assert leaks(TOKENS, places) == []
    assert {place for _number, place in leaks(CHECKSUMS, places)} <= SERVER
