"""Libraries, their differences and their versions as HTML."""

from __future__ import annotations

import difflib
import heapq
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from markupsafe import Markup

from flex_dspy.core.scoring import ACCURACY
from flex_dspy.display import html
from flex_dspy.display.entries import DRAWN, entry
from flex_dspy.display.molecules import drawings_in
from flex_dspy.evaluation.answer_errors import errors_text
from flex_dspy.evaluation.intervals import named_score_text
from flex_dspy.learning.version import VersionRecord
from flex_dspy.libraries.diffing import EntryChange, LibraryDiff, Removed
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary

T = TypeVar("T")
IN_A_CELL = 10  # most entries in a notebook's cell


def library_html(library: ExperienceLibrary, title: str = "", limit: int = 100) -> str:
    """Library as a complete HTML document, for example for MLflow, which shows it beside a version.

    Args:
        library: The library.
        title: The document's title; by default the task.
        limit: Most entries, the most used first.

    Returns:
        HTML without scripts and external resources. All texts of entries are escaped.
    """
    name = title or _name(library)
    return html.page(name, html.title(name), *_library(library, limit))


def library_cell(library: ExperienceLibrary) -> str:
    """HTML of a library's most used entries for a notebook's cell."""
    return html.fragment(html.title(_name(library)), *_library(library, IN_A_CELL))


def _name(library: ExperienceLibrary) -> str:
    return f"Experience library: {library.task}" if library.task else "Experience library"


def _library(library: ExperienceLibrary, limit: int) -> list[Markup]:
    numbers = html.facts(
        html.count(len(library), "entry", "entries"),
        html.count(library.precedent_count, "solved case"),
        f"learned from {html.count(library.seen, 'example')}" if library.seen else "",
        Markup("version {}").format(html.code(library.hash[:12])),
        Markup("parent {}").format(html.code(library.parent[:12])) if library.parent else "",
    )
    used = heapq.nsmallest(limit, library, key=_by_use)
    note = f"The {limit:,} most used of {len(library):,} entries:" if len(library) > limit else ""
    return [numbers, html.zone_bar(library.sizes()), html.soft(note), *map(entry, used)]


def _by_use(experience: Experience) -> tuple[int, int, int, int, str]:
    relied = experience.helped + experience.hurt
    return -relied, -experience.shown, -len(experience.precedents), experience.created_at, experience.id


# -- differences -------------------------------------------------------------------------------------------


def diff_html(diff: LibraryDiff, title: str = "", limit: int = 100) -> str:
    """Difference between two libraries as a complete HTML document.

    Args:
        diff: The difference.
        title: The document's title.
        limit: Most entries of each kind.
    """
    name = title or "Library difference"
    return html.page(name, html.title(name), *_diff(diff, limit))


def diff_cell(diff: LibraryDiff) -> str:
    """HTML of the difference between two libraries for a notebook's cell."""
    return html.fragment(html.title("Library difference"), *_diff(diff, IN_A_CELL))


def _diff(diff: LibraryDiff, limit: int) -> list[Markup]:
    revised = [change for change in diff.changed if change.says_other]
    used = [change for change in diff.changed if not change.says_other]
    head = Markup("{} → {}").format(html.code(diff.older[:12]), html.code(diff.newer[:12]))
    counts = [
        html.badge(f"+ {len(diff.added):,} added", "good"),
        html.badge(f"- {len(diff.removed):,} removed", "bad"),
        html.badge(f"{len(revised):,} revised", "mixed"),
    ]
    gathered = sum(change.precedents_gathered for change in diff.changed)
    remark = html.facts(f"{len(used):,} say the same with another record", f"{gathered:,} solved cases gathered")
    parts = [head, Markup("<div>{}</div>").format(html.join(counts) + remark)]
    parts += _section("Added", diff.added, limit, entry)
    parts += _section("Removed", diff.removed, limit, _removal)
    parts += _section("Revised", revised, limit, _revision)
    if used:
        shown, more = html.some(used, limit)
        parts += [html.heading("Same words, another record"), _records(shown), more]
    return parts


def _section(name: str, items: Sequence[T], limit: int, written: Callable[[T], Markup]) -> list[Markup]:
    shown, more = html.some(items, limit)
    return [html.heading(name), *map(written, shown), more] if items else []


def _removal(gone: Removed) -> Markup:
    homes = html.join(html.code(entry_id) + Markup(" ") for entry_id in gone.merged_into[:5])
    return entry(gone.entry) + (html.soft(Markup("merged into {}").format(homes)) if homes else Markup(""))


