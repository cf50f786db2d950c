r"""The cleaning step before every metric and reader. It removes text around the answer, and adds and repairs nothing.

Each part is a separate function, because languages differ: ``*`` is emphasis in prose, an atom in SMILES and a product
in a formula. Ambiguous text stays, so that the reader refuses it.

Example:
    >>> clean_answer("<think>maybe 12</think>\n**70**")
    '70'
    >>> clean_answer('```json\n{"answer": "70"}\n```')
    '70'
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Any

from flex_dspy.core.text import sound_text, truncate

MAX_ANSWER = 50_000  # characters of an answer without its reasoning
_MAX_CONTAINER = 10_000
_MAX_DEPTH = 20

# -- invisible characters ----------------------------------------------------------------------------------

# Soft hyphen, zero-width and bidirectional marks, word joiner, variation selectors, byte order mark, tags.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f"
    "\ufeff\ufff9-\ufffc\U000e0000-\U000e0fff]"
)
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")

# -- reasoning ---------------------------------------------------------------------------------------------

_WORDS = r"(?P<{}>think(?:ing)?|thoughts?|reasoning|reason|reflection|analysis|scratchpad|inner_monologue|rationale)"
_REASONING = re.compile(
    rf"<(?P<close>/)?(?:[a-z]{{1,9}}:)?{_WORDS.format('angle')}(?:\s[^<>\n]{{0,80}})?>"
    rf"|\[(?P<close2>/)?{_WORDS.format('square')}\]|◁(?P<close3>/)?think▷"
    r"|<\|(?:begin|(?P<close4>end))_of_thought\|>",
    re.IGNORECASE,
)
# Channels of the harmony format. Only the final channel holds the answer.
_CHANNEL = re.compile(r"<\|channel\|>\s?(\w{1,20})[^<]{0,80}<\|message\|>")
_CONTROL_TOKEN = re.compile(
    r"<\|(?:end|return|start|im_end|im_start|eot_id|endoftext|(?:begin|end)_of_solution)\|>|</?s>"
    r"|<(?:end|start)_of_turn>|<｜end▁of▁sentence｜>"
)
_RETRACTION = re.compile(
    r"\b(?:(?:that|this|it)(?:'s|’s|\s(?:\w{1,20}\s)?(?:is|was))\s(?:wrong|incorrect|false|not\s(?:right|correct)|a\smistake)"
    r"|scratch\sthat|on\ssecond\sthought|wait,?\sno|no,?\swait|i\smade\s(?:a\smistake|an\serror)|correction(?=:)"
    r"|let\sme\scorrect)\b[\s,.:;!—–-]*",
    re.IGNORECASE,
)

# -- marks around the answer -------------------------------------------------------------------------------

_STRONG = re.compile(r"\*{2,3}|_{2,3}")
_STARS = re.compile(r"\*{2,3}")
_BEFORE_STRONG, _AFTER_STRONG = " \t([{\"'`:=.,;+>-$", " \t)]}\"'`:=.,;+!?-$<"
# A quotation; before a number, > may mean "greater than".
_HEADING = re.compile(r"^[ \t]{0,3}(?:#{1,6}[ \t]+|>[ \t]+(?![\s\d.+-]))", re.MULTILINE)
_FENCE = re.compile(r"\A\s*(?:```|~~~)[\w+.-]{0,20}[ \t]*\n?(.*?)(?:```|~~~)?\s*\Z", re.DOTALL)
_PAIRS = (("***", "***"), ("**", "**"), ("__", "__"), ("`", "`"), ('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"),
          ("«", "»"), ("*", "*"), ("_", "_"))  # fmt: skip
_ASSIGNED = re.compile(r"\A(?:final[_ ]?)?(?:answer|result|output|value)\s?=\s?(?=[^\s=])", re.IGNORECASE)
_SIDE_BY_SIDE = re.compile(r"(?<=[^\s,:\[({])['\"]\s{0,9}['\"](?=[^\s,:\])}])")
_ANSWER_KEYS = frozenset({"answer", "final_answer", "finalanswer", "result", "final_result", "output", "value"})


def clean_answer(text: str) -> str:
    """The answer in a text, for any task whose answers contain no ``*``, ``_`` or quotes.

    Args:
        text: One field of a model's answer.

    Returns:
        The text without reasoning, invisible characters, emphasis, and without a fence, quotes or a container around
        the whole text. It is "" if the text contains only reasoning.
    """
    text = without_strong(_SPACES.sub(" ", visible_answer(text)).replace(r"\_", "_"))
    text = _HEADING.sub("", text).strip()
    return _until_it_stays(text, _bare)


def visible_answer(text: str) -> str:
    """The text without reasoning and invisible characters. This cleaning is safe for any kind of answer."""
    return truncate(without_reasoning(_INVISIBLE.sub("", sound_text(text))), MAX_ANSWER).strip()


def begins_with_reasoning(text: str, end: int) -> bool:
    """Whether a reasoning block opens before a position in a text."""
    first = _REASONING.search(text)
    return first is not None and first.start() < end and not _closes(first)


def without_reasoning(text: str) -> str:
    """The text outside of reasoning blocks.

    A block that is never closed extends to the end, because the model was cut off before it answered. A closing tag
    without an opening tag ends a block from the beginning, because the chat template wrote the opening tag.
    """
    text = _final_channel(text)
    kept: list[str] = []
    opened, position = "", 0
    for mark in _REASONING.finditer(text):
        name = (mark["angle"] or mark["square"] or "think").lower()[:5]
        if not _closes(mark):
            if not opened:
                kept.append(text[position : mark.start()])
                opened = name
        elif opened in ("", name):
            if not opened:
                kept.clear()
            opened, position = "", mark.end()
    if not opened:
        kept.append(text[position:])
    return _CONTROL_TOKEN.sub("", "".join(kept))


def _closes(mark: re.Match[str]) -> bool:
    return bool(mark["close"] or mark["close2"] or mark["close3"] or mark["close4"])


def without_strong(text: str, *, underscores: bool = True) -> str:
    """The text without ``**strong**`` and ``__strong__`` marks; single ``*`` and ``_`` stay.

    Marks count only in pairs on one line, with white space or punctuation outside. So ``C**C`` is no emphasis.

    Args:
        text: Any text.
        underscores: Whether ``__`` is a mark too. It is none in a language whose names may begin with it.
    """
    marks = _STRONG if underscores else _STARS
    if "**" not in text and "__" not in text:
        return text
    return "\n".join(_line_without(marks, line) for line in text.split("\n"))


def after_retraction(text: str) -> str:
    """The text after the last "that is wrong" or "scratch that". The text before it is a draft."""
    last = None
    for last in _RETRACTION.finditer(text):  # noqa: B007 (the last one counts)
        pass
    return text if last is None else text[last.end() :]


def without_fence(text: str) -> str:
    """The content of a code fence around the whole text; the text itself if there is no such fence."""
    if not text.lstrip().startswith(("```", "~~~")):
        return text
    found = _FENCE.match(text)
    return found[1] if found and "```" not in found[1] else text


def without_quotes(text: str) -> str:
    """The text without one pair of quotes, backticks or emphasis marks around the whole text."""
    for opening, closing in _PAIRS:
        inner = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and inner.strip():
            whole = opening not in inner and closing not in inner
            return inner.strip() if whole else text
    return text


def out_of_container(text: str) -> str:
    """The only value of a JSON or Python container that is the whole text: ``{"answer": 70}``, ``["70"]``, ``(70,)``.

    A dict with several keys is accepted if exactly one key names the answer. Several values, nested values, and texts
    that do not parse stay unchanged.
    """
    if not (text[:1] in ("{", "[", "(") and text[-1:] in ("}", "]", ")")):
        return text
    value = parse_container(text)
    while isinstance(value, dict | list | tuple | set) and (inner := _only_value(value)) is not None:
        value = inner
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value) if isinstance(value, bool | int | float) and value == value else text


def parse_container(text: str) -> Any:
    """A short text parsed as JSON or as a Python literal; None if it is neither. Nothing in it is executed."""
    if len(text) > _MAX_CONTAINER or depth(text) > _MAX_DEPTH:
        return None
    try:
        return json.loads(text, strict=False)
    except ValueError:
        pass
    try:
        # Python joins adjacent string literals, but a person reads two values.
        return None if _SIDE_BY_SIDE.search(text) else ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def depth(text: str) -> int:
    """The nesting depth of brackets of any kind, including brackets inside quotes."""
    deepest = level = 0
    for letter in text:
        if letter in "([{":
            level += 1
            deepest = max(deepest, level)
        elif letter in ")]}":
            level = max(level - 1, 0)
    return deepest


def _bare(text: str) -> str:
    """The text without one layer of marks around the whole text."""
    return out_of_container(_ASSIGNED.sub("", without_quotes(without_fence(text).strip())))


def _until_it_stays(text: str, step: Callable[[str], str], most: int = 8) -> str:
    for _ in range(most):
        before, text = text, step(text)
        if text == before:
            break
    return text


def _final_channel(text: str) -> str:
    channels = list(_CHANNEL.finditer(text))
    if not channels:
        return text
    last = channels[-1]
    return text[last.end() :] if last[1].lower() == "final" else ""


def _line_without(marks: re.Pattern[str], line: str) -> str:
    """A line without pairs of strong marks. A pair opens after, and closes before, white space or punctuation."""
    gone: list[re.Match[str]] = []
    opened: re.Match[str] | None = None
    for mark in marks.finditer(line):
        before, after = line[: mark.start()][-1:], line[mark.end() : mark.end() + 1]
        if opened is not None and opened[0] == mark[0] and before.strip() and after in _AFTER_STRONG:
            gone += [opened, mark]
            opened = None
        elif opened is None and after.strip() and before in _BEFORE_STRONG:
            opened = mark
    pieces, position = [], 0
    for mark in sorted(gone, key=lambda mark: mark.start()):
        pieces.append(line[position : mark.start()])
        position = mark.end()
    return "".join(pieces) + line[position:]


def _only_value(container: Any) -> Any:
    if isinstance(container, dict):
        named = [value for key, value in container.items() if str(key).strip().lower() in _ANSWER_KEYS]
        values = named if len(container) > 1 else list(container.values())
    else:
        values = list(container)
    return values[0] if len(values) == 1 else None
