"""The offline chemist's judgement: which reactants made this product, by the lessons of like reactions.

Every lesson is a retro template with the reactions it was learned from. Each of those precedents votes for what its
template gives, the more the likelier its product is this product and its reactants are these reactants: the
similarity method of Coley et al., ACS Cent. Sci. 2017, 3, 1237 (RetroSim).

    >>> lesson = Lesson("e1", (extract_template("CC(=O)NC", "CC(=O)O.CN").smarts,), (), (case,))
    >>> rank_candidates("CCC(=O)NCC", [lesson])[0].reactants
    'CCC(=O)O.CCN'
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flex_dspy.molecules import canonical_smiles, fingerprint
from flex_dspy.offline.application import apply_template, disconnections, generalized, sites
from flex_dspy.offline.environments import Environment, changed_site, environment, likeness
from flex_dspy.offline.templates import Template, extract_template

__all__ = ["Candidate", "Case", "Lesson", "Template", "apply_template", "extract_template", "rank_candidates"]

# How sharply a vote falls with dissimilarity; tuned on the USPTO-50k validation split.
_PRODUCT_POWER = 3.0
_REACTANT_POWER = 4.0
_LOCAL_POWER = 4.0
# How many like products are asked whether a template fits them too.
_RIVALS = 50
# How many of a lesson's precedents vote: the nearest decide, and a common template has hundreds.
_VOTERS = 20
# What a template is granted before its first trial.
_PRIOR_USED, _PRIOR_UNUSED = 0.003, 0.007
# How many lessons, the nearest first, are also tried in their templates' general form.
_GENERALIZED = 100
# By what factor a reactant that some solved case made or used raises an outcome.
_KNOWN = 1.7
# By how much one warning about an identical product lowers an outcome.
_DOUBT = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """A precedent: a reaction that a lesson was learned from.

    Attributes:
        product: SMILES of its product.
        reactants: SMILES of its reactants.
        similarity: Tanimoto similarity of its product to the product in question, 0 to 1.
    """

    product: str
    reactants: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one experience says about a product.

    Attributes:
        id: The experience's identifier.
        templates: Retro reaction SMARTS to apply.
        avoid: Retro reaction SMARTS that were wrong on a similar product.
        precedents: The reactions that the lesson was learned from.
    """

    id: str
    templates: tuple[str, ...]
    avoid: tuple[str, ...]
    precedents: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposal for the reactants.

    Attributes:
        reactants: Their canonical SMILES.
        score: The sum of votes, larger is better.
        lesson_ids: The lessons that voted for it, the strongest first.
        template: The template of the strongest vote.
        reliability: The share of like places where that template fits in which it was used, 0 to 1.
        precedent: The solved case of that vote whose product is most like this one; None where there is none.
    """

    reactants: str
    score: float
    lesson_ids: tuple[str, ...]
    template: str
    reliability: float = 0.0
    precedent: Case | None = None


@dataclass(frozen=True, slots=True)
class _Trial:
    """A place in a solved case's product where a template fits."""

    similarity: float
    surroundings: Environment
    used: bool


@dataclass(frozen=True, slots=True)
class _Vote:
    """What one lesson's template says for one outcome."""

    weight: float
    lesson: Lesson
    template: str
    reliability: float


def rank_candidates(product: str, lessons: Sequence[Lesson], limit: int = 50) -> list[Candidate]:
    """Reactant sets for a product, the best supported first.

    Args:
        product: SMILES of the product.
        lessons: What was retrieved for it.
        limit: How many candidates to return at most.

    Returns:
        The candidates; empty for a bad SMILES or where no template fits.
    """
    target = canonical_smiles(product)
    if target is None:
        return []
    nearest, known = _nearest_cases(lessons), _known_molecules(lessons)
    lessons = [replace(lesson, precedents=tuple(_closest(lesson.precedents, _VOTERS))) for lesson in lessons]
    votes: dict[str, list[_Vote]] = defaultdict(list)
    given: dict[str, list[str]] = {}
    voted: set[tuple[str, str]] = set()  # a lesson votes by the most special form of its template that gives an outcome
    for template, teachers in _taught(lessons).items():
        outcomes = {o: sites for o, sites in disconnections(template, target).items() if o != target}
        given[template] = sorted(outcomes)
        record = _record(template, teachers, nearest) if outcomes else []
        for outcome in given[template]:
            reliability = _reliability([environment(target, site) for site in outcomes[outcome]], record)
            for lesson in teachers:
                if (lesson.id, outcome) not in voted:
                    voted.add((lesson.id, outcome))
                    weight = reliability * _support(outcome, lesson.precedents)
                    votes[outcome].append(_Vote(weight, lesson, template, reliability))
    doubts = _doubts(given, lessons)
    ranked = [
        _candidate(outcome, cast, doubts.get(outcome, 1.0) * _familiarity(outcome, known))
        for outcome, cast in votes.items()
    ]
    return sorted(ranked, key=lambda candidate: (-candidate.score, candidate.reactants))[:limit]


