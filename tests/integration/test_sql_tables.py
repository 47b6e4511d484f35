"""Inventory, tasks and tools: what the constraints refuse, what the triggers do, and the queries of the seed document."""

import psycopg2
import pytest
from sample_rows import TABLES, WRITTEN_BY_FUNCTIONS, fill_every_table, insert_as_superuser, sample

# Table, the columns that make a valid row invalid, and the constraint that has to say so.
BROKEN = [
    ("services", {"name": "  "}, "ck_services_name"),
    ("services", {"slo_availability_percent": "100.1"}, "ck_services_slo_availability_percent"),
    ("services", {"slo_latency_ms": 0}, "ck_services_slo_latency_ms"),
    ("services", {"metadata": psycopg2.extras.Json([])}, "ck_services_metadata"),
    ("hosts", {"name": ""}, "ck_hosts_name"),
    ("hosts", {"type": "toaster"}, "ck_hosts_type"),
    ("hosts", {"status": "up"}, "ck_hosts_status"),
    ("hosts", {"cpu_cores": 0}, "ck_hosts_cpu_cores"),
    ("hosts", {"memory_bytes": -1}, "ck_hosts_memory_bytes"),
    ("hosts", {"labels": psycopg2.extras.Json("x")}, "ck_hosts_labels"),
    ("hosts", {"metadata": psycopg2.extras.Json(1)}, "ck_hosts_metadata"),
    ("workloads", {"name": ""}, "ck_workloads_name"),
    ("workloads", {"type": "cronjob"}, "ck_workloads_type"),
    ("workloads", {"status": "online"}, "ck_workloads_status"),
    ("workloads", {"replicas_wanted": -1}, "ck_workloads_replicas_wanted"),
    ("workloads", {"replicas_ready": -1}, "ck_workloads_replicas_ready"),
    ("workloads", {"labels": psycopg2.extras.Json([])}, "ck_workloads_labels"),
    ("workloads", {"metadata": psycopg2.extras.Json([])}, "ck_workloads_metadata"),
    ("workloads", {"host_id": "00000000-0000-0000-0000-000000000000"}, "fk_workloads_host_id"),
    ("workloads", {"service_id": "00000000-0000-0000-0000-000000000000"}, "fk_workloads_service_id"),
    ("tasks", {"title": " "}, "ck_tasks_title"),
    ("tasks", {"created_by": ""}, "ck_tasks_created_by"),
    ("tasks", {"parameters": psycopg2.extras.Json([])}, "ck_tasks_parameters"),
    ("tasks", {"template_id": "00000000-0000-0000-0000-000000000000"}, "fk_tasks_template_id"),
    ("task_runs", {"status": "done"}, "ck_task_runs_status"),
    ("task_runs", {"status": "succeeded"}, "ck_task_runs_finished_at"),
    ("task_runs", {"status": "running", "finished_at": "2026-01-01Z"}, "ck_task_runs_finished_at"),
    ("task_runs", {"task_id": "00000000-0000-0000-0000-000000000000"}, "fk_task_runs_task_id"),
    ("task_events", {"type": "note"}, "ck_task_events_type"),
    ("task_events", {"sequence": -1}, "ck_task_events_sequence"),
    ("task_events", {"sequence": 1}, "uq_task_events_task_run_id_sequence"),
    ("task_events", {"task_run_id": "00000000-0000-0000-0000-000000000000"}, "fk_task_events_task_run_id"),
    ("artifacts", {"kind": "blob"}, "ck_artifacts_kind"),
    ("artifacts", {"name": ""}, "ck_artifacts_name"),
    ("artifacts", {"content": None}, "ck_artifacts_uri_or_content"),
    ("artifacts", {"size_bytes": -1}, "ck_artifacts_size_bytes"),
    ("artifacts", {"sha256": "AB" * 32}, "ck_artifacts_sha256"),
    ("artifacts", {"task_run_id": "00000000-0000-0000-0000-000000000000"}, "fk_artifacts_task_run_id"),
    ("provider_pricing", {"provider": "Open AI"}, "ck_provider_pricing_provider"),
    ("provider_pricing", {"model": " "}, "ck_provider_pricing_model"),
    ("provider_pricing", {"billing_mode": "monthly"}, "ck_provider_pricing_billing_mode"),
    ("provider_pricing", {"above_input_tokens": -1}, "ck_provider_pricing_above_input_tokens"),
    ("provider_pricing", {"reasoning_usd_per_mtok": "-0.1"}, "ck_provider_pricing_prices"),
    ("provider_pricing", {"input_usd_per_mtok": "NaN"}, "ck_provider_pricing_prices"),
    ("provider_pricing", {"billing_mode": "free"}, "ck_provider_pricing_free"),
    ("provider_pricing", {"is_local": True}, "ck_provider_pricing_free"),
    ("provider_pricing", {"valid_to": "1960-01-01Z"}, "ck_provider_pricing_valid_to"),
    ("provider_pricing", {"valid_from": "-infinity"}, "ck_provider_pricing_finite"),
    ("provider_pricing", {"valid_to": "infinity"}, "ck_provider_pricing_finite"),
    ("provider_pricing", {"origin": "guess"}, "ck_provider_pricing_origin"),
    ("provider_pricing", {"image_output_usd_per_mtok": "-0.1"}, "ck_provider_pricing_prices"),
    ("provider_pricing", {"valid_from": "2026-01-01Z"}, "ex_provider_pricing_period"),
    ("llm_requests", {"provider": "Claude"}, "ck_llm_requests_provider"),
    ("llm_requests", {"model": ""}, "ck_llm_requests_model"),
    ("llm_requests", {"parameters": psycopg2.extras.Json([])}, "ck_llm_requests_parameters"),
    ("llm_requests", {"body_storage": "some"}, "ck_llm_requests_body_storage"),
    ("llm_requests", {"body_storage": "none"}, "ck_llm_requests_messages"),
    ("llm_requests", {"bodies_pruned_at": "2026-01-01Z"}, "ck_llm_requests_messages"),
    ("llm_requests", {"task_run_id": "00000000-0000-0000-0000-000000000000"}, "fk_llm_requests_task_run_id"),
    ("llm_responses", {}, "uq_llm_responses_request_id"),
    ("llm_responses", {"latency_ms": -1}, "ck_llm_responses_latency_ms"),
    ("llm_responses", {"bodies_pruned_at": "2026-01-01Z"}, "ck_llm_responses_bodies"),
    ("llm_responses", {"request_id": "00000000-0000-0000-0000-000000000000"}, "fk_llm_responses_request_id"),
    ("token_usage", {"provider": "?"}, "ck_token_usage_provider"),
    ("token_usage", {"model": ""}, "ck_token_usage_model"),
    ("token_usage", {"billing_mode": "prepaid"}, "ck_token_usage_billing_mode"),
    ("token_usage", {"reasoning_tokens": -1}, "ck_token_usage_tokens"),
    ("token_usage", {"cost_source": "guess"}, "ck_token_usage_cost_source"),
    ("token_usage", {"cost_source": "provider"}, "ck_token_usage_estimated_cost_usd"),
    ("token_usage", {"cost_source": "provider", "estimated_cost_usd": "-1"}, "ck_token_usage_estimated_cost_usd"),
    ("token_usage", {"cost_source": "provider", "estimated_cost_usd": "NaN"}, "ck_token_usage_estimated_cost_usd"),
    (
        "token_usage",
        {"cost_source": "provider", "estimated_cost_usd": 1, "subscription_value_usd": 1},
        "ck_token_usage_subscription_value_usd",
    ),
    ("token_usage", {"request_id": "00000000-0000-0000-0000-000000000000"}, "fk_token_usage_request_id"),
    ("token_usage", {"task_run_id": "00000000-0000-0000-0000-000000000000"}, "fk_token_usage_task_run_id"),
    ("token_usage", {"image_output_tokens": -1}, "ck_token_usage_tokens"),
    ("token_usage", {"occurred_at": "infinity"}, "ck_token_usage_occurred_at"),
    ("token_usage", {"occurred_at": "1969-12-31T23:59:59Z"}, "ck_token_usage_occurred_at"),
    ("llm_budgets", {}, "uq_llm_budgets_name"),
    ("llm_budgets", {"name": " "}, "ck_llm_budgets_name"),
    ("llm_budgets", {"amount_usd": 0}, "ck_llm_budgets_amount_usd"),
    ("llm_budgets", {"amount_usd": "NaN"}, "ck_llm_budgets_amount_usd"),
    ("llm_budgets", {"provider": "OpenAI"}, "ck_llm_budgets_provider"),
    ("llm_budgets", {"model": ""}, "ck_llm_budgets_model"),
    ("llm_budgets", {"project": " "}, "ck_llm_budgets_project"),
    ("llm_budgets", {"agent": ""}, "ck_llm_budgets_agent"),
    ("usage_import_files", {"source": " "}, "ck_usage_import_files_source"),
    ("usage_import_files", {"host": "h" * 256}, "ck_usage_import_files_host"),
    ("usage_import_files", {"path": ""}, "ck_usage_import_files_path"),
    ("usage_import_files", {"position": -1}, "ck_usage_import_files_position"),
    ("usage_import_files", {"state": psycopg2.extras.Json([])}, "ck_usage_import_files_state"),
    ("usage_import_files", {"calls": -1}, "ck_usage_import_files_calls"),
    ("tool_definitions", {"name": ""}, "ck_tool_definitions_name"),
    ("tool_definitions", {}, "uq_tool_definitions_name"),
    ("tool_definitions", {"risk_level": "HARMLESS"}, "ck_tool_definitions_risk_level"),
    ("tool_definitions", {"arguments_schema": psycopg2.extras.Json([])}, "ck_tool_definitions_arguments_schema"),
    ("tool_definitions", {"preset": psycopg2.extras.Json([])}, "ck_tool_definitions_preset"),
    ("tool_definitions", {"timeout_seconds": 3601}, "ck_tool_definitions_timeout_seconds"),
    ("tool_definitions", {"output_limit_bytes": 1023}, "ck_tool_definitions_output_limit_bytes"),
    ("tool_definitions", {"approval_seconds": 59}, "ck_tool_definitions_approval_seconds"),
    ("tool_definitions", {"origin": "owner"}, "ck_tool_definitions_origin"),
    ("tool_call_records", {"status": "ok"}, "ck_tool_call_records_status"),
    ("tool_call_records", {"status": "succeeded"}, "ck_tool_call_records_finished_at"),
    ("tool_call_records", {"arguments": psycopg2.extras.Json([])}, "ck_tool_call_records_arguments"),
    ("tool_call_records", {"tool_id": "00000000-0000-0000-0000-000000000000"}, "fk_tool_call_records_tool_id"),
    ("tool_call_records", {"task_run_id": "00000000-0000-0000-0000-000000000000"}, "fk_tool_call_records_task_run_id"),
    ("tool_call_records", {"status": "running"}, "ck_tool_call_records_running"),
    ("tool_call_records", {"status": "approved"}, "ck_tool_call_records_approved"),
    ("tool_call_records", {"idempotency_key": ""}, "ck_tool_call_records_idempotency_key"),
    ("tool_call_records", {"tool_digest": b"x"}, "ck_tool_call_records_tool_digest"),
    ("tool_call_records", {"executor": psycopg2.extras.Json([])}, "ck_tool_call_records_executor"),
    ("tool_tokens", {"name": " "}, "ck_tool_tokens_name"),
    ("tool_tokens", {"kind": "boss"}, "ck_tool_tokens_kind"),
    ("tool_tokens", {"token_sha256": b"x"}, "ck_tool_tokens_token_sha256"),
    ("tool_tokens", {"name": "other"}, "uq_tool_tokens_token_sha256"),
    ("policies", {"name": ""}, "ck_policies_name"),
    ("policies", {}, "uq_policies_name"),
    ("policies", {"risk_levels": []}, "ck_policies_covers"),
    ("policies", {"tools": [None]}, "ck_policies_tools"),
    ("policies", {"risk_levels": ["HIGH"]}, "ck_policies_risk_levels"),
    ("policies", {"effect": "ask"}, "ck_policies_effect"),
    ("policies", {"conditions": psycopg2.extras.Json([])}, "ck_policies_conditions"),
    ("policies", {"origin": "seed"}, "ck_policies_origin"),
    ("audit_entries", {"actor": " "}, "ck_audit_entries_actor"),
    ("audit_entries", {"action": ""}, "ck_audit_entries_action"),
    ("audit_entries", {"outcome": "maybe"}, "ck_audit_entries_outcome"),
    ("audit_entries", {"details": psycopg2.extras.Json([])}, "ck_audit_entries_details"),
    ("services", {}, "uq_services_name"),
    ("services", {"labels": psycopg2.extras.Json([])}, "ck_services_labels"),
    ("inventory_sources", {"name": "K8s main"}, "ck_inventory_sources_name"),
    ("inventory_sources", {"name": "manual"}, "ck_inventory_sources_not_manual"),
    ("inventory_sources", {"name": "b", "connector": "nmap"}, "ck_inventory_sources_connector"),
    ("inventory_sources", {"name": "b", "interval_seconds": 0}, "ck_inventory_sources_interval_seconds"),
    (
        "inventory_sources",
        {"name": "b", "last_complete_at": psycopg2.extras.Json([])},
        "ck_inventory_sources_last_complete_at",
    ),
    ("inventory_sources", {"name": "b"}, "uq_inventory_sources_task_id"),
    (
        "inventory_sources",
        {"name": "b", "task_id": "00000000-0000-0000-0000-000000000000"},
        "fk_inventory_sources_task_id",
    ),
    ("tasks", {"playbook": " "}, "ck_tasks_playbook"),
    ("tasks", {"playbook": "homelab/site.yml"}, "uq_tasks_playbook"),
    ("playbook_runs", {"tags": [None]}, "ck_playbook_runs_tags"),
    ("playbook_runs", {"skip_tags": ["a", None]}, "ck_playbook_runs_skip_tags"),
    ("playbook_runs", {"dropped_events": -1}, "ck_playbook_runs_dropped_events"),
    ("playbook_runs", {"task_run_id": "00000000-0000-0000-0000-000000000000"}, "fk_playbook_runs_task_run_id"),
    ("playbook_run_hosts", {"host_name": " "}, "ck_playbook_run_hosts_host_name"),
    ("playbook_run_hosts", {"host_name": "b", "rescued": -1}, "ck_playbook_run_hosts_counts"),
    (
        "playbook_run_hosts",
        {"host_name": "b", "host_id": "00000000-0000-0000-0000-000000000000"},
        "fk_playbook_run_hosts_host_id",
    ),
    (
        "playbook_run_hosts",
        {"task_run_id": "00000000-0000-0000-0000-000000000000"},
        "fk_playbook_run_hosts_task_run_id",
    ),
    ("services", {"name": "b", "source": "s", "external_id": "taken"}, "uq_services_source_external_id"),
    ("hosts", {"name": "b"}, "uq_hosts_source_external_id"),
    ("hosts", {"name": "nas", "external_id": None}, "uq_hosts_type_cluster_name"),
    ("workloads", {"name": "b"}, "uq_workloads_source_external_id"),
    ("llm_requests", {}, "uq_llm_requests_source_external_id"),
    ("token_usage", {}, "uq_token_usage_source_external_id"),
]
# Constraints that no single row can break: they are tested where they belong.
ELSEWHERE = {
    "fk_inventory_sources_last_run_id": "test_a_source_outlives_its_last_run",
    "ck_tasks_template_id": "test_a_task_is_not_its_own_template",
    "fk_token_usage_price_id": "test_sql_costs: a price in use stays",
    "ck_llm_budgets_origin": "the application may write none",
    "ck_policies_conditions_known": "test_sql_tools: conditions that are not known",
    "uq_tool_call_records_task_run_id_idempotency_key": "test_sql_tools: the same key is the same call",
    "ck_token_usage_price_id": "test_sql_costs: what the trigger cannot produce",
}


