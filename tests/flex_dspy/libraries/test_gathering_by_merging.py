"""Merged libraries: one place for each kind of problem where libraries gather, and nothing new where they do not."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from flex_dspy.commands.actions.listing import entry_text
from flex_dspy.libraries import gathering
from flex_dspy.libraries.experience import Commit, Edit, Experience, Insert, Merge, Precedent, Rule, Source, Tally
from flex_dspy.libraries.gathering import choose_entry, kind_of
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.merging import merge


def lesson(kind: str, number: int, *, text: str = "Cut {}", zone: str = "golden", warnings: int = 0) -> Experience:
    """A lesson with one rule, warnings, and one of three precedents of this rule."""
    rule = text.format(f"`{kind}{number % 100}>>`")
    avoid = (Rule(f"Avoid: `{kind}{n}>>`", (f"p{number}",)) for n in range(warnings))
    case = Precedent(f"{kind}{number}", f"p{number}", "a")
    return Experience(zone, f"How {kind}.", (Rule(rule), *avoid), category=kind, precedents=(case,))  # type: ignore[arg-type]


def grow(library: ExperienceLibrary, run: str, *lessons: Experience, gathers: bool = True) -> ExperienceLibrary:
    """A library that has learned these lessons one by one, by an updater that gathers or inserts."""
    for each in lessons:
        alike = sorted((entry for entry in library if kind_of(entry) == kind_of(each)), key=lambda entry: entry.id)
        target = choose_entry(alike, each.rules[0].text) if gathers and kind_of(each) else None
        edit: Edit = Insert(each)
        if target:
            edit = Merge(target.id, each, each.rules, case_of=each.rules[0].text)
        shown = tuple(entry.id for entry in library)[:2]
        step = library.runs.get(run, 0) + 1
        library = library.apply(Commit(run, step, (edit,), Tally(shown, shown[:1])))
    return library


def learned(run: str, *lessons: Experience, gathers: bool = True) -> ExperienceLibrary:
    return grow(ExperienceLibrary(task="t"), run, *lessons, gathers=gathers)


def random_library(rng: random.Random, run: str) -> ExperienceLibrary:
    lessons = [
        lesson(
            rng.choice("ab"),
            rng.randrange(6) + 100 * rng.randrange(3),
            text=rng.choice(["Cut {}", "Instead: cut {}"]),
            zone=rng.choice(["golden", "mixed", "warning"]),
            warnings=rng.randrange(3),
        )
        for _ in range(rng.randrange(1, 9))
    ]
    return learned(run, *lessons, gathers=rng.random() < 0.9)


def held(*libraries: ExperienceLibrary) -> set[tuple[str, str, str]]:
    """All precedents with the advice that they are cases of."""
    return {
        (case.example_id, case.answer, {"": entry.rules[0], **entry.rules_by_key()}[case.rule].advice)
        for library in libraries
        for entry in library
        for case in entry.precedents
    }


def advice(*libraries: ExperienceLibrary) -> Counter[tuple[str, str]]:
    return Counter((entry.category, rule.advice) for library in libraries for entry in library for rule in entry.rules)


def gathers(*libraries: ExperienceLibrary) -> bool:
    return any(entry.gathers for library in libraries for entry in library)


def merged(*libraries: ExperienceLibrary) -> ExperienceLibrary:
    return merge(*libraries).library


def merged_by_the_laws(a: ExperienceLibrary, b: ExperienceLibrary, c: ExperienceLibrary) -> ExperienceLibrary:
    """All three, merged. Neither order nor repetition matters, and nothing is lost."""
    whole, both = merged(a, b, c), merged(a, b)
    assert merged(c, a, b) == whole == merged(both, c) == merged(a, merged(b, c)) == merged(merged(a, c), merged(c, b))
    assert merged(both, a) == merged(both, both) == merged(b, both) == both
    assert ExperienceLibrary.from_json(both.to_json()) == both
    assert held(whole) == held(a, b, c)
    assert advice(whole).keys() == advice(a, b, c).keys()
    return whole


@pytest.mark.parametrize("seed", range(60))
def test_each_kind_has_one_entry_with_all_that_was_learned_in_whatever_order(seed: int) -> None:
    rng = random.Random(seed)
    a, b, c = (random_library(rng, run) for run in "abc")
    whole = merged_by_the_laws(a, b, c)
    if gathers(a, b, c):
        assert len(whole) == len({kind_of(entry) for entry in whole})
        assert set(advice(whole).values()) == {1}


@pytest.mark.parametrize("seed", range(60))
def test_a_full_entry_is_followed_by_another_and_nothing_is_lost(seed: int, monkeypatch) -> None:
    for module in ("gathering", "experience"):
        monkeypatch.setattr(f"flex_dspy.libraries.{module}.MAX_CASE_RULES", 2)
    rng = random.Random(seed)
    a, b = (random_library(rng, run) for run in "ab")
    both = merged(a, b)
    assert merged(b, a) == both == merged(both, a) == merged(both, both) == merged(b, both)
    assert held(both) == held(a, b)
    assert advice(both).keys() == advice(a, b).keys()
    assert len({entry.id for entry in both}) == len(both)
    if gathers(a, b):
        assert set(advice(both).values()) == {1}
        assert max(len(entry.case_rules()) for entry in both) <= 2
        for kind in {kind_of(entry) for entry in both}:
            of_kind = [entry for entry in both if kind_of(entry) == kind]
            cases = {rule for entry in of_kind for rule in entry.case_rules() or {entry.rules[0].key}}
            assert len(of_kind) == max(1, -(-len(cases) // 2))  # as few entries as the cap allows
    shown = sum(entry.shown for library in (a, b) for entry in library)
    assert sum(entry.shown for entry in both) == shown


def test_use_of_the_further_entries_is_kept_by_the_next_merging(monkeypatch) -> None:
    monkeypatch.setattr(gathering, "MAX_CASE_RULES", 2)
    a = learned("a", *(lesson("a", n) for n in range(2)))
    both = merged(a, learned("b", *(lesson("a", n) for n in range(2, 5))))
    assert [entry.shown for entry in both].count(0) == 2
    used = both.apply(Commit("later", 1, (), Tally(tuple(entry.id for entry in both))))
    again = merged(used, a)
    assert {entry.id: entry.shown for entry in again} == {entry.id: entry.shown for entry in used}
    assert merged(again, used) == again


def test_use_of_entries_that_become_one_later_adds_up() -> None:
    several = learned("a", *(lesson("a", n) for n in range(3)), gathers=False)
    both = merged(several, learned("b", lesson("b", 1), lesson("b", 1), gathers=False))
    first, *_ = (entry for entry in both if entry.category == "a" and entry.shown)
    used = both.apply(Commit("later", 1, (), Tally((first.id,))))
    assert (shown(both), shown(used)) == (4, 5)
    gathered = merged(used, learned("c", lesson("c", 1), lesson("c", 2)))
    assert shown(gathered) == 5 + 1
    assert merged(gathered, used) == merged(gathered, both, several) == gathered


def test_what_only_marks_an_entry_for_merging_is_not_shown_to_people() -> None:
    known, marker = Source("one", "a", lessons=("1",)), Source("two", runs=("later",))
    entry = replace(lesson("a", 1), sources=(known, marker))
    assert "from one of a" in entry_text(entry)
    assert "two" not in entry_text(entry)
    assert "from a<" in entry._repr_html_()
    assert "two" not in entry._repr_html_()


@pytest.mark.parametrize("seed", range(40))
def test_use_after_merging_is_kept_whatever_becomes_one_later(seed: int, monkeypatch) -> None:
    for module in ("gathering", "experience"):
        monkeypatch.setattr(f"flex_dspy.libraries.{module}.MAX_CASE_RULES", 2)
    rng = random.Random(seed)
    a, b, c = (random_library(rng, run) for run in "abc")
    used = grow(merged(a, b), "later", *(lesson(rng.choice("ab"), 10 + n) for n in range(3)))
    assert shown(merged(used, a)) == shown(used)
    assert shown(merged(used, c, b)) == shown(used) + shown(c)


def shown(library: ExperienceLibrary) -> int:
    return sum(entry.shown for entry in library)


def test_two_wordings_of_a_rule_become_one_with_the_precedents_of_both() -> None:
    one = learned("a", lesson("a", 1, text="Instead: cut {}", zone="warning"), lesson("a", 2))
    other = learned("b", lesson("a", 101), lesson("a", 3))
    (entry,) = merged(one, other)
    assert entry.zone == "mixed"
    assert [rule.text for rule in entry.rules] == ["Cut `a1>>`", "Cut `a2>>`", "Cut `a3>>`"]
    assert held(merged(one, other)) == held(one, other)


def test_rules_with_more_precedents_come_first_and_warnings_last() -> None:
    one = learned("a", lesson("a", 1, warnings=2), lesson("a", 2))
    (entry,) = merged(one, learned("b", lesson("a", 102), lesson("a", 202), lesson("a", 5)))
    texts = ["Cut `a2>>`", "Cut `a1>>`", "Cut `a5>>`", "Avoid: `a0>>`", "Avoid: `a1>>`"]
    assert [rule.text for rule in entry.rules] == texts


def test_kinds_with_a_single_lesson_are_joined_too_if_the_libraries_gather() -> None:
    one = learned("a", lesson("rare", 1), lesson("a", 1), lesson("a", 2))
    both = merged(one, learned("b", lesson("rare", 2)))
    assert sorted((entry.category, len(entry.rules)) for entry in both) == [("a", 2), ("rare", 2)]


def test_libraries_that_do_not_gather_keep_their_entries_apart() -> None:
    one, other = (learned("a", lesson("a", n), gathers=False) for n in (1, 2))
    assert {entry.rules for entry in merged(one, other)} == {entry.rules for entry in (*one, *other)}


@pytest.mark.parametrize("change", [{"step": "search"}, {"scope": "team"}, {"category": "b"}, {"method": "Otherwise."}])
def test_entries_of_another_kind_stay_apart(change: dict[str, str]) -> None:
    one = learned("a", lesson("a", 1), lesson("a", 2))
    other = learned("b", replace(lesson("a", 3), id="", **change))  # type: ignore[arg-type]
    assert len(merged(one, other)) == 2


def test_a_merged_library_goes_on_gathering() -> None:
    both = merged(learned("a", lesson("a", 1), lesson("a", 2)), learned("b", lesson("a", 3)))
    (entry,) = grow(both, "c", lesson("a", 101), lesson("a", 4))
    assert sorted(entry.case_counts().values()) == [1, 1, 1, 2]


@pytest.mark.parametrize("other", ["golden", "mixed"])
def test_two_kinds_with_the_same_first_rule_stay_two(other: str) -> None:
    same = replace(lesson("a", 1, zone=other), id="", category="b", method="How b.")
    one = learned("a", lesson("a", 1), lesson("a", 2), same)
    both = merged(one, learned("b", lesson("a", 3)))
    assert sorted((entry.category, len(entry.rules)) for entry in both) == [("a", 3), ("b", 1)]
    assert merged(both, one) == both


@pytest.mark.parametrize("seed", range(60))
def test_kinds_that_share_rules_and_entries_without_a_kind_obey_the_laws_too(seed: int) -> None:
    rng = random.Random(seed)
    a, b, c = (_odd_library(rng, run) for run in "abc")
    merged_by_the_laws(a, b, c)


def _odd_library(rng: random.Random, run: str) -> ExperienceLibrary:
    """A library that gathers. Its kinds share rules, some of its lessons have no category, and some have a step."""
    lessons = [lesson("a", 1, zone="golden"), lesson("a", 2)]
    for _ in range(rng.randrange(1, 7)):
        kind, number = rng.choice("abc"), rng.randrange(4)
        made = replace(lesson(kind, number), rules=(Rule(f"Cut `{number}>>`"),), step=rng.choice(["", "search"]))
        lessons.append(replace(made, id="", category="" if kind == "c" else kind))
    return learned(run, *lessons)


def test_a_copy_without_a_category_keeps_each_precedent_beside_its_rule() -> None:
    one = learned("a", lesson("a", 1))
    copy = learned("b", lesson("b", 1), lesson("b", 2)).apply(
        Commit("b", 3, (Insert(replace(lesson("a", 1), category="")),))
    )
    assert [entry.id for entry in one] == [entry.id for entry in copy if not kind_of(entry)]
    all_three = (one, copy, learned("c", lesson("a", 3)))
    assert held(merged(*all_three)) == held(*all_three)
