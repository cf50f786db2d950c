"""Finds the SMILES in a free-text answer without guessing.

If a text names one set of molecules, the result is this set, joined by dots. If the text could mean several sets, it is
returned unchanged, and the metric reports that it cannot be read.
"""

from __future__ import annotations

import re
from typing import Any

from flex_dspy.metrics.answers import DISTANCE, unwrap
from flex_dspy.metrics.cleaning import after_retraction, parse_container, visible_answer, without_strong
from flex_dspy.metrics.molecules import MAX_LENGTH, reaction_parts, read_molecule

__all__ = ["MAX_LENGTH", "clean_smiles_answer"]

_SMILES = re.compile(r"(?:\[[^\[\]\s]+\]|Br|Cl|->|<-|[BCNOSPFIbcnosp*]|[0-9%().=#/\\:@+\-~$])+")
_TELLING = re.compile(r"[=#()\[\]0-9]")
_LABEL = re.compile(
    r"^[\s*_#]*(?:(?:the|my|final|predicted|proposed|likely|most)\s+)*"
    r"(?:answer|reactants?|smiles|precursors?|starting materials?)\b(?:\s*\(smiles\)|\s+(?:is|are|smiles))*"
    r"[\s*_]*[:=]?[\s*_]*",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s+", re.MULTILINE)
_SEPARATOR = re.compile(r"\s+(?:and|plus|\+|&)\s+|\s*[,;]\s*|\s+\.\s*|\.\s+|\s+")
_ARROW = re.compile(r"\s+(?:->|=>|→|⟶)\s+")
_JOINING_WORDS = frozenset({"and", "plus", "with", "+", "&"})
_QUOTES = "`'\"“”_"
_FONT = re.compile(r"\$?\\(?:text|texttt|mathrm|mathtt|ce)\{([^{}]*)\}\$?|\$([^$\s]+)\$")
_LOOKS = str.maketrans({"−": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " "})
# A name beside a SMILES: CC(=O)Cl (acetyl chloride).
_NAME = re.compile(r"(?<=[\s\w)\]`])\s\(([^()]{0,60}[a-z]{4}[^()]{0,60})\)", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n")
# Words which show that the molecules beside them are no answer, or one of several answers.
_DOUBT = re.compile(
    r"\b(?:or|nor|not|never|no|cannot|neither|either|wrong|incorrect|instead|rather|unlike|avoid|without|except|rejected"
    rf"|alternative(?:ly)?|options?|routes?|product|candidates?|whether|unless|if|{DISTANCE})\b|n['’]t\b|\?",
    re.IGNORECASE,
)
_KEYS = ("reactants", "reactant", "answer", "final_answer", "precursors", "smiles", "starting_materials")


def clean_smiles_answer(answer: object) -> str:
    """The dot-joined SMILES that an answer names.

    Reasoning, emphasis, tags, code fences, containers, quotes, labels (``Reactants: ...``), bullets and white space are
    removed. A reaction SMILES keeps its left side. ``A and B``, ``A + B`` and a list become ``A.B``. In prose, a run of
    SMILES is taken if it is the only one and no words beside it say that it is not the answer.

    Args:
        answer: A text, a list of texts, or None.

    Returns:
        SMILES, which may be unreadable; the text itself if it has no single reading; "" for no answer.
    """
    if isinstance(answer, list | tuple):
        answer = " ".join(str(part) for part in answer)
    text = _FONT.sub(r"\1\2", _from_container(_answer_part(str(answer)))) if answer is not None else ""
    if len(text) > MAX_LENGTH:
        return text
    return _smiles_of(_NAME.sub(_without_name, text)) or " ".join(text.split())


def _answer_part(text: str) -> str:
    """The part of a text that was marked as the answer."""
    return unwrap(after_retraction(without_strong(visible_answer(text).translate(_LOOKS))))


def _smiles_of(text: str) -> str | None:
    if text.startswith(("{", "[{")):
        return None  # an object that names several answers, or is cut off
    for candidate in (text, _LABEL.sub("", text), *_after_labels(text), *_last_line(text)):
        smiles = _only_smiles(candidate)
        if smiles:
            return smiles
    return _molecules_of_list(text) or _single_run(text)


def _without_name(found: re.Match[str]) -> str:
    """The match without the name of a molecule. SMILES, and words that express doubt, are kept."""
    return found[0] if _DOUBT.search(found[1]) or any(map(_telling, found[1].split())) else ""


def _after_labels(text: str) -> list[str]:
    """The texts after a label such as ``Reactants:``, the last line first."""
    return [_LABEL.sub("", line) for line in reversed(text.splitlines()) if _LABEL.match(line)]


def _last_line(text: str) -> list[str]:
    """The last line, unless the line before it announces something else than the answer."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1:] if not any(map(_DOUBT.search, lines[-2:-1])) else []


def _only_smiles(text: str) -> str | None:
    """The text as dot-joined SMILES; None if it contains anything else."""
    text = _ARROW.split(_BULLET.sub("", text).strip())[0]
    parts = reaction_parts(text)
    text = parts[0] if len(parts) == 3 else text
    words = [_bare(word) for word in _SEPARATOR.split(text.strip())]
    words = [word for word in words if word]
    return ".".join(words) if words and all(map(_looks_like_smiles, words)) else None


def _from_container(text: str) -> str:
    """``["A", "B"]`` and ``{"reactants": ["A", "B"]}`` as ``A B``; any other text unchanged."""
    if not text.startswith(("{", '["', "['", '("', "('")):
        return text
    texts = _texts(parse_container(text))
    return text if texts is None else " ".join(texts)


def _texts(value: Any) -> list[str] | None:
    if isinstance(value, dict):
        known = [value[key] for key in value if str(key).lower() in _KEYS]
        value = known[0] if len(known) == 1 else None
    values = [value] if isinstance(value, str) else value
    return values if isinstance(values, list) and all(isinstance(part, str) for part in values) else None


def _molecules_of_list(text: str) -> str | None:
    """The molecules of a list with one molecule per line after its name: ``- Amine: NCC``."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = lines[1:] if lines and lines[0].endswith(":") and not _DOUBT.search(lines[0]) else lines
    parts = [_BULLET.sub("", line).rpartition(": ") for line in lines]
    found = [_only_smiles(smiles) for name, _, smiles in parts if name and not _DOUBT.search(name)]
    return ".".join(map(str, found)) if len(found) == len(lines) > 1 and None not in found else None


def _single_run(text: str) -> str | None:
    """The molecules of a text, if they all stand together at one place and their sentence does not deny them."""
    found: set[str] = set()
    lead = ""
    for sentence in _SENTENCE.split(text):
        runs = _runs(sentence)
        if runs and _DOUBT.search(lead + sentence):
            return None
        lead = sentence if sentence.rstrip().endswith(":") else ""
        found |= runs
    return found.pop() if len(found) == 1 else None


def _runs(sentence: str) -> set[str]:
    runs: list[list[str]] = [[]]
    for word in map(_bare, sentence.split()):
        if _telling(word):
            runs[-1].append(word)
        elif word not in _JOINING_WORDS and runs[-1]:
            runs.append([])
    return {".".join(run) for run in runs if run}


def _bare(word: str) -> str:
    """A word without quotes, sentence punctuation and a pair of parentheses around it."""
    word = word.strip(_QUOTES + ",;:.!")
    return word[1:-1].strip(_QUOTES) if word.startswith("(") and word.endswith(")") else word


def _looks_like_smiles(word: str) -> bool:
    return bool(_SMILES.fullmatch(word)) and any(letter.isalpha() or letter == "*" for letter in word)


def _telling(word: str) -> bool:
    """True for a word that is certainly SMILES. English words have no brackets; "I" is not hydrogen iodide."""
    if len(word) < 2 or not _looks_like_smiles(word):
        return False
    return bool(_TELLING.search(word)) or read_molecule(word) is not None
