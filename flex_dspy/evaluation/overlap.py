r"""Whether a problem was learned from, however it is written.

Example:
    >>> normalized_text(r"Find $\dfrac{a}{b}$ .") == normalized_text(r"find \frac{a}{b}")
    True
    >>> known_problems(["OCC", "occ"], ["C(O)C"], canonical_text)
    {'OCC'}
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import dspy

from flex_dspy.core.errors import OverlapError
from flex_dspy.core.examples import example_id, problem_of
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.metrics.molecules import canonical_smiles

# One form for all ways of writing a problem; None where the text cannot be read: it then stands for itself.
Key = Callable[[str], str | None]


# -- when two problems are the same ------------------------------------------------------------------------


def one_line(text: str) -> str:
    """The text with each stretch of white space as one space."""
    return " ".join(text.split())


# What LaTeX writes only to space or to set a formula, and how else it writes the same thing.
_SPACING = re.compile(
    r"\\(?:[,;:!> ]|(?:left|right|big|Big|bigg|Bigg)[lrm]?(?![a-zA-Z])|(?:display|text|script)style(?![a-zA-Z])"
    r"|q?quad(?![a-zA-Z])|(?:no)?limits(?![a-zA-Z])|(?:mathrm|mathit|mathbf|text|textbf|textit|rm|bf|it|operatorname|mbox)(?![a-zA-Z])\*?)"
)
_LENGTH = re.compile(r"\\[hv]space\*?\s*\{[^{}]*\}")
_EMPTY = re.compile(r"[\^_]\{\s*\}")
_SHORT_FRACTION = re.compile(r"(\\frac|\\binom)\s*(\w)\s*(\w)")
_SPELLINGS = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\leqslant": r"\le", r"\leq": r"\le",
    r"\geqslant": r"\ge", r"\geq": r"\ge", r"\neq": r"\ne", r"\dots": "...", r"\ldots": "...", r"\cdots": "...",
    r"\lvert": "|", r"\rvert": "|", r"\vert": "|", r"\degree": r"^\circ", r"\to": r"\rightarrow", r"\cdot": r"\cdot",
    r"\dbinom": r"\binom", r"\tbinom": r"\binom", r"\lbrace": r"\{", r"\rbrace": r"\}", r"\colon": ":",
}  # fmt: skip
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_CHARACTERS = str.maketrans(
    {"‐": "-", "‑": "-", "–": "-", "—": "-", "―": "-", "−": "-", "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'",
     "′": "'", "×": r"\times", "·": r"\cdot", "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "°": r"^\circ", "π": r"\pi",
     "∠": r"\angle", "√": r"\sqrt", "…": "...", "″": '"'}
)  # fmt: skip
# A space says something between two digits only: 1 23 is not 12 3.
_IDLE_SPACE = re.compile(r"(?<!\d)\s+|\s+(?!\d)")


def normalized_text(text: str) -> str:
    r"""A problem's text without what only changes its looks; for comparison, not for reading.

    Case, white space, LaTeX spacing and fonts, ``$`` and braces, ``\dfrac`` and other second spellings, Unicode
    dashes, quotes and widths, and punctuation at the end go. Digits, letters, signs and commands stay.

    Args:
        text: Text with or without LaTeX.
    """
    text = _LENGTH.sub(" ", text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_CHARACTERS))
    text = text.replace("~", " ").replace("``", '"').replace("''", '"').replace("---", "-").replace("--", "-")
    text = text.replace(r"\[", " ").replace(r"\]", " ").replace(r"\(", " ").replace(r"\)", " ")
    text = _SPACING.sub(" ", text.replace(r"\\", " "))
    text = _EMPTY.sub("", text)
    text = _COMMAND.sub(lambda found: _SPELLINGS.get(found[0], found[0]), text)
    text = _SHORT_FRACTION.sub(r"\1{\2}{\3}", text.replace("$", ""))
    text = one_line(text.replace("{", " ").replace("}", " "))
    return _IDLE_SPACE.sub("", text).casefold().rstrip(".?!:;,")


_BUT_DIGITS = {code: None for code in range(128) if not chr(code).isdigit()}


def digits_sketch(text: str) -> str:
    """The digits of a text, in order: what ``normalized_text`` never changes and is cheap to see."""
    if "space" in text:
        text = _LENGTH.sub(" ", text)
    if not text.isascii():
        text = "".join(letter for letter in unicodedata.normalize("NFKC", text) if letter.isascii())
    return text.translate(_BUT_DIGITS)


def canonical_text(smiles: str) -> str:
    """A molecule's canonical SMILES; what is no SMILES stays as it is."""
    return canonical_smiles(smiles) or one_line(smiles)


