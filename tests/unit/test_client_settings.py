"""Where settings come from, and what is said about wrong ones."""

import copy
import dataclasses
import inspect
import logging
import pickle
import pydoc

import psycopg2.extensions
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.audit import log as audit
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.client.transaction import Transaction
from ansible_collections.homelab.mission_control.plugins.module_utils.database.settings import (
    DEFAULT_DATABASE,
    Secret,
    Settings,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import SettingsError
from hypothesis import given
from hypothesis import strategies as st

PASSWORD = "S3cret-Zq9/x@y:z?#%"


def load(*args, environment=None, **options):
    options.setdefault("env_file", None)
    return Settings.load(*args, environment=environment or {}, **options)


@pytest.fixture(autouse=True)
def no_default_file(monkeypatch, tmp_path):
    from ansible_collections.homelab.mission_control.plugins.module_utils.database import settings

    monkeypatch.setattr(settings, "DEFAULT_ENV_FILE", str(tmp_path / "none.env"))


@pytest.fixture
def env_file(tmp_path):
    def write(text):
        path = tmp_path / "database.env"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_the_seeds_names_are_read_from_the_environment():
    settings = load(
        environment={
            "POSTGRES_HOST": "db.lab",
            "POSTGRES_PORT": "5433",
            "POSTGRES_DB": "lab",
            "POSTGRES_USER": "me",
            "POSTGRES_PASSWORD": PASSWORD,
        }
    )
    assert (settings.host, settings.port, settings.database, settings.user) == ("db.lab", 5433, "lab", "me")
    assert settings.password.reveal() == PASSWORD


def test_each_source_gives_way_as_a_whole_to_the_one_before_it(env_file):
    path = env_file("POSTGRES_HOST=file\nPOSTGRES_USER=file\nPOSTGRES_DB=file\nPOSTGRES_PORT=1\n")
    environment = {"POSTGRES_HOST": "environment", "POSTGRES_USER": "environment", "POSTGRES_DB": "environment"}
    settings = load(env_file=path, environment=environment, host="option")
    assert (settings.host, settings.user, settings.port, settings.database) == ("option", None, None, DEFAULT_DATABASE)
    settings = load(env_file=path, environment=environment)
    assert (settings.host, settings.user, settings.port, settings.database) == (
        *["environment"] * 2,
        None,
        "environment",
    )
    settings = load(env_file=path, host="file", database="other")
    assert (settings.host, settings.user, settings.port, settings.database) == ("file", "file", 1, "other")
    environment["DATABASE_URL"] = "postgresql://url@url"
    settings = load(env_file=path, environment=environment, host="option")
    assert (settings.host, settings.user, settings.database) == ("option", None, DEFAULT_DATABASE)
    settings = load(env_file=path, environment=environment)
    assert (settings.host, settings.user, settings.port, settings.database) == ("url", "url", None, DEFAULT_DATABASE)
    settings = load("postgres://given@given/given", env_file=path, environment=environment)
    assert (settings.host, settings.user, settings.database, settings.port) == ("given", "given", "given", None)


WHOLE = {"POSTGRES_HOST": "db.lab", "POSTGRES_USER": "me", "POSTGRES_PASSWORD": PASSWORD}


@pytest.mark.parametrize(
    "options",
    [{"host": "other"}, {"user": "other"}, {"port": 6000}, {"service": "other"}, {"host": "db.lab", "user": "other"}],
)
@pytest.mark.parametrize(
    "source",
    [
        WHOLE,
        {"POSTGRES_USER": "me", "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_PORT": "5432", "POSTGRES_HOST": "db.lab"},
        {"DATABASE_URL": "postgresql://me:S3cret-Zq9@db.lab/lab"},
    ],
)
@pytest.mark.parametrize("in_file", [True, False])
def test_a_password_goes_only_to_the_login_that_it_belongs_to(env_file, options, source, in_file):
    lines = "".join(f"{name}='{value}'\n" for name, value in source.items())
    settings = load(env_file=env_file(lines), **options) if in_file else load(environment=source, **options)
    assert settings.password is None
    assert settings.env_file is None
    assert settings.host == options.get("host"), "a source is used as a whole or not at all"
    assert settings.withheld.startswith("The password of ")
    assert "was not used: it belongs to db.lab" in settings.withheld
    assert "S3cret" not in settings.withheld


@pytest.mark.parametrize("options", [{}, {"host": "db.lab"}, {"user": "me"}, {"port": 5432}, {"database": "another"}])
def test_what_names_the_same_login_is_added_to_a_source(env_file, options):
    lines = "".join(f"{name}='{value}'\n" for name, value in WHOLE.items())
    for settings in (load(env_file=env_file(lines), **options), load(environment=WHOLE, **options)):
        assert (settings.host, settings.user, settings.password) == ("db.lab", "me", Secret(PASSWORD))
        assert settings.withheld == ""


def test_a_password_beside_no_host_belongs_to_the_local_server(env_file):
    assert load(env_file=env_file(f"POSTGRES_PASSWORD='{PASSWORD}'\n"), host="db.lab").password is None
    environment = {"POSTGRES_USER": "me", "POSTGRES_PASSWORD": PASSWORD}
    assert load(environment=environment, host="db.lab").password is None
    assert load(environment=environment).password == Secret(PASSWORD)


def test_a_password_alone_in_the_environment_is_for_the_login_that_options_name(env_file):
    environment = {"POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "lab"}
    settings = load(environment=environment, host="db.lab", user="me")
    assert (settings.password, settings.database) == (Secret(PASSWORD), "lab")


def test_the_environment_and_a_file_with_passwords_of_their_own_are_two_logins(env_file):
    path = env_file("POSTGRES_HOST=file\nPOSTGRES_USER=me\nPOSTGRES_PASSWORD='another one'\n")
    settings = load(environment={"POSTGRES_USER": "me", "POSTGRES_PASSWORD": PASSWORD}, env_file=path)
    assert (settings.host, settings.password) == (None, Secret(PASSWORD))


def test_a_url_and_options_that_name_different_logins_are_refused():
    for options in ({"host": "other"}, {"user": "other"}, {"port": 1}, {"service": "other"}):
        with pytest.raises(SettingsError, match="The URL and the options beside it name different logins"):
            load("postgresql://me:S3cret@db.lab/lab", **options)
    assert load("postgresql://me:S3cret@db.lab/lab", user="me", database="other").database == "other"


def test_a_url_does_not_take_the_password_of_another_source(env_file):
    path = env_file(f"POSTGRES_PASSWORD='{PASSWORD}'\n")
    environment = {"POSTGRES_PASSWORD": PASSWORD}
    assert load("postgresql://other.example/db", env_file=path, environment=environment).password is None
    environment["DATABASE_URL"] = "postgresql://other.example/db"
    assert load(env_file=path, environment=environment).password is None


def test_an_env_file_may_hold_a_url_and_quotes(env_file):
    path = env_file(f"# comment\n\nexport DATABASE_URL='postgresql://u:{'%41'}@h:7/d'\n")
    settings = load(env_file=path)
    assert (settings.user, settings.password.reveal(), settings.host, settings.port) == ("u", "A", "h", 7)
    path = env_file('POSTGRES_PASSWORD="a\\"b\\\\c"\nPOSTGRES_USER=\'x y\'\nPOSTGRES_HOST=plain # not a comment\n')
    settings = load(env_file=path)
    assert settings.password.reveal() == 'a"b\\c'
    assert settings.user == "x y"
    assert settings.host == "plain # not a comment"


def test_the_environment_may_name_the_file(env_file):
    path = env_file("POSTGRES_USER=somebody\n")
    assert Settings.load(environment={"MISSION_CONTROL_ENV_FILE": path}).user == "somebody"


def test_a_file_that_was_asked_for_must_be_there(tmp_path):
    with pytest.raises(SettingsError, match=r"missing\.env cannot be read"):
        load(env_file=str(tmp_path / "missing.env"))


def test_a_wrong_line_is_named_and_not_shown(env_file):
    for line in (f"POSTGRES_PASSWORD {PASSWORD}", f"POSTGRES_PASSWORD='{PASSWORD}"):
        with pytest.raises(SettingsError, match="Line 2 of the env file") as error:
            load(env_file=env_file(f"POSTGRES_USER=a\n{line}\n"))
        assert PASSWORD not in str(error.value)


def test_a_file_that_is_not_text_is_named_without_its_content(tmp_path):
    path = tmp_path / "binary.env"
    path.write_bytes(b"POSTGRES_PASSWORD=\xff" + PASSWORD.encode())
    with pytest.raises(SettingsError, match="not UTF-8") as error:
        load(env_file=str(path))
    assert error.value.__context__ is None


def test_empty_variables_count_as_not_set():
    settings = load(environment={"POSTGRES_HOST": "", "DATABASE_URL": "", "POSTGRES_PASSWORD": ""})
    assert settings.host is None
    assert settings.password is None


def test_the_default_database_gives_way_to_libpqs_own_settings():
    assert load().database == DEFAULT_DATABASE
    assert load(environment={"PGDATABASE": "lab"}).database is None
    assert load(environment={"PGSERVICE": "lab"}).database is None
    assert load(service="lab").database is None
    assert load(host="db.lab", environment={"PGDATABASE": "lab"}).database == DEFAULT_DATABASE


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hots": "x"}, r"There is no setting 'hots'; did you mean 'host'\?"),
        ({"port": "abc"}, "The setting port must be a port number from 1 to 65535, not 'abc'"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"port": True}, "port"),
        ({"port": "5432,x"}, "port"),
        ({"host": 5}, "The setting host must be text"),
        ({"host": "a\0b"}, "NUL"),
        ({"host": "a, b"}, "The setting host has an empty name or a blank in it: separate its hosts by commas alone"),
        ({"host": "a,,b"}, "host"),
        (
            {"host": "a,b", "port": "1,2,3"},
            "The setting port has 3 numbers for 2 hosts: give one for all, or one for each",
        ),
        ({"host": "a", "port": "1,2"}, "The setting port has 2 numbers for 1 host"),
        ({"port": "1,2"}, "The setting port has 2 numbers for 1 host"),
        ({"target_session_attrs": "master"}, "target_session_attrs must be one of any, read-write, read-only, primary"),
        ({"commit_timeout": 0}, "commit_timeout must be a number of seconds, more than 0"),
        ({"password": 5}, "The setting password must be text"),
        ({"sslmode": "maybe"}, "sslmode must be one of disable, allow"),
        ({"pool_size": 0}, "pool_size must be a whole number, 1 or more, not 0"),
        ({"pool_size": 1.5}, "pool_size"),
        ({"pool_size": True}, "pool_size"),
        ({"pool_timeout": 0}, "pool_timeout must be a number of seconds, more than 0"),
        ({"pool_timeout": float("nan")}, "pool_timeout"),
        ({"statement_timeout": -1}, "statement_timeout must be a number of seconds, 0 or more"),
        ({"connect_timeout": float("inf")}, "connect_timeout"),
        ({"lock_timeout": "soon"}, "lock_timeout"),
        ({"llm_bodies": "some"}, "llm_bodies must be one of none, truncated, full"),
    ],
)
def test_a_wrong_setting_is_named(options, sentence):
    with pytest.raises(SettingsError, match=sentence):
        load(**options)


