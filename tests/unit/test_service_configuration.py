"""Settings and secrets of the service: what is taken, and what each mistake is told as."""

from decimal import Decimal

import pytest
from mission_control_service.configuration import Configuration, ConfigurationError
from mission_control_service.credentials import Credentials
from mission_control_service.tokens import Tokens, TokensError

PREFIX = "MISSION_CONTROL_SERVICE_"
TOKEN = "correct-horse-battery-staple"


def load(**variables):
    return Configuration.load({PREFIX + name: value for name, value in variables.items()})


def test_without_a_variable_there_are_defaults():
    assert Configuration.load({}) == Configuration()
    assert Configuration.load({PREFIX + "THREADS": ""}) == Configuration()


def test_the_variables_are_taken():
    found = load(BIND="[::1]:8080", THREADS="4", BUDGET_USD="12.50", COOKIE_SECURE="always", HEALTH_CACHE_SECONDS="0.5")
    assert (found.host, found.port, found.threads) == ("::1", 8080, 4)
    assert found.budget_usd == Decimal("12.50")
    assert found.cookie_secure == "always"
    assert found.health_cache_seconds == 0.5


def test_systemd_credentials_go_before_the_directory_of_the_variable():
    environment = {"CREDENTIALS_DIRECTORY": "/run/credentials/x", PREFIX + "SECRETS_DIRECTORY": "/elsewhere"}
    assert Configuration.load(environment).secrets_directory == "/run/credentials/x"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BIND", "3000"),
        ("BIND", "localhost:0"),
        ("BIND", "localhost:99999"),
        ("BIND", "http://localhost:3000"),
        ("THREADS", "1"),
        ("THREADS", "8.5"),
        ("THREADS", "٣"),
        ("POOL_SIZE", "0"),
        ("HEALTH_CACHE_SECONDS", "-1"),
        ("HEALTH_CACHE_SECONDS", "nan"),
        ("STATEMENT_TIMEOUT", "0"),
        ("GRACEFUL_TIMEOUT", "0"),
        ("BUDGET_USD", "0"),
        ("BUDGET_USD", "$5"),
        ("COOKIE_SECURE", "yes"),
        ("ENVIRONMENT", "a\nb"),
    ],
)
def test_a_wrong_value_is_a_sentence_that_names_the_variable(name, value):
    with pytest.raises(ConfigurationError, match=rf"^{PREFIX}{name} must be .*\.$"):
        load(**{name: value})


def test_a_misspelt_variable_is_named_with_those_that_there_are():
    with pytest.raises(ConfigurationError, match=r"no setting MISSION_CONTROL_SERVICE_THREDS; .*SERVICE_THREADS"):
        load(THREDS="8")


def test_secrets_are_read_from_their_directory(tmp_path):
    (tmp_path / "api-tokens").write_text(f"# Homepage\n\n{TOKEN}\n")
    (tmp_path / "database.env").write_text("POSTGRES_HOST=db\n")
    found = Credentials.load(str(tmp_path))
    assert found.tokens.know(TOKEN)
    assert found.env_file == str(tmp_path / "database.env")
    assert TOKEN not in repr(found)


def test_refresh_tokens_have_names_and_are_no_api_tokens(tmp_path):
    (tmp_path / "api-tokens").write_text(f"{TOKEN}\n")
    (tmp_path / "refresh-tokens").write_text(
        "# CI\nci a-token-that-only-refreshes\nhome-assistant  another-token-that-refreshes\n"
    )
    found = Credentials.load(str(tmp_path))
    assert found.refresh_tokens.name_of("a-token-that-only-refreshes") == "ci"
    assert found.refresh_tokens.name_of("another-token-that-refreshes") == "home-assistant"
    for other in (TOKEN, "", "ci", "ci a-token-that-only-refreshes", "x" * 600):
        assert found.refresh_tokens.name_of(other) is None
    assert not found.tokens.know("a-token-that-only-refreshes")
    (tmp_path / "refresh-tokens").write_text(f"ci {TOKEN}\n")
    with pytest.raises(ConfigurationError, match="is a token that is in api-tokens too") as caught:
        Credentials.load(str(tmp_path))
    assert TOKEN not in str(caught.value)


def test_every_secret_may_be_missing(tmp_path):
    for found in (Credentials.load(None), Credentials.load(str(tmp_path))):
        assert not found.tokens
        assert not found.refresh_tokens
        assert found.env_file is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("api-tokens", "secret one\n", "line 1 is no token"),
        ("api-tokens", f"{TOKEN}\nshort\n", "line 2 has 5 characters: a token has 16 to 512"),
        ("api-tokens", b"\xff\xfe", "it is not UTF-8 text"),
        ("refresh-tokens", "only-the-token-secret one\n", "line 1 has 3 characters: a token has 16 to 512"),
        ("refresh-tokens", "the-token-of-nobody\n", "line 1 is no token"),
        (
            "refresh-tokens",
            f"ci {TOKEN}\nci another-{TOKEN}\n",
            "line 2 does not begin with a name that no other line has",
        ),
        ("refresh-tokens", f"Secret one {TOKEN}\n", "line 1 does not begin with a name"),
    ],
)
def test_a_wrong_secret_is_told_without_the_secret(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError, match=message) as caught:
        Credentials.load(str(tmp_path))
    assert str(tmp_path / name) in str(caught.value)
    assert "secret one" not in str(caught.value)
    assert "short" not in str(caught.value)


def test_a_directory_that_is_not_there_is_named():
    with pytest.raises(ConfigurationError, match="/nowhere/at/all, does not exist"):
        Credentials.load("/nowhere/at/all")


def test_each_of_several_tokens_is_known_and_nothing_else():
    tokens = Tokens.parse(f"{TOKEN}\nanother-token-of-another-program\n")
    assert tokens.know(TOKEN)
    assert tokens.know("another-token-of-another-program")
    for wrong in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ü" * 20, "\ud800" * 20):
        assert not tokens.know(wrong)
    assert not Tokens().know(TOKEN)


def test_a_token_of_every_allowed_character_is_taken():
    assert Tokens.parse("aZ09-._~+/aZ09-._~+/==\n")
    with pytest.raises(TokensError):
        Tokens.parse("=aZ09-._~+/aZ09-._~+/\n")
