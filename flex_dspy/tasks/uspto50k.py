"""USPTO-50k: single-step retrosynthesis, from a product to the reactants that it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from flex_dspy.data.uspto50k import load
from flex_dspy.evaluation.overlap import FastKey
from flex_dspy.metrics.molecules import canonical_smiles, smiles_sketch
from flex_dspy.metrics.smiles_diagnosis import why_unreadable
from flex_dspy.metrics.uspto50k import maxfrag, rank_of_reference, uspto50k
from flex_dspy.offline.disconnections import DisconnectionTool, suggest_disconnections
from flex_dspy.tasks.task import SHIPPED_SPLITS, Task

if TYPE_CHECKING:
    from flex_dspy.evaluation.evaluate import Measure


class Retrosynthesis(dspy.Signature):
    """Propose the reactants from which the product molecule was made in one reaction step.

    Think like a synthetic chemist working backwards: find the bond or the functional group that the last step
    most plausibly made (amide, ester, ether and biaryl bonds, reductive aminations, protections and
    deprotections, oxidations and reductions), then write the molecules that contribute atoms to the product.
    Leave out solvents, catalysts, bases and other reagents that contribute none. Keep every stereocentre and
    every group that the step does not touch exactly as in the product.
    """

    product: str = dspy.InputField(desc="SMILES of the product molecule")
    reactants: str = dspy.OutputField(desc="SMILES of the reactants, joined by '.', most plausible answer")
    alternatives: list[str] = dspy.OutputField(
        desc="up to 9 further answers of the same form, more plausible first; [] if there is none", default=[]
    )


def check_molecule(smiles: str) -> str:
    """Says whether a SMILES can be read: its canonical form and its formula, or what is wrong with it.

    Several molecules are joined by dots.
    """
    smiles = smiles.strip()
    if not smiles:
        return "not valid: the text is empty"
    canonical = canonical_smiles(smiles)
    if canonical is None:
        return f"not valid: {why_unreadable(smiles)}"
    formulas = ", ".join(CalcMolFormula(Chem.MolFromSmiles(part)) for part in canonical.split("."))
    return f"valid; canonical: {canonical}; formula: {formulas}"


def top_k(k: int) -> Measure:
    """A measure that tells whether one of the first k candidates of an answer is right.

    Args:
        k: Number of candidates that count; the answer itself is the first.
    """

    def measure(example: dspy.Example, prediction: dspy.Prediction) -> float:
        answers = [prediction.reactants, *(prediction.get("alternatives") or [])][:k]
        return float(rank_of_reference(example, answers) is not None)

    return measure


def largest_fragment(example: dspy.Example, prediction: dspy.Prediction) -> float:
    """A measure that tells whether the largest reactant is right, as MaxFrag counts it."""
    return float(maxfrag(example, prediction).score)


MOLECULE_KEY = FastKey(canonical_smiles, smiles_sketch)

TASK = Task(
    name="uspto50k",
    aliases=("retro", "uspto"),
    signature=Retrosynthesis,
    metric=uspto50k,
    load=load,
    splits=SHIPPED_SPLITS,
    views=("structural",),
    expert="chemist",
    measures={**{f"top_{k}": top_k(k) for k in (1, 3, 5, 10)}, "maxfrag": largest_fragment},
    normalize=canonical_smiles,
    key=MOLECULE_KEY,
    tools=(check_molecule,),
    experience_tools=(DisconnectionTool(),),
    suggest=suggest_disconnections,
)