def test_several_hosts_are_tried_for_one_that_takes_writes_and_given_up_sooner():
    one, several = load(host="a"), load(host="a,b")
    assert (one.target_session_attrs, one.connect_timeout, one.commit_timeout, one.pool_timeout) == (None, 10, None, 30)
    assert (several.target_session_attrs, several.connect_timeout, several.commit_timeout) == ("read-write", 3, 10)
    sent = several.connection_parameters()
    assert (sent["target_session_attrs"], sent["keepalives_idle"], sent["tcp_user_timeout"]) == ("read-write", 5, 10000)
    # Waiting for a connection, then for a server that has fallen silent.
    silent = several.keepalives_idle + several.keepalives_interval * several.keepalives_count
    assert several.pool_timeout + max(silent, several.unacknowledged_timeout) < 30
    said = load(host="a,b", target_session_attrs="any", connect_timeout=7, commit_timeout=float("inf"), pool_timeout=40)
    assert (said.target_session_attrs, said.connect_timeout, said.commit_timeout, said.pool_timeout) == (
        "any",
        7,
        float("inf"),
        40,
    )
    assert load("postgresql://a,b/d?target_session_attrs=primary").target_session_attrs == "primary"
    assert load(environment={"POSTGRES_HOST": "a,b"}).target_session_attrs == "read-write"
    assert load(environment={"POSTGRES_TARGET_SESSION_ATTRS": "standby"}, host="a,b").target_session_attrs == "standby"


