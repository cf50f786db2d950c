"""Ranks reactants for a product by the lessons of similar reactions, for the offline chemist.

Every lesson is a retro template with the reactions that it was learned from. The templates make the proposals. The
reactions of all lessons decide between the proposals (see ``evidence``), similar to the method of Coley et al., ACS
Cent. Sci. 2017, 3, 1237 (RetroSim).

    >>> lesson = ReactionAdvice("e1", (extract_template("CC(=O)NC", "CC(=O)O.CN").smarts,), (), (case,))
    >>> rank_candidates("CCC(=O)NCC", [lesson])[0].reactants
    'CCC(=O)O.CCN'
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.offline.application import Site, apply_template, disconnections, product_features
from flex_dspy.offline.changes import Bits, Numbers, change, changes
from flex_dspy.offline.descriptors import Descriptors, describe
from flex_dspy.offline.evidence import Cases, Evidence, Proposals, weigh
from flex_dspy.offline.general import generalize
from flex_dspy.offline.ranking import Choice, Ranking
from flex_dspy.offline.screening import Features, centre_needs_of, needs_of
from flex_dspy.offline.templates import Template, extract_template

__all__ = [
    "AnswerCandidate",
    "Case",
    "ReactionAdvice",
    "Template",
    "apply_template",
    "extract_template",
    "rank_candidates",
    "terms_of",
]

# Number of nearest lessons whose templates are also tried in their general form.
_GENERALIZED = 100
# The share by which one warning about an identical product lowers an outcome.
_DOUBT = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """A precedent: a reaction that a lesson was learned from.

    Attributes:
        product: Canonical SMILES of its product.
        reactants: Canonical SMILES of its reactants.
        similarity: Tanimoto similarity of its product to the product in question, 0 to 1.
    """

    product: str
    reactants: str
    similarity: float


@dataclass(frozen=True, slots=True)
class ReactionAdvice:
    """The advice of one experience on a product.

    Attributes:
        id: The experience's identifier.
        templates: Retro reaction SMARTS to apply.
        avoid: Retro reaction SMARTS that were wrong on a similar product.
        precedents: The reactions that the lesson was learned from.
        closeness: Similarity of the nearest product on which the templates to avoid were wrong; None for the similarity
            of the nearest precedent.
    """

    id: str
    templates: tuple[str, ...]
    avoid: tuple[str, ...]
    precedents: tuple[Case, ...]
    closeness: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerCandidate:
    """A proposal for the reactants.

    Attributes:
        reactants: Their canonical SMILES.
        score: The proposal's share of the weight of all proposals, 0 to 1, lowered by warnings. It estimates the chance
            that the product was made in this way.
        lesson_ids: The lessons that teach the proposal, the strongest first.
        template: The template that gives the proposal.
        precedent: The solved case with the most similar change; None if there is none.
    """

    reactants: str
    score: float
    lesson_ids: tuple[str, ...]
    template: str
    precedent: Case | None = None


@dataclass(slots=True)
class _Origin:
    """The origin of an outcome: templates, or only the general form of a template, and the lessons by index."""

    templates: list[str] = field(default_factory=list)
    general: bool = False
    lessons: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Known:
    """A solved case, with the index of its lesson and its environments."""

    lesson: int
    case: Case
    change: Bits


def rank_candidates(
    product: str, lessons: Sequence[ReactionAdvice], limit: int = 50, ranking: Ranking | None = None
) -> list[AnswerCandidate]:
    """Reactant sets for a product, the best supported first.

    Args:
        product: SMILES of the product.
        lessons: The experiences retrieved for it.
        limit: Largest number of candidates to return.
        ranking: Coefficients fitted to the library of the lessons; None for the general coefficients.

    Returns:
        The candidates; empty for a bad SMILES, or if no template fits.
    """
    target = canonical_smiles(product)
    proposed = {} if target is None else _propose(target, lessons)
    if target is None or not proposed:
        return []
    known = _read_cases(lessons)
    evidence = _evidence(target, proposed, known)
    if ranking is not None:
        evidence = replace(evidence, weight=ranking.weight(evidence.terms, _describe(target, proposed, evidence.terms)))
    share = _shares(evidence.weight) * _doubts(proposed, lessons)
    strength = np.zeros((len(lessons), len(share)), np.float32)
    np.add.at(strength, [k.lesson for k in known], evidence.support)
    ranked = []
    for score, outcome, n in sorted(zip((-share).tolist(), proposed, range(len(share)), strict=True))[:limit]:
        source = proposed[outcome]
        strongest = sorted(source.lessons, key=lambda lesson: (-strength[lesson, n], lessons[lesson].id))
        ids = tuple(dict.fromkeys(lessons[lesson].id for lesson in strongest))
        nearest = known[int(evidence.alike[:, n].argmax())].case if known else None
        ranked.append(AnswerCandidate(outcome, -score, ids, source.templates[0], nearest))
    return ranked


def _propose(target: str, lessons: Sequence[ReactionAdvice]) -> dict[str, _Origin]:
    """Outcomes of the templates, then outcomes of the nearest lessons' general forms at other sites."""
    # Templates are screened first. Most of them do not fit, and RDKit need not even read them.
    features = product_features(target) or frozenset()
    taught = _teachers([[each for each in lesson.templates if needs_of(each) <= features] for lesson in lessons])
    general = _teachers([_general_forms(lesson.templates, features) for lesson in lessons[:_GENERALIZED]])
    sources: dict[str, _Origin] = {}
    done: dict[str, dict[Site, str]] = defaultdict(dict)
    for template, teachers in taught.items():
        form = generalize(template) or template
        for outcome, sites in disconnections(template, target, done[form]).items():
            source = sources.setdefault(outcome, _Origin())
            source.templates.append(template)
            source.lessons |= teachers | general.get(form, set())
            done[form].update(dict.fromkeys(sites, outcome))
    for form, teachers in general.items():
        for outcome in disconnections(form, target, done[form]):
            source = sources.setdefault(outcome, _Origin([form], general=True))
            source.lessons |= teachers
    sources.pop(target, None)
    return sources


