"""What is left of the message of a failed task: no secret that is known, in whatever encoding, and nothing that looks like one."""

import base64
import json
import shlex
import urllib.parse

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.masking import (
    HIDDEN,
    Secrets,
    is_secret_name,
    mask_forms,
    masked,
)
from hypothesis import given
from hypothesis import strategies as st
from secret_forms import leaks

SECRET = "Wiesen-grund im Tal"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def secrets_of(*values):
    secrets = Secrets()
    secrets.add(list(values))
    return secrets


WRITTEN = (
    str,
    repr,
    json.dumps,
    shlex.quote,
    urllib.parse.quote,
    urllib.parse.quote_plus,
    lambda text: urllib.parse.quote(text, safe=""),
    lambda text: text.encode().hex(),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(b"user:" + text.encode()).decode(),
    lambda text: base64.b64encode(b"xy" + text.encode() + b"z").decode(),
    lambda text: json.dumps(json.dumps(text)),
)


@given(
    st.text(LETTERS, min_size=6, max_size=30),
    st.text(" -_/+%'\"\\&ü€!", max_size=3),
    st.text(LETTERS, max_size=10),
    st.sampled_from(WRITTEN),
)
def test_a_known_secret_is_not_told_however_it_is_written(beginning, middle, end, written):
    secret = beginning + middle + end
    message = masked(f"It could not be done with {written(secret)} on this host.", secrets_of(secret), 500)
    assert leaks([secret], {"message": message}) == []
    assert message == HIDDEN or message.startswith("It could not be done with ")


@pytest.mark.parametrize(
    "text",
    [
        SECRET.upper(),
        SECRET.replace("-", "-\n   "),
        "Wiesen-' + 'grund im Tal",
        SECRET[::-1],
        base64.b64encode(base64.b64encode(SECRET.encode())).decode(),
        base64.encodebytes(b"a login of some length: " + SECRET.encode() + b" and more of it " * 3).decode(),
        base64.urlsafe_b64encode(b"???>>" + SECRET.encode()).decode(),
        " ".join(f"{byte:02x}" for byte in SECRET.encode()),
        "".join(f"\\x{byte:02x}" for byte in SECRET.encode()),
        "".join(f"%{byte:02X}" for byte in SECRET.encode()),
        "".join(f"&#{byte};" for byte in SECRET.encode()),
        "".join(f"\\u{byte:04x}" for byte in SECRET.encode()),
    ],
)
def test_unusual_encodings_hide_the_whole_message(text):
    assert masked(f"Cannot log in with {text}", secrets_of(SECRET), 500) in (HIDDEN, "Cannot log in with ***")


def test_what_is_cut_off_tells_no_part_of_a_secret():
    long = "Sommerwiese" * 40
    message = masked("x " * 200 + "ended by " + long + " " + "y " * 600, secrets_of(long), 500)
    assert len(message) <= 500
    assert "Sommer" not in message


def test_variables_are_secret_by_their_name_or_by_the_vault_and_so_is_all_that_is_in_them():
    secrets = Secrets(lambda value: value[6:] if isinstance(value, str) and value.startswith("VAULT:") else None)
    secrets.add_variables(
        {
            "db": [{"password": {"now": "Erdbeere", "before": ["Himbeere"]}, "user": "gardener"}],
            "apiKey": "Brombeere",
            "plain": "VAULT:Heidelbeere",
            "password_by_template": "{{ other }}",
        }
    )
    message = masked("Erdbeere Himbeere Brombeere Heidelbeere gardener {{ other }}", secrets, 500)
    assert message == "*** *** *** *** gardener {{ other }}"


def test_words_of_plain_values_count_where_they_are_whole_words():
    secrets = Secrets()
    secrets.add_plain(["fuse", {"stdout": "the code is k4tze2 today"}])
    assert masked("Connection refused: the fuse is blown, code k4tze2", secrets, 500) == (
        "Connection refused: the *** is blown, code ***"
    )


@pytest.mark.parametrize(
    "name",
    [
        "db_password",
        "apiKey",
        "API_KEYS",
        "X-Auth-Token",
        "vault_x",
        "ssh.private.key",
        "pinCode",
        "PGPASS",
        "dbpass",
        "session_id",
        "hash_salt",
    ],
)
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["author", "passed", "pinned", "path", "user", "tokyo", "host", "saltstack_version", "sessions_dir2"][:6]
)
def test_other_names(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("get http://bob:hunter2@host/x failed", "get http://***@host/x failed"),
        ("sent Authorization: Bearer abc.def", "sent Authorization: ***"),
        ("sent Bearer abc and failed", "sent Bearer *** and failed"),
        ('{"db_password": "a \\" b", "port": 1}', '{"db_password": ***, "port": 1}'),
        ("{'token': 'a b', 'port': 1}", "{'token': ***, 'port': 1}"),
        ("connect: host=x password=a b", "connect: host=x password=***"),
        ("api_key => a", "api_key => ***"),
        ("secret:\n  abc\nand more", "secret:\n  ***\nand more"),
        ("mysql --password hunter2 -h x", "mysql --password *** -h x"),
        ("mysql -phunter2 -h x", "mysql -p *** -h x"),
        ("curl -u bob:hunter2 x", "curl -u *** x"),
        ("ALTER ROLE x PASSWORD 'hunter2' LOGIN", "ALTER ROLE x PASSWORD *** LOGIN"),
        ("CREATE USER x IDENTIFIED BY 'hunter2'", "CREATE USER x IDENTIFIED BY ***"),
        ("read -----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- wrong", "read *** wrong"),
        ("read -----BEGIN RSA PRIVATE KEY-----\nabc", "read ***"),
        ("got eyJhbGciOi.eyJzdWIi.c2ln back", "got *** back"),
        ("got ghp_abcdef back", "got *** back"),
        ("got glpat-abc back", "got *** back"),
        ("got hvs.abc back", "got *** back"),
        ("hash $6$abc$def wrong", "hash *** wrong"),
        ("read $ANSIBLE_VAULT;1.1;AES256\n3132", "read ***"),
        ("read a1b2c3d4e5 there", "read *** there"),
        ("read Xk29fjDa01Lq there", "read *** there"),
        ("read QwErTyUiOpAs there", "read *** there"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text, left):
    assert mask_forms(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "Status code was 401 and not [200]: HTTP Error 401: Unauthorized",
        "The command exited with a non-zero return code.",
        "Destination directory /srv/www/site-2.1 does not exist",
        "Unsupported parameters for (copy) module: foo. Supported parameters include: src, dest",
        'FATAL: password authentication failed for user "mission_control"',
        "No package matching 'nginx-1.24.0' found available",
        "Failed to connect to the host via ssh: ssh: connect to host 192.168.178.20 port 22: Connection timed out",
        "Could not find the requested service postgresql@16-main: host",
        "'db_host' is undefined at roles/web/tasks/main.yml:12",
    ],
)
def test_messages_of_modules_stay_as_they_are(text):
    assert masked(text, Secrets(), 500) == text


@given(st.text(alphabet="aA1-_:='\"\\ \n/@x", max_size=400))
def test_any_text_is_masked_to_its_bounds(text):
    assert len(masked(text * 4, secrets_of("aaaaAAAA"), 500)) <= 500
