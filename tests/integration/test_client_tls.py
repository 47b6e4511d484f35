"""The client over TLS: which servers it trusts under which sslmode, and that it never falls back where it must not."""

import pwd
import shutil
from pathlib import Path

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import ConnectError
from certificates import Authority
from throwaway_cluster import ThrowawayCluster

PASSWORD = "correct horse, battery & staple?"
SESSION = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


class TlsCluster(ThrowawayCluster):
    """A server with a certificate for 127.0.0.1 and not for localhost, signed by `authority`."""

    def __init__(self, authority):
        self._certificate, self._key = authority.issue("server", "127.0.0.1", "db.test")
        super().__init__(ssl="on", ssl_cert_file="server.crt", ssl_key_file="server.key")

    def _initdb(self):
        super()._initdb()
        for path in (self._certificate, self._key):
            copy = Path(self._data, path.name)
            shutil.copy(path, copy)
            if self._identity:
                owner = pwd.getpwnam("postgres")
                shutil.chown(copy, owner.pw_uid, owner.pw_gid)
        Path(self._data, self._key.name).chmod(0o600)


@pytest.fixture(scope="module")
def authority(tmp_path_factory, server_version):
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory, server_version):
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def tls_server(authority, server_version):
    with TlsCluster(authority) as cluster:
        _make_login(cluster)
        yield cluster


@pytest.fixture(scope="module")
def plain_server(server_version):
    with ThrowawayCluster() as cluster:
        _make_login(cluster)
        yield cluster


def _make_login(cluster):
    connection = cluster.connect()
    connection.cursor().execute("CREATE ROLE me LOGIN PASSWORD %s", [PASSWORD])
    connection.close()


def client(server, host="127.0.0.1", **options):
    return Client(host=host, port=server.port, database="postgres", user="me", password=PASSWORD, **options)


@pytest.mark.parametrize("sslmode", ["verify-full", "verify-ca", "require", "prefer"])
def test_the_right_authority_is_trusted(tls_server, authority, sslmode):
    with client(tls_server, sslmode=sslmode, sslrootcert=str(authority.path)) as db:
        session = db.query_one(SESSION)
    assert session["ssl"] is True
    assert session["version"] in ("TLSv1.2", "TLSv1.3")


def test_all_of_it_fits_into_a_url(tls_server, authority):
    url = (
        f"postgresql://me:correct%20horse%2C%20battery%20%26%20staple%3F@127.0.0.1:{tls_server.port}/postgres"
        f"?sslmode=verify-full&sslrootcert={authority.path}"
    )
    with Client(url) as db:
        assert db.query_one(SESSION)["ssl"] is True


@pytest.mark.parametrize("sslmode", ["verify-full", "verify-ca"])
def test_a_stranger_s_signature_is_refused(tls_server, stranger, sslmode):
    with pytest.raises(ConnectError, match="certificate verify failed") as refused:
        client(tls_server, sslmode=sslmode, sslrootcert=str(stranger.path), pool_timeout=5).connect()
    assert PASSWORD not in str(refused.value)


def test_only_verify_full_looks_at_the_name(tls_server, authority):
    with client(tls_server, "localhost", sslmode="verify-ca", sslrootcert=str(authority.path)) as db:
        assert db.query_one(SESSION)["ssl"] is True
    with pytest.raises(ConnectError, match="localhost"):
        client(
            tls_server, "localhost", sslmode="verify-full", sslrootcert=str(authority.path), pool_timeout=5
        ).connect()


@pytest.mark.parametrize("sslmode", ["verify-full", "require"])
def test_no_password_goes_to_a_server_without_tls(plain_server, authority, sslmode):
    with pytest.raises(ConnectError, match="does not support SSL"):
        client(plain_server, sslmode=sslmode, sslrootcert=str(authority.path), pool_timeout=5).connect()


def test_an_authority_that_is_not_there_is_named(tls_server, tmp_path):
    missing = tmp_path / "missing.crt"
    with pytest.raises(ConnectError, match=str(missing)):
        client(tls_server, sslmode="verify-full", sslrootcert=str(missing), pool_timeout=5).connect()


def test_the_pool_s_later_connections_verify_too(tls_server, authority):
    with (
        client(tls_server, sslmode="verify-full", sslrootcert=str(authority.path)) as db,
        db.transaction() as first,
        db.transaction() as second,
    ):
        pids = {each.query_one("SELECT pg_backend_pid() AS pid")["pid"] for each in (first, second)}
        assert all(each.query_one(SESSION)["ssl"] for each in (first, second))
    assert len(pids) == 2


def test_channel_binding_needs_tls(tls_server, plain_server):
    with client(tls_server, channel_binding="require", sslmode="require") as db:
        assert db.query_one(SESSION)["ssl"] is True
    with pytest.raises(ConnectError, match="channel binding"):
        client(plain_server, channel_binding="require", pool_timeout=5).connect()
