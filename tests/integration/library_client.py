"""The library's client on a test's database."""

from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from mission_control_database import ROLES


def client_of(database, role="application", **options):
    return Client(
        host=database.cluster.socket_directory,
        port=database.cluster.port,
        database=database.name,
        user=ROLES[role],
        **options,
    )
