"""What a run prints at the settings of the checkout: what a person needs to read, said once."""

from __future__ import annotations

import pytest
from database_lab import DatabaseLab, prepare_cluster
from playbook import run_playbook
from throwaway_cluster import ThrowawayCluster

LONGEST = 40
PLAY = """
- name: Print every kind of result
  hosts: all
  gather_facts: false
  tasks:
    - name: Compute
      ansible.builtin.set_fact: {computed: 1}
    - name: Compute in a loop
      ansible.builtin.set_fact: {computed: "{{ item }}"}
      loop: [1, 2]
    - name: Skip
      ansible.builtin.command: {argv: ["true"]}
      when: computed == 1
    - name: Include
      ansible.builtin.include_tasks: {file: included.yml}
"""
INCLUDED = """
- name: Inspect
  ansible.builtin.command: {argv: ["true"]}
  changed_when: false
- name: Change
  ansible.builtin.command: {argv: ["true"]}
  changed_when: true
- name: Refuse
  ansible.builtin.assert: {that: false, fail_msg: Such a sentence.}
"""
HIDDEN = ["Compute", "Compute in a loop", "Include"]
SHOWN = ["Inspect", "Change", "Refuse"]


@pytest.mark.parametrize(("arguments", "names"), [([], SHOWN), (["-v"], [*HIDDEN, *SHOWN])])
def test_tasks_that_only_compute_are_printed_with_v_alone(tmp_path, arguments, names):
    (tmp_path / "included.yml").write_text(INCLUDED, encoding="utf-8")
    playbook = tmp_path / "play.yml"
    playbook.write_text(PLAY, encoding="utf-8")
    run = run_playbook(playbook, {}, *arguments, home=tmp_path)
    printed = [part.partition("]")[0] for part in run.output.split("TASK [")[1:]]
    assert printed == names
    assert ("included: " in run.output) is bool(arguments)
    assert run.sentence == "Such a sentence."


def test_a_run_that_changes_nothing_is_short_and_ends_with_a_summary(tmp_path):
    with ThrowawayCluster() as cluster:
        prepare_cluster(cluster)
        lab = DatabaseLab(cluster, tmp_path)
        variables = {**lab.variables, "mission_control_postgresql_mode": "existing"}
        first = run_playbook("site.yml", variables, home=tmp_path).succeeded()
        second = run_playbook("site.yml", variables, home=tmp_path).succeeded()
    assert "- 'Changed: database, schema'" in first.output
    assert second.recap["changed"] == 0
    assert len(second.output.strip().splitlines()) <= LONGEST, second.output
    assert "skipping" not in second.output
    summary = second.output.partition("Show the summary")[2].partition("PLAY [")[0]
    for part in ("Server: PostgreSQL ", f"Database: {lab.name}, ", f"user={lab.roles['application']}", "Password of "):
        assert part in summary
    assert "Backups: none; " in summary
    assert "- 'Changed: nothing'" in summary
