"""Dumps, on a host without a service manager: what was dumped is removed and restored."""

from __future__ import annotations


def test_a_removed_database_comes_back_from_its_dump(dumps, restore, run_playbook, healthy_hosts, project):
    dumps.write(1, 20)
    dumps.run("mission-control-backup", "dump")
    dumps.write(21, 25)

    run = restore([dumps])
    assert run.returncode != 0
    assert "is not empty, and nothing is restored over it" in " ".join(run.output.split())

    limit = ("--limit", dumps.name)
    confirmed = ("--extra-vars", "mission_control_database_remove_confirm=mission_control")
    run = run_playbook(project / "playbooks/remove.yml", *limit, *confirmed)
    assert run.returncode == 0, run.output
    assert dumps.host.file("/usr/local/sbin/mission-control-backup").exists is False

    run = restore([dumps])
    assert run.returncode == 0, run.output
    assert "kept head belongs to" in run.output or "kept heads belong to" in run.output
    assert dumps.counted() == list(range(1, 21))
    assert dumps.logged() == list(range(1, 21))

    run = run_playbook(project / "site.yml", *limit)
    assert run.returncode == 0, run.output
    assert healthy_hosts(run.output) == 1
    # The guards of the log are on again, and it goes on where it ended.
    dumps.write(21, 21)
    assert dumps.logged() == list(range(1, 22))
    assert (
        dumps.sql("SELECT valid, head_sequence = (SELECT count(*) FROM audit_entries) FROM verify_audit_chain()")
        == "t|t"
    )


def test_only_so_many_dumps_are_kept_and_each_has_its_checksum(dumps):
    directory = "/var/lib/mission-control-backup/dumps"
    names = dumps.host.check_output(f"ls {directory}").split()
    whole = [name for name in names if name.endswith(".dump")]
    assert whole
    for name in whole:
        assert {f"{name}.sha256", f"{name}.head", f"{name}.roles.sql"} <= set(names)
    dumps.host.check_output(f"cd {directory} && sha256sum --check *.sha256")
    assert "PASSWORD" not in dumps.host.check_output(f"cat {directory}/*.roles.sql")


def test_a_damaged_dump_is_refused(dumps):
    dumps.host.check_output("cp -a /var/lib/mission-control-backup/dumps/. /srv/damaged")
    [first, *_] = dumps.host.check_output("ls /srv/damaged/*.dump").split()
    dumps.host.check_output(f"printf x | dd of={first} bs=1 seek=3000 conv=notrunc status=none")
    refused = dumps.host.run(f"cd / && runuser -u postgres -- mission-control-backup restore {first}")
    assert refused.rc == 1
    assert "is damaged" in refused.stderr
