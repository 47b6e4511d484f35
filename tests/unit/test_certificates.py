"""Certificates as a host makes them, read by another library than the one that made them."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.health.certificate import end_of_certificate
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.certificates import facts, maker
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.certificates.given import (
    given_certificate,
)
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256

NAMES = ["localhost", "db.home.arpa", "10.0.0.5", "fd00::5"]
OWNER = (os.getuid(), os.getgid())
MYSELF = pwd.getpwuid(os.getuid()).pw_name


def issue(directory, number=1, names=NAMES, days=730):
    with maker.alone(str(directory)):
        maker.issue(str(directory), number, OWNER, names, days)
    return read(directory / f"server-{number}.crt")


def read(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def left(certificate):
    return certificate.not_valid_after_utc - datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "etc/certificates"


def test_a_certificate_is_what_clients_expect(directory):
    made = issue(directory)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "db.home.arpa"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(each) for each in NAMES[2:]]
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert isinstance(made.public_key(), ec.EllipticCurvePublicKey)
    assert datetime.timedelta(days=729) < left(made) <= datetime.timedelta(days=730)
    assert made.not_valid_before_utc < datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=23)


def test_the_authority_signs_servers_and_no_other_authority(directory):
    made, authority = issue(directory), read(directory / "ca.crt")
    made.verify_directly_issued_by(authority)
    authority.verify_directly_issued_by(authority)
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)


def test_keys_are_for_their_users_alone(directory):
    issue(directory)
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600, "server-1.crt": 0o644, "server-1.key": 0o600}
    assert facts.describe_directory(str(directory))["pairs"][0]["owner"] == MYSELF
    (directory / "server-1.key").chmod(0o640)
    assert facts.describe_directory(str(directory))["pairs"][0]["owner"] == ""


def test_another_pair_has_another_key_and_the_same_authority(directory):
    first, authority = issue(directory), read(directory / "ca.crt")
    second = issue(directory, 2)
    assert first.public_key() != second.public_key()
    assert first.serial_number != second.serial_number
    assert read(directory / "ca.crt") == authority


def test_an_authority_is_renewed_before_what_it_signs_would_outlive_it(directory, monkeypatch):
    monkeypatch.setattr(maker, "AUTHORITY_DAYS", 500)
    issue(directory, days=400)
    old = read(directory / "ca.crt")
    monkeypatch.setattr(maker, "AUTHORITY_DAYS", 3650)
    made = issue(directory, 2, days=730)
    new = read(directory / "ca.crt")
    assert (new.public_key(), new.subject) == (old.public_key(), old.subject)
    assert left(new) > left(made)
    made.verify_directly_issued_by(old)  # so clients that have the old one go on
    made.verify_directly_issued_by(new)


def test_a_certificate_without_its_key_is_no_authority(directory):
    issue(directory)
    (directory / "ca.key").unlink()
    assert facts.describe_directory(str(directory))["authority"]["key_matches"] is False
    made = issue(directory, 2)
    made.verify_directly_issued_by(read(directory / "ca.crt"))
    first, second = reversed(facts.describe_directory(str(directory))["pairs"])
    assert (first["trusted"], second["trusted"]) == (False, True)


def test_what_is_there_is_described(directory):
    issue(directory, days=30)
    found = facts.describe_directory(str(directory))
    assert found["authority"]["days_left"] == maker.AUTHORITY_DAYS - 1
    [pair] = found["pairs"]
    expected = (1, 29, NAMES, True, True)
    assert (*(pair[key] for key in ("number", "days_left", "names", "key_matches", "trusted")),) == expected
    assert pair["fingerprints"] == [facts.fingerprints((directory / "server-1.crt").read_text())[0]]


def test_where_nothing_is_nothing_is_found(directory):
    assert facts.describe_directory(str(directory)) == {"directory": str(directory), "authority": None, "pairs": []}


def test_half_a_pair_is_found_and_not_used(directory):
    issue(directory)
    (directory / "server-2.key").write_text("half a k")
    (directory / "server-3.crt").write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    pairs = facts.describe_directory(str(directory))["pairs"]
    assert [(each["number"], each["key_matches"], each["trusted"]) for each in pairs] == [
        *((3, False, False), (2, False, False), (1, True, True)),
    ]


@pytest.mark.parametrize("names", [[], ["a,DNS:b"], ["a\nsubjectAltName = DNS:b"], ["fe80::1%a,DNS:b"]])
def test_a_name_that_is_none_is_refused(directory, names):
    with pytest.raises(maker.CertificateError):
        issue(directory, names=names)
    assert list(directory.iterdir()) == []


MAKE = """
import sys
from mission_control import certificate_maker as maker
directory, number, owner = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with maker.alone(directory):
    maker.issue(directory, number, (owner, owner), ["db"], 30)