@pytest.fixture(scope="module")
def filled(shared_database):
    """A session, and the rows that stand in every table."""
    session = shared_database.session("application")
    rows = fill_every_table(session)
    session.insert("services", name="other", source="s", external_id="taken")
    session.insert("hosts", name="nas", type="proxmox-node", cluster="home")
    session.insert("tasks", title="homelab/site.yml", playbook="homelab/site.yml", created_by="somebody")
    return session, rows


@pytest.mark.parametrize(("table", "columns", "constraint"), BROKEN)
def test_a_constraint_refuses(filled, table, columns, constraint):
    session, rows = filled
    row = {**sample(table, rows), **columns}
    unique = {"external_id": None, "sequence": 2}
    if not constraint.startswith("uq_"):
        row.update({name: value for name, value in unique.items() if name in row and name not in columns})
    insert = insert_as_superuser if table in WRITTEN_BY_FUNCTIONS else type(session).insert
    with pytest.raises(psycopg2.IntegrityError) as refused:
        insert(session, table, **row)
    assert refused.value.diag.constraint_name == constraint


def test_every_constraint_is_tested(shared_database):
    catalogue = shared_database.session("admin")
    names = set(
        catalogue.values(
            """
            SELECT conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
            WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%s) AND k.contype IN ('c', 'f', 'u', 'x')
            UNION
            SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            WHERE i.indisunique AND NOT i.indisprimary AND i.indrelid::regclass::text = ANY (%s)
            """,
            list(TABLES),
            list(TABLES),
        )
    )
    # Of two equal rows the unique index speaks before the exclusion constraint; it is there for its order, not for its refusal.
    assert names - {constraint for _, _, constraint in BROKEN} - set(ELSEWHERE) == {"uq_provider_pricing_period"}


