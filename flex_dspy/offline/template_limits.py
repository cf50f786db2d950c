"""Limits of retro templates: only templates whose search in a product has a bounded cost are run.

A template may come from a language model or from somebody else's library. RDKit looks for its pattern by backtracking,
and cannot be interrupted. A pattern of five unconnected wildcards, one of which fits nothing, takes more than a minute
on a chain of 60 carbons. So these limits are checked on the text, before RDKit reads it.

The limits are several times what chemistry needs. The templates of 1,329 reactions of USPTO-50k (each 30th) have at
most 462 characters, 21 atoms in the pattern and two unconnected parts; none has a wildcard or a recursive pattern.

They do not bound every pattern: a chain of 30 carbons in a cage of fused rings still takes hours. The worker processes
have a time limit for that (see ``flex_dspy.offline.worker``).
"""

from __future__ import annotations

import re

MAX_LENGTH = 2_000  # characters
MAX_ATOMS = 100  # in the product's pattern
MAX_PARTS = 3  # unconnected parts of the product's pattern; the time grows with the atoms to this power
MAX_LOOSE = 6  # atoms that name no element; each multiplies the time by the number of neighbours
MAX_RECURSIVE = 4  # recursive patterns, $(...), not nested

_ATOM = re.compile(r"\[[^\[\]]*\]|Br|Cl|[A-Zabcnops*]")
# Two letters first: Al is aluminium, A is any aliphatic atom. D, H, R and X alone are conditions, not elements.
_ELEMENT = re.compile(r"\[?\d*(?:#\d|se|as|te|[bcnops](?![a-z])|[A-Z][a-z]|[BCNOFPSIKVYWU])")


def is_bounded(smarts: str) -> bool:
    """Whether a retro template keeps the limits of this module.

    Args:
        smarts: Retro reaction SMARTS, the product's pattern first.
    """
    if len(smarts) > MAX_LENGTH:
        return False
    pattern, _, reactants = smarts.partition(">")
    plain = _without_recursion(pattern)
    if plain is None or "$(" in reactants:
        return False
    atoms = _ATOM.findall(plain)
    loose = sum(_is_loose(atom) for atom in atoms)
    return len(atoms) <= MAX_ATOMS and _parts(plain) <= MAX_PARTS and loose <= MAX_LOOSE


def _is_loose(atom: str) -> bool:
    return "*" in atom or "!" in atom or _ELEMENT.match(atom) is None


def _parts(pattern: str) -> int:
    return re.sub(r"\[[^\[\]]*\]", "", pattern).count(".") + 1


def _without_recursion(pattern: str) -> str | None:
    """The pattern with a wildcard for each recursive pattern; None if these are too many or too large."""
    pieces, rest = [], pattern
    for _ in range(MAX_RECURSIVE):
        before, found, after = rest.partition("$(")
        pieces.append(before)
        if not found:
            return "*".join(pieces)
        end = _closing(after)
        inner = after[: end - 1]
        if not end or "$" in inner or "." in inner or sum(map(_is_loose, _ATOM.findall(inner))) > MAX_LOOSE:
            return None
        rest = after[end:]
    return None if "$(" in rest else "*".join([*pieces, rest])


def _closing(text: str) -> int:
    """The position after the end of the parenthesis that is open before a text; 0 if it does not end."""
    depth = 1
    for place, mark in enumerate(text, 1):
        depth += (mark == "(") - (mark == ")")
        if not depth:
            return place
    return 0
