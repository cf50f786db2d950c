"""The difference of two libraries, entry by entry."""

import json
import re
from dataclasses import replace

from flex_dspy.libraries.diffing import diff
from flex_dspy.libraries.experience import (
    Commit,
    Edit,
    Experience,
    Insert,
    Merge,
    Pin,
    Precedent,
    Remove,
    Revise,
    Rule,
    Tally,
)
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.merging import merge


def lesson(name: str, *rules: str) -> Experience:
    case = Precedent(f"ex-{name}", f"problem {name}", "answer")
    return Experience("golden", f"method {name}", tuple(map(Rule, rules or (f"rule {name}",))), precedents=(case,))


def library(*lessons: Experience) -> ExperienceLibrary:
    return ExperienceLibrary([replace(e, created_at=ord(e.method[-1])) for e in lessons], task="t")


def changed(base: ExperienceLibrary, *edits: Edit, tally: Tally | None = None) -> ExperienceLibrary:
    return base.apply(Commit("", 0, edits, tally or Tally()))


A, B, C = lesson("a"), lesson("b"), lesson("c")


def test_equal_libraries_do_not_differ() -> None:
    assert not diff(library(A, B), library(B, A).as_version("parent").apply(Commit("", 0)))


def test_entries_that_only_differ_in_their_dates_are_said_to() -> None:
    (change,) = diff(library(A), ExperienceLibrary([A], task="t")).changed
    assert (change.other, change.says_other) == (("dates",), False)


def test_what_came_and_what_went() -> None:
    found = diff(library(A, B), library(B, C))
    assert [entry.id for entry in found.added] == [C.id]
    assert [(gone.entry.id, gone.merged_into) for gone in found.removed] == [(A.id, ())]
    assert found.changed == ()
    assert library(B, C).diff(library(A, B)) == found


def test_a_removed_entry_is_found_where_all_its_rules_are() -> None:
    two, half = lesson("two", "x", "y"), lesson("half", "x")
    whole = lesson("whole", "y", "x", "z")
    (gone,) = diff(library(two), library(half, whole)).removed
    assert gone.merged_into == (whole.id,)


def test_a_removed_entry_is_found_in_what_was_made_of_it() -> None:
    one = replace(A, id="1", rules=(Rule("same rule"), Rule("more")))
    other = replace(B, id="2", rules=(Rule("Same rule."),))
    merged = merge(library(one), library(other)).library
    (gone,) = diff(library(other), merged).removed
    assert (gone.entry.id, gone.merged_into) == ("2", ("1",))


def test_what_changed_in_an_entry() -> None:
    base = library(A, B)
    rules = (Rule("better rule a"), Rule("quite another thing"))
    newer = changed(base, Revise(A.id, zone="warning", category="k", priority=5, rules=rules), Pin(A.id))
    newer = changed(newer, Merge(A.id, C, add_rules=C.rules), tally=Tally((A.id,), (A.id,)))
    (change,) = diff(base, newer).changed
    assert change.fields == {
        "zone": ("golden", "warning"),
        "category": ("", "k"),
        "priority": (3, 5),
        "pinned": (False, True),
    }
    assert change.rules_reworded == (("rule a", "better rule a"),)
    assert change.rules_added == ("quite another thing",)  # not the merge's: the entry is pinned
    assert change.rules_removed == ()
    assert (change.precedents_gathered, change.precedents_lost) == (1, 0)
    assert change.counters == {"shown": 1, "helped": 1, "merged": 1}
    (back,) = diff(newer, base).changed
    assert (back.rules_removed, back.precedents_lost) == (("quite another thing",), 1)
    assert back.counters["shown"] == -1


def test_use_alone_is_no_revision() -> None:
    base = library(A, B)
    used = changed(base, tally=Tally((A.id,)))
    revised = changed(base, Revise(A.id, rules=(Rule("rule a", ("new example",)),)))
    assert [change.says_other for change in diff(base, used).changed] == [False]
    assert [(c.other, c.says_other) for c in diff(base, revised).changed] == [(("examples",), True)]


def test_the_text_marks_what_came_and_went() -> None:
    newer = changed(library(A, B), Remove(B.id), Insert(C), Revise(A.id, method="a better method"))
    text = diff(library(A, B), newer).text()
    lines = text.splitlines()
    assert "1 added, 1 removed, 1 revised" in lines[0]
    assert [line[:18] for line in lines if line[0] in "+-~"] == [f"+ {C.id}", f"- {B.id}", f"~ {A.id}"]
    assert "      - method: method a" in lines
    assert "      + method: a better method" in lines
    coloured = diff(library(A, B), newer).text(colour=True)
    assert "\033[32m+ " in coloured
    assert re.sub(r"\033\[\d+m", "", coloured) == text


def test_a_long_text_is_cut_where_that_is_asked_for() -> None:
    text = diff(library(), library(*(lesson(str(i)) for i in range(9)))).text(limit=2)
    assert text.count("\n+ ") == 2
    assert "... and 7 more" in text


def test_as_json() -> None:
    newer = changed(library(A, B), Remove(B.id), Insert(C), Revise(A.id, priority=1))
    plain = json.loads(json.dumps(diff(library(A, B), newer).as_dict()))
    assert [entry["id"] for entry in plain["added"]] == [C.id]
    assert plain["removed"][0]["id"] == B.id
    assert plain["changed"][0]["fields"] == {"priority": [3, 1]}
