# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client and a transaction can record: rows, calls of language models, audit entries.

Each is a function that takes the client or transaction first, and so is a method of both.
"""

from __future__ import annotations

from . import audit as audit_log
from . import ledger, model_base


class Records:
    """Base of clients and transactions; they bring `query_one`."""

    insert = model_base.insert
    record_llm_call = ledger.record_llm_call
    fill_unpriced_usage = ledger.fill_unpriced_usage
    audit = audit_log.audit
    audit_head = audit_log.audit_head
    verify_audit_chain = audit_log.verify_audit_chain
