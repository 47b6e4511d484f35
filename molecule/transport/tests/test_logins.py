"""Who comes in from another host: the right login, from the right address, over TLS, and nobody else."""

from __future__ import annotations

import pytest
from sql_on_host import as_administrator


def test_the_right_password_comes_in_over_tls(psql):
    session = psql.value("SELECT ssl, version, cipher IS NOT NULL FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert session == "t|TLSv1.3|t"
    assert psql.value("SELECT session_user, inet_client_addr() = inet_server_addr()") == "mission_control|f"


def test_nothing_older_than_tls_1_2_is_spoken(server, psql):
    assert as_administrator(server, "SHOW ssl_min_protocol_version") == "TLSv1.2"
    assert psql.but(options=f"{psql.options} ssl_max_protocol_version=TLSv1.2").value("SELECT 1") == "1"
    refusal = psql.but(
        options=f"{psql.options} ssl_min_protocol_version=TLSv1 ssl_max_protocol_version=TLSv1.1"
    ).refusal()
    assert "SSL error" in refusal


def test_a_wrong_password_is_refused(psql):
    assert "password authentication failed" in psql.but(password="wrong").refusal()
    assert "fe_sendauth: no password supplied" in psql.but(password="").refusal()


@pytest.mark.parametrize("database", ["postgres", "template1", "lab"])
def test_another_database_is_refused(psql, database):
    assert "pg_hba.conf rejects connection" in psql.but(dbname=database).refusal()


@pytest.mark.parametrize("user", ["postgres", "administrator", "mission_control_owner", "nobody"])
def test_another_user_is_refused(psql, user):
    assert "pg_hba.conf rejects connection" in psql.but(user=user).refusal()


def test_without_tls_nobody_comes_in(psql):
    assert "pg_hba.conf rejects connection" in psql.but(options="sslmode=disable").refusal()


def test_from_another_address_nobody_comes_in(psql, on):
    elsewhere = psql.but(host=on("stranger"))
    assert "pg_hba.conf rejects connection" in elsewhere.refusal()
    assert "pg_hba.conf rejects connection" in elsewhere.but(options="sslmode=disable").refusal()


def test_no_password_is_asked_for_where_nobody_may_come_in(psql, on):
    """A server that rejects asks for none, so a password that is typed in vain is not even sent."""
    assert "pg_hba.conf rejects connection" in psql.but(host=on("stranger"), password="").refusal()
