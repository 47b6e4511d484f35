"""Configured sources: what is refused, in one sentence that names source, key and cure, and what is read of the rest."""

import json

import lab_connector
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.registry import CONNECTORS
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.sources import (
    SourcesError,
    read_secrets,
    read_sources,
    source_problems,
)

TOKEN = "token-Rg7Hs2Kd9Q"
LAB = {"name": "lab", "connector": "docker", "options": {"file": "/lab.json"}}


@pytest.fixture(autouse=True)
def _lab(monkeypatch):
    monkeypatch.setitem(CONNECTORS, "docker", lambda: lab_connector)


def problems(*entries, kept=None):
    return list(source_problems(list(entries), "sources", kept))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "K8S"}, "sources: the name of source 1 is 'K8S', but a name has 1 to 63 lower-case letters"),
        ({"name": None}, "sources: the name of source 1 is None, but"),
        ({"name": "manual"}, "sources: source 1 is called manual, which is the word for rows that people write"),
        (
            {"connector": "dokcer"},
            "sources: source lab: There is no connector 'dokcer' among docker, kubernetes, proxmox; did you",
        ),
        ({"connector": None}, "sources: source lab: Its connector is missing: name one, such as docker."),
        ({"intervall": 60}, "sources: source lab: There is no key 'intervall'; did you mean 'interval'?"),
        (
            {"interval": 5},
            "sources: source lab: Its interval is 5, but it must be a whole number from 10 to 604800, or 0",
        ),
        ({"interval": "300"}, "sources: source lab: Its interval is '300', but"),
        ({"deadline": 0}, "sources: source lab: Its deadline is 0, but it must be a whole number from 1 to 3600."),
        ({"memory_limit": True}, "sources: source lab: Its memory_limit is True, but"),
        ({"enabled": "yes"}, "sources: source lab: Its enabled is 'yes', but it must be true or false."),
        ({"cluster": ""}, "sources: source lab: Its cluster is '', but it must be a text of 1 to 253 characters"),
        ({"options": []}, "sources: source lab: Its options must be a mapping of names to values."),
        ({"options": {}}, "sources: source lab: The option file is missing: file with what the source lists."),
        ({"options": {"file": "/a", "flie": 1}}, "The connector docker has no option 'flie'; did you mean 'file'?"),
        ({"secrets": ["token"]}, "sources: source lab: Its secrets must be a mapping of names to texts."),
        ({"secrets": {"tokken": TOKEN}}, "The connector docker takes no secret 'tokken'; did you mean 'token'?"),
        ({"secrets": {"token": ""}}, "sources: source lab: The secret token must be a text that is not empty"),
        ({"secrets": {"token": 7}}, "sources: source lab: The secret token must be a text that is not empty"),
        ({"tool_options": []}, "sources: source lab: Its tool_options must be a mapping of names to values."),
        ({"tool_credentials": TOKEN}, "sources: source lab: Its tool_credentials must be a mapping of names to texts."),
        (
            {"tool_options": {"flie": "/b"}},
            "lab: With its tool_options and tool_credentials: The connector docker has no option 'flie'; did",
        ),
        (
            {"tool_credentials": {"tokken": TOKEN}},
            "lab: With its tool_options and tool_credentials: The connector docker takes no secret 'tokken'; did",
        ),
        ({"tool_credentials": {"token": " "}}, "sources: source lab: The tool credential token must be a text that is"),
    ],
)
def test_a_wrong_source_is_one_sentence(changes, sentence):
    (found,) = problems({**LAB, **changes})
    assert sentence in found
    assert found.endswith((".", "?"))
    assert TOKEN not in found


def test_what_is_no_list_no_mapping_or_no_name_of_its_own():
    assert list(source_problems({}, "sources")) == [
        "sources must be a list of sources, each with a name and a connector."
    ]
    assert problems("lab") == ["sources: source 1 must be a mapping with a name and a connector."]
    assert problems(LAB, LAB) == ["sources: two sources are called lab: give each a name of its own."]
    assert problems(LAB, {**LAB, "name": "other", "secrets": {"token": TOKEN}}) == []


@pytest.fixture
def written(tmp_path):
    """A callable that reads these entries, with secrets by the names of their files."""

    def read(*entries, **secrets):
        (tmp_path / "sources.json").write_text(json.dumps(entries), encoding="utf-8")
        (tmp_path / "credentials").mkdir(exist_ok=True)
        for name, content in secrets.items():
            (tmp_path / "credentials" / name.replace("__", ".")).write_text(content, encoding="utf-8")
        return read_sources(str(tmp_path / "sources.json"), str(tmp_path / "credentials"))

    return read


def test_a_source_has_its_defaults_and_shows_no_secret(written):
    (source,) = written(LAB, lab__token=f"{TOKEN}\n", other__token="x", database__env="POSTGRES_PASSWORD=x")
    assert (source.interval, source.deadline, source.memory_limit, source.enabled) == (300, 120, 512, True)
    assert source.secret_names == ("token",)
    assert TOKEN not in repr(source)
    assert read_secrets(source) == {"token": TOKEN}


def test_every_fault_of_a_file_is_said_at_once(written):
    with pytest.raises(SourcesError) as raised:
        written({**LAB, "interval": 1, "deadline": 0}, {**LAB, "name": "b", "secrets": {}}, lab__tokn="x")
    text = str(raised.value)
    assert text.count("sources.json: source ") == 4
    assert (
        "source b: Its secrets must not stand in this file: put each into a file of the credentials directory." in text
    )
    assert "takes no secret 'tokn'; did you mean 'token'?" in text


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_is_refused(written, tmp_path, mode):
    written(LAB)
    (tmp_path / "sources.json").chmod(mode)
    with pytest.raises(SourcesError, match=r"sources\.json may be written by others than root .*\(chmod go-w\)\.$"):
        read_sources(str(tmp_path / "sources.json"), str(tmp_path / "credentials"))


def test_what_is_no_file_of_sources(tmp_path):
    path = tmp_path / "sources.json"
    credentials = str(tmp_path / "none")
    with pytest.raises(SourcesError, match=r"cannot be read: No such file or directory\.$"):
        read_sources(str(path), credentials)
    path.write_text("[{]", encoding="utf-8")
    with pytest.raises(SourcesError, match=r"sources\.json is no JSON: .*line 1"):
        read_sources(str(path), credentials)
    path.write_bytes(b"\xff")
    with pytest.raises(SourcesError, match=r"is not UTF-8 text\.$"):
        read_sources(str(path), credentials)
    path.unlink()
    path.mkdir()
    with pytest.raises(SourcesError, match=r"sources\.json must be a file\.$|Is a directory"):
        read_sources(str(path), credentials)