def test_every_table_takes_a_row_from_the_application(filled):
    session, rows = filled
    assert set(rows) == set(TABLES)
    for table in set(TABLES) - {"tool_tokens"}:
        assert session.value(f"SELECT count(*) FROM {table}") >= 1


def test_hosts_without_a_cluster_are_in_the_same_one(application):
    application.insert("hosts", name="nas", type="bare-metal")
    application.insert("hosts", name="nas", type="vm")
    application.insert("hosts", name="nas", type="bare-metal", cluster="home")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        application.insert("hosts", name="nas", type="bare-metal")


def test_importing_twice_counts_once(application):
    for name in ("old name", "new name"):
        application.run(
            """
            INSERT INTO hosts (name, type, source, external_id) VALUES (%s, 'vm', 'proxmox', 'qemu/100')
            ON CONFLICT (source, external_id) WHERE external_id IS NOT NULL DO UPDATE SET name = excluded.name
            """,
            name,
        )
    assert application.values("SELECT name FROM hosts") == ["new name"]
    # Rows that came from nowhere have no identity there, and do not collide.
    application.insert("services", name="a")
    application.insert("services", name="b")


def test_a_task_is_not_its_own_template(application):
    task = application.insert("tasks", title="t", created_by="me")
    with pytest.raises(psycopg2.errors.CheckViolation, match="ck_tasks_template_id"):
        application.run("UPDATE tasks SET template_id = id WHERE id = %s", task["id"])


