"""What is said about the options of a source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mission_control.inventory.connectors import kubernetes
from mission_control.inventory.connectors.options import Option, option_problems, with_defaults
from mission_control.inventory.connectors.registry import check_source_options

KNOWN = {
    "url": Option("text", None, "Address of the engine.", required=True),
    "page_size": Option("number", 500, "Objects at once.", least=1, most=5000),
    "system_services": Option("flag", False, "Also the system's."),
    "labels": Option("texts", ["app"], "Names of labels."),
}
SERVER = {"server": "https://kubernetes.example.org:6443"}


def problems(options, secrets=()):
    return option_problems("docker", {"url": "unix:///run/x", **options}, secrets, KNOWN, {"client_key"})


@pytest.mark.parametrize(
    ("options", "secrets", "expected"),
    [
        ({}, ["client_key"], []),
        ({"page_size": 1, "system_services": True, "labels": []}, [], []),
        ({"page_size": None, "labels": None}, [], []),
        ({"url": None}, [], ["The option url is missing: address of the engine."]),
        ({"url": ""}, [], ["The option url is '', but it must be a text that is not empty."]),
        ({"url": "a\0b"}, [], [r"The option url is 'a\x00b', but it must be a text that is not empty."]),
        ({"pagesize": 5}, [], ["The connector docker has no option 'pagesize'; did you mean 'page_size'?"]),
        ({"zzz": "hidden"}, [], ["The connector docker has no option 'zzz'."]),
        ({"page_size": 0}, [], ["The option page_size is 0, but it must be a whole number from 1 to 5000."]),
        ({"page_size": True}, [], ["The option page_size is True, but it must be a whole number from 1 to 5000."]),
        ({"page_size": "5"}, [], ["The option page_size is '5', but it must be a whole number from 1 to 5000."]),
        ({"system_services": "no"}, [], ["The option system_services is 'no', but it must be true or false."]),
        ({"labels": "app"}, [], ["The option labels is 'app', but it must be a list of texts, none of them empty."]),
        (
            {"labels": ["app", 1]},
            [],
            ["The option labels is ['app', 1], but it must be a list of texts, none of them empty."],
        ),
        (
            {"client_key": "hidden"},
            [],
            ["The option client_key is a secret of the connector docker: give it below secrets."],
        ),
        ({}, ["url"], ["The secret url is an option of the connector docker: give it below options."]),
        ({}, ["clientkey"], ["The connector docker takes no secret 'clientkey'; did you mean 'client_key'?"]),
    ],
)
def test_each_option_is_judged_by_itself(options, secrets, expected):
    assert problems(options, secrets) == expected


def test_what_is_not_given_has_its_default():
    assert with_defaults({"url": "x", "page_size": None, "labels": []}, KNOWN) == {
        "url": "x",
        "page_size": 500,
        "system_services": False,
        "labels": [],
    }


def test_a_connector_that_there_is_not():
    among = "There is no connector {!r} among docker, kubernetes, proxmox"
    assert check_source_options("kubernets", {}, []) == [f"{among.format('kubernets')}; did you mean 'kubernetes'?"]
    assert check_source_options("vmware", {}, []) == [f"{among.format('vmware')}."]


@pytest.mark.parametrize(
    ("options", "secrets", "expected"),
    [
        (SERVER, ["token"], []),
        ({}, ["kubeconfig"], []),
        ({"context": "home", "namespaces": ["shop"], "labels": ["app"]}, ["kubeconfig"], []),
        ({**SERVER, "allow_unverified_server": True, "proxy": "http://proxy.example.org:3128"}, ["token"], []),
        ({"server": "http://127.0.0.1:8001", "allow_unverified_server": True}, ["token"], []),
        ({}, [], ["A source of kubernetes needs one of the secrets kubeconfig and token, and not both."]),
        (
            SERVER,
            ["token", "kubeconfig"],
            ["A source of kubernetes needs one of the secrets kubeconfig and token, and not both."],
        ),
        ({}, ["token"], ["The option server is missing: a token needs the address of the API server."]),
        (
            SERVER,
            ["kubeconfig"],
            [
                "The option server goes with a token, but the source has a kubeconfig, which says it: remove one of them."
            ],
        ),
        (
            {**SERVER, "context": "home"},
            ["token"],
            ["The option context goes with a kubeconfig, but the source has a token: remove one of them."],
        ),
        (
            {"server": "kubernetes.example.org"},
            ["token"],
            ["The option server is not an address such as https://kubernetes.example.org:6443."],
        ),
        (
            {"server": "https://me:secret@example.org"},
            ["token"],
            ["The option server holds a login: give it below secrets."],
        ),
        (
            {"server": "http://example.org"},
            ["token"],
            [
                "The option server does not begin with https://, so that the token could be read on its way: "
                "change it, or set allow_unverified_server."
            ],
        ),
        (
            {**SERVER, "ca_certificate": "/etc/ca.pem"},
            ["token"],
            ["The option ca_certificate holds no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----."],
        ),
        (
            {**SERVER, "proxy": "proxy:3128"},
            ["token"],
            ["The option proxy is not an address such as http://proxy.example.org:3128."],
        ),
        (
            {**SERVER, "namespaces": ["shop/../.."]},
            ["token"],
            ["The option namespaces has 'shop/../..', which is no name of a namespace."],
        ),
    ],
)
def test_what_belongs_together_for_kubernetes(options, secrets, expected):
    assert check_source_options("kubernetes", options, secrets) == expected


def test_the_page_of_kubernetes_has_each_option_with_its_default():
    page = (Path(__file__).parents[2] / "docs/inventory-kubernetes.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.MULTILINE))
    assert set(rows) == set(kubernetes.OPTIONS)
    for name, option in kubernetes.OPTIONS.items():
        if option.type in ("number", "flag"):
            assert rows[name].strip("`") == str(option.default).lower(), name
    assert all(f"`{label}`" in page for label in kubernetes.DEFAULT_LABELS)
