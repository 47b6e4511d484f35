"""A new password on the controller reaches the database and every service in one run."""

from __future__ import annotations

import pytest
import testinfra
from http_on_host import HttpService
from sql_on_host import RefusedError

testinfra_hosts = ["debian13"]


def test_a_new_password_reaches_all(run_playbook, scenario, service_login, password_file, token):
    assert service_login.value("SELECT 1") == 1
    password_file.write_text("a-new-password-of-the-service\n")
    run = run_playbook(scenario / "converge.yml", "-vvv")
    assert run.returncode == 0, run.output
    for secret in ("a-new-password-of-the-service", token, "another-token-of-the-scenario"):
        assert secret not in run.output
    with pytest.raises(RefusedError, match="password authentication failed"):
        service_login.value("SELECT 1")
    for name in ("debian12", "debian13", "confined"):
        other = testinfra.get_host(f"podman://mission-control-{scenario.name}-{name}")
        assert HttpService(other, 3000).status("/ready") == 200, name
    assert service_login.but(password="a-new-password-of-the-service").value("SELECT 1") == 1