def test_a_session_that_only_reads_is_not_refused_by_each_primary():
    """libpq asks whether the session may write, and this one may not by its own settings."""
    reading = load(host="a,b", options="-c default_transaction_read_only=on")
    assert reading.connection_parameters()["target_session_attrs"] == "primary"
    assert dataclasses.replace(reading, options="").connection_parameters()["target_session_attrs"] == "read-write"


def test_a_list_of_hosts_is_another_login_than_one_of_them(env_file):
    """Else the password of a cluster would go to whatever server has one of its names beside a list, and the other way round."""
    path = env_file("POSTGRES_HOST=a,b\nPOSTGRES_PASSWORD=hunter2\n")
    assert load(env_file=path).password == Secret("hunter2")
    assert load(env_file=path, host="a,b").password == Secret("hunter2")
    for host in ("a", "b", "b,a", "a,b,c"):
        settings = load(env_file=path, host=host)
        assert settings.password is None
        assert settings.withheld == f"The password of {path} was not used: it belongs to a,b."


def test_a_wrong_variable_is_named_with_its_file(env_file):
    with pytest.raises(SettingsError, match="POSTGRES_PORT must be a port number"):
        load(environment={"POSTGRES_PORT": "x"})
    path = env_file("POSTGRES_PORT=x\n")
    with pytest.raises(SettingsError, match=f"POSTGRES_PORT in {path} must be"):
        load(env_file=path)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://u:{PASSWORD}@h/d",
        "postgresql://u:pa#ss@h/d",
        "postgresql://u:pa?ss@h/d",
        "postgresql://u:pa?ss=x@h/d",
        "postgresql://u:pa/ss@h/d",
        "postgresql://u:pa%ffss@h/d",
        "postgresql://u@h:hunter2/d",
        "postgresql://[::1/d",
        "postgresql://u:hunter2@h/d?sslmode=hunter2",
        "postgresql://u:hunter2@h/d?password=a%00b",
    ],
)
def test_a_wrong_url_is_described_without_quoting_it(url):
    with pytest.raises(SettingsError) as error:
        load(url)
    assert "URL" in str(error.value)
    for part in ("pa#ss", "pa?ss", "pa/ss", "hunter2", "ss@h", "ss=", PASSWORD):
        assert part not in str(error.value)


