"""Finding the answer in what a language model wrote around it: tags, fences, boxes.

Shared by the metrics. Everything here takes text off; nothing adds or repairs any.
"""

from __future__ import annotations

import re

# A model that is cut off leaves the last tag or fence open, so the end of the text closes them too.
_TAG = re.compile(r"<(answer|reactants|smiles)>(.*?)(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"()```[a-zA-Z]*\n(.*?)(?:```|\Z)", re.DOTALL)
_BOX = "\\boxed{"


def boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{...}``, braces balanced, or None."""
    start = text.rfind(_BOX)
    if start < 0:
        return None
    depth = 1
    for position in range(start + len(_BOX), len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start + len(_BOX) : position]
    return None


def unwrapped(text: str) -> str:
    r"""The last tagged, fenced or boxed part of a text, or the text itself, stripped.

    Example:
        >>> unwrapped("So: <answer>CCO</answer>.")
        'CCO'
    """
    for pattern in (_TAG, _FENCE):
        found = pattern.findall(text)
        if found:
            text = found[-1][1]
    inner = boxed(text)
    return (text if inner is None else inner).strip()
