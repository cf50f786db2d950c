"""Fusion, filters, quotas and diversity."""

import itertools
from collections.abc import Sequence

import pytest

from flex_dspy.core.zones import Zone
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.indexes import Match
from flex_dspy.search.ranking import RRF, ZONE_WEIGHTS, Candidate, choose, fuse, likeness, until_enough

ZONES: tuple[Zone, ...] = ("golden", "warning", "mixed")


def entry(name: str, zone: Zone = "golden", text: str = "", category: str = "") -> Experience:
    return Experience(id=name, zone=zone, method=text or name, category=category)


def matches(ids: str) -> list[Match]:
    return [Match(entry_id, 10.0 - place) for place, entry_id in enumerate(ids)]


def chosen(library: ExperienceLibrary, ids: str, k: int, **settings) -> str:  # type: ignore[no-untyped-def]
    ranked = [Candidate(entry_id, 1 / (1 + place)) for place, entry_id in enumerate(ids)]
    return "".join(candidate.entry_id for candidate in choose(library, ranked, k, **settings))


def test_ranks_are_added_by_the_weight_of_the_zone() -> None:
    library = ExperienceLibrary([entry("a"), entry("b", "warning"), entry("c", "mixed")])
    found = list(fuse(library, {"one": matches("bbca"), "two": matches("ac")}, {**ZONE_WEIGHTS, "warning": 0.5}))
    by_id = {candidate.entry_id: candidate for candidate in found}
    assert by_id["a"].ranks == {"one": 3, "two": 1}  # a second row of an entry takes no place
    assert by_id["a"].scores == {"one": 7.0, "two": 10.0}
    assert by_id["a"].score == pytest.approx(1 / (RRF + 3) + 1 / (RRF + 1))
    assert by_id["b"].score == pytest.approx(0.5 / (RRF + 1))
    assert by_id["c"].score == pytest.approx(0.9 / (RRF + 2) + 0.9 / (RRF + 2))
    assert [candidate.entry_id for candidate in found] == ["a", "c", "b"]


@pytest.mark.parametrize("size", [0, 3, 20, 21, 500])
def test_a_view_is_asked_until_enough_are_kept(size: int) -> None:
    every = [Match(str(n), 1.0) for n in range(size)]
    asked = []

    def search(depth: int) -> Sequence[Match]:
        asked.append(depth)
        return every[:depth]

    kept = until_enough(search, 5, lambda entry_id: int(entry_id) % 50 == 1)
    assert [match.entry_id for match in kept] == [str(n) for n in range(1, size, 50)][:5]
    assert until_enough(search, 5, None) == every[:5]
    assert max(asked) <= max(20, 4 * size)


def test_a_zone_has_no_more_than_its_quota() -> None:
    library = ExperienceLibrary([entry(name, ZONES[place // 3]) for place, name in enumerate("abcdefghi")])
    ids = "abcdefghi"  # golden abc, warning def, mixed ghi
    assert chosen(library, ids, 5) == "abcde"
    assert chosen(library, ids, 5, quotas={"golden": 1, "warning": 2}) == "adegh"
    assert chosen(library, ids, 5, quotas={"golden": 0, "warning": 0}) == "ghi"
    for diversity in (0.0, 0.4):
        assert chosen(library, ids, 9, quotas=dict.fromkeys(ZONES, 1), diversity=diversity) == "adg"


def test_diversity_prefers_what_says_something_else() -> None:
    same, other = "cut the amide bond first", "count all lattice paths"
    library = ExperienceLibrary(
        [entry("a", text=same), entry("b", text=same), entry("c", text=same), entry("d", text=other), entry("e")]
    )
    assert chosen(library, "abcd", 2) == "ab"
    assert chosen(library, "abcd", 2, diversity=0.6) == "ad"
    assert chosen(library, "abcd", 9, diversity=0.6) == "adbc"  # all that there is, in order of choice
    assert chosen(library, "", 3, diversity=0.6) == ""
    alike = ExperienceLibrary([entry(name, text=name, category="x") for name in "ab"] + [entry("c", category="y")])
    assert chosen(alike, "abc", 2, diversity=0.7) == "ac"


def test_likeness_is_half_category_and_half_words() -> None:
    one, other = entry("a", text="odd prime", category="Sums"), entry("b", text="odd ring", category="sums")
    assert likeness(one, other) == pytest.approx(0.5 + 0.5 * 2 / 4)  # sums and odd, of four words
    assert likeness(entry("a", text="odd"), entry("b", text="odd")) == 0.5
    for x, y in itertools.product([one, other, entry("c")], repeat=2):
        assert 0 <= likeness(x, y) == likeness(y, x) <= 1