def test_a_url_with_everything():
    settings = load(
        "postgres://us%65r:p%40ss@[::1]:7000,h2/db%20x?sslmode=verify-full&application_name=a%20b&connect_timeout=3"
        "&options=-c%20search_path%3Dlab"
    )
    assert (settings.user, settings.password.reveal(), settings.host, settings.port) == (
        "user",
        "p@ss",
        "::1,h2",
        "7000,5432",
    )
    assert (settings.database, settings.sslmode, settings.application_name) == ("db x", "verify-full", "a b")
    assert (settings.connect_timeout, settings.options) == (3, "-c search_path=lab")
    assert load("postgresql:///db?host=/run/postgresql").host == "/run/postgresql"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h/db?user=plus&password=x+y",
        "postgresql://h/db?user=a%20b&password=a%2Bb+%26&application_name=a+b%20c",
        "postgresql://a+b:x+y@h/d+b",
        "postgresql://h/d?%75ser=me&password=%C3%A9&connect_timeout=3",
        "postgresql://h/d?ssl=true&user=first&user=last",
        "postgresql://[::1]:7000,h2:/d?dbname=other",
        "postgresql:///d?host=&dbname=other",
    ],
)
def test_a_url_means_what_it_means_to_libpq(url):
    theirs = psycopg2.extensions.parse_dsn(url)
    ours = load(url)
    for name, value in theirs.items():
        found = ours.password.reveal() if name == "password" else getattr(ours, {"dbname": "database"}.get(name, name))
        if name == "connect_timeout":
            found = round(found)
        if value and name != "port":
            assert str(found) == value, name


@pytest.mark.parametrize("query", ["user", "=me", "user=me&", "&user=me", "user=me&&sslmode=require"])
def test_a_part_of_a_url_that_is_no_pair_is_refused(query):
    with pytest.raises(SettingsError, match="not of the form name=value"):
        load(f"postgresql://h/d?{query}")


@given(user=st.text(min_size=1), password=st.text(min_size=1), database=st.text(min_size=1))
def test_any_login_survives_in_a_url(user, password, database):
    from urllib.parse import quote

    if any("\0" in text or not text.isprintable() for text in (user, password, database)):
        return
    settings = load(f"postgresql://{quote(user, '')}:{quote(password, '')}@h/{quote(database, '')}")
    assert (settings.user, settings.password.reveal(), settings.database) == (user, password, database)


TOKEN = "t0ken-of-thirty-two-characters-or-more"


