"""The collection as a guest: its own part works, and what was on the server before still does."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from sql_on_host import Login, RefusedError, as_administrator


@pytest.fixture
def address(host):
    """The host's address on its network."""
    return host.check_output("hostname --all-ip-addresses").split()[0]


@pytest.fixture
def photos(host):
    return Login(host, "photos", "photos-password", "photos")


@pytest.fixture
def application(host):
    return Login(host, "control_room_app", "control-password", "control_room")


def test_the_archive_holds_the_collection_and_nothing_else():
    [archive] = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]).glob("homelab-mission_control-*.tar.gz")
    with tarfile.open(archive) as content:
        names = content.getnames()
    top = {name.partition("/")[0] for name in names}
    assert {"roles", "plugins", "playbooks", "files", "meta", "README.md"} <= top
    assert top.isdisjoint({"collections", "molecule", "inventory", ".venv", ".git", ".cache", ".config", ".ci"})
    assert {name for name in names if name.startswith("tests/")} == {"tests/config.yml"}


def test_the_database_that_was_there_before_still_connects(photos, address):
    assert photos.value("SELECT current_database()") == "photos"
    assert photos.but(server=address).value("SELECT current_user") == "photos"
    photos.rows("CREATE TABLE album (id integer)")


def test_the_settings_that_were_there_before_are_in_force(host):
    assert as_administrator(host, "SHOW work_mem") == "7MB"
    assert as_administrator(host, "SHOW listen_addresses") == "*"
    assert as_administrator(host, "SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"


def test_the_databases_are_closed_to_each_other(photos, application):
    with pytest.raises(RefusedError):
        photos.but(dbname="control_room").rows("SELECT 1")
    with pytest.raises(RefusedError):
        application.but(dbname="photos").rows("SELECT 1")


def test_application_works_with_names_of_its_own(application, address):
    assert application.value("SELECT count(*) FROM provider_pricing") >= 10
    assert (
        application.value("SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'hosts'::regclass")
        == "control"
    )
    assert application.but(server=address).value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") is True


def test_the_other_roles_did_their_work(host):
    assert host.file("/etc/motd").content_string == "Databases for photos and mission control.\n"
    assert host.file("/etc/homelab-databases").content_string == "photos\ncontrol_room\n"


def test_the_tag_of_a_part_runs_that_part_alone(host, run_playbook, scenario):
    """`--tags schema` through the umbrella puts back what is missing in the schema, and leaves the rest alone."""
    drop = "DROP VIEW control.tool_call_success_rate; DELETE FROM control.schema_repeatables"
    as_administrator(host, drop, "control_room")
    host.check_output(
        "echo Changed by hand. >/etc/motd.new && cp --preserve /etc/motd /etc/motd.before && mv /etc/motd.new /etc/motd"
    )

    run = run_playbook(scenario / "converge.yml", "--tags", "schema")

    assert run.returncode == 0, run.output
    views = "SELECT count(*) FROM pg_views WHERE schemaname = 'control'"
    assert as_administrator(host, views, "control_room") == "11"
    assert host.file("/etc/motd").content_string == "Changed by hand.\n"
    host.check_output("mv /etc/motd.before /etc/motd")