def test_a_workload_outlives_its_host_and_its_service(application):
    rows = {table: application.insert(table, **sample(table, {})) for table in ("services", "hosts")}
    workload = application.insert("workloads", **sample("workloads", rows))
    application.run("DELETE FROM hosts")
    application.run("DELETE FROM services")
    left = application.row("SELECT * FROM workloads")
    assert (left["id"], left["host_id"], left["service_id"]) == (workload["id"], None, None)


def test_a_source_outlives_its_last_run(application, owner):
    rows = fill_every_table(application)
    run = application.insert("task_runs", task_id=rows["tasks"]["id"])
    application.run("UPDATE inventory_sources SET last_run_id = %s", run["id"])
    with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="fk_inventory_sources_last_run_id"):
        application.run("UPDATE inventory_sources SET last_run_id = gen_random_uuid()")
    owner.run("DELETE FROM task_runs WHERE id = %s", run["id"])
    assert application.values("SELECT last_run_id FROM inventory_sources") == [None]


# What a homelab has every day, and a name that had to be unique would refuse.
ORDINARY = {
    "a Kubernetes node that was built again": [
        "INSERT INTO hosts (name, type, source, external_id, gone_at) VALUES ('node1', 'k8s-node', 'k8s', 'node/uid-1', now())",
        "INSERT INTO hosts (name, type, source, external_id) VALUES ('node1', 'k8s-node', 'k8s', 'node/uid-2')",
    ],
    "two Proxmox guests of one name": [
        "INSERT INTO hosts (name, type, cluster, source, external_id) VALUES ('web', 'vm', 'home', 'pve', 'qemu/101')",
        "INSERT INTO hosts (name, type, cluster, source, external_id) VALUES ('web', 'vm', 'home', 'pve', 'qemu/102')",
    ],
    "one machine that two sources tell": [
        "INSERT INTO hosts (name, type, source, external_id) VALUES ('nas', 'bare-metal', 'ansible', 'nas')",
        "INSERT INTO hosts (name, type, source, external_id) VALUES ('nas', 'bare-metal', 'second', 'nas.home')",
        "INSERT INTO hosts (name, type) VALUES ('nas', 'bare-metal')",
    ],
    "two names that were swapped": [
        "INSERT INTO hosts (name, type, source, external_id) VALUES ('blue', 'vm', 'pve', 'qemu/1'), ('green', 'vm', 'pve', 'qemu/2')",
        "UPDATE hosts SET name = CASE name WHEN 'blue' THEN 'green' ELSE 'blue' END",
    ],
    "one name in two namespaces": [
        "INSERT INTO services (name, namespace, source, external_id) VALUES ('web', 'shop', 'k8s', 'shop/web')",
        "INSERT INTO services (name, namespace, source, external_id) VALUES ('web', 'blog', 'k8s', 'blog/web')",
        "INSERT INTO services (name, owner) VALUES ('web', 'alice')",
    ],
}


