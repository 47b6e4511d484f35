"""Where the modules look for the login, and what they say where it does not work."""

import os
import pwd

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.doc_fragments.connection import ModuleDocFragment
from ansible_collections.homelab.mission_control.plugins.module_utils.database import connection_options
from ansible_collections.homelab.mission_control.plugins.module_utils.database.connection_options import (
    CONNECTION_OPTIONS,
    login_from_options,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import SettingsError

NOBODY = 65534
ME = pwd.getpwuid(os.geteuid()).pw_name
ENV_FILE = "POSTGRES_HOST=file.lab\nPOSTGRES_USER=filer\nPOSTGRES_PASSWORD=of-the-file\nPOSTGRES_DB=filed\n"


@pytest.fixture
def default_file(tmp_path, monkeypatch):
    """The place of the default env file, where nothing is yet."""
    path = tmp_path / "database.env"
    monkeypatch.setattr(connection_options, "DEFAULT_ENV_FILE", str(path))
    return path


@pytest.fixture
def unreadable(default_file):
    """The default env file, for its owner alone, and this process as somebody else while the test runs."""
    default_file.write_text(ENV_FILE, encoding="utf-8")
    if os.geteuid() != 0:
        default_file.chmod(0)
        yield default_file
        return
    default_file.chmod(0o600)
    for directory in default_file.parents:
        if directory.stat().st_uid == 0 and str(directory).startswith("/tmp/"):
            directory.chmod(directory.stat().st_mode | 0o055)
    os.seteuid(NOBODY)
    yield default_file
    os.seteuid(0)


def login(options=None, environment=None):
    return login_from_options(options or {}, {} if environment is None else environment)


def test_the_order_is_options_environment_file(default_file):
    default_file.write_text(ENV_FILE, encoding="utf-8")
    assert (login().settings.host, login().settings.user) == ("file.lab", "filer")
    environment = {"POSTGRES_HOST": "env.lab", "POSTGRES_USER": "env", "POSTGRES_PASSWORD": "of-the-environment"}
    assert login(environment=environment).settings.host == "env.lab"
    assert login({"login_host": "option.lab"}, environment).settings.host == "option.lab"


OF_ANOTHER = {
    "DATABASE_URL": "postgresql://env:of-the-environment@env.lab:7777/env?sslmode=require",
    "POSTGRES_HOST": "env.lab",
    "POSTGRES_PORT": "7777",
    "POSTGRES_USER": "env",
    "POSTGRES_PASSWORD": "of-the-environment",
    "POSTGRES_DB": "env",
    "POSTGRES_SSLMODE": "require",
    "MISSION_CONTROL_ENV_FILE": "/nowhere/of-another.env",
}
OF_LIBPQ = {
    **{"PGHOST": "pg.lab", "PGHOSTADDR": "192.0.2.1", "PGPORT": "8888", "PGUSER": "pg", "PGPASSWORD": "of-libpq"},
    **{"PGSERVICE": "other", "PGOPTIONS": "-c search_path=theirs", "PGPASSFILE": "/nowhere", "PGDATABASE": "pg"},
}


@pytest.mark.parametrize("one_by_one", [*OF_ANOTHER, None])
@pytest.mark.parametrize(
    ("option", "value", "setting"),
    [
        ("login_host", "option.lab", "host"),
        ("login_unix_socket", "/run/option", "host"),
        ("login_port", 6666, "port"),
        ("login_user", "option", "user"),
        ("login_password", "of-the-option", "password"),
        ("url", "postgresql://option.lab", "host"),
    ],
)
def test_an_option_replaces_the_environment_as_a_whole(default_file, option, value, setting, one_by_one):
    default_file.write_text(ENV_FILE, encoding="utf-8")
    ours = OF_ANOTHER if one_by_one is None else {one_by_one: OF_ANOTHER[one_by_one]}
    environment = {**ours, **OF_LIBPQ, "PATH": "/bin"}
    settings = login({option: value}, environment).settings
    found = {name: getattr(settings, name) for name in ("host", "port", "user", "password", "sslmode", "service")}
    assert [name for name, each in found.items() if each is not None] == [setting]
    assert settings.database == "mission_control"
    # What libpq would read by itself is gone, and nothing else.
    assert environment == {**ours, "PATH": "/bin"}


def test_nothing_of_libpqs_variables_is_added_to_the_env_file(default_file):
    default_file.write_text(ENV_FILE, encoding="utf-8")
    environment = {"PGOPTIONS": "-c search_path=theirs", "PGSSLMODE": "disable", "PATH": "/bin"}
    assert login(environment=environment).settings.host == "file.lab"
    assert environment == {"PATH": "/bin"}


def test_what_names_the_login_by_libpqs_variables_keeps_them(default_file):
    default_file.write_text(ENV_FILE, encoding="utf-8")
    environment = dict(OF_LIBPQ)
    settings = login(environment=environment).settings
    assert (settings.host, settings.password) == (None, None)
    assert environment == OF_LIBPQ


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        ({"login_host": "elsewhere.lab"}, {}),
        ({"login_unix_socket": "/run/elsewhere"}, {}),
        ({"login_user": "postgres"}, {}),
        ({"url": "postgresql://elsewhere.lab/other"}, {}),
        ({}, {"PGHOST": "elsewhere.lab"}),
        ({}, {"POSTGRES_USER": "postgres"}),
    ],
)
def test_the_password_of_the_default_file_goes_to_no_other_login(default_file, options, environment):
    default_file.write_text(ENV_FILE, encoding="utf-8")
    settings = login(options, environment).settings
    assert settings.password is None
    assert settings.host != "file.lab"


