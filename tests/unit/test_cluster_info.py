"""What cluster_info reads from a host, on made-up files."""

from __future__ import annotations

import fcntl
import getpass
import os
import re
import socket

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.facts import cluster as facts
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.facts import host_names
from ansible_collections.homelab.mission_control.plugins.module_utils.sockets import port_holder
from ansible_collections.homelab.mission_control.plugins.modules import cluster_info


@pytest.fixture
def host(tmp_path):
    """Return a function that writes a file below a made-up root."""

    def write(path, text=""):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return str(target)

    write("proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\n")
    write.root = str(tmp_path)
    return write


def test_distribution_is_read_with_and_without_quotes(host):
    host(
        "etc/os-release",
        'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    )
    assert facts.distribution(host.root) == {
        "id": "debian",
        "version": "12",
        "codename": "bookworm",
        "name": "Debian GNU/Linux 12 (bookworm)",
    }


def test_distribution_without_a_version_is_empty_not_an_error(host):
    host("etc/os-release", "ID=debian\nPRETTY_NAME='Debian sid'\n")
    assert facts.distribution(host.root)["version"] == ""


def test_memory_without_limits_is_the_kernels(host):
    assert facts.memory_bytes(host.root) == 8000000 * 1024


@pytest.mark.parametrize("where", ["", "a/", "a/b/"])
def test_memory_takes_the_limit_of_any_control_group_above_the_process(host, where):
    host("proc/self/cgroup", "0::/a/b\n")
    host(f"sys/fs/cgroup/{where}memory.max", "1073741824\n")
    assert facts.memory_bytes(host.root) == 2**30


def test_memory_ignores_a_limit_that_is_none_or_larger_than_the_host(host):
    host("proc/self/cgroup", "0::/a\n5:memory:/b\n")
    host("sys/fs/cgroup/a/memory.max", "max\n")
    host("sys/fs/cgroup/memory/b/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    host("sys/fs/cgroup/memory.max", f"{2**40}\n")
    assert facts.memory_bytes(host.root) == 8000000 * 1024


def test_memory_reads_version_1_also_where_the_path_is_the_hosts(host):
    host("proc/self/cgroup", "9:cpu,memory:/docker/abc\n")
    host("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n")
    assert facts.memory_bytes(host.root) == 2**29


def test_memory_under_systemd_is_that_of_services_not_of_the_login_session(host):
    os.makedirs(os.path.join(host.root, "run/systemd/system"))
    host("proc/self/cgroup", "0::/user.slice/user-0.slice\n")
    host("proc/1/cgroup", "0::/lxc/web/init.scope\n")
    host("sys/fs/cgroup/user.slice/memory.max", "1000000\n")
    host("sys/fs/cgroup/lxc/web/system.slice/memory.max", "3000000000\n")
    host("sys/fs/cgroup/lxc/web/memory.max", "4000000000\n")
    assert facts.memory_bytes(host.root) == 3000000000


def test_memory_without_a_total_is_a_sentence(host):
    host("proc/meminfo", "nothing\n")
    with pytest.raises(facts.ProbeError, match="does not contain MemTotal"):
        facts.memory_bytes(host.root)


def test_packages_are_those_that_are_installed():
    output = "postgresql-15\tinstalled\t15.1-0\npostgresql-17\tconfig-files\t17.5\npython3-apt\tunpacked\t2\n"
    assert facts.parse_packages(output) == {"postgresql-15": "15.1-0"}


def test_clusters_are_parsed_with_every_kind_of_status():
    output = (
        "15 main 5432 online,recovery,patroni postgres /var/lib/postgresql/15/main /var/log/a.log\n"
        "17 side 5433 down,binaries_missing db      /srv/my data/17 /var/log/b.log\n"
        "9.6 old <unknown> down postgres <unknown> syslog\n"
    )
    first, second, third = facts.parse_clusters(output)
    assert (first.version, first.name, first.port, first.running, first.binaries) == ("15", "main", 5432, True, True)
    assert (first.patroni, second.patroni) == (True, False)
    assert (second.running, second.binaries, second.owner, second.data_directory) == (
        False,
        False,
        "db",
        "/srv/my data/17",
    )
    assert (third.port, third.running) == (None, False)


def test_a_line_of_another_form_is_a_sentence():
    with pytest.raises(facts.ProbeError, match="an unknown line: oops"):
        facts.parse_clusters("oops\n")


def test_settings_follow_includes_and_later_ones_win(host):
    main = host(
        "etc/postgresql.conf",
        "# port = 1\nport = 5433 # (change requires restart)\nShared_Buffers 1GB\nsearch = 'it''s # no comment'\n"
        "include_dir = 'conf.d'\ninclude_if_exists = 'absent.conf'\ninclude 'more.conf'\n",
    )
    skipped = host("etc/conf.d/mission_control.conf", "port = 9\n")
    host("etc/conf.d/b.conf", "work_mem = '9MB'\n")
    host("etc/conf.d/a.conf", "work_mem = '5MB'\n")
    host("etc/conf.d/ignored.txt", "work_mem = '1MB'\n")
    host("etc/more.conf", "max_connections=50\n")
    settings, directories = facts.read_settings(main, skip=skipped)
    assert settings == {
        "port": "5433",
        "shared_buffers": "1GB",
        "search": "it's # no comment",
        "work_mem": "9MB",
        "max_connections": "50",
    }
    assert directories == [os.path.dirname(skipped)]


def test_settings_of_a_missing_file_are_none(host):
    assert facts.read_settings(os.path.join(host.root, "absent")) == ({}, [])


def test_unregistered_data_is_found(host):
    host("var/lib/postgresql/15/main/PG_VERSION", "15\n")
    host("var/lib/postgresql/17/main/PG_VERSION", "17\n")
    known = facts.parse_clusters("15 main 5432 down postgres /var/lib/postgresql/15/main log\n")
    assert facts.unregistered_data_directories(known, host.root) == ["/var/lib/postgresql/17/main"]


def test_port_holder_names_this_process():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert port_holder(port) is None, "a socket that does not listen holds nothing"
        listener.listen()
        assert port_holder(port)["pid"] == os.getpid()


def test_postmaster_says_where_it_listens(host):
    path = host("data/postmaster.pid", "4711\n/data\n1700000000\n5433\n/var/run/postgresql\nlocalhost\n  1 2\nready\n")
    expected = {"pid": 4711, "port": 5433, "socket_directory": "/var/run/postgresql"}
    assert facts.postmaster(os.path.dirname(path)) == expected


def test_postmaster_that_is_still_starting_says_nothing(host):
    path = host("data/postmaster.pid", "4711\n/data\n")
    assert facts.postmaster(os.path.dirname(path)) is None


def test_unfinished_creation(host):
    marker = host("marker", "77/nowhere")
    assert facts.unfinished_creation(marker) == {
        "version": "77",
        "name": "nowhere",
        "data_directory": "/var/lib/postgresql/77/nowhere",
        "started": False,
    }
    assert facts.unfinished_creation(marker + ".absent") is None


def test_systemd_counts_only_when_it_runs(host):
    host("usr/bin/systemctl")
    assert not facts.systemd_runs(host.root)
    os.makedirs(os.path.join(host.root, "run/systemd/system"))
    assert facts.systemd_runs(host.root)


def test_every_value_of_a_cluster_is_documented(host):
    [cluster] = facts.parse_clusters(f"17 main 5432 down {getpass.getuser()} /nowhere log\n")
    described = facts.describe_cluster(cluster, "mission_control.conf", host.root)
    documented = yaml.safe_load(cluster_info.RETURN)["clusters"]["contains"]
    assert set(described) == set(documented)
    # What the server says is one row of JSON, and facts that are not in it.
    asked = set(re.findall(r"^    '(\w+)',", facts.SERVER_QUERY, re.MULTILINE))
    assert asked | {"pid", "port", "socket_directory", "certificate", "reload_pending", "database_problem"} == set(
        documented["server"]["contains"]
    )


def test_a_stopped_cluster_is_described_by_its_files(host):
    directory = "etc/postgresql/17/main"
    host(f"{directory}/postgresql.conf", "port = 5432\ninclude_dir = 'conf.d'\n")
    host(f"{directory}/conf.d/mission_control.conf", "work_mem = '9MB'\n")
    host(f"{directory}/conf.d/theirs.conf", "work_mem = '1MB'\n")
    host(f"{directory}/pg_hba.conf", "local all all peer\n")
    host(f"{directory}/start.conf", "# comment\nmanual\n")
    data, log = host("data/postgresql.auto.conf", "max_connections = '7'\n"), host("log", "x FATAL:  no room\n")
    [cluster] = facts.parse_clusters(f"17 main 5432 down {getpass.getuser()} {os.path.dirname(data)} {log}\n")
    described = facts.describe_cluster(cluster, "mission_control.conf", host.root)
    assert described["settings"] == {"port": "5432", "work_mem": "1MB", "max_connections": "7"}
    assert described["drop_in_content"] == "work_mem = '9MB'\n"
    assert (described["start"], described["reads_conf_d"], described["last_error"]) == ("manual", True, "no room")
    assert (described["server"], described["server_problem"]) == (None, "it is not running")


@pytest.mark.parametrize(
    ("status", "file", "text", "shown"),
    [
        ("down", "etc/postgresql/17/main/postgresql.conf", "port = 5432\n", ""),
        ("down,patroni", "data/PG_VERSION", "17\n", "pg_lsclusters"),
        ("down", "etc/postgresql/17/main/postgresql.conf", "# Do not edit this file manually!\n# It will be overwritten by Patroni!\n", "FILE"),
        ("down", "data/patroni.dynamic.json", "{}", "FILE"),
    ],
)  # fmt: skip
def test_what_shows_that_patroni_runs_a_cluster(host, status, file, text, shown):
    path = host(file, text)
    [cluster] = facts.parse_clusters(f"17 main 5432 {status} {getpass.getuser()} {host.root}/data log\n")
    described = facts.describe_cluster(cluster, "mission_control.conf", host.root)
    assert described["patroni"] == (path if shown == "FILE" else shown)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"creation_marker": "a\0b"}, "creation_marker"),
        ({"certificates": "a\nb"}, "certificates"),
        ({"networks": ["10.0.0.1/8"]}, "networks"),
        ({"drop_in": "../postgresql.conf"}, "drop_in"),
        ({"drop_in": ".."}, "drop_in"),
        ({"packages": ["--admindir=/tmp"]}, "packages"),
        ({"packages": ["a\nb"]}, "packages"),
        ({"port": 0}, "port"),
    ],
)
def test_what_no_file_package_or_port_is_called_is_refused(change, word):
    params = {"packages": ["postgresql-[0-9]*"], "port": 5432, "drop_in": "x.conf", "creation_marker": "/var/x"}
    params.update(certificates="/etc/x", networks=["10.0.0.0/8"])
    assert cluster_info.problem_of(params) == ""
    assert cluster_info.problem_of({**params, **change}).startswith(word)


