"""Finds the one allowed label that an answer names.

A label may be written in another case, with spaces or hyphens instead of underscores, in quotes or emphasis, after
"Label:", or in a sentence. Two labels, a denied label, and a word that only looks like a label are not read.

Example:
    >>> find_label("Intent: **Pending transfer**", ["transfer", "pending_transfer"])
    'pending_transfer'
    >>> find_label("either transfer or pending_transfer", ["transfer", "pending_transfer"])
    Traceback (most recent call last):
    flex_dspy.metrics.labels.LabelError: found two of them: transfer, pending_transfer
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from flex_dspy.core.text import truncate
from flex_dspy.metrics.answers import DISTANCE, last_box, last_tag
from flex_dspy.metrics.cleaning import after_retraction, clean_answer

_LONGEST = 5_000  # characters; in a longer text, a label in a sentence is searched only at the beginning and the end
_SHOWN = 5

_WRAPPED = re.compile(r"\A(?:Literal|str|Enum)\[(.*)\]\Z", re.DOTALL)
# Marks that may belong to a label itself are not removed: A-, C++, C#, -1.
_AROUND = " \t\n.,;:\"'`“”‘’()[]{}<>|→"
_BULLET = re.compile(r"\A(?:[-*•–]|\d{1,2}[.)])\s{1,9}")
_NAMES = (
    r"(?:label|intent|category|class|classification|answer|sentiment|prediction|output|result|verdict|decision|topic"
    r"|choice|type|tag|option|rating|response|conclusion|judge?ment)"
)
_PREFIX = re.compile(rf"\A(?:(?:the|my|final|predicted|correct|best|most\slikely)\s)*{_NAMES}\s?[:=]\s?", re.IGNORECASE)
_OPENING, _CLOSING = r"[\"'`*(\[]{0,3}", r"[\"'`*)\]]{0,3}"
_VERB = (
    r"(?:\s{0,3}(?:[:=→]|->|=>)\s{0,3}|\s(?:is|would\sbe|should\sbe|must\sbe)\s?[:\s]\s?"
    r"(?:therefore\s|thus\s|clearly\s)?(?:the\s|an?\s)?)"
)
# "The label is x": states the answer.
_ANNOUNCED = re.compile(rf"\b{_NAMES}\b[\"'`*]{{0,3}}(?:\s\([^()\n]{{0,30}}\))?{_VERB}{_OPENING}\Z", re.IGNORECASE)
# "This is x", "classified as x", "falls under x": only mentions the answer.
_LED_TO = re.compile(
    r"(?:\b(?:is|as|was|under|choose|select|pick|answer|into|to|be|with|of)\b|[:=→]|->|=>)\s{0,3}"
    rf"(?:the\s|an?\s|(?:the\s)?(?:label|intent|category|class|option)\s)?{_OPENING}\Z",
    re.IGNORECASE,
)
_CLOSED = re.compile(
    rf"{_CLOSING}\s{{0,3}}(?:[.,;:!)\n–—(]|\Z|\b(?:because|since|as|with|overall|here|in\sthis|intent|label|category"
    r"|class|sentiment|review|tone|one|option|(?:and\s)?not|rather\sthan|instead\sof)\b)",
    re.IGNORECASE,
)
_CONTRACTED = r"(?:is|was|are|do|does|did|ca|could|wo)n['’]?t"
_DENIED = re.compile(
    r"(?:\b(?:not|never|no|neither|nor|without|except|excluding|than|instead\sof|unlike|non|cannot|rules?\sout|ruled\sout"
    rf"|exclude|{_CONTRACTED})\b|\bnon-)(?:\s(?!but\b)[\w'’]{{1,15}}){{0,4}}[\s\"'`*(\[]{{0,3}}\Z",
    re.IGNORECASE,
)
_DENIED_BEHIND = re.compile(
    rf"\A{_CLOSING}\s?(?:(?:is|was|seems|looks|would\sbe|does|do|can|could|has|did)\s?(?:\w{{1,10}}\s)?(?:not\b|n['’]t"
    rf"|wrong|incorrect|unlikely|inappropriate|ruled|excluded|rejected)|{_CONTRACTED}\b|cannot\b"
    r"|\(?(?:wrong|incorrect|rejected|no)\b|[?/|]|[:=–—-]\s{0,3}(?:false|no|null|none|n/?a)\W{0,3}(?:\Z|\n))",
    re.IGNORECASE,
)
_DISTANCED = re.compile(rf"\b(?:{DISTANCE})\b", re.IGNORECASE)
_POLITE = re.compile(r"\b(?:let me know|feel free|i hope|please)\b[^.!?\n]*[.!?]?", re.IGNORECASE)
_JOINED = re.compile(
    r"\A[\"'`*)\].,;:\s]{0,6}(?:or|and(?:/or)?|/|\||vs\.?|versus|,|then|but|\()?[\s\"'`*(\[,]{0,6}"
    r"(?:perhaps|maybe|possibly|also|even|alternatively|rather)?[\s\"'`*(\[]{0,4}\Z",
    re.IGNORECASE,
)
_LOST = r"if|whether|unless|either|neither|cannot|can['’]?t|unclear|unknown|unsure|undecided|unable|impossible"
_UNDECIDED = re.compile(
    rf"\?|\b(?:{_LOST}|or|could(?:n['’]?t)?|might|may|maybe|perhaps|possibly|alternatively|wait|actually|hmm|however"
    r"|otherwise|instead|sorry|correction|second\sthought)\b",
    re.IGNORECASE,
)
_HOPELESS = re.compile(
    rf"\?|\b(?:{_LOST}|not\s(?:sure|certain|clear|know|possible)|n['’]t\s(?:know|tell|decide|determine|be\s(?:sure"
    r"|determined)))\b",
    re.IGNORECASE,
)


class LabelError(ValueError):
    """A text that names no label, or several labels. The message lists the labels found."""


def find_label(text: str, labels: Sequence[str]) -> str:
    """The label that a text names.

    Args:
        text: One field of a model's answer.
        labels: The allowed labels.

    Raises:
        LabelError: The text names no label, several labels, or a label that it denies.
    """
    if text.strip() in labels:
        return text.strip()
    text = _answer_part(text)
    known = _by_key(tuple(labels))
    for form in (text, *_first_and_last(text)):
        label = known.get(_key(form))
        if label and (form is text or not _is_contradicted(text, form, label, tuple(labels))):
            return label
    return _find_name(text, tuple(labels))


def _answer_part(text: str) -> str:
    """The part of a text that is marked as the answer, without the marks."""
    text = truncate(after_retraction(_POLITE.sub("", clean_answer(text))), _LONGEST)
    inside = last_tag(text)
    text = text if inside is None else inside
    inner = last_box(text)
    text = clean_answer(text if inner is None else re.sub(r"\\text\w{0,2}\{([^{}]*)\}", r"\1", inner))
    found = _WRAPPED.match(text)
    return clean_answer(found[1]) if found else text


def _find_name(text: str, labels: tuple[str, ...]) -> str:
    """The label in a sentence."""
    mentions = _mentions(text, labels)
    found = list(dict.fromkeys(label for _, _, label in mentions))
    announced = {label for start, _, label in mentions if _is_led(_ANNOUNCED, text, start)}
    settled = any(_is_announced(text, start, end) for start, end, _ in mentions)
    if len(announced) == 1 and settled and _is_settled(text, mentions, announced):
        return announced.pop()
    if len(found) > 1:
        listed = ", ".join(found[:_SHOWN])
        raise LabelError(f"found {_count(len(found))} of them: {listed}{', ...' if len(found) > _SHOWN else ''}")
    if not found:
        raise LabelError("found none of them")
    if any(_is_denied(text, start, end) for start, end, _ in mentions):
        raise LabelError(f"found {found[0]}, but not as the answer")
    if _HOPELESS.search(text) or not any(_stands_out(text, mention) for mention in mentions):
        raise LabelError(f"found {found[0]} in a text that does not say that it is the answer")
    return found[0]


def _is_settled(text: str, mentions: list[tuple[int, int, str]], announced: set[str]) -> bool:
    """Whether a text that announces one label names no other label as a possible answer."""
    if any(_is_denied(text, start, end) for start, end, label in mentions if label in announced):
        return False
    others = [mention for mention in mentions if mention[2] not in announced]
    if not others:
        return not _HOPELESS.search(text)
    ends = [end for start, end, _ in mentions if _is_announced(text, start, end)]
    behind = [(start, end) for start, end, _ in others if start > min(ends)]
    if any(_JOINED.match(text[end:start]) for end in ends for start, _ in behind):
        return False
    denied = all(_is_denied(text, start, end) for start, end in behind)
    return denied or not _UNDECIDED.search(text[min(ends) :])


def _is_announced(text: str, start: int, end: int) -> bool:
    return _is_led(_ANNOUNCED, text, start) and bool(_CLOSED.match(text[end : end + 30]))


def _is_led(words: re.Pattern[str], text: str, start: int) -> bool:
    """Whether these words stand directly before a position."""
    return bool(words.search(text[max(start - 80, 0) : start]))


def _is_denied(text: str, start: int, end: int) -> bool:
    before = text[max(start - 80, 0) : start]
    sentence = re.split(r"[!?\n]|(?<!e\.g)\.\s", before)[-1] + re.split(r"[!?\n.,;]", text[end : end + 60])[0]
    clause = re.split(r"[.;:!?\n,]", before)[-1]
    return bool(_DISTANCED.search(sentence) or _DENIED.search(clause) or _DENIED_BEHIND.match(text[end : end + 40]))


def _stands_out(text: str, mention: tuple[int, int, str]) -> bool:
    """Whether a single mention is the answer: written as a label, in quotes, or at the place of an answer."""
    start, end, label = mention
    written = text[start:end]
    if _is_announced(text, start, end):
        return True
    if len(label) < 3:  # "a" is an article, "I" a person
        return False
    if written == label and not label.isalpha():
        return True
    if text[start - 1 : start] in ("`", '"', "'", "“", "*") and start:
        return True
    led = start == 0 or _is_led(_LED_TO, text, start)
    return led and bool(_CLOSED.match(text[end : end + 30]))


def _first_and_last(text: str) -> list[str]:
    """The first line, the last line and the first words, each only if it is not the whole text."""
    lines = [line for line in text.splitlines() if line.strip()]
    opening = re.split(r"[.,;:!(–—]\s|\s[-–—(]", text, maxsplit=1)[0] if text else ""
    return [line for line in (lines[:1] + lines[-1:] + [opening]) if line != text]


def _is_contradicted(text: str, form: str, label: str, labels: tuple[str, ...]) -> bool:
    """Whether the rest of a text names another label, denies this one, or leaves it open."""
    others = {other for _, _, other in _mentions(text, labels)} - {label}
    at = text.find(form)
    behind = text[at + len(form) :]
    denied = any(_is_denied(text, start, end) for start, end, other in _mentions(text, labels) if other == label)
    if others:
        return True
    return denied or bool(_HOPELESS.search(text)) or bool(re.match(r"\s*(?:\?|/|\||but\b|or\b|and\b)", behind))


@functools.lru_cache(maxsize=64)
def _by_key(labels: tuple[str, ...]) -> dict[str, str]:
    """Labels by their normalised form; empty if two labels have the same form."""
    keys = [_key(label) for label in labels]
    return {key: label for key, label in zip(keys, labels, strict=True) if key and keys.count(key) == 1}


def _key(text: str) -> str:
    """The normalised form of a label."""
    text = _BULLET.sub("", text.strip()).strip(_AROUND).rstrip("!")
    text = re.sub(
        rf"\A(?:(?:the|my|final|predicted|correct|best|most likely)\s)*{_NAMES}\s?[:=]\s?", "", text, flags=re.I
    )
    return re.sub(r"[\s_-]+", " ", text.strip(_AROUND)).casefold()


@functools.lru_cache(maxsize=64)
def _pattern(labels: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern that finds labels, the longest first, so that no label is found inside another."""
    words = [re.sub(r"(?:\\[\s_-]|[\s_-])+", r"[\\s_-]{1,3}", re.escape(label)) for label in labels]
    ordered = sorted((word for word in words if word), key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(ordered)})(?![\w-])", re.IGNORECASE)


def _mentions(text: str, labels: tuple[str, ...]) -> list[tuple[int, int, str]]:
    """Start, end and label of each mention of a label in a text."""
    known = _by_key(labels)
    found = [(hit.start(), hit.end(), known.get(_key(hit[0]))) for hit in _pattern(labels).finditer(text)]
    return [(start, end, label) for start, end, label in found if label is not None]


def _count(number: int) -> str:
    return {2: "two", 3: "three"}.get(number, str(number))
