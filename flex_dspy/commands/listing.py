"""A library as text for a terminal: its entries, its figures, and why a search found what it found."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from flex_dspy.core.zones import Zone
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.hits import Hit
from flex_dspy.libraries.library import ExperienceLibrary

WIDTH = 110
PRECEDENTS = 3  # of an entry in a list; one entry alone shows all


def selected(
    library: ExperienceLibrary, *, zone: str | None = None, category: str | None = None, entry_id: str | None = None
) -> list[Experience]:
    """Entries that fit, oldest first.

    Args:
        library: The library.
        zone: Only of this zone.
        category: Only those in whose category this text occurs, whatever its case.
        entry_id: Only those whose id begins so.
    """
    return [
        entry
        for entry in library
        if zone in (None, entry.zone)
        and (category or "").lower() in entry.category.lower()
        and entry.id.startswith(entry_id or "")
    ]


def entry_text(entry: Experience, precedents: int | None = PRECEDENTS) -> str:
    """An entry on a screen.

    Args:
        entry: The entry.
        precedents: Most precedents to list; None for all of them, and for the trajectory too.
    """
    lines = [f"{entry.id}  {entry.zone}  {entry.category or 'no category'}{'  [pinned]' if entry.pinned else ''}"]
    lines += [f"  {_record(entry)}", *_wrapped("", entry.method)]
    for rule in entry.rules:
        lines += _wrapped("- ", rule.text)
        lines += [line for example in rule.examples for line in _wrapped("    e.g. ", example)]
    if precedents is None and entry.trajectory:
        lines += ["  instance:", *_wrapped("    ", entry.trajectory)]
    lines += [f"  {case.problem} => {case.answer}" for case in entry.precedents[:precedents]]
    if precedents is not None and len(entry.precedents) > precedents:
        lines.append(f"  ... and {len(entry.precedents) - precedents} more precedents")
    lines += [f"  from {_source(source)}" for source in entry.sources]
    return "\n".join(lines)


def _record(entry: Experience) -> str:
    use = f"shown {entry.shown}, helped {entry.helped}, misled {entry.hurt}"
    dates = f"made at {entry.created_at}, changed at {entry.updated_at}"
    return f"priority {entry.priority}; {use}; {entry.merged} merged in; {len(entry.precedents)} precedents; {dates}"


def _source(source: Any) -> str:
    runs = f" (run{'s' * (len(source.runs) > 1)} {', '.join(source.runs)})" if source.runs else ""
    return f"{source.id} of {source.name or 'a library'}{runs}"


def _wrapped(mark: str, text: str) -> Iterator[str]:
    indent = " " * (2 + len(mark))
    first = f"  {mark}"
    for line in text.splitlines() or [""]:
        yield from textwrap.wrap(line, WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False)
        first = indent


# -- figures -----------------------------------------------------------------------------------------------


def statistics_text(figures: Mapping[str, Any]) -> str:
    """The figures of ``statistics`` for a terminal."""
    zones = ", ".join(f"{count} {zone}" for zone, count in figures["zones"].items() if count) or "empty"
    size, age = figures["tokens"], figures["age"]
    rows = {
        "task": figures["task"] or "none",
        "version": f"{figures['hash'][:12]}, made from {(figures['parent'] or 'nothing')[:12]}",
        "entries": f"{figures['entries']:,} ({zones}); {figures['pinned']} pinned, {figures['overlong']} overlong",
        "rules": f"{figures['rules']:,}",
        "precedents": f"{figures['precedents']:,}",
        "tokens": f"{size['total']:,} in methods and rules; an entry {size['median']:,} (median), {size['largest']:,} "
        "(largest)",
        "age": f"{age['commits']:,} commits; an entry was made {age['median_entry']:,} and changed "
        f"{age['median_since_change']:,} commits ago (median)",
        "runs": ", ".join(f"{run} to step {step}" for run, step in age["runs"].items()) or "none",
        "never shown": f"{figures['never_shown']:,} entries",
    }
    lines = [f"{name:<12} {value}" for name, value in rows.items()]
    lines += ["", f"categories ({figures['category_count']})"]
    lines += [f"  {count:>6,}  {name or '(none)'}" for name, count in figures["categories"].items()]
    for key in ("most_helpful", "most_misleading"):
        lines += ["", key.replace("_", " "), *(_use_line(entry) for entry in figures[key])]
        lines += [] if figures[key] else ["  none"]
    return "\n".join(lines)


def _use_line(entry: Mapping[str, Any]) -> str:
    use = f"helped {entry['helped']}, misled {entry['hurt']} of {entry['shown']} times shown"
    return f"  {entry['id']}  {entry['zone']}  {entry['category']}: {use}"


# -- a search ----------------------------------------------------------------------------------------------


def hit_dict(hit: Hit, weights: Mapping[Zone, float]) -> dict[str, Any]:
    """A hit as plain objects: the entry in short, and the reasons."""
    entry = hit.experience
    return {
        "id": entry.id,
        "zone": entry.zone,
        "category": entry.category,
        "score": hit.score,
        "zone_weight": weights[entry.zone],
        "ranks": dict(hit.ranks),
        "similar": [{"problem": case.problem, "answer": case.answer, "similarity": s} for case, s in hit.precedents],
        "method": entry.method,
        "rules": [rule.text for rule in entry.rules],
    }


def hit_text(hit: Hit, number: int, weights: Mapping[Zone, float]) -> str:
    """A hit for a terminal: the entry, and why it was found."""
    entry = hit.experience
    ranks = ", ".join(f"{view} rank {rank}" for view, rank in hit.ranks.items())
    lines = [
        f"{number}. {entry.id}  {entry.zone}  {entry.category or 'no category'}",
        f"  why: score {hit.score:.4f} = {ranks}; zone weight {weights[entry.zone]:g}",
    ]
    lines += [f"  similar {s:.3f}: {case.problem} => {case.answer}" for case, s in hit.precedents[:PRECEDENTS]]
    lines += _wrapped("", entry.method)
    return "\n".join([*lines, *(line for rule in entry.rules for line in _wrapped("- ", rule.text))])
