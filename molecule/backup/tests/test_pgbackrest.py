"""pgBackRest: what is written with a counter, destroyed and restored. The tests go on where the one before ended."""

from __future__ import annotations

import pytest

# Committed, backed up; committed, archived; committed and not archived before the data directory is gone.
BACKED_UP, ARCHIVED, WRITTEN = 20, 40, 60


def test_timers_wait_and_the_first_backup_keeps_the_head_of_the_audit_log(clusters):
    for each in clusters:
        for timer in ("full", "incr"):
            assert each.host.service(f"mission-control-backup-{timer}.timer").is_running
            assert each.host.service(f"mission-control-backup-{timer}.timer").is_enabled
        backups = each.kept_backups()
        assert [backup["type"] for backup in backups] == ["full"] * (2 if each.name == "debian13" else 1)
        # Of what was set up, and nothing was done since.
        entries = each.sql("SELECT count(*) FROM audit_entries")
        assert all(backup["annotation"]["audit-head"].startswith(f"{entries}:") for backup in backups)
        # The package's server for other hosts has no certificate and would be started every second.
        assert not each.host.service("pgbackrest.service").is_enabled


def test_the_backup_runs_with_the_protections_that_the_host_gives(clusters):
    for each in clusters:
        unit = each.host.check_output(
            "systemctl show mission-control-backup@full.service --property=User,NoNewPrivileges,Result"
        )
        assert {"User=postgres", "NoNewPrivileges=yes", "Result=success"} <= set(unit.split())


def test_passwords_and_repositories_are_for_the_servers_user_alone(clusters):
    for each in clusters:
        configuration = each.host.file("/etc/pgbackrest/mission_control.conf")
        assert (configuration.mode, configuration.user, configuration.group) == (0o640, "root", "postgres")
        assert each.host.file("/var/lib/pgbackrest").mode & 0o007 == 0
    encrypted = clusters[1].host.run(
        "grep --recursive --binary-files=text --quiet mission_control_owner /var/lib/pgbackrest /srv/nas"
    )
    assert encrypted.rc == 1


def test_nothing_is_restored_over_a_running_cluster(clusters, restore):
    for each in clusters:
        # As a restore of an earlier version left it, and as anybody could who is the server's user.
        each.run(
            "sh", "-c", "for each in /var/lib/postgresql/[0-9]*; do touch $each/main.mission_control-restoring; done"
        )
    run = restore(clusters)
    assert run.returncode != 0
    assert run.output.count("runs, and nothing is restored over it") >= 2


def test_without_a_confirmation_it_only_says_what_it_would_do(clusters, restore):
    run = restore(clusters, confirm="", cluster="then", port=5433)
    assert run.returncode != 0
    assert "Nothing was restored: set mission_control_backup_restore_confirm" in run.output
    assert run.changed == 0
    assert all("then" not in each.host.check_output("pg_lsclusters") for each in clusters)


def test_what_was_committed_before_the_last_archived_log_is_there_again(
    clusters, restore, backup_health, healthy_hosts
):
    for each in clusters:
        each.write(1, BACKED_UP)
        each.run("mission-control-backup", "incr")
        each.write(BACKED_UP + 1, ARCHIVED)
        each.archive()
        each.write(ARCHIVED + 1, WRITTEN)
        each.host.check_output("pkill -9 -u postgres -x postgres; rm -rf /var/lib/postgresql/*/main")
        # Root must not follow what the server's user puts in the way.
        each.host.check_output("install -d -m 0755 /srv/precious")
        each.run("sh", "-c", "ln -s /srv/precious $(ls -d /var/lib/postgresql/[0-9]*)/main")
    run = restore(clusters)
    assert run.returncode != 0
    assert " ".join(run.output.split()).count("is a symbolic link, which a restore does not follow") >= len(clusters)
    for each in clusters:
        assert each.host.check_output("stat -c '%U %a' /srv/precious") == "root 755"
        each.host.check_output("rm /var/lib/postgresql/*/main")
    run = restore(clusters)
    assert run.returncode == 0, run.output
    for sentence in ("Recovery point: the transaction of", "Recovery time:", "kept heads belong to"):
        assert run.output.count(sentence) == len(clusters), run.output
    for each in clusters:
        numbers = each.counted()
        assert ARCHIVED <= len(numbers) <= WRITTEN
        assert numbers == list(range(1, len(numbers) + 1))
        assert each.logged() == numbers
        assert each.host.run("ls /etc/mission-control/backup/*.restoring").rc != 0
    assert healthy_hosts(backup_health(clusters)) == len(clusters)


