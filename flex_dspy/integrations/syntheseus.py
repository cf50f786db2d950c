"""A library of reactions as a single-step model of Syntheseus, which plans routes with it or measures it.

::

    model = ExperienceModel(ExperienceLibrary.load("chemist.json"))
    [reactions] = model([Molecule("CC(=O)Nc1ccccc1")], num_results=10)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from syntheseus import BackwardReactionModel, Molecule, SingleProductReaction
from syntheseus.interface.reaction import ReactionMetaData
from syntheseus.reaction_prediction.utils.inference import process_raw_smiles_outputs_backwards

from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.offline.disconnections import find_disconnections
from flex_dspy.offline.reactions import AnswerCandidate
from flex_dspy.search.retrieval import ExperienceRetriever

# Smallest probability that is given. A share of all proposals may be rounded to 0, which has no logarithm.
LEAST_PROBABILITY = 1e-9


class ExperienceModel(BackwardReactionModel):
    """Proposes the reactants of a product by the templates of a library, as the offline chemist ranks them.

    No language model is called. The probability of a reaction is its share of the weight of all proposals. It has at
    most 50 proposals for a product, and none if the templates cost too much on it.

    Args:
        library: The library, or a retriever with the scopes to read. A product's own solution is left out unless the
            retriever is made with ``exclude_self=False``.
        settings: Settings of every model of Syntheseus, such as ``use_cache`` and ``default_num_results``.
    """

    def __init__(self, library: ExperienceLibrary | ExperienceRetriever, **settings: Any) -> None:
        super().__init__(**settings)
        if isinstance(library, ExperienceLibrary):
            library = ExperienceRetriever(library, views=["structural"])
        self.retriever = library

    def get_parameters(self) -> list[Any]:
        """No parameters: the library is the model."""
        return []

    def get_model_info(self) -> dict[str, Any]:
        """The hash of the library, and the number of its entries."""
        return {"library": self.retriever.library.hash, "entries": len(self.retriever.library)}

    def _get_reactions(self, inputs: list[Molecule], num_results: int) -> list[Sequence[SingleProductReaction]]:
        return [self._reactions(molecule, num_results) for molecule in inputs]

    def _reactions(self, product: Molecule, count: int) -> Sequence[SingleProductReaction]:
        candidates = find_disconnections(self.retriever, product.smiles)[:count]
        outputs, facts = [found.reactants for found in candidates], [_facts(found) for found in candidates]
        return process_raw_smiles_outputs_backwards(product, outputs, facts)


def _facts(candidate: AnswerCandidate) -> ReactionMetaData:
    probability = max(candidate.score, LEAST_PROBABILITY)
    return {
        "probability": probability,
        "log_probability": math.log(probability),
        "template": candidate.template,
        "source": f"lesson {candidate.lesson_ids[0]}",
    }
