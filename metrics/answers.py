"""Finds the answer in the text of a language model by tags, fences and boxes.

All metrics use this module. The functions only remove text; they add and repair nothing.
"""

from __future__ import annotations

import re

# If a model is cut off, the last tag or fence stays open. So the end of the text closes it too.
_TAG = re.compile(r"<(answer|reactants|smiles)>(.*?)(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"()```[a-zA-Z]*\n(.*?)(?:```|\Z)", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,9}\{")

# Words that show that a sentence mentions a value without giving it as the answer.
DISTANCE = (
    r"first\sthought|thought\sof|going\sto\ssay|previous(?:ly)?|earlier|mentions?|mentioned|nothing\sto\sdo|hardly"
    r"|scarcely|rarely|doubt|far\sfrom|mistake|opposite|examples?|e\.g|avoid|impossible|fails?|failed|(?:could|would)\shave"
    r"|reagents?|what\syou\slike"
)


def last_box(text: str) -> str | None:
    r"""Content of the last ``\boxed{...}`` or ``\fbox{...}``, braces balanced, or None."""
    start = 0
    for found in _BOX.finditer(text):
        start = found.end()
    if not start:
        return None
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position]
    return None


def last_tag(text: str) -> str | None:
    """Content of the last ``<answer>``, ``<reactants>`` or ``<smiles>`` tag, or None."""
    found = _TAG.findall(text)
    return found[-1][1] if found else None


def unwrap(text: str) -> str:
    r"""The last tagged, fenced or boxed part of a text, or the text itself, stripped.

    Example:
        >>> unwrap("So: <answer>CCO</answer>.")
        'CCO'
    """
    inside = last_tag(text)
    text = text if inside is None else inside
    fenced = _FENCE.findall(text)
    if fenced:
        text = fenced[-1][1]
    inner = last_box(text)
    return (text if inner is None else inner).strip()
