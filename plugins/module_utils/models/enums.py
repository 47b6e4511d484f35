# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that status, kind and similar columns may hold, as types. A test compares them with the CHECKs of the tables."""

from typing import Any, Literal, Union

HostType = Literal["proxmox-node", "vm", "lxc-container", "k8s-node", "docker-host", "bare-metal"]
HostStatus = Literal["online", "offline", "degraded", "unknown"]
WorkloadType = Literal[
    "k8s-deployment",
    "k8s-statefulset",
    "k8s-daemonset",
    "k8s-cronjob",
    "k8s-job",
    "k8s-pod",
    "proxmox-vm",
    "proxmox-lxc",
    "libvirt-vm",
    "docker-container",
    "systemd-service",
]
WorkloadStatus = Literal["running", "stopped", "pending", "failed", "unknown"]
InventoryConnector = Literal["kubernetes", "docker", "proxmox", "ansible"]

TaskRunStatus = Literal["queued", "running", "waiting_approval", "succeeded", "failed", "cancelled"]
TaskEventType = Literal[
    "llm_request", "llm_response", "tool_call", "tool_result", "approval", "status_change", "log", "error"
]
ArtifactKind = Literal["file", "output", "link"]

# The providers with seed prices. The column takes any further name in lower case, so inputs say `ProviderName`.
Provider = Literal["ollama", "gemini", "claude", "openai", "github-models"]
ProviderName = Union[Provider, str]
BillingMode = Literal["standard", "batch", "flex", "priority", "fast", "free"]
BodyStorage = Literal["none", "truncated", "full"]
CostSource = Literal["computed", "provider", "local", "subscription", "unpriced"]
PriceOrigin = Literal["seed", "user"]
BudgetOrigin = Literal["role", "user"]
# What llm_budget_status says of a budget.
BudgetLevel = Literal["ok", "near", "spent"]

RiskLevel = Literal["READ_ONLY", "SAFE_MUTATE", "DESTRUCTIVE"]
ToolCallStatus = Literal[
    "pending", "approved", "denied", "expired", "cancelled", "running", "succeeded", "failed", "timed_out", "unknown"
]
ToolOrigin = Literal["seed", "role", "user"]
PolicyEffect = Literal["allow", "require_approval", "deny"]
PolicyOrigin = Literal["role", "user"]

AuditOutcome = Literal["success", "failure", "denied"]

MigrationOrigin = Literal["bundle", "site"]

JsonObject = dict[str, Any]
# Without None: in a column that may be NULL, None means NULL.
JsonValue = Union[dict[str, Any], list[Any], str, int, float, bool]
