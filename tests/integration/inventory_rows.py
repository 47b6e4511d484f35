"""Sources of the inventory and their runs, written by statements as the worker leaves them."""


def add_source(session, name, connector="kubernetes", complete_minutes_ago=None, error=None, **columns):
    """A source; with a run that ended when it was last listed whole, or that failed just now with this error."""
    task = session.insert("tasks", title=f"inventory sync {name}", created_by="inventory")
    source = session.insert("inventory_sources", name=name, connector=connector, task_id=task["id"], **columns)
    if complete_minutes_ago is not None:
        session.run(
            "UPDATE inventory_sources SET last_complete_at = jsonb_build_object('hosts', clock_timestamp() - %s * interval '1 minute', "
            "'workloads', clock_timestamp()) WHERE name = %s",
            complete_minutes_ago,
            name,
        )
    if complete_minutes_ago is not None or error is not None:
        run = session.insert(
            "task_runs",
            task_id=task["id"],
            status="failed" if error else "succeeded",
            error=error,
            created_at="2026-01-01T00:00:00Z",
            finished_at=session.value("SELECT clock_timestamp()"),
        )
        session.run("UPDATE inventory_sources SET last_run_id = %s WHERE name = %s", run["id"], name)
    return source


def end_queued(session, minutes_ago=1):
    """What a worker has done with every run that was queued."""
    session.run(
        "UPDATE task_runs SET status = 'succeeded', finished_at = now(), created_at = now() - %s * interval '1 minute' "
        "WHERE status = 'queued'",
        minutes_ago,
    )
