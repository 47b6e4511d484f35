"""A primary is lost, or gives way, under the library's load: what is lost, who writes, and how the old one comes back."""

from __future__ import annotations

import re
import time

STANDBY, PROMOTE, REJOIN, SITE = (
    *(f"playbooks/{name}.yml" for name in ("standby", "promote", "rejoin")),
    "site.yml",
)


def promote(pair, **options):
    """Promote the standby of a pair; the groups are as before, as in an emergency."""
    new = pair.standby
    run = pair.run(PROMOTE, mission_control_standby_promote_confirm=new, **options)
    assert run.returncode == 0, run.output
    assert f"{new} is the primary and takes writes, on timeline" in run.text
    assert re.search(r"The audit chain has \d+ links", run.text)
    pair.primary = new
    return run


def rejoin(pair, **options):
    """Take the old primary back, with the groups as they are to be now."""
    run = pair.run(REJOIN, mission_control_standby_rejoin_confirm=pair.standby, **options)
    assert run.returncode == 0, run.output
    pair.wait_until_whole()
    return run


def test_a_killed_primary_gives_way_and_comes_back_by_a_rewind(pair, drill):
    load = drill(pair, "kill")
    fault = pair.kill(pair.primary)
    run = promote(pair)
    counted = re.search(r"with (\d+) committed transactions?: these are lost", run.text)
    none = "has nothing that was not replicated" in run.text
    result = load.end(fault, may_lose=True)
    print(
        f"promote.yml {run.seconds:.1f} s; it says lost: {counted[1] if counted else 0}; missing calls: {result['lost']}"
    )
    assert none or counted
    assert result["lost"] <= (int(counted[1]) if counted else 0)
    fenced = pair.host(pair.standby).attempt("pg_ctlcluster $(ls /etc/postgresql) main start")
    assert fenced[0] != 0
    assert "disabled" in fenced[1]
    site = pair.run(SITE)
    assert (site.returncode, site.changed(pair.primary)) == (0, {pair.primary: 0}), site.output
    back = rejoin(pair)
    assert "could not be rewound" not in back.text
    print(f"rejoin.yml {back.seconds:.1f} s")
    assert pair.run(REJOIN, mission_control_standby_rejoin_confirm=pair.standby).changed(*pair.names) == dict.fromkeys(
        pair.names, 0
    )


def test_a_switchover_loses_nothing(pair, drill):
    load = drill(pair, "switchover")
    refused = pair.run(PROMOTE, mission_control_standby_promote_confirm=pair.standby)
    assert refused.returncode != 0
    assert "set mission_control_standby_switchover to true" in refused.text
    load.load.goes_on(100)
    fault = time.monotonic()
    run = promote(pair, mission_control_standby_switchover=True)
    assert "has nothing that was not replicated" in run.text
    result = load.end(fault)
    print(f"switchover: promote.yml {run.seconds:.1f} s, gap {result['gap']} s")
    assert result["lost"] == 0
    rejoin(pair)


def test_commits_that_waited_are_all_there_and_an_old_primary_without_its_log_is_copied(pair, drill):
    synchronous = {"mission_control_standby_synchronous": True}
    assert pair.run(STANDBY, **synchronous).returncode == 0
    load = drill(pair, "synchronous")
    fault = pair.kill(pair.primary)
    run = promote(pair, **synchronous)
    result = load.end(fault)
    print(f"synchronous: promote.yml {run.seconds:.1f} s, gap {result['gap']} s, lost {result['lost']}")
    assert result["lost"] == 0
    old, new = pair.host(pair.standby), pair.host(pair.primary)
    old.run("cd / && find /var/lib/postgresql/*/main/pg_wal -type f -delete")
    back = rejoin(pair, **synchronous)
    print(f"rejoin.yml by a copy {back.seconds:.1f} s")
    assert "could not be rewound, so the data" in back.text
    assert old.run("ls -d /var/lib/postgresql/*/main.before-rejoin-*").count("before-rejoin") == 1
    assert (new.state() or {})["wanted"] == f'"{pair.standby}"'
    assert new.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'mission_control_rewind'") == "0"
    assert pair.run(STANDBY).returncode == 0
    assert (new.state() or {})["wanted"] == ""
    old.run("rm --recursive /var/lib/postgresql/*/main.before-rejoin-*")


def test_a_primary_that_is_cut_off_comes_back_as_a_second_one_and_is_stopped(pair, drill):
    load = drill(pair, "cut")
    old, new = pair.primary, pair.standby
    with pair.host(old).cut_off():
        fault = time.monotonic()
        run = promote(pair, unreachable=old)
        assert f"{old} cannot be reached, so it is not fenced" in run.text
        result = load.end(fault, may_lose=True)
        print(f"cut: promote.yml {run.seconds:.1f} s, gap {result['gap']} s, lost {result['lost']}")
    assert [name for name in pair.names if pair.host(name).is_primary()] == list(pair.names)
    refused = pair.run(STANDBY)
    assert refused.returncode != 0
    assert f"rejoin.yml -e mission_control_standby_rejoin_confirm={old}" in refused.text
    back = rejoin(pair)
    assert "which runs as a second primary" in back.text
    assert pair.host(new).is_primary()


def test_a_promotion_that_is_killed_is_run_again(pairs, drill):
    pair = pairs["trixie"]
    pair.wait_until_whole()
    load = drill(pair, "killed")
    fault = pair.kill(pair.primary)
    for task in ("Fence the old primary", "Promote the server"):
        run = pair.run(PROMOTE, kill_at=f": {task}]", mission_control_standby_promote_confirm=pair.standby)
        assert run.returncode < 0, run.output
    promote(pair)
    result = load.end(fault, may_lose=True)
    print(f"killed: lost {result['lost']}")
    again = pair.run(PROMOTE, mission_control_standby_promote_confirm=pair.primary)
    assert (again.returncode, again.changed(*pair.names)) == (0, dict.fromkeys(pair.names, 0)), again.output
    rejoin(pair)
