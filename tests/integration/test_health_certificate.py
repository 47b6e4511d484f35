"""The certificate among the health checks: seen by who may read files of the server, and its end told in time."""

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.health.check import check_health
from ansible_collections.homelab.mission_control.plugins.module_utils.health.thresholds import Thresholds
from certificates import Authority
from test_client_tls import PASSWORD, TlsCluster, _make_login
from throwaway_cluster import ThrowawayCluster


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory, server_version):
    """Its certificate lives for an hour."""
    with TlsCluster(Authority(tmp_path_factory.mktemp("authority"), "authority")) as cluster:
        _make_login(cluster)
        yield cluster


def certificate_of(server, days=14.0, **login):
    options = {"host": server.socket_directory, "user": "postgres", "database": "postgres", "port": server.port}
    with Client(**{**options, **login}) as db:
        return check_health(db, thresholds=Thresholds(certificate_warn_days=days)).check("certificate")


def test_the_end_is_told_in_time(tls_server):
    soon, well = certificate_of(tls_server), certificate_of(tls_server, days=0)
    assert (soon.status, well.status) == ("warn", "pass")
    assert soon.data["days_left"] == 0
    assert "in 0 days: provision the server" in soon.message


def test_who_may_not_read_it_is_told_so(tls_server):
    check = certificate_of(tls_server, host="127.0.0.1", user="me", password=PASSWORD)
    assert check.status == "not visible"


def test_a_server_without_tls_has_none(server_version):
    with ThrowawayCluster() as server:
        check = certificate_of(server)
    assert (check.status, check.message) == ("pass", "The server offers no TLS.")
