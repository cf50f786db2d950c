"""``flex-dspy library add``, ``review``, ``approve`` and ``reject``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from flex_dspy.commands.actions import listing
from flex_dspy.commands.actions.tables import print_json
from flex_dspy.commands.options.library import Lesson
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.editing import find_waiting
from flex_dspy.libraries.experience import EXPERIENCES_JSON, Approve, Reject
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.paths import journal_of
from flex_dspy.libraries.reading import LibraryReader
from flex_dspy.libraries.store import LibraryStore


def add(path: Path, lesson: Lesson, *, task: str, reason: str) -> None:
    """Add a person's lesson, and print the difference."""
    is_learning, store = journal_of(path).exists(), LibraryStore(path, task=task)
    before = store.library
    after = store.add(
        lesson.method,
        lesson.rule,
        zone=lesson.zone,
        category=lesson.category,
        priority=lesson.priority,
        trajectory=lesson.trajectory,
        step=lesson.step,
        author=lesson.author,
        pinned=not lesson.unpinned,
        review=lesson.review,
        reason=reason,
    )
    _finish(store, before, is_learning=is_learning)
    if lesson.review:
        [new] = {each.id for each in after.waiting} - {each.id for each in before.waiting}
        print(f"{new} waits for approval: flex-dspy library approve {path} {new}")


def show(path: Path, *, as_json: bool) -> None:
    """Print the lessons that are waiting for approval."""
    waiting = LibraryReader(path).library.waiting
    if as_json:
        print_json(EXPERIENCES_JSON.dump_python(list(waiting), mode="json"))
        return
    for lesson in waiting:
        print(listing.entry_text(lesson), end="\n\n")
    print(f"waiting for approval: {len(waiting)}")


def approve(path: Path, entry_ids: Sequence[str], *, every: bool, reason: str) -> None:
    """Approve waiting lessons, which become entries. If one id is wrong, none is approved."""
    _decide(path, entry_ids, lambda lesson_id: Approve(lesson_id, reason), every=every)


def reject(path: Path, entry_ids: Sequence[str], *, every: bool, reason: str) -> None:
    """Reject waiting lessons, which are removed. If one id is wrong, none is rejected."""
    _decide(path, entry_ids, lambda lesson_id: Reject(lesson_id, reason), every=every)


def _decide(path: Path, entry_ids: Sequence[str], decision: Callable[[str], Approve | Reject], *, every: bool) -> None:
    if every == bool(entry_ids):
        raise ConfigurationError("name the lessons by their ids, or say --all: flex-dspy library review lists them")
    is_learning, store = journal_of(path).exists(), LibraryStore(path)
    before = store.library
    lessons = before.waiting if every else [find_waiting(before, wanted) for wanted in entry_ids]
    store.edit([decision(lesson_id) for lesson_id in dict.fromkeys(lesson.id for lesson in lessons)])
    _finish(store, before, is_learning=is_learning)


def _finish(store: LibraryStore, before: ExperienceLibrary, *, is_learning: bool) -> None:
    """Write the library's file, and print the difference."""
    after = store.library
    if not is_learning:  # during a run only the run writes its file, because it needs the snapshots in between
        after = store.checkpoint(before.hash if len(before) and before != after else None)
    print(after.diff(before).text())
    print(f"waiting for approval: {len(after.waiting)}")
