"""Write tests/integration/permissions.yml: who may do what, from the catalogue of a database that the SQL files made.

    scripts/permissions.py         write it (needs PostgreSQL's server programs; makes a throw-away server)

tests/integration/test_permissions.py compares it with the database of the tests: look at the difference before you commit it.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration")]

import mission_control_database as layer  # noqa: E402
import permissions  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402


def main():
    with ThrowawayCluster() as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "permissions")
        layer.provision(database)
        permissions.FILE.write_text(permissions.text(permissions.matrix(database.session("admin"))), encoding="utf-8")
        database.close()


if __name__ == "__main__":
    main()