@pytest.mark.parametrize("event", ORDINARY)
def test_what_sources_tell_every_day_is_stored(application, event):
    for statement in ORDINARY[event]:
        application.run(statement)


def test_a_task_outlives_its_template_but_not_the_other_way_round(application):
    template = application.insert("tasks", title="t", created_by="me", is_template=True)
    application.insert("tasks", title="u", created_by="me", template_id=template["id"])
    application.run("DELETE FROM tasks WHERE id = %s", template["id"])
    assert application.row("SELECT title, template_id FROM tasks") == {"title": "u", "template_id": None}


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        ("tasks", "fk_task_runs_task_id"),
        ("task_runs", "fk_"),
        ("llm_requests", "fk_"),
        ("provider_pricing", "fk_token_usage_price_id"),
        ("tool_definitions", "fk_tool_call_records_tool_id"),
    ],
)
def test_nothing_that_a_log_speaks_of_can_be_deleted(database, application, parent, child):
    rows = fill_every_table(application)
    owner = database.session("audit" if parent in WRITTEN_BY_FUNCTIONS else "owner")
    # From 18 on RESTRICT has a SQLSTATE of its own.
    restricted = psycopg2.errors.RestrictViolation
    error = restricted if owner.connection.server_version >= 180000 else psycopg2.errors.ForeignKeyViolation
    with pytest.raises(error) as refused:
        owner.run(f"DELETE FROM {parent} WHERE id = %s", rows[parent]["id"])
    assert refused.value.diag.constraint_name.startswith(child)