_BRACKET_ATOM = re.compile(r"\[[^\]]*\]")
_RING_BOND = re.compile(r"%\d\d|\d")
_LETTERS = str.maketrans(
    string.ascii_uppercase, string.ascii_lowercase, "".join(map(chr, range(128))).translate(
        str.maketrans("", "", string.ascii_letters + ".*")
    ) + "hH",
)  # fmt: skip


def smiles_sketch(smiles: str) -> str:
    """What all SMILES of a molecule share and is cheap to see: their letters but hydrogen, and the number of rings.

    Checked on USPTO-50k: the same for the 39,860 training products as written, atom-mapped, and canonical.
    """
    rings = len(_RING_BOND.findall(_BRACKET_ATOM.sub("", smiles)))
    return f"{''.join(sorted(smiles.strip().translate(_LETTERS)))}{rings}"


# What is equal for any two problems whose keys are equal, and takes microseconds. A key is asked only of problems that
# share it with an example: a canonical SMILES takes RDKit 0.1 to 0.4 ms, and a library holds tens of thousands.
_SKETCHES: dict[Key, Callable[[str], str]] = {
    normalized_text: digits_sketch,
    canonical_text: smiles_sketch,
    canonical_smiles: smiles_sketch,
}


def known_problems(problems: Iterable[str], learned: Iterable[str], key: Key | None = None) -> set[str]:
    """Those of the problems that are among the learned ones.

    Args:
        problems: The problems that are asked about.
        learned: What was learned from.
        key: One form for all ways of writing a problem; None overlooks only differences in white space.
    """
    asked, seen = set(problems), set(learned)
    same = asked & seen  # letter by letter, which is free
    sketch = _SKETCHES.get(key, _no_sketch) if key else one_line
    near: dict[str, list[str]] = {sketch(problem): [] for problem in asked - same}
    for problem in seen if near else ():
        group = near.get(sketch(problem))
        if group is not None:
            group.append(problem)
    forms = {_form(problem, key) for group in near.values() for problem in group}
    return same | {problem for problem in asked - same if near[sketch(problem)] and _form(problem, key) in forms}


def _no_sketch(problem: str) -> str:
    return ""


def _form(problem: str, key: Key | None) -> str:
    return (key(problem) if key else None) or one_line(problem)


# -- what was learned from ---------------------------------------------------------------------------------


def precedent_ids(library: ExperienceLibrary) -> set[str]:
    """Ids of all examples that the library was learned from."""
    return {precedent.example_id for entry in library for precedent in entry.precedents}


def precedent_problems(library: ExperienceLibrary) -> set[str]:
    """The problems of all examples that the library was learned from."""
    return {precedent.problem for entry in library for precedent in entry.precedents}


def without_overlap(
    examples: Sequence[dspy.Example], learned: Iterable[str], *, key: Key | None = None
) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """Split examples into those that were not learned from, and those that were.

    Args:
        examples: The examples.
        learned: Problems that were learned from, as text; ids of examples count as well.
        key: One form for all ways of writing a problem; None overlooks only differences in white space.

    Returns:
        The clean ones, and the others.
    """
    learned = set(learned)
    problems = [problem_of(example) for example in examples]
    known = known_problems(problems, learned, key)
    clean: list[dspy.Example] = []
    shared: list[dspy.Example] = []
    for example, problem in zip(examples, problems, strict=True):
        (shared if problem in known or example_id(example) in learned else clean).append(example)
    return clean, shared


def refuse_overlap(library: ExperienceLibrary, examples: Sequence[dspy.Example], *, key: Key | None = None) -> None:
    """Refuse examples that the library was learned from.

    Raises:
        OverlapError: If there are any.
    """
    _, shared = without_overlap(examples, precedent_problems(library) | precedent_ids(library), key=key)
    if shared:
        raise OverlapError(
            f"{len(shared)} of {len(examples)} examples were learned from, e.g. {problem_of(shared[0])[:120]!r}: "
            "leave them out, or allow the overlap if you want to measure memory rather than learning"
        )
