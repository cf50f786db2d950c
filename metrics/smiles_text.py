"""Taking the SMILES out of a free-text answer, without guessing.

Where a text names one set of molecules, that set comes out, joined by dots. Where it could mean several, the text
comes back as it was, and the metric says that it cannot be read.
"""

from __future__ import annotations

import json
import re

from flex_dspy.metrics.answers import unwrapped
from flex_dspy.molecules import MAX_LENGTH, read_molecule

__all__ = ["MAX_LENGTH", "clean_smiles_answer"]

_SMILES = re.compile(r"(?:\[[^\[\]\s]+\]|Br|Cl|[BCNOSPFIbcnosp*]|[0-9%().=#/\\:@+\-~$])+")
_TELLING = re.compile(r"[=#()\[\]0-9]")
_LABEL = re.compile(
    r"^[\s*_#]*(?:(?:the|final|predicted)\s+)*(?:answer|reactants?|smiles|precursors?|starting materials?)\b"
    r"(?:\s+(?:is|are|smiles))*[\s*_]*[:=]?[\s*_]*",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s+", re.MULTILINE)
_SEPARATOR = re.compile(r"\s+(?:and|plus|\+|&)\s+|\s*[,;]\s*|\s+\.\s*|\.\s+|\s+")
_ARROW = re.compile(r">[^>]*>|\s+(?:->|=>|→)\s+")
_JOINING_WORDS = frozenset({"and", "plus", "with", "+", "&"})
_QUOTES = "`'\"“”"


def clean_smiles_answer(answer: object) -> str:
    """The dot-joined SMILES that an answer names.

    Tags, code fences, quotes, labels (``Reactants: ...``), bullets and white space go; a reaction SMILES keeps
    its left side; ``A and B``, ``A + B`` and a list become ``A.B``. From prose the one run of SMILES is
    taken, if there is exactly one.

    Args:
        answer: A text, a list of texts, or None.

    Returns:
        SMILES, perhaps unreadable ones; the text itself where no single reading stands out; "" for no answer.
    """
    if isinstance(answer, list | tuple):
        answer = " ".join(str(part) for part in answer)
    text = unwrapped(str(answer)) if answer is not None else ""
    if len(text) > MAX_LENGTH:
        return text
    lines = [_LABEL.sub("", line) for line in text.splitlines() if line.strip()]
    for candidate in (text, _LABEL.sub("", text), *_labelled(text), *lines[-1:]):
        smiles = _only_smiles(candidate)
        if smiles:
            return smiles
    return _single_run(text) or " ".join(text.split())


def _labelled(text: str) -> list[str]:
    """What follows a label such as ``Reactants:``, last line first."""
    return [_LABEL.sub("", line) for line in reversed(text.splitlines()) if _LABEL.match(line)]


def _only_smiles(text: str) -> str | None:
    """The text as dot-joined SMILES if there is nothing else in it."""
    text = _ARROW.split(_BULLET.sub("", _from_json_list(text)).strip())[0]
    words = [_bare(word) for word in _SEPARATOR.split(text.strip())]
    words = [word for word in words if word]
    return ".".join(words) if words and all(map(_written_like_smiles, words)) else None


def _from_json_list(text: str) -> str:
    """``["A", "B"]`` as ``A B``; any other text unchanged."""
    if not text.strip().startswith('["'):
        return text
    try:
        return " ".join(str(part) for part in json.loads(text))
    except ValueError:
        return text


def _single_run(text: str) -> str | None:
    """The molecules of a sentence, if they stand together in one place only."""
    runs: list[list[str]] = [[]]
    for word in map(_bare, text.split()):
        if _telling(word):
            runs[-1].append(word)
        elif word not in _JOINING_WORDS and runs[-1]:
            runs.append([])
    found = {".".join(run) for run in runs if run}
    return found.pop() if len(found) == 1 else None


def _bare(word: str) -> str:
    """A word without quotes, sentence punctuation and a pair of parentheses around it."""
    word = word.strip(_QUOTES + ",;:.!?")
    return word[1:-1].strip(_QUOTES) if word.startswith("(") and word.endswith(")") else word


def _written_like_smiles(word: str) -> bool:
    return bool(_SMILES.fullmatch(word)) and any(letter.isalpha() or letter == "*" for letter in word)


def _telling(word: str) -> bool:
    """True for a word that is SMILES beyond doubt: English has no brackets, and "I" is no hydrogen iodide."""
    if len(word) < 2 or not _written_like_smiles(word):
        return False
    return bool(_TELLING.search(word)) or read_molecule(word) is not None