def test_a_host_is_called_what_its_own_files_say(host):
    host("proc/sys/kernel/hostname", "db\n")
    host("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 db.home.arpa db # made by the installer\n10.0.0.9 other db2\n")
    assert host_names.host_names(host.root) == ["db", "db.home.arpa"]


def test_addresses_that_stay_are_listed(host):
    host(
        "proc/net/fib_trie",
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n"
        "     |-- 127.0.0.1\n        /32 host LOCAL\nLocal:\n     |-- 10.0.0.5\n        /32 host LOCAL\n",
    )
    host(
        "proc/net/if_inet6",
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "fd000000000000000000000000000005 02 40 00 80     eth0\n"
        "fd0000000000000000000000000000aa 02 40 00 01     eth0\n"
        "fe800000000000000000000000000005 02 40 20 80     eth0\n",
    )
    assert host_names.addresses(host.root) == ["10.0.0.5", "fd00::5"]


def test_a_host_without_these_files_has_neither(host):
    assert (host_names.host_names(host.root), host_names.addresses(host.root)) == ([], [])


def test_the_address_towards_a_network_is_that_of_the_route():
    assert host_names.address_towards("127.0.0.0/8") == "127.0.0.1"
    assert host_names.address_towards("127.0.0.1/32") == "127.0.0.1"


def test_a_host_is_not_looked_at_while_another_run_creates_a_cluster(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with (
            pytest.raises(facts.ProbeError, match="Another run has been creating a cluster"),
            facts.between_creations(str(tmp_path), patience=0),
        ):
            pass
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        with facts.between_creations(str(tmp_path)), pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def test_a_host_without_postgresql_is_looked_at_at_once(tmp_path):
    with facts.between_creations(str(tmp_path / "nowhere")):
        pass
