"""Reactions for single-step retrosynthesis: USPTO-50k in its usual formats, and the shipped set in the same format.

The shipped set is not part of USPTO; ``flex_dspy.data.generate_reactions`` made it.

Example:
    >>> load("train", limit=50).examples[0].inputs().keys()
    ['product']
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dspy

from flex_dspy.data.loading import LoadedData, content_id, load_examples
from flex_dspy.metrics.molecules import canonical_smiles, reaction_parts

_HERE = Path(__file__).parent
SHIPPED: Mapping[str, Path] = MappingProxyType(
    {split: _HERE / f"reactions_{split}.csv" for split in ("train", "val", "test")}
)
# Forty thousand reactions of US patents with the canonical split (Schneider, Stiefl and Landrum, 2016).
HUB_SOURCES = tuple(f"bisectgroup/USPTO_50K@{split}" for split in ("train", "val", "test"))

_REACTION = "reactants>reagents>production"
# Columns of reactants and product, by format.
_SHAPES = (("reactants", "product"), ("answer", "question"))
_EXPECTED = f"the column {_REACTION}, the columns reactants and product, or question (product) and answer"


def load(source: str | Path = "train", *, limit: int | None = None, seed: int | None = None) -> LoadedData:
    """Load reactions as examples: ``product`` is the input and ``reactants`` the output.

    An example also has ``reaction_class`` and ``id``. All SMILES are made canonical and lose their atom maps. Reagents
    (between the >) are left out.

    Args:
        source: "train", "val" or "test" of the shipped set, a file, or ``owner/name[:config][@split]`` on the hub.
        limit: Largest number of examples.
        seed: Choose the examples at random with this seed, instead of taking the first ones.

    Raises:
        DataError: The source cannot be read or has no usable row.
    """
    return load_examples(source, to_example, expected=_EXPECTED, shipped=SHIPPED, limit=limit, seed=seed)


def to_example(cells: Mapping[str, Any]) -> dspy.Example:
    """One row as an example; ``reaction_class`` is None if the row has no ``class``.

    Raises:
        ValueError: A column is missing, or a SMILES cannot be read.
    """
    reactants, product = (_canonical(side, text) for side, text in _sides(cells).items())
    if reactants == product:
        raise ValueError("the product is what it is made from")
    given_class, given_id = cells.get("class"), cells.get("id")
    return dspy.Example(
        product=product,
        reactants=reactants,
        reaction_class=None if given_class in (None, "") else str(given_class),
        id=content_id(product, reactants) if given_id in (None, "") else str(given_id),
    ).with_inputs("product")


def _sides(cells: Mapping[str, Any]) -> dict[str, str]:
    """The reactants and the product as written."""
    reaction = cells.get(_REACTION)
    if isinstance(reaction, str):
        parts = reaction_parts(reaction)
        if len(parts) != 3:
            raise ValueError("a reaction SMILES has two >, besides those of dative bonds (->)")
        return {"reactants": parts[0], "product": parts[2]}
    for shape in _SHAPES:
        reactants, product = (cells.get(column) for column in shape)
        if isinstance(reactants, str) and isinstance(product, str):
            return {"reactants": reactants, "product": product}
    raise ValueError("no reaction in this row")


def _canonical(side: str, text: str) -> str:
    canonical = canonical_smiles(text)
    if canonical is None:
        raise ValueError(f"the {side} cannot be read: {text[:80]!r}" if text.strip() else f"no {side}")
    return canonical
