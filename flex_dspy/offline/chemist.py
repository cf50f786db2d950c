"""The offline chemist: the four roles for retrosynthesis, without a language model.

It reads the prompts that a language model would read. It can use a lesson but contains none: all reaction templates
come from the experiences in its prompt. It runs in worker processes, so this module does not import DSPy.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.offline.experts import RANKING_FILE
from flex_dspy.offline.ranking import Ranking, read_ranking
from flex_dspy.offline.reactions import AnswerCandidate, Case, ReactionAdvice, extract_template, rank_candidates
from flex_dspy.search import rendering

_TEMPLATE = re.compile(r"`([^`\s]+>>[^`\s]+)`")
_TRIED = re.compile(r"^  reactants: *(\S+)", re.MULTILINE)
_MOST_AVOIDED = 3  # wrong disconnections that one warning remembers


def answer(inputs: Mapping[str, str], outputs: Sequence[str]) -> dict[str, Any]:
    """Play the role whose output fields are asked for.

    Args:
        inputs: The prompt's input fields.
        outputs: Names of the output fields.

    Raises:
        ValueError: If the fields belong to no role of the chemist.
    """
    for field, role in _ROLES.items():
        if field in outputs:
            return role(inputs)
    raise ValueError(f"the offline chemist has no role with the output fields {', '.join(outputs)}")


def is_quick(outputs: Sequence[str]) -> bool:
    """Whether a role only compares texts, so that sending it to another process would cost more than running it."""
    return "decision" in outputs or "feedback" in outputs


# -- actor -------------------------------------------------------------------------------------------------


def act(inputs: Mapping[str, str]) -> dict[str, Any]:
    """Apply the retrieved templates to the product. Answer with the best supported proposal that was not rejected."""
    tried = {canonical_smiles(text) for text in _TRIED.findall(inputs.get("earlier_attempts", ""))}
    ranked = candidates(inputs["product"], inputs.get("experiences", ""), inputs.get(RANKING_FILE, ""))
    fresh = [candidate for candidate in ranked if candidate.reactants not in tried]
    if not fresh:
        return {
            "reasoning": "No lesson at hand gives reactants for this product that were not tried already.",
            "reactants": "",
            "alternatives": [],
            "experiences_used": [],
        }
    best = fresh[0]
    return {
        "reasoning": f"The retro template {best.template} fits, and {len(best.lesson_ids)} lessons support it; "
        f"{len(ranked)} answers were weighed by the similarity of their precedents.",
        "reactants": best.reactants,
        "alternatives": [candidate.reactants for candidate in fresh[1:10]],
        "experiences_used": list(best.lesson_ids[:5]),
    }


def propose(inputs: Mapping[str, str]) -> dict[str, Any]:
    """All candidates, for an actor that is not the offline chemist; see ``flex_dspy.offline.disconnections``."""
    return {"candidates": [asdict(found) for found in candidates(inputs["product"], inputs["experiences"])]}


def candidates(product: str, experiences: str, ranking: str = "") -> tuple[AnswerCandidate, ...]:
    """Reactants that the lessons in a prompt propose for a product, the best supported first.

    Args:
        product: SMILES of the product.
        experiences: The block of experiences in the prompt.
        ranking: A file of coefficients fitted to the library; "" for the general coefficients.
    """
    return _candidates(product, experiences, read_ranking(ranking) if ranking else None)


@functools.lru_cache(maxsize=64)  # the rounds of a rollout ask about the same product with the same lessons
def _candidates(product: str, experiences: str, ranking: Ranking | None) -> tuple[AnswerCandidate, ...]:
    return tuple(rank_candidates(product, read_lessons(experiences), 50, ranking))


def read_lessons(experiences: str) -> list[ReactionAdvice]:
    """The lessons of a block of experiences."""
    entries = rendering.parse(experiences)
    lessons = [lesson for entry in entries for lesson in _lessons(entry)]
    return sorted(lessons, key=_distance) if len(lessons) > len(entries) else lessons


def _lessons(entry: rendering.Rendered) -> list[ReactionAdvice]:
    """The lessons that an entry gathers: one for each rule with cases of its own, and one for each warning."""
    cases = [Case(product, reactants, similarity) for product, reactants, similarity in entry.precedents]
    own: dict[int, list[Case]] = defaultdict(list)
    for place, case in zip(entry.case_rules, cases, strict=False):
        own[place].append(case)
    lessons, others = [], []
    for place, rule in enumerate(entry.rules):
        good, bad = _templates((rule,))
        if place in own:
            lessons.append(ReactionAdvice(entry.id, good, bad, tuple(own[place])))
        elif bad and rule in entry.examples:
            near = [case.similarity for case in cases if case.product in entry.examples[rule]]
            lessons.append(ReactionAdvice(entry.id, (), bad, (), max(near, default=0.0)))
        else:
            others.append(rule)
    shared = ReactionAdvice(entry.id, *_templates(tuple(others)), () if own else tuple(cases))
    return [shared, *lessons] if others or not own else lessons


def _distance(lesson: ReactionAdvice) -> float:
    return -max((case.similarity for case in lesson.precedents), default=0.0)


@functools.lru_cache(maxsize=20_000)
def _templates(rules: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The templates to use and those to avoid."""
    good, bad = (
        tuple(smarts for rule in rules if rule.startswith("Avoid:") == avoid for smarts in _TEMPLATE.findall(rule))
        for avoid in (False, True)
    )
    return good, bad


