"""Chooses the entries that are shown from the views' rankings: fusion, filters, quotas and diversity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from flex_dspy.core.zones import Zone
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.hits import Utility
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.indexes import Match
from flex_dspy.search.settings import ZONE_WEIGHTS
from flex_dspy.search.words import words_of

# Cormack, Clarke and Buettcher, SIGIR 2009: the constant of reciprocal rank fusion.
RRF = 60
# Number of candidates for each chosen entry, from which diversity chooses.
POOL = 4

# Takes the entries that were found, and returns the utility of each by id; see ``flex_dspy.search.utility``.
Utilities = Callable[[Sequence[Experience]], Mapping[str, Utility]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry that may become part of the result.

    Attributes:
        entry_id: The entry.
        score: Its fused score.
        ranks: Its rank in each view that found it; the best rank is 1.
        scores: The best score that each of these views gave it.
        weight: The factor of its zone.
        utility: The influence of its measured effect on the score; None if the ranking does not use utility.
    """

    entry_id: str
    score: float = 0.0
    ranks: dict[str, int] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    weight: float = 1.0
    utility: Utility | None = None


def fuse(
    library: ExperienceLibrary,
    rankings: Mapping[str, Sequence[Match]],
    weights: Mapping[Zone, float],
    utilities: Utilities | None = None,
) -> Iterator[Candidate]:
    """Combine the views' rankings by reciprocal rank: the score is the sum over views of zone weight / (60 + rank).

    Args:
        library: Holds the entries.
        rankings: The matches of each view, best first. An entry's first match gives its rank.
        weights: Factor of each zone.
        utilities: Returns further factors from the measured effects of entries; None for no such factors.

    Returns:
        The entries, best first; ties by id. They are made lazily, because most of them rank too low to be used.
    """
    score: dict[str, float] = {}
    weight: dict[str, float] = {}
    places: dict[str, dict[str, tuple[int, float]]] = {}
    for view, matches in rankings.items():
        place: dict[str, tuple[int, float]] = {}
        places[view] = place
        for match in matches:
            entry_id = match.entry_id
            if entry_id in place:
                continue
            place[entry_id] = (len(place) + 1, match.score)
            if entry_id not in weight:
                weight[entry_id] = weights[library[entry_id].zone]
                score[entry_id] = 0.0
            score[entry_id] += weight[entry_id] / (RRF + len(place))
    used = utilities([library[entry_id] for entry_id in score]) if utilities is not None and score else {}
    for entry_id, utility in used.items():
        score[entry_id] *= utility.factor
    for _, entry_id in sorted((-total, entry_id) for entry_id, total in score.items()):
        ranks: dict[str, int] = {}
        scores: dict[str, float] = {}
        for view, place in places.items():
            if entry_id in place:
                ranks[view], scores[view] = place[entry_id]
        yield Candidate(entry_id, score[entry_id], ranks, scores, weight[entry_id], used.get(entry_id))


def until_enough(
    search: Callable[[int], Sequence[Match]], depth: int, keep: Callable[[str], bool] | None
) -> Sequence[Match]:
    """The first ``depth`` matches that are kept, at whatever rank they are.

    Args:
        search: Returns a view's matches, best first, down to a given depth.
        depth: Number of matches to return.
        keep: Whether the entry with this id may be in the result; None keeps all.
    """
    matches = search(depth)
    if keep is None:
        return matches
    looked_at = depth
    while True:
        kept = [match for match in matches if keep(match.entry_id)]
        if len(kept) >= depth or len(matches) < looked_at:
            return kept[:depth]
        looked_at *= 4
        matches = search(looked_at)


def choose(
    library: ExperienceLibrary,
    ranked: Iterable[Candidate],
    k: int,
    *,
    quotas: Mapping[Zone, int] | None = None,
    diversity: float = 0.0,
) -> list[Candidate]:
    """The ``k`` candidates that are shown.

    Args:
        library: Holds the entries.
        ranked: Candidates, best first.
        k: Number of candidates to choose.
        quotas: Largest number of entries of each zone; other zones have no limit.
        diversity: Weight of the likeness to already chosen entries, which counts against a candidate. With 0 it does
            not count. With 1 the score decides only the first choice. If it is above 0, the result is in the order of
            choice.

    Source: maximal marginal relevance, Carbonell and Goldstein, SIGIR 1998, over the first ``POOL * k`` candidates;
    relevance is the fused score divided by the best fused score.
    """
    left = dict(quotas or {})
    pool: list[Candidate] = []
    most = k if not diversity else POOL * k
    if diversity and quotas:
        most = POOL * k * len(ZONE_WEIGHTS)  # candidates of one zone must not keep other zones out of the pool
    for candidate in ranked:
        if left and not diversity and (zone := library[candidate.entry_id].zone) in left:
            if left[zone] < 1:
                continue
            left[zone] -= 1
        pool.append(candidate)
        if len(pool) == most:
            break
    return _diverse(library, pool, k, left, diversity) if diversity else pool


def _diverse(
    library: ExperienceLibrary, pool: list[Candidate], k: int, left: dict[Zone, int], diversity: float
) -> list[Candidate]:
    chosen: list[Candidate] = []
    best = max((candidate.score for candidate in pool), default=0.0) or 1.0
    nearest = dict.fromkeys((candidate.entry_id for candidate in pool), 0.0)  # likeness to the nearest chosen
    while len(chosen) < k:
        open_pool = [c for c in pool if left.get(library[c.entry_id].zone, 1) > 0]
        if not open_pool:
            break
        gain = [(1 - diversity) * c.score / best - diversity * nearest[c.entry_id] for c in open_pool]
        pick = open_pool[gain.index(max(gain))]
        chosen.append(pick)
        pool.remove(pick)
        entry = library[pick.entry_id]
        if entry.zone in left:
            left[entry.zone] -= 1
        for other in pool:
            nearest[other.entry_id] = max(nearest[other.entry_id], likeness(entry, library[other.entry_id]))
    return chosen


def likeness(one: Experience, other: Experience) -> float:
    """The likeness of two entries, in [0, 1]: one half from their category, one half from their common words."""
    first, second = _words(one.text()), _words(other.text())
    shared = len(first & second)
    same = bool(one.category) and one.category.casefold() == other.category.casefold()
    return 0.5 * same + 0.5 * shared / max(len(first) + len(second) - shared, 1)


@lru_cache(maxsize=2_048)
def _words(text: str) -> frozenset[str]:
    return frozenset(words_of(text))
