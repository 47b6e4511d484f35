"""Password verifiers, against the RFCs' own examples. tests/integration/test_database_passwords.py asks a real server, too."""

import base64
import hashlib
import hmac

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.homelab.mission_control.plugins.filter.scram_sha_256_verifier import scram_sha_256_verifier
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.passwords.scram import (
    make_verifier,
    matches,
    prepare_password,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def test_the_exchange_of_rfc_7677_succeeds_with_our_verifier():
    verifier = make_verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    keys = verifier.split("$")[2]
    stored_key, server_key = (base64.b64decode(key) for key in keys.split(":"))
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}".encode()
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.digest(stored_key, message, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, signature))
    assert hashlib.sha256(client_key).digest() == stored_key
    assert (
        base64.b64encode(hmac.digest(server_key, message, "sha256")) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    )


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("I\u00adX", "IX"),  # RFC 4013, section 3
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b\u1680c", "a b c"),  # spaces that are not ASCII become a space
        ("pass\u0007word", "pass\u0007word"),  # ASCII is never touched
        ("\u00e9\u0007", "\u00e9\u0007"),  # the RFC refuses a control character, PostgreSQL hashes it as it is
        ("\u06271", "\u06271"),  # so with text that runs both ways
        ("\u0627a\u0628", "\u0627a\u0628"),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
        ("\u00ad", "\u00ad"),  # nothing would be left
        ("\u0221\u00aa", "\u0221\u00aa"),  # not assigned in Unicode 3.2
    ],
)
def test_passwords_are_prepared_as_postgresql_does(password, prepared):
    assert prepare_password(password) == prepared.encode()


@settings(deadline=None, max_examples=60)
@given(password=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1))
def test_a_verifier_matches_its_password_and_holds_a_fresh_salt(password):
    one, other = make_verifier(password, iterations=2), make_verifier(password, iterations=2)
    assert one != other
    assert matches(password, one)
    assert matches(password, other)
    assert not matches(password + "x", one)


@pytest.mark.parametrize(
    "verifier",
    [
        None,
        "",
        "md5b1a2c3d4e5f60718293a4b5c6d7e8f90",
        "secret",
        "SCRAM-SHA-256$4096:!!!!$AAAA:BBBB",
        "SCRAM-SHA-256$4096:A$AAAA:BBBB",
        "SCRAM-SHA-256$0:AAAA$AAAA:BBBB",
    ],
)
def test_what_is_no_verifier_matches_nothing(verifier):
    assert not matches("secret", verifier)
    assert not matches("", verifier)


@pytest.mark.parametrize("password", ["", "with\0nul"])
def test_a_password_that_no_role_can_have_is_an_error_without_it(password):
    with pytest.raises(AnsibleFilterError) as error:
        scram_sha_256_verifier(password)
    assert "with" not in str(error.value)


def test_the_filter_makes_what_postgresql_recognises():
    assert scram_sha_256_verifier("secret").startswith("SCRAM-SHA-256$4096:")
    with pytest.raises(ValueError, match="iteration"):
        make_verifier("secret", iterations=0)
