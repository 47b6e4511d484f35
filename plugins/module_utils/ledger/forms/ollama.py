# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage of Ollama: its whole answer."""

from __future__ import annotations

from ..buckets import ReportedUsage, TokenBuckets
from . import counts
from .counts import Fields, Keys, count

# Tokens of the context and probabilities are among the keys.
_OLLAMA: Keys = {
    "prompt_eval_count": None,
    "prompt_eval_cached_count": None,
    "eval_count": None,
    "message": counts.WHOLE,
    "response": counts.WHOLE,
    "thinking": counts.WHOLE,
    "context": counts.WHOLE,
    "logprobs": counts.WHOLE,
    "embeddings": counts.WHOLE,
}


def read_ollama(fields: Fields) -> ReportedUsage:
    counts.refuse_unknown(fields, _OLLAMA, "Ollama")
    prompt = counts.input_buckets(
        "prompt_eval_count",
        count(fields, "prompt_eval_count"),
        cached={"prompt_eval_cached_count": count(fields, "prompt_eval_cached_count")},
    )
    return ReportedUsage(prompt + TokenBuckets(output_tokens=count(fields, "eval_count")))
