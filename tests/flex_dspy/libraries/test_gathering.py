"""Entries that gather the lessons on one kind of problem: rules once, precedents beside their rule, caps."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from flex_dspy.libraries.diffing import diff
from flex_dspy.libraries.experience import (
    COMMIT_JSON,
    MAX_CASE_RULES,
    MAX_RULES,
    Commit,
    Edit,
    Experience,
    Insert,
    Merge,
    Pin,
    Precedent,
    Revise,
    Revision,
    Rule,
)
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.merging import merge
from flex_dspy.libraries.splitting import split_entry
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.search.retrieval import ExperienceRetriever


def lesson(number: int, *rules: str, zone: str = "golden") -> Experience:
    case = Precedent(f"e{number}", f"problem {number}", f"answer {number}")
    texts = rules or (f"rule {number}",)
    return Experience(zone, "How.", tuple(map(Rule, texts)), category="amide", precedents=(case,))  # type: ignore[arg-type]


FIRST = lesson(0)


def gather(new: Experience, case_of: str = "") -> Merge:
    return Merge(FIRST.id, new, new.rules, reason="same kind", case_of=case_of or new.rules[0].text)


def library(*edits: Edit) -> ExperienceLibrary:
    return ExperienceLibrary(task="t").apply(Commit("run", 1, (Insert(FIRST), *edits)))


def cases(entry: Experience) -> dict[str, list[str]]:
    """The example ids of an entry by the text of their rule; "gone" for a rule that the entry does not hold."""
    texts = defaultdict(lambda: "gone", {"": entry.rules[0].text, **{rule.key: rule.text for rule in entry.rules}})
    found: dict[str, list[str]] = {}
    for case in entry.precedents:
        found.setdefault(texts[case.rule], []).append(case.example_id)
    return found


def test_lessons_of_all_zones_become_one_entry_with_each_rule_once() -> None:
    again = gather(lesson(2, "rule 1", "Avoid: that", zone="warning"))
    (entry,) = library(gather(lesson(1)), again, gather(lesson(3, "other words"), "rule 0"))
    assert entry.zone == "mixed"
    assert [rule.text for rule in entry.rules] == ["rule 0", "rule 1", "Avoid: that", "other words"]
    assert cases(entry) == {"rule 0": ["e0", "e3"], "rule 1": ["e1", "e2"]}
    assert entry.case_counts() == {entry.rules[0].key: 2, entry.rules[1].key: 2}


@pytest.mark.parametrize("turned", [False, True])
def test_lessons_of_one_window_that_word_a_rule_differently_become_one_rule(turned: bool) -> None:
    texts = ["Cut `C>>N`", "Instead: cut `C>>N`"][:: -1 if turned else 1]
    (entry,) = library(*(gather(lesson(number, text, f"Avoid: {number}")) for number, text in enumerate(texts, 1)))
    assert [rule.text for rule in entry.rules] == ["rule 0", texts[0], "Avoid: 1", "Avoid: 2"]
    assert cases(entry) == {"rule 0": ["e0"], texts[0]: ["e1", "e2"]}


def test_a_known_rule_in_another_wording_finds_room_in_a_full_and_in_a_pinned_entry() -> None:
    more = (gather(lesson(n)) for n in range(2, MAX_CASE_RULES))
    full = library(gather(lesson(1, "Cut `C>>N`")), *more)
    again = gather(lesson(100, "Instead: cut `C>>N`"))
    for before in (full, full.pin(FIRST.id)):
        (entry,) = before.apply(Commit("run", 2, (again,)))
        assert entry.rules == before[FIRST.id].rules
        assert cases(entry)["Cut `C>>N`"] == ["e1", "e100"]


@pytest.mark.parametrize("other", ["Instead: cut `c>>n`", "cut `C>>N`", "Avoid: cut `C>>N`"])
def test_a_rule_is_another_one_if_more_than_its_beginning_differs(other: str) -> None:
    (entry,) = library(gather(lesson(1, "Cut `C>>N`")), gather(lesson(2, other)))
    assert cases(entry) == {"rule 0": ["e0"], "Cut `C>>N`": ["e1"], other: ["e2"]}


def test_a_merge_that_does_not_gather_is_as_before() -> None:
    plain = Merge(FIRST.id, lesson(1, zone="warning"), (Rule("rule 1"),))
    (entry,) = library(plain)
    assert entry.zone == "golden"
    assert [case.rule for case in entry.precedents] == ["", ""]
    assert not entry.gathers
    written = COMMIT_JSON.dump_json(Commit("run", 1, (plain,)))
    assert b"case_of" not in written
    assert b'"rule"' not in written


def test_a_later_merge_of_a_known_rule_keeps_its_place() -> None:
    (entry,) = library(gather(lesson(1)), Merge(FIRST.id, lesson(2, "rule 1")))
    assert cases(entry) == {"rule 0": ["e0"], "rule 1": ["e1", "e2"]}


def test_a_file_keeps_what_belongs_together(tmp_path: Path) -> None:
    made = library(gather(lesson(1)))
    path = tmp_path / "library.json"
    made.save(path)
    assert ExperienceLibrary.load(path).hash == made.hash
    (entry,) = json.loads(path.read_text())["experiences"]
    assert ["rule" in case for case in entry["precedents"]] == [False, True]


def test_a_journal_is_replayed_to_the_same_library(tmp_path: Path) -> None:
    store = LibraryStore(tmp_path / "library.json", task="t")
    store.commit([Commit("run", 1, (Insert(FIRST),)), Commit("run", 2, (gather(lesson(1, zone="warning")),))])
    wanted = store.library.hash
    assert LibraryStore(tmp_path / "library.json").library.hash == wanted


def test_a_full_entry_takes_known_rules_and_the_lesson_with_a_new_rule_is_inserted() -> None:
    full = library(*(gather(lesson(n)) for n in range(1, MAX_CASE_RULES)))
    entry = full[FIRST.id]
    assert len(entry.rules) == MAX_CASE_RULES
    assert not entry.is_overlong()
    more = full.apply(Commit("run", 2, (gather(lesson(100)), gather(lesson(101, "rule 7")))))
    assert len(more) == 2
    assert cases(more[FIRST.id])["rule 7"] == ["e7", "e101"]


def test_warnings_beyond_the_cap_are_left_out_and_counted() -> None:
    many = lesson(1, "rule 1", *(f"Avoid: {n}" for n in range(MAX_RULES - 1)))
    before = library(gather(many))
    more = gather(lesson(2, "rule 2", "Avoid: x", "Avoid: y", "Avoid: z", zone="warning"))
    after, (made,) = before.apply_with_report(Commit("run", 2, (more,)))
    texts = [rule.text for rule in after[FIRST.id].rules]
    assert texts[-2:] == ["rule 2", "Avoid: x"]
    assert len(texts) == 3 + MAX_RULES
    assert made.reason == "same kind; 2 left out: the entry is full"


def test_a_pinned_entry_stays_as_it_is() -> None:
    pinned = library(Pin(FIRST.id), gather(lesson(1)), gather(lesson(2, "rule 0")))
    assert len(pinned) == 2
    assert pinned[FIRST.id].rules == FIRST.rules
    assert cases(pinned[FIRST.id]) == {"rule 0": ["e0", "e2"]}


@pytest.mark.parametrize("turned", [False, True])
def test_merged_libraries_keep_what_belongs_together(turned: bool) -> None:
    one = library(gather(lesson(1)), gather(lesson(2, "rule 1")))
    first = replace(FIRST, id="", rules=(Rule("rule 1"),), precedents=lesson(7).precedents)
    merge_two = Merge(first.id, lesson(8, "rule 0"), (Rule("rule 0"),), case_of="rule 0")
    other = ExperienceLibrary(task="t").apply(Commit("other", 1, (Insert(first), merge_two)))
    both = merge(*((other, one) if turned else (one, other))).library
    (entry,) = both
    assert cases(entry) == {"rule 0": ["e0", "e8"], "rule 1": ["e1", "e2", "e7"]}
    assert merge(both, one).library.hash == both.hash


def test_warnings_on_one_rule_never_exceed_the_cap_of_one_lesson() -> None:
    many = (lesson(n, "rule 0", *(f"Avoid: {n} {k}" for k in range(3))) for n in range(1, 8))
    (entry,) = library(*(gather(each) for each in many))
    assert len(entry.rules) == MAX_RULES
    assert entry.rules[0].text == "rule 0"
    assert len(entry.precedents) == 8
    assert not entry.is_overlong()


def test_the_parts_of_an_overlong_entry_keep_the_precedents_of_their_rules() -> None:
    (entry,) = library(*(gather(lesson(n)) for n in range(1, 20)))
    overlong = replace(entry, method="word " * 1_000)
    parts = split_entry(overlong)
    assert len(parts) == 2
    assert sum(len(part.precedents) for part in parts) == 20
    assert {text: ids for part in parts for text, ids in cases(part).items()} == cases(entry)


def test_a_reworded_rule_keeps_its_precedents() -> None:
    made = library(gather(lesson(1)), Revise(FIRST.id, rules=(Rule("rule 0"), Rule("better words"))))
    assert cases(made[FIRST.id]) == {"rule 0": ["e0"], "better words": ["e1"]}
    replaced = Merge(FIRST.id, lesson(2, "best words"), (), (Revision("better words", Rule("best words")),))
    made = made.apply(Commit("run", 2, (replaced,)))
    assert cases(made[FIRST.id]) == {"rule 0": ["e0"], "best words": ["e1", "e2"]}
    found = ExperienceRetriever(made, views=("precedents",)).hits("problem 1", 5)
    loaded = ExperienceRetriever(ExperienceLibrary.from_json(made.to_json()), views=("precedents",)).hits(
        "problem 1", 5
    )
    assert [hit.precedents for hit in found] == [hit.precedents for hit in loaded]


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (["rule 1", "rule 0", "rule 2"], {"rule 0": ["e0"], "rule 1": ["e1"], "rule 2": ["e2"]}),
        (["rule 1", "rule 2"], {"gone": ["e0"], "rule 1": ["e1"], "rule 2": ["e2"]}),
        (["rule 0", "rule 2"], {"rule 0": ["e0"], "gone": ["e1"], "rule 2": ["e2"]}),
        (["new", "rule 0", "rule 1", "rule 2"], {"rule 0": ["e0"], "rule 1": ["e1"], "rule 2": ["e2"]}),
        (["rule 0", "rule 2", "new"], {"rule 0": ["e0"], "gone": ["e1"], "rule 2": ["e2"]}),
        (["reworded", "rule 1", "rule 2", "new"], {"reworded": ["e0"], "rule 1": ["e1"], "rule 2": ["e2"]}),
    ],
    ids=["moved", "first removed", "removed", "inserted before", "replaced", "reworded and added"],
)
def test_precedents_stay_with_their_rules_when_a_person_edits_these(
    rules: list[str], kept: dict[str, list[str]]
) -> None:
    (entry,) = library(gather(lesson(1)), gather(lesson(2)), Revise(FIRST.id, rules=tuple(map(Rule, rules))))
    assert cases(entry) == kept


def test_a_rule_that_a_person_removed_makes_room() -> None:
    full = library(*(gather(lesson(n)) for n in range(1, MAX_CASE_RULES)))
    assert not full[FIRST.id].has_room("another")
    fewer = full.revise(FIRST.id, rules=full[FIRST.id].rules[:5])
    assert fewer[FIRST.id].has_room("another")
    assert sum(fewer[FIRST.id].case_counts().values()) == MAX_CASE_RULES


def test_a_pinned_entry_has_room_for_its_own_rules_alone() -> None:
    (entry,) = library(Pin(FIRST.id))
    assert entry.has_room("rule 0")
    assert not entry.has_room("rule 1")


def test_a_merge_that_rewords_leaves_a_pinned_entry_as_it_is() -> None:
    pinned = library(gather(lesson(1)), Pin(FIRST.id))
    reword = Merge(FIRST.id, lesson(1), (), (Revision("rule 1", Rule("rule one")),))
    assert cases(pinned.apply(Commit("run", 2, (reword,)))[FIRST.id]) == {"rule 0": ["e0"], "rule 1": ["e1"]}


def test_a_very_long_rule_keeps_its_precedents() -> None:
    (entry,) = library(gather(lesson(1, "x" * 2_000)))
    assert [ids for text, ids in cases(entry).items() if text.startswith("x")] == [["e1"]]


def test_merging_a_part_again_changes_nothing() -> None:
    one = library(gather(lesson(1)))
    other = ExperienceLibrary(task="t").apply(Commit("o", 1, (Insert(Experience("golden", "x", (Rule("z"),))),)))
    both = merge(one, other).library
    assert merge(both, one).library.hash == both.hash
    assert (
        merge(merge(one, library(gather(lesson(2)))).library, one).library.hash
        == merge(one, library(gather(lesson(2)))).library.hash
    )


def test_a_difference_says_that_rules_moved_and_not_that_precedents_were_lost() -> None:
    before = library(gather(lesson(1)))
    after = before.revise(FIRST.id, rules=(Rule("rule 1"), Rule("rule 0")))
    (change,) = diff(before, after).changed
    assert (change.precedents_gathered, change.precedents_lost) == (0, 0)
    assert "order of rules" in change.other
    assert "rules of precedents" not in change.other