def test_a_moment_is_restored_beside_the_living_cluster(clusters, restore):
    living = {each.name: each.counted()[-1] for each in clusters}
    moments = {}
    for each in clusters:
        each.write(living[each.name] + 1, 70)
        moments[each.name] = each.moment()
        each.write(71, 80)
    for each in clusters:
        run = restore([each], cluster="then", port=5433, target=moments[each.name])
        assert run.returncode == 0, run.output
        assert each.counted(port=5433) == list(range(1, 71))
        assert each.logged(port=5433) == list(range(1, 71))
        assert each.counted() == list(range(1, 81))
        assert each.sql("SHOW archive_mode", port=5433) == "off"
        assert each.sql("SHOW archive_mode") == "on"


def test_a_provisioning_run_is_not_misled_by_the_copy(clusters, run_playbook, project):
    run = run_playbook(project / "playbooks/provision.yml", "--limit", "debian12,debian13")
    assert run.returncode == 0, run.output
    assert run.changed == 0, run.output
    for each in clusters:
        each.host.check_output("pg_dropcluster --stop %s then", each.sql("SHOW server_version_num")[:2])


def test_a_full_repository_is_noticed_does_not_fill_the_disk_and_heals(clusters, backup_health, healthy_hosts):
    [_, each] = clusters
    each.host.run("cat /dev/zero >/srv/nas/filler")
    for _ in range(2):
        each.sql("SELECT pg_current_xact_id()", "SELECT pg_switch_wal()")
    each.wait_for("SELECT last_failed_time > last_archived_time FROM pg_stat_archiver", "t")
    assert "backups: Archiving of the write-ahead log fails" in backup_health([each])

    # More than mission_control_backup_archive_queue allows, by several segments of 16 MiB.
    for _ in range(12):
        each.sql("SELECT pg_current_xact_id()", "SELECT pg_switch_wal()")
    each.wait_for("SELECT count(*) > 0 FROM backup_runs WHERE type = 'archive' AND outcome = 'failure'", "t")
    each.wait_for("SELECT count(*) < 6 FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'", "t")

    each.host.check_output("rm /srv/nas/filler")
    each.archive()
    assert "backups: Write-ahead log was given up" in backup_health([each])
    each.run("mission-control-backup", "incr")
    assert healthy_hosts(backup_health([each])) == 1


def test_a_backup_that_fails_is_recorded_and_noticed(clusters, backup_health, healthy_hosts):
    [each, _] = clusters
    each.host.check_output("mv /var/lib/pgbackrest/backup /var/lib/pgbackrest/away")
    failed = each.host.run("systemctl start mission-control-backup@incr.service")
    assert failed.rc != 0
    assert each.sql("SELECT outcome FROM backup_runs ORDER BY id DESC LIMIT 1") == "failure"
    assert "backups: The last backup failed" in backup_health([each])
    each.host.check_output(
        "rm -rf /var/lib/pgbackrest/backup && mv /var/lib/pgbackrest/away /var/lib/pgbackrest/backup"
    )
    each.host.check_output("systemctl start mission-control-backup@incr.service")
    assert healthy_hosts(backup_health([each])) == 1


@pytest.mark.parametrize("cut", ["everything"])
def test_an_audit_log_that_was_cut_off_is_found_by_the_kept_head(clusters, restore, cut):
    [each, _] = clusters
    each.run("mission-control-backup", "incr")
    guards = [f"ALTER TABLE {table} {{}} TRIGGER ALL" for table in ("audit_entries", "audit_links", "audit_head")]
    each.sql(
        *(guard.format("DISABLE") for guard in guards),
        "DELETE FROM audit_links; DELETE FROM audit_entries; UPDATE audit_head SET sequence = 0, digest = decode(repeat('00', 32), 'hex')",
        *(guard.format("ENABLE") for guard in guards),
    )
    # The log agrees with itself.
    assert each.sql("SELECT valid FROM verify_audit_chain()") == "t"
    run = restore([each], cluster="then", port=5433)
    assert run.returncode != 0
    assert "The audit log is not what was written" in run.output
    assert "and the chain ends before it" in " ".join(run.output.split())
