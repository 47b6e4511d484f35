# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a provisioned database has to hold: the names of its tables, views and triggers.

A health check looks for them, and a test compares them with the catalogue of a database that the SQL files made.
"""

from __future__ import annotations

GROUPS: dict[str, tuple[str, ...]] = {
    "Inventory": ("services", "hosts", "workloads", "inventory_sources"),
    "Tasks": ("tasks", "task_runs", "task_events", "artifacts", "playbook_runs", "playbook_run_hosts"),
    "Language models": (
        "llm_requests",
        "llm_responses",
        "token_usage",
        "provider_pricing",
        "price_lists",
        "llm_budgets",
        "usage_import_files",
    ),
    "Sums of the usage by day": ("token_usage_rollup", "token_usage_days", "token_usage_changes"),
    "Tools and policies": ("tool_definitions", "tool_call_records", "policies", "tool_tokens"),
    "Sums of the tool calls by day": ("tool_call_days", "tool_call_changes"),
    "Audit": ("audit_entries", "audit_links", "audit_head"),
    "Bookkeeping of the migrations": ("schema_migrations", "schema_repeatables", "schema_objects"),
    "Backups": ("backup_runs",),
}
TABLES: tuple[str, ...] = tuple(table for tables in GROUPS.values() for table in tables)
VIEWS: tuple[str, ...] = (
    "active_task_runs",
    "daily_token_usage",
    "recent_token_usage_summary",
    "llm_budget_status",
    "task_run_costs",
    "tool_call_success_rate",
    "tool_call_overview",
    "inventory_source_status",
    "playbook_run_steps",
    "playbook_run_overview",
    "playbook_status",
)
# Pairs of a table and a trigger on it. These fire whatever session_replication_role is: they guard logs ...
ALWAYS_TRIGGERS: tuple[tuple[str, str], ...] = (
    ("task_events", "tr_task_events_append_only_row"),
    ("task_events", "tr_task_events_append_only_statement"),
    ("task_events", "tr_task_events_trace_delete"),
    ("task_events", "tr_task_events_trace_update"),
    ("audit_entries", "tr_audit_entries_stamp"),
    ("audit_entries", "tr_audit_entries_reserved"),
    ("audit_entries", "tr_audit_entries_immutable_row"),
    ("audit_entries", "tr_audit_entries_immutable_statement"),
    ("audit_entries", "tr_audit_chain"),
    ("audit_links", "tr_audit_links_guard"),
    ("audit_links", "tr_audit_links_immutable_row"),
    ("audit_links", "tr_audit_links_immutable_statement"),
    ("audit_head", "tr_audit_head_guard"),
    ("audit_head", "tr_audit_head_immutable_row"),
    ("audit_head", "tr_audit_head_immutable_statement"),
    ("audit_head", "tr_audit_chain"),
)
# ... and here are all.
TRIGGERS: tuple[tuple[str, str], ...] = (
    ("hosts", "tr_hosts_updated_at"),
    ("workloads", "tr_workloads_updated_at"),
    ("services", "tr_services_updated_at"),
    ("inventory_sources", "tr_inventory_sources_updated_at"),
    ("tasks", "tr_tasks_updated_at"),
    ("tool_definitions", "tr_tool_definitions_updated_at"),
    ("policies", "tr_policies_updated_at"),
    ("tool_tokens", "tr_tool_tokens_updated_at"),
    ("tool_call_records", "tr_tool_call_records_added"),
    ("tool_call_records", "tr_tool_call_records_changed"),
    ("tool_call_records", "tr_tool_call_records_removed"),
    ("tool_call_records", "tr_tool_call_records_emptied"),
    ("provider_pricing", "tr_provider_pricing_not_edited"),
    ("token_usage", "tr_token_usage_price"),
    ("token_usage", "tr_token_usage_frozen"),
    ("token_usage", "tr_token_usage_added"),
    ("token_usage", "tr_token_usage_changed"),
    ("token_usage", "tr_token_usage_removed"),
    ("token_usage", "tr_token_usage_emptied"),
    ("llm_budgets", "tr_llm_budgets_updated_at"),
    ("llm_budgets", "tr_llm_budgets_of_role"),
    ("usage_import_files", "tr_usage_import_files_updated_at"),
    # These limit what a row holds, in every table that is written by others than the server.
    *((table, f"tr_{table}_limits") for table in TABLES[: TABLES.index("token_usage_rollup")]),
    *ALWAYS_TRIGGERS,
)