def _taught(lessons: Sequence[Lesson]) -> dict[str, list[Lesson]]:
    """The lessons that teach each template, then those that teach each general form of one."""
    taught: dict[str, list[Lesson]] = defaultdict(list)
    for lesson in lessons:
        for template in dict.fromkeys(lesson.templates):
            taught[template].append(lesson)
    for lesson in lessons[:_GENERALIZED]:
        for general in dict.fromkeys(map(generalized, lesson.templates)):
            if general is not None:
                taught[general].append(lesson)
    return taught


def _support(outcome: str, precedents: Sequence[Case]) -> float:
    """How well an outcome agrees with the reactions that its template was learned from."""
    return sum(
        case.similarity**_PRODUCT_POWER * _similarity(outcome, case.reactants) ** _REACTANT_POWER for case in precedents
    )


def _record(template: str, teachers: Sequence[Lesson], nearest: Sequence[Case]) -> list[_Trial]:
    """Where else a template fits: the places where it was used, and those where it was not.

    A product has many bonds that could be cut. That a template fits says little; that it fits and was the one used
    says more.
    """
    own = {case.product: case for lesson in teachers for case in lesson.precedents}
    others = (case for case in nearest if case.product not in own)
    near = {case.product for case in nearest}
    record = []
    for case in (*own.values(), *others):
        places = sites(template, case.product)
        used = changed_site(case.product, case.reactants, places) if case.product in own else None
        for site in places:
            if site == used or case.product in near:
                record.append(_Trial(case.similarity, environment(case.product, site), site == used))
    return record


def _reliability(places: Sequence[Environment], record: Sequence[_Trial]) -> float:
    """The share of the trials in which the template was used, those in like surroundings counting most.

    Args:
        places: The surroundings of the sites where it would be used now.
        record: Its trials.

    Source: the kernel estimate of Nadaraya, Theory Probab. Appl. 1964, 9, 141, and Watson, Sankhya A 1964, 26, 359.
    """
    used, unused = _PRIOR_USED, _PRIOR_UNUSED
    for trial in record:
        alike = max(likeness(place, trial.surroundings) for place in places)
        weight = trial.similarity * alike**_LOCAL_POWER
        if trial.used:
            used += weight
        else:
            unused += weight
    return used / (used + unused)


def _nearest_cases(lessons: Sequence[Lesson]) -> list[Case]:
    """The precedents most like the product, of all lessons."""
    cases = {case.product: case for lesson in lessons for case in lesson.precedents}
    return _closest(cases.values(), _RIVALS)


def _closest(cases: Iterable[Case], count: int) -> list[Case]:
    return sorted(cases, key=lambda case: (-case.similarity, case.product, case.reactants))[:count]


def _known_molecules(lessons: Sequence[Lesson]) -> frozenset[str]:
    """What the solved cases were made from, and what they made: molecules that can be had."""
    cases = {(case.product, case.reactants) for lesson in lessons for case in lesson.precedents}
    return frozenset(molecule for product, reactants in cases for molecule in (product, *reactants.split(".")))


def _familiarity(outcome: str, known: frozenset[str]) -> float:
    """By what factor known reactants raise an outcome, and unknown ones lower it."""
    return math.prod(_KNOWN if molecule in known else 1 / _KNOWN for molecule in outcome.split("."))


def _doubts(given: Mapping[str, Sequence[str]], lessons: Sequence[Lesson]) -> dict[str, float]:
    """By what factor warnings lower an outcome: the more, the closer the case that went wrong.

    A warning about a template that no lesson teaches has nothing to lower, and is not worked out.
    """
    doubts: dict[str, float] = {}
    for lesson in lessons:
        closeness = max((case.similarity for case in lesson.precedents), default=0.5)
        for template in dict.fromkeys(lesson.avoid):
            for outcome in given.get(template, ()):
                doubts[outcome] = doubts.get(outcome, 1.0) * (1.0 - _DOUBT * closeness)
    return doubts


def _candidate(outcome: str, votes: list[_Vote], factor: float) -> Candidate:
    votes = sorted(votes, key=lambda vote: (-vote.weight, vote.lesson.id, vote.template))
    return Candidate(
        reactants=outcome,
        score=factor * sum(vote.weight for vote in votes),
        lesson_ids=tuple(dict.fromkeys(vote.lesson.id for vote in votes)),
        template=votes[0].template,
        reliability=votes[0].reliability,
        precedent=next(iter(votes[0].lesson.precedents), None),
    )


def _similarity(one: str, other: str) -> float:
    """Tanimoto similarity of two fingerprints, 0 where either has none."""
    left, right = fingerprint(one), fingerprint(other)
    if left is None or right is None:
        return 0.0
    either = int(np.bitwise_count(left | right).sum())
    return int(np.bitwise_count(left & right).sum()) / either if either else 0.0
