"""A dry run on provisioned hosts."""

from __future__ import annotations


def test_check_mode_finds_nothing_to_change(run_playbook, project):
    run = run_playbook(project / "site.yml", "--check", "--diff")
    assert run.returncode == 0, run.output
    assert run.changed == 0, run.output
