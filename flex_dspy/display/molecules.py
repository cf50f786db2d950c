"""Draws SMILES as molecules and templates as reactions, as small SVG in the colours of the page around them.

Invalid text raises no error. If RDKit cannot read a text, or the drawing would be too large, there is no drawing.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from markupsafe import Markup
from rdkit import Chem, rdBase
from rdkit.Chem import rdChemReactions, rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

rdBase.DisableLog("rdApp.*")

MAX_LENGTH = 400  # characters of a SMILES or template
MAX_ATOMS = 90
MAX_PARTS = 6  # molecules of one side of a reaction
BOND, TEMPLATE_BOND = 17.0, 23.0  # pixels: a template is small, and its numbers must be read

# RDKit's colours are made for white paper; these are read on white and on black.
_COLOURS = {
    "#000000": "currentColor",
    "#0000FF": "#4c7ef3",
    "#FF0000": "#e5484d",
    "#33CCCC": "#12a594",
    "#00CC00": "#30a46c",
    "#CCCC00": "#b8960c",
    "#7F4C19": "#b0703c",
    "#A01EEF": "#a667e8",
    "#FF7F00": "#e8720c",
}
_PATH = re.compile(r"<path [^>]*?\bd='([^']*)' style='([^']*)'")
_TEXT = re.compile(r"<text x='([\d.-]+)' y='([\d.-]+)'[^>]*? style='([^']*)'\s*>([^<]*)<")
_LINE = {"fill": "none", "stroke": "none", "stroke-width": "1px", "stroke-dasharray": "none"}
_SIZE = re.compile(r"width='(\d+)px' height='(\d+)px'")
_ARROW = Markup('<span class="fx-arrow">⇒</span>')
_PLUS = Markup('<span class="fx-arrow">+</span>')
_ROW = Markup('<span class="fx-row">{}</span>')
_BONDS = (Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC)


@functools.lru_cache(maxsize=1024)
def molecule(smiles: str) -> Markup | None:
    """Drawing of the molecules of a SMILES, side by side; None if the text is not a SMILES.

    Args:
        smiles: One or more molecules, dot-separated.
    """
    if not smiles or len(smiles) > MAX_LENGTH or any(mark.isspace() for mark in smiles):
        return None
    try:
        whole = Chem.MolFromSmiles(smiles)
        if whole is None or not 0 < whole.GetNumAtoms() <= MAX_ATOMS:
            return None
        return _side(Chem.GetMolFrags(whole, asMols=True))
    except (ValueError, RuntimeError):  # RDKit's errors, and text that is not valid UTF-8
        return None


@functools.lru_cache(maxsize=1024)
def template(smarts: str) -> Markup | None:
    """Drawing of a reaction template, left side ⇒ right side, with numbered atoms; None if it is not a template.

    Args:
        smarts: A reaction SMARTS, such as a retro template: the product's pattern first.
    """
    if ">>" not in smarts or len(smarts) > MAX_LENGTH:
        return None
    try:
        reaction = rdChemReactions.ReactionFromSmarts(smarts)
        sides = [[_plain(each) for each in side] for side in (reaction.GetReactants(), reaction.GetProducts())]
        drawn = [_side(side) for side in sides]
    except (ValueError, RuntimeError):
        return None
    return None if None in drawn else _ROW.format(_ARROW.join(side for side in drawn if side is not None))


def case(problem: str, answer: str) -> Markup | None:
    """Drawing of a precedent: the problem's molecule ⇒ the answer's molecules or text; None without a molecule."""
    if len(problem) < 3 or (left := molecule(problem)) is None:  # most short words are valid SMILES
        return None
    right = molecule(answer) or Markup("<code>{}</code>").format(answer[:MAX_LENGTH])
    return _ROW.format(left + _ARROW + right)


def drawings_in(text: str, most: int) -> list[Markup]:
    """Drawings of the templates and molecules in a text: each once, and at most ``most``."""
    drawings: list[Markup] = []
    for word in dict.fromkeys(_candidates(text)):
        if len(drawings) >= most:
            break
        drawing = template(word) if ">>" in word else molecule(word)
        if drawing is not None:
            drawings.append(drawing)
    return drawings


_WORD = re.compile(r"[^\s`\"“”]{6,}")
_CHEMICAL = re.compile(r"[()\[\]=#]|[cn]\d")  # words of prose contain none of these


def _candidates(text: str) -> Iterator[str]:
    for found in _WORD.finditer(text[:20_000]):
        word = re.sub(r"</?\w+>", "", found[0]).rstrip(".,;:!?").lstrip("*'")
        word = word.rstrip("*'")
        if len(word) >= 6 and _CHEMICAL.search(word):
            yield word


def _side(molecules: Iterable[Chem.Mol]) -> Markup | None:
    parts = list(molecules)
    if not 0 < len(parts) <= MAX_PARTS or any(part.GetNumAtoms() > MAX_ATOMS for part in parts):
        return None
    drawn = _PLUS.join(_svg(part) for part in parts)
    return drawn if len(parts) == 1 else _ROW.format(drawn)


def _plain(pattern: Chem.Mol) -> Chem.Mol:
    """Molecule for drawing a pattern. RDKit would print the query of each atom of the pattern itself."""
    mol = Chem.RWMol()
    for atom in pattern.GetAtoms():
        plain = Chem.Atom(atom.GetAtomicNum())
        plain.SetFormalCharge(atom.GetFormalCharge())
        plain.SetNoImplicit(True)
        if atom.GetAtomMapNum():
            plain.SetProp("atomNote", str(atom.GetAtomMapNum()))
        if atom.GetIsAromatic() and not atom.IsInRing():
            plain.SetProp("_displayLabel", atom.GetSymbol().lower())
        mol.AddAtom(plain)
    for bond in pattern.GetBonds():
        kind = bond.GetBondType() if bond.GetBondType() in _BONDS else Chem.BondType.SINGLE
        mol.AddBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), kind)
    mol.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(mol)
    return mol


def _svg(mol: Chem.Mol) -> Markup:
    drawer = rdMolDraw2D.MolDraw2DSVG(-1, -1, -1, -1, True)  # letters as text: outlines would be most of the file
    options: Any = drawer.drawOptions()
    options.clearBackground = False
    options.bondLineWidth = 1.2
    is_template = any(atom.HasProp("atomNote") for atom in mol.GetAtoms())
    options.scalingFactor = TEMPLATE_BOND if is_template else BOND
    options.explicitMethyl = is_template
    options.prepareMolsBeforeDrawing = not is_template
    options.annotationFontScale = 0.75
    rdDepictor.Compute2DCoords(mol)
    drawer.DrawMolecule(mol)
    drawer.FinishDrawing()
    return _lean(drawer.GetDrawingText())


def _lean(svg: str) -> Markup:
    """RDKit's SVG in a third of its size. Lines of the same style are merged into one path."""
    lines: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for d, style in _PATH.findall(svg):
        look = _look(style)
        lines[tuple(look.get(name, default) for name, default in _LINE.items())].append(d)
    size = _SIZE.search(svg)
    width, height = (size[1], size[2]) if size else ("0", "0")
    paths = [
        Markup('<path d="{}" fill="{}" stroke="{}" stroke-width="{}" stroke-dasharray="{}"/>').format(
            " ".join(d), *look
        )
        for look, d in lines.items()
    ]
    letters = [_letter(*found) for found in _TEXT.findall(svg)]
    start = Markup('<svg class="fx-mol" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img">')
    return start.format(width, height) + Markup("").join([*paths, *letters]) + Markup("</svg>")


def _letter(x: str, y: str, style: str, text: str) -> Markup:
    look = _look(style)
    start = Markup('<text x="{}" y="{}" font-size="{}" fill="{}" font-family="sans-serif">{}</text>')
    return start.format(x, y, look.get("font-size", "10px"), look.get("fill", "currentColor"), Markup(text))  # noqa: S704


def _look(style: str) -> dict[str, str]:
    pairs = (part.split(":", 1) for part in style.split(";") if ":" in part)
    return {name.strip(): _COLOURS.get(value.strip().upper(), value.strip()) for name, value in pairs}
