"""Approved lessons: they are gathered in the entry of their kind, if their updater gathers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from flex_dspy.libraries.experience import (
    MAX_CASE_RULES,
    Approve,
    Commit,
    Edit,
    Experience,
    Insert,
    Merge,
    Precedent,
    Propose,
    Rule,
)
from flex_dspy.libraries.gathering import name_rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore


def lesson(number: int, text: str = "", *, zone: str = "golden") -> Experience:
    case = Precedent(f"e{number}", f"problem {number}", "a")
    return Experience(zone, "How.", (Rule(text or f"Rule {number}"),), category="amide", precedents=(case,))  # type: ignore[arg-type]


def commit(library: ExperienceLibrary, *edits: Edit) -> ExperienceLibrary:
    return library.apply(Commit("run", library.seen + 1, edits))


def propose(*lessons: Experience, to: Iterable[Experience] = ()) -> ExperienceLibrary:
    return commit(ExperienceLibrary(list(to), task="t"), *map(Propose, lessons))


def cases(entry: Experience) -> dict[str, list[str]]:
    """The example ids of an entry by the text of their rule."""
    rules = {"": entry.rules[0], **entry.rules_by_key()}
    texts = sorted({rules[case.rule].text for case in entry.precedents})
    return {t: [case.example_id for case in entry.precedents if rules[case.rule].text == t] for t in texts}


LESSONS = [lesson(1), lesson(2, zone="warning"), lesson(3, "Instead: rule 1", zone="mixed")]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("marked", [{0, 1, 2}, {1, 2}], ids=["all", "not the first"])
def test_lessons_of_one_kind_become_one_entry_in_whatever_order_they_are_approved(
    order: tuple[int, ...], marked: set[int]
) -> None:
    library = propose(*(name_rule(each) if n in marked else each for n, each in enumerate(LESSONS)))
    assert len(library.waiting) == 3
    for number in order:
        library = library.approve(LESSONS[number].id)
    (entry,) = library
    assert entry.zone == "mixed"
    assert not library.waiting
    found = {text.removeprefix("Instead: ").capitalize(): set(ids) for text, ids in cases(entry).items()}
    assert found == {"Rule 1": {"e1", "e3"}, "Rule 2": {"e2"}}


def test_an_approved_lesson_joins_what_was_gathered_without_review() -> None:
    gathered = commit(
        ExperienceLibrary(task="t"),
        Insert(lesson(1)),
        Merge(lesson(1).id, lesson(2), lesson(2).rules, case_of="Rule 2"),
    )
    (entry,) = commit(gathered, Propose(lesson(3)), Approve(lesson(3).id))
    assert cases(entry) == {f"Rule {n}": [f"e{n}"] for n in (1, 2, 3)}


def test_lessons_of_an_updater_that_does_not_gather_become_entries() -> None:
    library = commit(propose(*LESSONS), *(Approve(each.id) for each in LESSONS))
    assert sorted(entry.id for entry in library) == sorted(each.id for each in LESSONS)


@pytest.mark.parametrize("change", [{"step": "search"}, {"scope": "team"}, {"category": "b"}, {"method": "Otherwise."}])
def test_a_lesson_of_another_kind_becomes_an_entry(change: dict[str, str]) -> None:
    other = replace(name_rule(lesson(2)), id="", **change)  # type: ignore[arg-type]
    library = propose(other, to=[name_rule(lesson(1))])
    assert len(commit(library, Approve(other.id))) == 2


def test_a_lesson_that_a_person_wrote_stays_as_it_is() -> None:
    written = replace(lesson(2), id="", author="Ann", pinned=True)
    library = commit(propose(written, to=[name_rule(lesson(1))]), Approve(written.id))
    assert library[written.id].author == "Ann"


def test_a_lesson_that_finds_no_room_becomes_an_entry() -> None:
    waiting = [name_rule(lesson(n)) for n in range(MAX_CASE_RULES + 2)]
    again = name_rule(lesson(1_000, "Rule 7"))
    library = commit(propose(*waiting, again), *(Approve(each.id) for each in (*waiting, again)))
    assert sorted(len(entry.rules) for entry in library) == [2, MAX_CASE_RULES]
    assert sum(len(entry.precedents) for entry in library) == MAX_CASE_RULES + 3
    assert any(cases(entry).get("Rule 7") == ["e7", "e1000"] for entry in library)


def test_a_pinned_entry_takes_the_cases_of_its_own_rule_alone() -> None:
    pinned = replace(name_rule(lesson(1)), pinned=True)
    same, new = name_rule(lesson(2, "Rule 1")), name_rule(lesson(3))
    library = commit(propose(same, new, to=[pinned]), Approve(same.id), Approve(new.id))
    assert cases(library[pinned.id]) == {"Rule 1": ["e1", "e2"]}
    assert cases(library[new.id]) == {"Rule 3": ["e3"]}


def test_the_journal_is_replayed_to_the_same_library_while_others_write(tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    learner, person = LibraryStore(path, task="t"), LibraryStore(path, task="t")
    learner.commit([Commit("run", 1, tuple(Propose(name_rule(each)) for each in LESSONS))])
    person.refresh()
    person.approve(LESSONS[1].id)
    learner.refresh()
    learner.commit([Commit("run", 2, (Propose(name_rule(lesson(4))),))])
    person.refresh()
    for each in (LESSONS[0], LESSONS[2], lesson(4)):
        person.approve(each.id)
    (entry,) = learner.refresh()
    assert len(entry.precedents) == 4
    assert LibraryStore(path).library.hash == learner.library.hash == person.library.hash
    learner.checkpoint()
    assert ExperienceLibrary.load(path).hash == person.library.hash
