"""Formats a library as text for a terminal: its entries, its statistics, and the results of a search."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from flex_dspy.commands.actions.tables import print_table
from flex_dspy.commands.options.library import Selection
from flex_dspy.core.tables import build_table
from flex_dspy.core.zones import Zone
from flex_dspy.libraries.categories import Category
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.libraries.hits import Hit
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.traces import trace_page

WIDTH = 110
PRECEDENTS = 3  # most precedents of an entry in a list; a single entry shows all of them


def select(library: ExperienceLibrary, chosen: Selection) -> list[Experience]:
    """Entries that match the selection, oldest first."""
    return [
        entry
        for entry in library
        if chosen.zone in (None, entry.zone)
        and (chosen.category or "").lower() in entry.category.lower()
        and entry.id.startswith(chosen.entry_id or "")
    ]


def entry_text(entry: Experience, precedents: int | None = PRECEDENTS, server: str | None = None) -> str:
    """Text of an entry for a terminal.

    Args:
        entry: The entry.
        precedents: Most precedents to list; None lists all of them and also shows the trajectory.
        server: Address of the MLflow server that shows the traces; None prints only their ids.
    """
    lines = [f"{entry.id}  {entry.zone}  {entry.category or 'no category'}{_marks(entry)}"]
    lines += [f"  {_record(entry)}"]
    lines += [f"  written by {entry.author}"] if entry.author else []
    lines += _wrap("", entry.method)
    counts = entry.case_counts()
    for rule in sorted(entry.rules, key=lambda rule: -counts[rule.key]):
        count = counts[rule.key]
        lines += _wrap("- ", rule.text + (f" ({count} solved)" if count else ""))
        lines += [line for example in rule.examples for line in _wrap("    e.g. ", example)]
    if precedents is None and entry.trajectory:
        lines += ["  instance:", *_wrap("    ", entry.trajectory)]
    lines += [line for case in entry.precedents[:precedents] for line in _case(case, server)]
    if precedents is not None and len(entry.precedents) > precedents:
        lines.append(f"  ... and {len(entry.precedents) - precedents} more precedents")
    lines += [f"  from {_source(source)}" for source in entry.sources if not source.is_marker]
    return "\n".join(lines)


def category_text(category: Category) -> str:
    """Text of all entries of a category for a terminal: each method and each rule once."""
    zones = ", ".join(f"{count} {zone}" for zone, count in category.sizes.items())
    cases = f"{category.precedent_count} solved case{'s' * (category.precedent_count != 1)}"
    record = f"helped {category.helped}, misled {category.hurt}"
    lines = [f"{category.name or 'no category'}: {zones}; {cases}; {record}"]
    lines += [line for method in category.methods for line in _wrap("", method)]
    for text, entries in category.rules():
        lines += _wrap("- ", text)
        lines += _wrap("    in ", ", ".join(f"{entry.zone} {entry.id[:8]}{_marks(entry)}" for entry in entries))
    return "\n".join(lines)


def category_dict(category: Category) -> dict[str, Any]:
    """Convert a category to a dict of JSON values: what ``category_text`` says."""
    return {
        "category": category.name,
        "zones": dict(category.sizes),
        "precedents": category.precedent_count,
        "helped": category.helped,
        "hurt": category.hurt,
        "methods": category.methods,
        "rules": [{"text": text, "entries": [entry.id for entry in held]} for text, held in category.rules()],
    }


def _case(case: Precedent, server: str | None) -> Iterator[str]:
    yield f"  {case.problem} => {case.answer}"
    if case.trace:
        yield f"    trace {(server and trace_page(case.trace, server)) or case.trace}"


def _record(entry: Experience) -> str:
    use = f"shown {entry.shown}, helped {entry.helped}, misled {entry.hurt}"
    dates = f"made at {entry.created_at}, changed at {entry.updated_at}"
    return f"priority {entry.priority}; {use}; {entry.merged} merged in; {len(entry.precedents)} precedents; {dates}"


def _source(source: Any) -> str:
    runs = f" (run{'s' * (len(source.runs) > 1)} {', '.join(source.runs)})" if source.runs else ""
    return f"{source.id} of {source.name or 'a library'}{runs}"


def _wrap(mark: str, text: str) -> Iterator[str]:
    indent = " " * (2 + len(mark))
    first = f"  {mark}"
    for line in text.splitlines() or [""]:
        yield from textwrap.wrap(line, WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False)
        first = indent


# -- figures -----------------------------------------------------------------------------------------------


def print_statistics(figures: Mapping[str, Any]) -> None:
    """Print the result of ``statistics`` as tables."""
    print_table(build_table(["figure", "value"], _figure_rows(figures), left=2))
    shown, count = len(figures["categories"]), figures["category_count"]
    print(f"\ncategories ({count if shown == count else f'{shown} of {count}'})")
    categories = [(name or "(none)", f"{count:,}") for name, count in figures["categories"].items()]
    print_table(build_table(["category", "entries"], categories))
    for key in ("most_helpful", "most_misleading"):
        print(f"\n{key.replace('_', ' ')}")
        print(*map(_use_text, figures[key]), *([] if figures[key] else ["  none"]), sep="\n")


def _figure_rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    zones = ", ".join(f"{count} {zone}" for zone, count in figures["zones"].items() if count) or "empty"
    size, age = figures["tokens"], figures["age"]
    return [
        ("task", figures["task"] or "none"),
        ("version", f"{figures['hash'][:12]}, made from {(figures['parent'] or 'nothing')[:12]}"),
        ("entries", f"{figures['entries']:,} ({zones}); {figures['pinned']} pinned, {figures['overlong']} overlong"),
        ("waiting for approval", f"{figures['waiting']:,}"),
        ("rules", f"{figures['rules']:,}"),
        ("precedents", f"{figures['precedents']:,}"),
        ("tokens", f"{size['total']:,} in methods and rules"),
        ("tokens an entry", f"{size['median']:,} (median), {size['largest']:,} (largest)"),
        ("commits", f"{age['commits']:,}"),
        ("commits since an entry was made", f"{age['median_entry']:,} (median)"),
        ("commits since an entry changed", f"{age['median_since_change']:,} (median)"),
        ("runs", ", ".join(f"{run} to step {step}" for run, step in age["runs"].items()) or "none"),
        ("entries never shown", f"{figures['never_shown']:,}"),
    ]


def _use_text(entry: Mapping[str, Any]) -> str:
    use = f"helped {entry['helped']}, misled {entry['hurt']} of {entry['shown']} times shown"
    return f"  {entry['id']}  {entry['zone']}  {entry['category']}: {use}"


def _marks(entry: Experience) -> str:
    return ("  [pinned]" if entry.pinned else "") + (f"  [scope {entry.scope}]" if entry.scope else "")


# -- a search ----------------------------------------------------------------------------------------------


def hit_dict(hit: Hit, weights: Mapping[Zone, float]) -> dict[str, Any]:
    """Convert a hit to a dict of JSON values: a short form of the entry, and the reasons why it was found."""
    entry = hit.experience
    return {
        "id": entry.id,
        "zone": entry.zone,
        "category": entry.category,
        "score": hit.score,
        "zone_weight": weights[entry.zone],
        "ranks": dict(hit.ranks),
        "utility": asdict(hit.utility) if hit.utility else None,
        "similar": [{"problem": case.problem, "answer": case.answer, "similarity": s} for case, s in hit.precedents],
        "method": entry.method,
        "rules": [rule.text for rule in entry.rules],
    }


def hit_text(hit: Hit, number: int, weights: Mapping[Zone, float]) -> str:
    """Text of a hit for a terminal: the entry, and the reasons why it was found."""
    entry = hit.experience
    ranks = ", ".join(f"{view} rank {rank}" for view, rank in hit.ranks.items())
    used = f"; {hit.utility}" if hit.utility else ""
    lines = [
        f"{number}. {entry.id}  {entry.zone}  {entry.category or 'no category'}",
        f"  why: score {hit.score:.4f} = {ranks}; zone weight {weights[entry.zone]:g}{used}",
    ]
    lines += [f"  similar {s:.3f}: {case.problem} => {case.answer}" for case, s in hit.precedents[:PRECEDENTS]]
    lines += _wrap("", entry.method)
    return "\n".join([*lines, *(line for rule in entry.rules for line in _wrap("- ", rule.text))])
