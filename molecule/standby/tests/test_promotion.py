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
    assert re.search(r"The audit chain is valid, with \d+ links", run.text)
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