def test_a_run_is_finished_with_a_time_and_never_without(application):
    task = application.insert("tasks", title="t", created_by="me")
    run = application.insert("task_runs", task_id=task["id"], user_prompt="p", status="queued")
    application.run("UPDATE task_runs SET status = 'running', started_at = now() WHERE id = %s", run["id"])
    with pytest.raises(psycopg2.errors.CheckViolation):
        application.run("UPDATE task_runs SET status = 'failed' WHERE id = %s", run["id"])
    # A clock that was set back does not keep a run from finishing.
    application.run(
        "UPDATE task_runs SET status = 'failed', finished_at = now() - interval '1 day' WHERE id = %s", run["id"]
    )


@pytest.mark.parametrize(
    ("start", "finish", "duration"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01.2346Z", 1235),
        ("2026-03-29T00:59:59Z", "2026-03-29T01:00:01Z", 2000),
        ("2026-01-01T00:00:00Z", "2025-12-31T23:59:59Z", 0),
        (None, "2026-01-01T00:00:00Z", None),
    ],
)
def test_the_duration_of_a_tool_call_is_computed(application, start, finish, duration):
    rows = fill_every_table(application)
    application.run("SET timezone = 'Europe/Berlin'")
    call = insert_as_superuser(
        application,
        "tool_call_records",
        task_run_id=rows["task_runs"]["id"],
        tool_id=rows["tool_definitions"]["id"],
        status="succeeded",
        started_at=start,
        finished_at=finish,
    )
    assert call["duration_ms"] == duration


