"""An application that writes through the library until it is told to stop, and notes what became of each row.

writer.py HOST PORT PASSWORD DIRECTORY: the notes go to DIRECTORY/notes, one line for each row; it ends when DIRECTORY/stop exists.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from mission_control import Client, MissionControlError

# Large enough that a small disk is full soon, and of such a kind that compressing it helps little.
SERVICE = """
    INSERT INTO services (name, description)
    SELECT %s, string_agg(md5(random()::text), '') FROM generate_series(1, 1000)
"""
ENTRY = "INSERT INTO audit_entries (actor, action, target_id, outcome) VALUES ('writer', 'write', %s, 'success')"


def main() -> None:
    host, port, password, directory = sys.argv[1:]
    place = Path(directory)
    client = Client(
        host=host,
        port=port,
        user="mission_control",
        password=password,
        connect_timeout=3,
        pool_timeout=6,
        statement_timeout=5,
        unacknowledged_timeout=4,
        keepalives_idle=3,
        keepalives_interval=1,
        keepalives_count=3,
    )
    with (place / "notes").open("a") as notes, client as database:
        number = 0
        while not (place / "stop").exists():
            number += 1
            label = f"row {number}"
            note = {"label": label, "written": True}
            try:
                with database.transaction() as transaction:
                    transaction.query(SERVICE, [label])
                    transaction.query(ENTRY, [label])
            except MissionControlError as error:
                unknown = getattr(error, "in_commit", False)
                note = {"label": label, "written": None if unknown else False}
                note.update(error=type(error).__name__, text=str(error), sqlstate=getattr(error, "sqlstate", None))
            notes.write(json.dumps(note) + "\n")
            notes.flush()
            time.sleep(0.02)


main()
