from __future__ import annotations

import shlex

import pytest
from sql_on_host import Login

ENV_FILE = "/etc/mission-control/database.env"


@pytest.fixture(scope="module")
def environment(host) -> dict[str, str]:
    """What a program gets that reads the env file as a shell does."""
    text = host.file(ENV_FILE).content_string
    return dict(word.split("=", 1) for word in shlex.split(text, comments=True))


@pytest.fixture(scope="module")
def application(host, environment) -> Login:
    return Login(
        host,
        environment["POSTGRES_USER"],
        environment["POSTGRES_PASSWORD"],
        environment["POSTGRES_DB"],
        environment["POSTGRES_HOST"],
        int(environment["POSTGRES_PORT"]),
    )


@pytest.fixture(scope="module")
def reader(application) -> Login:
    return application.but(user="mission_control_readonly", password="reader's-password")