UPDATED_COLUMN = {
    "services": "description",
    "hosts": "os",
    "workloads": "image",
    "inventory_sources": "cluster",
    "tasks": "description",
    "tool_definitions": "description",
    "policies": "description",
}


@pytest.mark.parametrize("table", sorted(UPDATED_COLUMN))
def test_updated_at_follows_changes_and_nothing_else(database, application, table):
    column = UPDATED_COLUMN[table]
    before = fill_every_table(application)[table]
    writer = database.session("audit") if table in WRITTEN_BY_FUNCTIONS else application
    writer.run(f"UPDATE {table} SET {column} = {column}")
    assert writer.value(f"SELECT updated_at FROM {table}") == before["updated_at"]
    writer.run(f"UPDATE {table} SET {column} = 'changed'")
    changed = writer.row(f"SELECT * FROM {table}")
    assert changed["updated_at"] > before["updated_at"]
    assert changed["created_at"] == before["created_at"]
    # Nobody sets it by hand.
    writer.run(f"UPDATE {table} SET updated_at = '2000-01-01Z', {column} = 'again'")
    assert writer.value(f"SELECT updated_at FROM {table}") > changed["updated_at"]


def test_updates_of_a_host_that_was_seen_again_are_hot(application, admin):
    host = application.insert("hosts", name="nas", type="bare-metal")
    for _ in range(20):
        application.run("UPDATE hosts SET last_seen_at = clock_timestamp() WHERE id = %s", host["id"])
    application.close()
    for _ in range(100):
        admin.run("SELECT pg_stat_clear_snapshot()")
        stats = admin.row("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'hosts'")
        if stats["n_tup_upd"] == 20:
            break
        admin.run("SELECT pg_sleep(0.05)")
    assert stats == {"n_tup_upd": 20, "n_tup_hot_upd": 20}


def test_the_queries_of_the_seed_document_run(application):
    """With %s for $1, as they stand in the document."""
    assert application.rows("SELECT * FROM hosts WHERE status = %s", "online") == []
    workload_id = "00000000-0000-0000-0000-000000000000"
    assert application.rows("SELECT * FROM workloads WHERE id = %s", workload_id) == []
    task = application.row(
        "INSERT INTO tasks (title, created_by, is_template) VALUES (%s, %s, %s) RETURNING *",
        "Restart Plex",
        "system",
        False,
    )
    assert task["title"] == "Restart Plex"

    with application.transaction():
        task = application.row(
            "INSERT INTO tasks (title, created_by) VALUES (%s, %s) RETURNING *", "Deploy blog-api", "system"
        )
        run = application.row(
            "INSERT INTO task_runs (task_id, user_prompt, status) VALUES (%s, %s, %s) RETURNING *",
            task["id"],
            "Deploy blog-api to production",
            "queued",
        )
    active = application.rows("SELECT * FROM active_task_runs ORDER BY created_at DESC LIMIT 10")
    assert [row["id"] for row in active] == [run["id"]]
    assert application.rows("SELECT * FROM recent_token_usage_summary ORDER BY total_cost_usd DESC") == []
    assert application.rows("SELECT * FROM tool_call_success_rate WHERE total_calls > 0") == []
