"""``flex-dspy library push`` and ``pull``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from flex_dspy.commands.actions.asking import ask
from flex_dspy.commands.actions.making import write_library
from flex_dspy.commands.actions.tables import print_json
from flex_dspy.commands.actions.views import scoped_view
from flex_dspy.commands.options.sharing import PushOptions
from flex_dspy.core.errors import FindingsError
from flex_dspy.sharing import exchange
from flex_dspy.sharing.audit import Audit, audit
from flex_dspy.sharing.exchange import Pulled
from flex_dspy.sharing.provenance import provenance_of
from flex_dspy.sharing.summary import summary_dict, summary_lines
from flex_dspy.tracking.registry import read_library


def push(
    name: str, address: str, options: PushOptions, scopes: Sequence[str], *, as_json: bool, tracking_uri: str | None
) -> None:
    """Push the shared entries of a library and the entries of the given scopes, and print a summary."""
    library = scoped_view(read_library(name, tracking_uri), scopes)
    stated = exchange.push(
        library,
        address,
        provenance_of(name, library, tracking_uri),
        licence=options.license,
        is_public=options.public,
        overwrite=options.overwrite,
        with_secrets=options.with_secrets,
    )
    if as_json:
        print_json(asdict(stated))
        return
    print(f"pushed     {len(library)} entries, {stated.size:,} bytes, to {address}")
    print(f"hash       {stated.hash}\n           give it to the readers by another way: pull checks it with --hash")


def pull(address: str, out: Path, expected: str, max_bytes: int, *, is_confirmed: bool, as_json: bool) -> None:
    """Pull a library, print its contents, and keep it if nothing is suspicious or the user confirms.

    Raises:
        FindingsError: If something is suspicious and the user has not confirmed.
    """
    pulled = exchange.pull(address, expected, max_bytes=max_bytes)
    report = audit(pulled.library)
    if not as_json:
        print(*summary_lines(pulled.library, report), f"check      {pulled.checks()}", sep="\n")
    is_kept = not report or is_confirmed or (not as_json and ask(f"keep it as {out}", "keep it"))
    if is_kept:
        write_library(out, pulled.library)
    _print_end(pulled, report, out, is_kept=is_kept, as_json=as_json)
    if not is_kept:
        raise FindingsError(f"{address}: {report.text()}. Nothing was kept; --yes keeps it all the same")


def _print_end(pulled: Pulled, report: Audit, out: Path, *, is_kept: bool, as_json: bool) -> None:
    if as_json:
        kept = str(out) if is_kept else None
        print_json({**summary_dict(pulled.library, report), "is_expected": pulled.is_expected, "file": kept})
    elif is_kept:
        print(f"library    {out}")
