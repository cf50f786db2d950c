"""The metric of USPTO-50k, single-step retrosynthesis: are these the reactants that make the product?

It tests for an exact match after canonicalisation, as the published top-k accuracies do. The feedback describes the
faults of an answer, and names only molecules of the answer.

Example:
    >>> import dspy
    >>> gold = dspy.Example(product="CC(=O)NCC", reactants="CC(=O)Cl.NCC")
    >>> uspto50k(gold, dspy.Prediction(reactants="NCC.CC(=O)O")).feedback
    'Wrong. 1 of 2 reactants is right: keep NCC. The other is not.'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from flex_dspy.core.errors import DataError
from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.metrics.reactant_feedback import heavy_atoms, whats_wrong
from flex_dspy.metrics.smiles_diagnosis import why_unreadable
from flex_dspy.metrics.smiles_text import MAX_LENGTH, clean_smiles_answer

__all__ = ["clean_smiles_answer", "maxfrag", "rank_of_reference", "top_k", "uspto50k"]


def uspto50k(
    gold: Any, pred: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Score 1.0 if the answer is the reference set of reactants, else 0.0. The feedback does not reveal the reference.

    Order, atom maps and spelling do not matter. Stereochemistry and the number of times a molecule occurs do.

    Args:
        gold: The example: ``reactants`` (SMILES joined by dots) and, for better feedback, ``product``.
        pred: The answer: ``reactants``, free text around the SMILES allowed.
        trace: Unused; GEPA passes it.
        pred_name: Unused; GEPA passes it.
        pred_trace: Unused; GEPA passes it.

    Returns:
        ``score`` (0.0 or 1.0) and ``feedback``.

    Raises:
        DataError: The reference is missing or no SMILES.
    """
    reference = _reference(gold)
    text = clean_smiles_answer(_field(pred, "reactants"))
    problem = _unusable(text)
    if problem:
        return dspy.Prediction(score=0.0, feedback=problem)
    answer = _canonical(text)
    if answer is None:
        return dspy.Prediction(score=0.0, feedback=f"Unreadable SMILES. {why_unreadable(text)}")
    if answer == reference:
        return dspy.Prediction(score=1.0, feedback="Right: these are the reactants of the reference.")
    product = canonical_smiles(str(_field(gold, "product") or ""))
    return dspy.Prediction(score=0.0, feedback=whats_wrong(product, reference, answer, text))


def maxfrag(
    gold: Any, pred: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Score 1.0 if the largest reactant of the answer is the largest reactant of the reference, else 0.0.

    Source: MaxFrag of Tetko, Karpov, Van Deursen and Godin, Nat. Commun. 2020, 11, 5575. Largest is by heavy
    atoms, then by length and text of the canonical SMILES.

    Args:
        gold: As for `uspto50k`.
        pred: As for `uspto50k`.
        trace: Unused; GEPA passes it.
        pred_name: Unused; GEPA passes it.
        pred_trace: Unused; GEPA passes it.

    Raises:
        DataError: The reference is missing or no SMILES.
    """
    reference = _reference(gold)
    answer = _canonical(clean_smiles_answer(_field(pred, "reactants")))
    if answer is None:
        return dspy.Prediction(score=0.0, feedback="There is no readable answer.")
    if _largest(answer) == _largest(reference):
        return dspy.Prediction(score=1.0, feedback="The largest reactant is right.")
    return dspy.Prediction(score=0.0, feedback="The largest reactant is wrong.")


def rank_of_reference(gold: Any, answers: Sequence[str]) -> int | None:
    """Place of the first right answer, from 1; None if no answer is right.

    Every answer takes a place, even an unreadable or a repeated answer. No answer is filtered out to raise the score.
    """
    reference = _reference(gold)
    for place, answer in enumerate(answers, start=1):
        if _canonical(clean_smiles_answer(answer)) == reference:
            return place
    return None


def top_k(gold: Any, answers: Sequence[str], k: int) -> bool:
    """Whether one of the first k answers is right."""
    return rank_of_reference(gold, answers[:k]) is not None


def _field(record: Any, name: str) -> Any:
    """A field of an Example, a Prediction, a mapping or any object; None if it is absent."""
    return record.get(name) if isinstance(record, Mapping) else getattr(record, name, None)


def _reference(gold: Any) -> str:
    reference = canonical_smiles(str(_field(gold, "reactants") or ""))
    if reference is None:
        raise DataError("The example has no readable SMILES in 'reactants'.")
    return reference


def _canonical(text: str) -> str | None:
    # RDKit takes the text after a blank as the molecule's name, and would read "CCO or so" as ethanol.
    return None if len(text) > MAX_LENGTH or len(text.split()) != 1 else canonical_smiles(text)


def _unusable(text: str) -> str | None:
    if not text:
        return "There is no answer: give the SMILES of the reactants, joined by dots."
    if len(text) > MAX_LENGTH:
        return "The answer is far too long: give the SMILES of the reactants only, joined by dots."
    return None


def _largest(smiles: str) -> str:
    return max(smiles.split("."), key=lambda part: (heavy_atoms(part).total(), len(part), part))