def test_the_token_of_tools_comes_from_an_option_the_environment_or_the_file(env_file):
    path = env_file(f"POSTGRES_HOST=file\nMISSION_CONTROL_TOOL_TOKEN={TOKEN}-file\n")
    environment = {"MISSION_CONTROL_TOOL_TOKEN": f"{TOKEN}-environment"}
    for more, expected in (
        ({"environment": environment, "tool_token": TOKEN}, TOKEN),
        ({"environment": environment}, f"{TOKEN}-environment"),
        ({"environment": {**environment, "DATABASE_URL": "postgres://a@b/c"}}, f"{TOKEN}-environment"),
        ({}, f"{TOKEN}-file"),
    ):
        assert load(env_file=path, **more).tool_token.reveal() == expected
    # What the file says belongs to its server, as its password does.
    assert load(env_file=path, host="other").tool_token is None


def test_the_token_goes_to_the_server_with_the_login_and_shows_itself_nowhere():
    settings = load(tool_token=TOKEN, options="-c search_path=lab")
    assert settings.connection_parameters()["options"] == f"-c search_path=lab -c mission_control.tool_token={TOKEN}"
    assert TOKEN not in settings.redact(f"FATAL: option {TOKEN} is unknown")
    assert TOKEN not in f"{settings!r} {settings} {vars(settings)} {settings.describe()}"
    assert settings.without_tool_token().connection_parameters()["options"] == "-c search_path=lab"


@pytest.mark.parametrize("token", ["", "short", "x" * 513, "with blank " * 4, "a" * 40 + "\n", "-c a=b" * 8, "é" * 40])
def test_what_is_no_token_is_refused_and_not_shown(token):
    with pytest.raises(SettingsError, match="tool_token must be a token of 32 to 512") as refused:
        load(tool_token=token)
    assert not token or token not in str(refused.value)


def test_a_url_holds_no_token():
    with pytest.raises(SettingsError, match="a parameter after its"):
        load(f"postgres://a@b/c?tool_token={TOKEN}")


def test_session_settings_travel_with_the_login():
    settings = load(statement_timeout=1.5, lock_timeout=0, idle_in_transaction_timeout=0.0001, options="-c a.b=c")
    assert settings.connection_parameters()["options"] == (
        "-c a.b=c -c statement_timeout=1500 -c lock_timeout=0 -c idle_in_transaction_session_timeout=1"
    )
    assert "options" not in load().connection_parameters()
    assert load(connect_timeout=0.5).connection_parameters()["connect_timeout"] == 2


def test_the_password_does_not_show_itself(caplog):
    settings = load(password=PASSWORD, host="h", user="u")
    client = Client(settings=settings)
    shown = [repr(settings), str(settings), f"{settings.password}", repr(client), settings.describe()]
    shown += [repr(dataclasses.asdict(settings)), repr(dataclasses.replace(settings, host="x")), repr(vars(settings))]
    shown += [repr(copy.deepcopy(settings)), f"{settings.password!r}"]
    logging.getLogger("test").warning("%s %r", settings, settings)
    shown.append(caplog.text)
    assert not [text for text in shown if PASSWORD in text]
    assert copy.deepcopy(settings).password.reveal() == PASSWORD
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(settings)
    assert Secret("a") == Secret("a") != Secret("b")
    assert settings.redact(f"x{PASSWORD}y") == "x********y"


def test_ready_settings_and_options_exclude_each_other():
    with pytest.raises(SettingsError, match="either"):
        Client("postgresql://h", settings=load())


def test_the_client_names_every_setting_with_its_type():
    given = inspect.signature(Client).parameters
    expected = {each.name for each in dataclasses.fields(Settings)} - {"withheld"}
    assert {*given} == {*expected, "url", "settings", "environment"}
    for each in dataclasses.fields(Settings):
        if each.name in ("withheld", "password"):
            continue
        kind = {"Secret | None": "str | Secret | None"}.get(each.type, each.type)
        assert given[each.name].annotation == (kind if "None" in kind else f"{kind} | None"), each.name
    assert str(given["password"].annotation) == "str | Secret | None"
    with pytest.raises(TypeError, match="unexpected keyword argument 'hots'"):
        Client(hots="db.lab")


def test_the_help_of_what_a_client_records_speaks_of_self():
    for kind in (Client, Transaction):
        for name in ("insert", "record_llm_call", "fill_unpriced_usage", "audit", "audit_head", "verify_audit_chain"):
            assert next(iter(inspect.signature(getattr(kind, name)).parameters)) == "self"
    assert "executor" not in pydoc.render_doc(Client)
    assert next(iter(inspect.signature(audit.audit_head).parameters)) == "executor"


def test_a_statement_that_is_no_text_is_not_looked_through_for_the_password():
    assert load(password=PASSWORD).redact(5) == "(int)"