"""


def test_a_run_that_is_killed_leaves_no_pair_that_does_not_match(directory):
    """At moments over the whole of a run; the next one makes a pair with a number of its own and goes on."""
    issue(directory)
    packages = str(Path(__file__).parents[1] / "packages")
    for number in range(2, 26):
        command = [sys.executable, "-c", MAKE, str(directory), str(number), str(os.getuid())]
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": packages}, start_new_session=True) as process:
            deadline = time.monotonic() + (number - 2) * 0.02
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.001)
            with contextlib.suppress(ProcessLookupError):  # it was done before
                os.killpg(process.pid, signal.SIGKILL)
        found = facts.describe_directory(str(directory))
        assert found["authority"]["key_matches"] is True
        for pair in found["pairs"]:
            complete = all(Path(path).exists() for path in facts.paths(str(directory), pair["number"]))
            assert complete == pair["key_matches"] == pair["trusted"]
    issue(directory, 99)
    assert not list(directory.glob(".draft-*"))
    assert facts.describe_directory(str(directory))["pairs"][0]["number"] == 99


def pem(key, password=None):
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how).decode()


def own_certificate(key, begin=-1, end=10, names=("db", "10.0.0.5"), common_name="db"):
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now + datetime.timedelta(days=begin))
    builder = builder.not_valid_after(now + datetime.timedelta(days=end))
    if names:
        kinds = [x509.IPAddress(ipaddress.ip_address(each)) if each[0] == "1" else x509.DNSName(each) for each in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(kinds), critical=False)
    return builder.sign(key, SHA256()).public_bytes(serialization.Encoding.PEM).decode()


KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def test_a_given_certificate_is_read():
    chain = own_certificate(KEY) + own_certificate(OTHER, names=["other"])
    read_ = given_certificate(chain, pem(KEY))
    assert (read_["problem"], read_["names"], read_["days_left"]) == ("", ["db", "10.0.0.5"], 9)
    assert read_["fingerprints"] == facts.fingerprints(chain)
    assert pem(KEY) not in str(read_)


def test_without_other_names_the_common_name_counts():
    assert given_certificate(own_certificate(KEY, names=()), pem(KEY))["names"] == ["db"]


@pytest.mark.parametrize(
    ("certificate", "key", "problem"),
    [
        ("db.crt", pem(KEY), "is not in PEM form"),
        (own_certificate(KEY), "db.key", "has a key that is not in PEM form"),
        (own_certificate(KEY), pem(OTHER), "does not match the key"),
        (own_certificate(KEY), pem(KEY, b"secret"), "has a key with a passphrase"),
        (own_certificate(KEY, begin=1), pem(KEY), "is not valid before"),
    ],
)
def test_one_that_cannot_be_used_is_a_sentence(certificate, key, problem):
    assert given_certificate(certificate, key)["problem"].startswith(problem)


def test_a_short_key_is_refused():
    short = rsa.generate_private_key(65537, 1024)
    assert given_certificate(own_certificate(short), pem(short))["problem"].startswith("has a key of 1024 bits")


def test_an_end_in_the_past_is_told_in_days():
    assert given_certificate(own_certificate(KEY, begin=-9, end=-3), pem(KEY))["days_left"] < 0


def test_a_given_pair_is_put_in_place(directory):
    chain, key = own_certificate(KEY), pem(KEY)
    with maker.alone(str(directory)):
        maker.keep(str(directory), 1, OWNER, chain, key)
    assert (directory / "server-1.crt").read_text() == chain
    assert (directory / "server-1.key").stat().st_mode & 0o777 == 0o600
    assert maker.is_there(str(directory), 1, chain)
    assert not maker.is_there(str(directory), 1, own_certificate(OTHER))


def test_a_given_pair_that_no_server_could_use_leaves_nothing(directory):
    with maker.alone(str(directory)), pytest.raises(maker.CertificateError, match="key values mismatch"):
        maker.keep(str(directory), 1, OWNER, own_certificate(KEY), pem(OTHER))
    assert list(directory.iterdir()) == []


def test_when_a_certificate_ends_is_read_without_a_library(directory):
    issue(directory)
    for text in (
        (directory / "server-1.crt").read_text(),
        own_certificate(KEY, end=9000),
        own_certificate(KEY, end=99999),
    ):
        expected = x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc
        assert end_of_certificate(text) == expected


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"])
def test_what_is_no_certificate_has_no_end(text):
    assert end_of_certificate(text) is None


def test_two_hosts_share_an_authority_and_no_key_leaves_its_host(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    issue(one)
    issue(two)
    text = maker.request(str(two), 2, OWNER, NAMES)
    signed, authority = maker.sign(str(one), text, NAMES, 30)
    assert "PRIVATE" not in text + signed + authority
    maker.accept(str(two), 2, signed, authority)
    assert not (two / "ca.key").exists()
    found = facts.describe_directory(str(two))
    assert (found["authority"]["elsewhere"], found["authority"]["certificate"]) == (True, (one / "ca.crt").read_text())
    newest = found["pairs"][0]
    assert (newest["number"], newest["trusted"], newest["key_matches"], newest["names"]) == (2, True, True, NAMES)
    with pytest.raises(maker.CertificateError, match="has no certificate authority"):
        maker.sign(str(two), text, NAMES, 30)


def test_a_certificate_for_another_key_is_not_accepted(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    issue(one)
    two.mkdir()
    maker.request(str(two), 1, OWNER, NAMES)
    other = maker.request(str(one), 7, OWNER, NAMES)
    signed, authority = maker.sign(str(one), other, NAMES, 30)
    with pytest.raises(maker.CertificateError, match="could not use the signed certificate"):
        maker.accept(str(two), 1, signed, authority)
    assert not (two / "ca.crt").exists()