# -- verifier ----------------------------------------------------------------------------------------------


def verify(inputs: Mapping[str, str]) -> dict[str, Any]:
    """Pass on the remarks of the exact check. Without it, accept readable reactants that are not the product itself."""
    measured = inputs.get("measured", "")
    if measured:
        remarks = measured.partition(". ")[2] or measured
        return {"accepted": not measured.startswith("rejected"), "feedback": remarks}
    tried = re.findall(r"^reactants: *(\S+)", inputs.get("attempt", ""), re.MULTILINE)
    proposed = canonical_smiles(tried[0]) if tried else None
    if proposed is None:
        return {"accepted": False, "feedback": "The reactants cannot be read as SMILES."}
    if proposed == canonical_smiles(inputs["problem"]):
        return {"accepted": False, "feedback": "The proposed reactants are the product itself."}
    return {"accepted": True, "feedback": "The reactants are valid molecules; there is no reference to compare with."}


# -- critic ------------------------------------------------------------------------------------------------


def distil(inputs: Mapping[str, str]) -> dict[str, Any]:
    """Write the retro template that leads to the right reactants, and the templates that led to wrong ones."""
    product, reference = inputs["problem"], inputs["reference"]
    template = extract_template(product, reference)
    if template is None:
        return {"lesson": _no_lesson()}
    attempts = inputs.get("attempts", "")
    wrong = _wrong_templates(product, reference, attempts)
    right = "Instead: disconnect" if wrong or "rejected" in attempts else "Disconnect"
    rules = [{"text": f"{right} with the retro template `{template.smarts}`", "examples": []}]
    rules += [{"text": f"Avoid: `{smarts}` gave the wrong reactants", "examples": [product]} for smarts in wrong]
    return {
        "lesson": {
            "category": template.name,
            "method": f"{template.name}: where the product holds the left side of the template, the reactants are "
            "its right side with the rest of the molecule unchanged. Prefer it the more, the closer its solved "
            "cases are to the product and their reactants to the proposed ones.",
            "rules": rules,
            "trajectory": f"{product} was made from {reference}.",
            "priority": 3,
        }
    }


def _wrong_templates(product: str, reference: str, attempts: str) -> list[str]:
    wrong: list[str] = []
    for proposed in dict.fromkeys(_TRIED.findall(attempts)):
        if canonical_smiles(proposed) in (None, canonical_smiles(reference)):
            continue
        template = extract_template(product, proposed)
        if template is not None and template.smarts not in wrong:
            wrong.append(template.smarts)
    return wrong[:_MOST_AVOIDED]


def _no_lesson() -> dict[str, Any]:
    return {
        "category": "unexplained",
        "method": "No retro template was found that leads from the product to these reactants.",
        "rules": [],
        "trajectory": "",
        "priority": 1,
    }


# -- updater -----------------------------------------------------------------------------------------------


def decide(inputs: Mapping[str, str]) -> dict[str, Any]:
    """Gather all lessons on a reaction type in one entry, whatever their zones. Ignore a lesson without a template."""
    lesson = rendering.parse(inputs["new_lesson"])[0]
    if not lesson.rules:
        return {"decision": {"action": "discard", "reason": "it teaches no template"}}
    for entry in rendering.parse(inputs["nearest"]):
        if entry.category == lesson.category:
            known = _same_advice(entry.rules, lesson.rules[0])
            rules = [
                {"rule": number, "action": "skip" if known and number == 0 else "add"}
                for number in range(len(lesson.rules))
            ]
            reason = "the entry is about the same reaction type"
            merge = {"action": "merge", "target": entry.id, "rules": rules, "reason": reason}
            return {"decision": {**merge, "case_of": known or lesson.rules[0]}}
    case_of = lesson.rules[0] if lesson.rules else ""
    return {"decision": {"action": "insert", "reason": "no entry is about this reaction type", "case_of": case_of}}


def _same_advice(rules: Sequence[str], advice: str) -> str:
    """The rule that recommends the same templates; "" if there is none."""
    return next((rule for rule in rules if _templates((rule,)) == _templates((advice,))), "")


_ROLES: Mapping[str, Callable[[Mapping[str, str]], dict[str, Any]]] = {
    "reactants": act,
    "lesson": distil,
    "decision": decide,
    "feedback": verify,
    "candidates": propose,
}
