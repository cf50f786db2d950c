"""Makes the shipped reactions, byte for byte the same from the same seed.

Forward templates are applied to building blocks. No two examples have the same product, within a split or across
splits. A reaction is left out if it could happen at more than one place, or if another group could react too.

    python -m flex_dspy.data.generate_reactions            write the files
    python -m flex_dspy.data.generate_reactions --check    exit with 1 if the files are not what would be written
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from pathlib import Path

from rdkit import Chem
from rdkit.Chem import rdChemReactions

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.data.building_blocks import BLOCKS
from flex_dspy.data.reaction_types import REACTION_TYPES, ReactionType
from flex_dspy.data.uspto50k import SHIPPED
from flex_dspy.metrics.molecules import canonical_smiles

SEED = 20251106
COLUMNS = ("id", "class", "reactants>reagents>production")
# Number of reactions of a type in each split, per unit of the type's share.
PER_SHARE: Mapping[str, int] = {"train": 5, "val": 1, "test": 2}

_PRECURSORS_PER_TYPE = 40
_HEAVY_ATOMS = range(8, 43)


@dataclass(frozen=True)
class Reaction:
    """One reaction of the set; SMILES are canonical."""

    kind: str
    reactants: str
    product: str


def generate(seed: int = SEED) -> dict[str, list[Reaction]]:
    """The reactions by split, in the files' order.

    Raises:
        ConfigurationError: There are not enough building blocks for a type's share.
    """
    rng = random.Random(seed)  # noqa: S311  (no secret)
    precursors = _precursors(rng)
    products: set[str] = set()
    splits: dict[str, list[Reaction]] = {split: [] for split in PER_SHARE}
    for kind in REACTION_TYPES:
        wanted = kind.share * sum(PER_SHARE.values())
        made = _reactions(kind, wanted, precursors, products, rng)
        if len(made) < wanted:
            raise ConfigurationError(f"{kind.name}: only {len(made)} of {wanted} reactions, add building blocks.")
        rest = iter(made)
        for split, per_share in PER_SHARE.items():
            splits[split] += islice(rest, kind.share * per_share)
    for reactions in splits.values():
        rng.shuffle(reactions)
    return splits


def as_csv(split: str, reactions: Iterable[Reaction]) -> str:
    """The text of a split's file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, reaction in enumerate(reactions, start=1):
        writer.writerow((f"{split}-{number:04d}", reaction.kind, f"{reaction.reactants}>>{reaction.product}"))
    return text.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the shipped files, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the files, write nothing")
    check = parser.parse_args(arguments).check
    splits = generate()
    different = [path for split, path in SHIPPED.items() if not _settle(path, as_csv(split, splits[split]), check)]
    for path in different:
        print(f"{path} is not what the generator makes", file=sys.stderr)
    return 1 if different else 0


def _settle(path: Path, text: str, check: bool) -> bool:
    """Write the text, or only compare it if ``check`` is set. Return whether the file has the text."""
    if check:
        return path.exists() and path.read_text(encoding="utf-8") == text
    path.write_text(text, encoding="utf-8", newline="\n")
    return True


def _precursors(rng: random.Random) -> list[str]:
    """Products of one step, used as reactants of late types, because drug candidates need several steps."""
    taken: set[str] = set()
    # Types with a co-reactant are protections. They are left out: the next step would only remove the group again.
    early = [kind for kind in REACTION_TYPES if not kind.late and not kind.co_reactant]
    made = [_reactions(kind, _PRECURSORS_PER_TYPE, [], taken, rng) for kind in early]
    return [reaction.product for reactions in made for reaction in reactions]


def _reactions(
    kind: ReactionType, count: int, precursors: Sequence[str], taken: set[str], rng: random.Random
) -> list[Reaction]:
    """Up to `count` reactions of a type. Their products are not in `taken` before, and are added to it."""
    slots = range(_forward(kind).GetNumReactantTemplates())
    blocks = [[block for block in BLOCKS if _fits(kind, slot, block)] for slot in slots]
    late = [precursor for precursor in precursors if kind.late and _fits(kind, 0, precursor)]
    combinations = list(product([*blocks[0], *late], *blocks[1:]))
    rng.shuffle(combinations)
    found: list[Reaction] = []
    for reactants in combinations:
        if len(found) == count:
            break
        reaction = _reaction(kind, reactants)
        if reaction is not None and reaction.product not in taken:
            taken.add(reaction.product)
            found.append(reaction)
    return found


def _reaction(kind: ReactionType, reactants: Sequence[str]) -> Reaction | None:
    """The reaction of these reactants, or None if it has no single, plausible product."""
    outcomes = _forward(kind).RunReactants([_molecule(reactant) for reactant in reactants])
    products = {canonical_smiles(Chem.MolToSmiles(outcome[0])) for outcome in outcomes}
    target = products.pop() if len(products) == 1 else None
    if target is None or outcomes[0][0].GetNumHeavyAtoms() not in _HEAVY_ATOMS:
        return None
    everything = [*reactants, kind.co_reactant] if kind.co_reactant else reactants
    together = canonical_smiles(".".join(everything))
    return None if together is None else Reaction(kind.name, together, target)


def _fits(kind: ReactionType, slot: int, smiles: str) -> bool:
    """True if a molecule fits only this place in a reaction and has no group that interferes."""
    molecule = _molecule(smiles)
    forward = _forward(kind)
    sites = [
        len(molecule.GetSubstructMatches(forward.GetReactantTemplate(index)))
        for index in range(forward.GetNumReactantTemplates())
    ]
    return (
        sites[slot] == 1
        and sum(sites) == 1
        and not any(molecule.HasSubstructMatch(_pattern(smarts)) for smarts in kind.forbidden)
    )


@cache
def _forward(kind: ReactionType) -> rdChemReactions.ChemicalReaction:
    reaction = rdChemReactions.ReactionFromSmarts(kind.template)
    reaction.Initialize()
    return reaction


@cache
def _molecule(smiles: str) -> Chem.Mol:
    return Chem.MolFromSmiles(smiles)


@cache
def _pattern(smarts: str) -> Chem.Mol:
    return Chem.MolFromSmarts(smarts)


if __name__ == "__main__":
    sys.exit(main())