def _revision(change: EntryChange) -> Markup:
    head = Markup("<b>{}</b> {}").format(html.short(change.category, 100) or "no category", html.facts(_counts(change)))
    lines = [html.label(name) + _value(str(old), str(new)) for name, (old, new) in change.fields.items()]
    lines += [html.label("rule reworded") + word_changes(old, new) for old, new in change.rules_reworded]
    lines += [html.label("rule removed") + word_changes(text, "") for text in change.rules_removed]
    lines += [html.label("rule added") + word_changes("", text) + _drawings(text) for text in change.rules_added]
    if change.other:
        lines.append(html.soft(f"also changed: {', '.join(change.other)}"))
    summary = Markup('<span class="fx-id">{}</span>').format(html.code(change.id)) + head
    return html.fold(summary, html.join(lines), is_open=True)


def _value(old: str, new: str) -> Markup:
    """HTML of a field's old and new value. For a text, the changed words are marked."""
    if " " in old + new:
        return word_changes(old, new)
    return Markup("<div><del>{}</del> → <ins>{}</ins></div>").format(old or "none", new or "none")


def _drawings(text: str) -> Markup:
    return html.drawings(drawings_in(text, DRAWN))


def _counts(change: EntryChange) -> str:
    parts = [f"{name} {by:+d}" for name, by in change.counters.items()]
    parts += [f"{change.precedents_gathered:+d} solved cases"] if change.precedents_gathered else []
    parts += [f"{-change.precedents_lost:+d} solved cases"] if change.precedents_lost else []
    return ", ".join(parts)


def _records(changes: Sequence[EntryChange]) -> Markup:
    rows = [(html.code(c.id), html.short(c.category, 80), _counts(c) or ", ".join(c.other)) for c in changes]
    return html.table(["entry", "category", "change"], rows)


_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


def word_changes(old: str, new: str) -> Markup:
    """HTML of two texts merged into one, with removed words and new words marked."""
    before, after = _WORDS.findall(old[: html.MAX_TEXT]), _WORDS.findall(new[: html.MAX_TEXT])
    parts: list[Markup | str] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        went, came = "".join(before[a:b]), "".join(after[c:d])
        if kind == "equal":
            parts.append(went)
            continue
        parts += [Markup("<del>{}</del>").format(went)] if went else []
        parts += [Markup("<ins>{}</ins>").format(came)] if came else []
    return Markup('<div class="fx-text">{}</div>').format(html.join(parts))


# -- versions ----------------------------------------------------------------------------------------------


def versions_cell(records: Sequence[VersionRecord]) -> str:
    """HTML table of a library's versions for a notebook's cell, one row for each."""
    head = [
        "version",
        "parent",
        "examples",
        "entries",
        "zones",
        "solved cases",
        f"{_score(records)} (95% interval)",
        "",
    ]
    return html.fragment(html.title(html.count(len(records), "version")), html.table(head, map(_version, records)))


def _score(records: Sequence[VersionRecord]) -> str:
    return records[-1].score if records else ACCURACY


def _version(record: VersionRecord) -> tuple[Any, ...]:
    zones = ", ".join(f"{count:,} {zone}" for zone, count in record.sizes.items() if count)
    parent = html.code(record.parent[:12]) if record.parent else None
    sizes = record.step, record.entries, zones or "empty", record.precedents
    return html.code(record.hash[:12]), parent, *sizes, *_accuracy(record.metrics, record.score)


def _accuracy(metrics: Mapping[str, float], score: str) -> tuple[Markup | None, Markup | None]:
    """Accuracy of a version as text and as a bar."""
    if "accuracy" not in metrics:
        return None, None
    bounds = [metrics[name] for name in ("accuracy_low", "accuracy_high") if name in metrics]
    text = with_interval(metrics["accuracy"], *bounds, score=score) + (
        f" on {metrics['n']:,.0f}" if "n" in metrics else ""
    )
    text += errors_text(metrics)
    bar = html.bar([("good", metrics["accuracy"])])
    return Markup('<span class="fx-line">{}</span>').format(text), Markup('<div style="width:7rem">{}</div>').format(
        bar
    )


def with_interval(mean: float, *bounds: float, score: str = ACCURACY) -> str:
    """Text of a mean score with its 95% interval, if known. The score's name determines the unit."""
    low_to_high = " to ".join(named_score_text(score, bound, mean, *bounds) for bound in bounds)
    return named_score_text(score, mean, *bounds) + (f" ({low_to_high})" if bounds else "")
