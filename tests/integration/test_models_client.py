"""Models through the client: what is put in comes back typed, and what is not given is the database's."""

import datetime
from dataclasses import fields
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils import models
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import ConstraintError
from library_client import client_of
from model_comparison import INPUTS
from sample_rows import insert_as_superuser

NOW = datetime.datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=datetime.timezone.utc)


@pytest.fixture(scope="module")
def client(shared_database):
    with client_of(shared_database) as client:
        yield client


def inputs(client):
    """One input of each kind with everything given, in an order in which each finds what it refers to."""
    task = models.insert(client, models.CreateTask("Restart", "system", is_template=True))
    run = models.insert(client, models.CreateTaskRun(task.id))
    host = models.insert(client, models.CreateHost("pve0", "proxmox-node"))
    request = models.insert(client, models.CreateLlmRequest("openai", "gpt-4o"))
    more = {"source": "test", "external_id": "x1"}
    jsons = {"labels": {"a": [1, None, "ü"]}, "metadata": {"b": {"c": 1.5}}}
    return [
        models.CreateService(
            "plex",
            "Films",
            "me",
            "https://plex.example",
            Decimal("99.900"),
            250,
            **jsons,
            **more,
            namespace="media",
            last_seen_at=NOW,
            gone_at=NOW,
        ),
        models.CreateInventorySource(
            "docker-nas", "docker", task.id, "nas", "engine", False, 300, NOW, {"hosts": NOW.isoformat()}, run.id
        ),
        models.CreateHost(
            "pve1",
            "proxmox-node",
            "home",
            "online",
            "192.0.2.1",
            "Debian 13",
            Decimal("0.500"),
            2**40,
            **jsons,
            **more,
            last_seen_at=NOW,
            gone_at=NOW,
        ),
        models.CreateWorkload(
            "plex",
            "docker-container",
            "media",
            host.id,
            None,
            "running",
            "plex:1",
            2,
            1,
            **jsons,
            **more,
            last_seen_at=NOW,
            gone_at=NOW,
        ),
        models.CreateTask("Restart Plex", "system", "Why not", False, {"service": "plex"}, task.id, "homelab/plex.yml"),
        models.CreateTaskRun(task.id, "Restart it", "failed", "no such host", NOW, NOW),
        models.CreatePlaybookRun(run.id, "nas", "sven", True, "2.21.5", "web*", ["a"], ["b", "c"], 1),
        models.CreatePlaybookRunHost(run.id, "pve0", host.id, 1, 2, 3, 4, 5, 6, 7),
        models.CreateTaskEvent(run.id, 1, "log", ["any", {"json": True}], NOW),
        models.CreateArtifact(run.id, "file", "log.txt", "file:///log.txt", "done", "text/plain", 4, "ab" * 32),
        models.CreateProviderPrice(
            "acme",
            "m1",
            Decimal("1.000000"),
            Decimal("2.000000"),
            "batch",
            1000,
            Decimal("0.100000"),
            Decimal("1.250000"),
            Decimal("2.000000"),
            Decimal("3.000000"),
            False,
            NOW,
            NOW + datetime.timedelta(days=1),
            "their page",
            *(Decimal(number) for number in range(4, 10)),
            True,
        ),
        models.CreateLlmRequest(
            "openai", "gpt-4o", run.id, [{"role": "user"}], {"top_p": 1}, "full", **more, occurred_at=NOW
        ),
        models.CreateLlmResponse(request.id, "Done.", "stop", 12, "none", {"id": 1}, NOW),
        models.CreateTokenUsage(
            "acme",
            "m1",
            request.id,
            run.id,
            "batch",
            1,
            2,
            3,
            4,
            5,
            6,
            Decimal("0.000000000001"),
            "provider",
            "p",
            "a",
            "test",
            "x1",
            NOW,
            *range(7, 13),
        ),
        models.CreateLlmBudget("lab", Decimal("7.500000"), "acme", "m1", "p", "a"),
        models.CreateUsageImportFile("jsonl", "nas", "/calls.jsonl", "c0ffee", 1200, {"last": "x1"}, 3),
        models.CreateAuditEntry("alice", "task.run", "denied", "task", "restart", {"why": "night"}, "192.0.2.0/24"),
    ]


def test_what_is_put_in_comes_back(client):
    """Every column of every input, and the stored row read again is the row that insert returned."""
    news = inputs(client)
    assert {type(new) for new in news} == set(INPUTS)
    for new in news:
        stored = models.insert(client, new)
        assert type(stored) is new.__model__
        assert {field.name: getattr(stored, field.name) for field in fields(new)} == vars(new), type(new).__name__
        key = fields(stored)[0].name
        (again,) = client.query_many(
            f'SELECT * FROM "{new.__table__}" WHERE {key} = %s', [getattr(stored, key)], model=new.__model__
        )
        assert again == stored
        for field in fields(stored):
            value = getattr(stored, field.name)
            if field.name.endswith("_at") and not isinstance(value, dict):  # a JSON object with a time for each kind
                assert value is None or value.utcoffset() is not None
            if field.name == "id":
                assert isinstance(value, (UUID, int))


def test_what_is_not_given_is_the_databases(client):
    host = models.insert(client, models.CreateHost("pve2", "proxmox-node"))
    assert (host.status, host.labels, host.source) == ("unknown", {}, "manual")
    assert (host.cluster, host.external_id, host.gone_at) == (None, None, None)
    assert host.created_at == host.updated_at
    with pytest.raises(ConstraintError, match="status"):
        models.insert(client, models.CreateHost("pve3", "proxmox-node", status=None))
    with pytest.raises(ConstraintError, match="ck_hosts_status"):
        models.insert(client, models.CreateHost("pve3", "proxmox-node", status="asleep"))


def test_views_have_models_too(client, shared_database):
    task = models.insert(client, models.CreateTask("Watch", "system"))
    run = models.insert(client, models.CreateTaskRun(task.id, status="running"))
    runs = client.query_many("SELECT * FROM active_task_runs WHERE id = %s", [run.id], model=models.ActiveTaskRun)
    assert [(found.task_title, found.event_count) for found in runs] == [("Watch", 0)]
    assert runs[0].age >= datetime.timedelta(0)
    tool = insert_as_superuser(
        shared_database.session("admin"), "tool_definitions", name=f"tool-{uuid4()}", risk_level="READ_ONLY"
    )
    (never,) = client.query_many(
        "SELECT * FROM tool_call_success_rate WHERE tool_id = %s", [tool["id"]], model=models.ToolCallSuccess
    )
    assert (never.total_calls, never.success_rate) == (0, None)


def test_client_and_transaction_record(client):
    """The same methods on both; what a transaction did is undone with it."""
    task = client.insert(models.CreateTask("One", "system"))
    assert isinstance(task, models.Task)
    client.audit("alice", "task.create", task)
    head = client.audit_head()
    with client.transaction() as transaction:
        run = transaction.insert(models.CreateTaskRun(task.id))
        usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
        call = transaction.record_llm_call(provider="openai", model="gpt-4o", usage=usage, task_run_id=run.id)
        transaction.audit("alice", "llm.call", ("llm_request", call.request.id))
    assert call.cost_usd == Decimal("2.5")
    assert client.fill_unpriced_usage() == 0
    assert client.verify_audit_chain(expected_head=head).valid
