# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control audit`: verify the chain of the audit log, and keep its head outside the database."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..audit.batches import verify_in_batches
from ..audit.head import AuditError, AuditHead
from ..audit.head_file import AuditHeadFile
from ..audit.recompute import recompute_audit_chain
from .parser import EXIT_NO, EXIT_OK, UsageError, add_format_options, make_client, positive_option

if TYPE_CHECKING:
    from ..audit.log import ChainReport
    from ..client.client import Client
    from .output import Output

SUMMARY = "verify the audit log, or show the head of its chain"
DESCRIPTION = "Verifies the hash chain of the audit log, or shows its head, which is to be kept outside the database."
VERIFY_SUMMARY = "recompute the chain and compare it with a head that was kept elsewhere"
VERIFY_DESCRIPTION = """\
Recomputes the hash chain of the audit log on the server. That shows every entry that was changed or taken out, but
not that the newest ones were cut off together with the chain's end: for this give a head that was kept outside the
database. --head-file keeps it: it is read and compared, and written anew after a verification that found nothing.
Keep the file on another machine than the database's server.

--recompute reads every entry and computes the chain in this process, on this machine. It is slower and trusts no
function of the database, which those who rewrite entries could have replaced. The login has to read the entries.

The exit code is 0 if the chain is sound, 1 if it is not, 2 for wrong usage, 3 if the database could not be asked."""
VERIFY_EXAMPLES = """\
examples:
  mission-control audit verify                                  the whole chain
  mission-control audit verify --head-file audit.head           compare with the head in the file, then renew it
  mission-control audit verify --expected-head 12:0f3a…         compare with this head
  mission-control audit verify --checkpoint 12:0f3a…            only what came after this head
  mission-control audit verify --recompute --head-file audit.head   trust nothing that the database computes"""
EXAMPLES = f"{VERIFY_EXAMPLES}\n  mission-control audit head > audit.head"
HEAD_SUMMARY = "show the head of the chain, to be kept outside the database"
HEAD_DESCRIPTION = (
    "Prints the number of links in the chain and the digest of the last one, as --expected-head takes them."
)
HEAD_EXAMPLES = """\
examples:
  mission-control audit head > audit.head
  mission-control audit head --json"""


def add_verify_options(parser: argparse.ArgumentParser) -> None:
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--expected-head", metavar="HEAD", type=_head, help="an earlier head that the chain must contain")
    kept.add_argument(
        "--head-file", metavar="FILE", help="file with such a head; made if there is none, renewed after each success"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--recompute", action="store_true", help="read every entry and compute the chain here, not on the server"
    )
    how.add_argument(
        "--checkpoint",
        metavar="HEAD",
        type=_head,
        help="a head up to which the chain was verified before; begin after it",
    )
    parser.add_argument(
        "--batch",
        metavar="NUMBER",
        type=positive_option,
        default=50_000,
        help="links verified by one statement (50000)",
    )
    add_format_options(parser, "json")


def add_head_options(parser: argparse.ArgumentParser) -> None:
    add_format_options(parser, "json")


def _head(text: str) -> AuditHead:
    try:
        return AuditHead.parse(text)
    except AuditError as error:
        raise argparse.ArgumentTypeError(f"it is wrong: {str(error).rstrip('.')}") from None


def prepare(options: argparse.Namespace) -> Client:
    return make_client(options)


def run_head(options: argparse.Namespace, client: Client, output: Output) -> int:
    head = client.audit_head()
    if options.format == "json":
        output.json({"head": str(head), "sequence": head.sequence, "digest": head.digest.hex()})
    else:
        output.line(str(head))
    return EXIT_OK


def run_verify(options: argparse.Namespace, client: Client, output: Output) -> int:
    file = AuditHeadFile(options.head_file) if options.head_file else None
    expected = options.expected_head
    if file is not None:
        try:
            expected = file.read()
        except AuditError as error:
            raise UsageError(str(error)) from None

    def show(verified: int, total: int) -> None:
        share = f" ({verified * 100 // total} %)" if total else ""
        output.progress(f"{verified:,} of {total:,} links verified{share}")

    if options.recompute:
        report = recompute_audit_chain(client, expected, show)
    else:
        report = verify_in_batches(client, expected, options.checkpoint, options.batch, show)
    kept = False
    if file is not None and report.valid and report.head is not None:
        try:
            file.write(report.head)
        except AuditError as error:
            raise UsageError(str(error)) from None
        kept = True
    if options.format == "json":
        output.json(_as_json(report, kept))
    else:
        for text in _sentences(report, expected, kept, options):
            output.sentence(text)
    return EXIT_OK if report.valid else EXIT_NO


def _as_json(report: ChainReport, kept: bool) -> dict[str, Any]:
    return {
        "valid": report.valid,
        "verified": report.verified,
        "head": None if report.head is None else str(report.head),
        "first_bad_sequence": report.first_bad_sequence,
        "problem": report.problem,
        "compared": report.compared,
        "head_kept": kept,
    }


def _sentences(report: ChainReport, expected: AuditHead | None, kept: bool, options: argparse.Namespace) -> list[str]:
    count = "1 link" if report.verified == 1 else f"{report.verified:,} links"
    where = f" after {options.checkpoint.sequence:,}" if options.checkpoint else ""
    if not report.valid:
        kept_so = " The kept head stays as it was." if options.head_file else ""
        return [f"The audit chain is BROKEN: {report.problem}.{kept_so}"]
    lines = [f"The audit chain is sound: {count} verified{where}.", f"head {report.head}"]
    if expected is not None:
        lines.append(f"It contains the expected head {expected.sequence:,}.")
    if kept:
        lines.append(f"The head is kept in {options.head_file}.")
    elif not report.compared:
        lines.append(
            "It was compared with no earlier head, so entries cut off at its end would not be seen: see --head-file."
        )
    return lines