def _general_forms(templates: Sequence[str], features: Features) -> list[str]:
    """The general forms of some templates, without most of those that do not fit a product with these features."""
    forms = (generalize(each) for each in templates if centre_needs_of(each) <= features)
    return [form for form in forms if form is not None and needs_of(form) <= features]


def _teachers(templates: Sequence[Sequence[str]]) -> dict[str, set[int]]:
    """For each template the indices of the lessons that teach it."""
    taught: dict[str, set[int]] = defaultdict(set)
    for n, own in enumerate(templates):
        for template in own:
            taught[template].add(n)
    return taught


def _read_cases(lessons: Sequence[ReactionAdvice]) -> list[_Known]:
    """The solved cases of all lessons, without cases that cannot be read."""
    cases = ((n, case) for n, lesson in enumerate(lessons) for case in lesson.precedents)
    read = ((n, case, change(case.product, case.reactants)) for n, case in cases)
    return [_Known(n, case, environments) for n, case, environments in read if environments is not None]


def _evidence(target: str, proposed: Mapping[str, _Origin], known: Sequence[_Known]) -> Evidence:
    molecules = [outcome.split(".") for outcome in proposed]
    seen = {molecule for k in known for molecule in (k.case.product, *k.case.reactants.split("."))}
    proposals = Proposals(
        changes(target, list(proposed)),
        np.array([len(needed) for needed in molecules], np.float32),
        np.array([sum(molecule not in seen for molecule in needed) for needed in molecules], np.float32),
        np.array([source.general for source in proposed.values()], np.float32),
    )
    environments = np.array([k.change for k in known]) if known else proposals.changes[:0]
    lessons = [k.lesson for k in known]
    taught = np.zeros((max(lessons, default=0) + 1, len(proposed)), bool)
    for n, source in enumerate(proposed.values()):
        taught[[lesson for lesson in source.lessons if lesson < len(taught)], n] = True
    cases = Cases(
        environments,
        np.array([k.case.similarity for k in known], np.float32),
        taught[lessons],
    )
    return weigh(cases, proposals)


def _describe(target: str, proposed: Mapping[str, _Origin], terms: Numbers) -> Descriptors:
    templates = (source.templates[0] for source in proposed.values())
    return describe(target, list(proposed), [generalize(template) or template for template in templates], terms)


def _shares(weight: Numbers) -> Numbers:
    """Each proposal's share of the weight of all."""
    powers = np.exp(weight - weight.max())
    return np.asarray(powers / powers.sum())


def _doubts(proposed: Mapping[str, _Origin], lessons: Sequence[ReactionAdvice]) -> Numbers:
    """The factor by which warnings lower each proposal. A closer failed case lowers it more.

    A warning about a template that no lesson teaches has no effect.
    """
    warned: dict[str, float] = {}
    for lesson in lessons:
        closeness = lesson.closeness
        if closeness is None:
            closeness = max((case.similarity for case in lesson.precedents), default=0.5)
        for template in dict.fromkeys(lesson.avoid):
            warned[template] = warned.get(template, 1.0) * (1.0 - _DOUBT * closeness)
    factors = [[warned.get(template, 1.0) for template in source.templates] for source in proposed.values()]
    return np.array([np.prod(own) for own in factors], np.float32)


def terms_of(product: str, lessons: Sequence[ReactionAdvice], reference: str) -> Choice | None:
    """The terms of all proposals for a product, to fit a ranking to them.

    Args:
        product: SMILES of the product.
        lessons: The experiences retrieved for it, without its own precedent.
        reference: Canonical SMILES of the right reactants.

    Returns:
        The terms; None if the right reactants are not among the proposals.
    """
    target = canonical_smiles(product)
    proposed = {} if target is None else _propose(target, lessons)
    if target is None or reference not in proposed:
        return None
    evidence = _evidence(target, proposed, _read_cases(lessons))
    right = list(proposed).index(reference)
    return Choice(evidence.terms.T, _describe(target, proposed, evidence.terms), evidence.weight, right)
