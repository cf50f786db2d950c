"""A summary of a library from somebody else, to be read before the library is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flex_dspy.core.terminal import printable
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.sharing.audit import Audit

SAMPLES = 3  # number of entries that are shown
FINDINGS = 10  # number of suspicious places that are shown
_LETTERS = 160  # length of a text that is shown


def summary_lines(library: ExperienceLibrary, report: Audit) -> Iterator[str]:
    """The lines of the summary. Texts of the library are quoted, on one line, with hidden characters written out.

    Args:
        library: The library.
        report: The library's audit.
    """
    figures = library.stats(SAMPLES)
    zones = ", ".join(f"{count} {zone}" for zone, count in figures["zones"].items() if count) or "empty"
    yield f"task       {quote(library.task)}" if library.task else "task       none"
    yield f"entries    {len(library)} ({zones}); {figures['pinned']} pinned, {figures['overlong']} beyond the caps"
    yield f"cases      {library.precedent_count} solved cases, with their problems and answers"
    size = figures["tokens"]
    yield f"tokens     {size['total']:,} in methods and rules; {size['largest']:,} in the largest entry"
    yield f"hash       {library.hash}"
    yield from (f"sample     {quote(_sample(entry))}" for entry in list(library)[:SAMPLES])
    yield f"audit      {report.text()}"
    yield from (f"           {finding.text()}" for finding in report.findings[:FINDINGS])
    if len(report.findings) > FINDINGS:
        yield f"           ... and {len(report.findings) - FINDINGS} more; flex-dspy library audit lists all"


def _sample(entry: Experience) -> str:
    return ": ".join(filter(None, (entry.category, entry.method)))


def quote(text: str, most: int = _LETTERS) -> str:
    """A text as data: quoted, shortened, on one line, with hidden characters written out, without secrets."""
    line = printable(" ".join(text.split()))
    return f"“{line if len(line) <= most else line[: most - 3] + '...'}”"


def summary_dict(library: ExperienceLibrary, report: Audit) -> dict[str, Any]:
    """The summary as plain objects, for JSON."""
    return {
        "task": library.task,
        "hash": library.hash,
        "entries": len(library),
        "zones": library.sizes(),
        "precedents": library.precedent_count,
        "audit": report.as_dict(),
    }