def test_what_names_no_login_is_added_to_the_default_file(default_file):
    default_file.write_text(ENV_FILE, encoding="utf-8")
    settings = login({"login_db": "other", "connect_timeout": 3.0, "ssl_mode": "require"}).settings
    assert (settings.host, settings.database, settings.connect_timeout, settings.sslmode) == (
        *("file.lab", "other"),
        *(3, "require"),
    )


def test_a_file_that_was_named_is_read_beside_what_names_no_login(default_file, tmp_path):
    named = tmp_path / "named.env"
    named.write_text(ENV_FILE, encoding="utf-8")
    environment = {"POSTGRES_HOST": "env.lab", "POSTGRES_PASSWORD": "of-the-environment", "PGHOSTADDR": "192.0.2.1"}
    settings = login({"env_file": str(named), "login_db": "other"}, environment).settings
    assert (settings.host, settings.user, settings.database) == ("file.lab", "filer", "other")
    assert settings.password.reveal() == "of-the-file"
    assert "PGHOSTADDR" not in environment


@pytest.mark.parametrize(
    "option",
    [{"login_host": "elsewhere.lab"}, {"login_port": 6666}, {"login_user": "postgres"}, {"url": "postgresql://a"}],
)
def test_a_file_that_was_named_is_refused_beside_another_login(tmp_path, option):
    (name,) = option
    with pytest.raises(
        SettingsError, match=f"env_file and {name} both say what the login is, .*: leave one of them out"
    ):
        login({"env_file": str(tmp_path / "any"), **option})


def test_empty_options_count_as_not_given(default_file):
    settings = login({"login_host": "", "login_user": "", "login_password": "", "login_port": None}).settings
    assert (settings.host, settings.user, settings.password, settings.database) == (*[None] * 3, "mission_control")


@pytest.mark.parametrize("name", ["login_host", "login_db", "env_file", "ca_cert"])
@pytest.mark.parametrize("value", ["a\nb", "a\0b"])
def test_an_option_that_cannot_be_printed_is_refused(default_file, name, value):
    with pytest.raises(SettingsError, match=f"{name} is 'a.*b', which holds a character that cannot be printed"):
        login({name: value})


def test_without_anything_the_cure_is_said(default_file):
    assert login().advice.startswith(
        f"Neither options nor environment nor an env file name a login, so it was the local one of {ME}: run with --become"
    )
    assert "mission_control_database_env_file" in login().advice


def test_a_default_file_for_others_only_is_said_where_the_login_fails(unreadable):
    found = login()
    assert found.settings.user is None
    assert found.explain("No.").startswith(f"No. The env file {unreadable} is there but may not be read by ")
    assert "run with --become" in found.advice


def test_a_named_file_for_others_only_is_refused_with_the_cure(unreadable):
    with pytest.raises(SettingsError, match=r"may not be read by .*: run with --become \(become: true\)"):
        login({"env_file": str(unreadable)})


def test_a_named_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read: No such file or directory"):
        login({"env_file": str(tmp_path / "none")})


def test_a_local_login_under_another_name_is_explained(default_file):
    assert "--become-user postgres" in login({"login_user": "postgres"}).advice
    assert "--become-user postgres" in login({"login_user": "postgres", "login_unix_socket": "/run/pg"}).advice


@pytest.mark.parametrize(
    "options",
    [
        {"login_host": "db.lab", "login_user": "postgres"},
        {"login_user": ME},
        {"login_user": "postgres", "login_password": "given"},
    ],
)
def test_where_postgresqls_message_says_enough_nothing_is_added(default_file, options):
    assert login(options).advice == ""
    assert login(options).explain("Is the server running?") == "Is the server running?"


def test_every_option_is_documented_as_it_is():
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    described = {
        name: {key: value for key, value in spec.items() if key != "description"} for name, spec in documented.items()
    }
    specified = {
        name: {key: value for key, value in spec.items() if key != "no_log"}
        for name, spec in CONNECTION_OPTIONS.items()
    }
    assert described == specified
