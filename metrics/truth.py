"""Reads whether a text says yes or no.

Example:
    >>> find_truth("**True**, because 7 is prime.")
    True
    >>> find_truth("The statement is not true.") is None
    True
"""

from __future__ import annotations

import re

from flex_dspy.core.text import truncate
from flex_dspy.metrics.answers import last_box, last_tag
from flex_dspy.metrics.cleaning import clean_answer

_LONGEST = 5_000

_YES = frozenset({"true", "yes", "correct", "accepted", "accept", "valid"})
_NO = frozenset({"false", "no", "incorrect", "rejected", "reject", "invalid", "wrong"})
# Short forms; they count only if the text contains nothing else.
_ALONE_YES, _ALONE_NO = frozenset({"1", "t", "y", "on", "right"}), frozenset({"0", "f", "n", "off"})
_WORD = "true|yes|correct|accepted|accept|valid|false|no|incorrect|rejected|reject|invalid|wrong"
_AROUND = " \t\n.,;:!\"'`“”‘’()[]{}<>*_→✓✗✅❌☑"

_CLOSED = r"(?=[\"'`*)\]]{0,3}\s{0,3}(?:\Z|[.,;:!\n)–—(]|-\s|\b(?:because|since|as|for|overall)\b))"
_LEADING = re.compile(rf"\A[\s\"'`*(\[✓✗✅❌☑]{{0,5}}({_WORD})\b{_CLOSED}", re.IGNORECASE)
# "accepted: no" and "is_correct = false": the first word is the name of the field.
_KEYED = re.compile(rf"\A(?:is[_\s])?(?:accepted|correct|valid|true)\s?[:=]\s?({_WORD})\b{_CLOSED}", re.IGNORECASE)
_BULLET = re.compile(r"\A[-•]\s+")
_SUBJECT = (
    r"(?:answer|verdict|result|output|label|value|prediction|decision|judg[e]?ment|classification|conclusion|response"
    r"|statement|claim|assertion|sentence|equation|attempt|solution|proof|proposition|accepted|correct|it|this|that)"
)
_ANNOUNCED = re.compile(
    rf"\b{_SUBJECT}\b[\"'`*]{{0,3}}\s{{0,3}}(?:[:=→]|->|=>|\b(?:is|was|must\sbe|should\sbe))\s{{0,3}}:?\s{{0,3}}"
    rf"(?:(?:therefore|thus|hence|clearly|definitely|indeed|completely|entirely|also)\s)?[\"'`*(\[]{{0,3}}({_WORD})\b{_CLOSED}",
    re.IGNORECASE,
)
# A claim anywhere in a text. "no" is a claim only if it stands alone; "no other primes" is none.
_CLAIM = re.compile(
    r"\b(?:(?:true|correct|accepted|valid)\b(?!\s?[:=])|(?:yes|false|incorrect|rejected|invalid|wrong)\b"
    r"|no\b(?=[\"'`*)\]}]{0,3}\s{0,3}(?:\Z|[.,;:!\n])))",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"(?:\b(?:not|never|hardly|neither|nor|cannot)|n['’]t)\b(?:\s[\w'’]{1,15}){0,3}\s[\"'`*(]{0,3}\Z", re.IGNORECASE
)
_QUESTION = re.compile(r"[^.!?\n]*\?")
_TURN = re.compile(
    r"\A[\"'`*)\].,;:!\s–—-]{0,6}(?:but|however|or|and|not|though|although|yet|except|only|unless|if)\b", re.IGNORECASE
)
_OPEN = re.compile(
    r"\b(?:doubt|far\sfrom|opposite|hardly|rarely|wait|actually|hmm|on\ssecond\sthought|correction"
    r"|depends|unclear|unknown|uncertain|unsure|undecided|cannot"
    r"|can['’]t|maybe|perhaps|not\s(?:sure|certain|clear|enough)|partial(?:ly)?|partly|sometimes|half|impossible\sto)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"\b(?:if|whether|unless|would|could|might|may|either|almost|nearly|part|assuming|suppose)\b", re.IGNORECASE
)


def find_truth(text: str) -> bool | None:
    """True or False, as the text says; None if it says neither, both, or only a negation.

    Args:
        text: One field of a model's answer.
    """
    text = _answer_part(text)
    word = text.strip(_AROUND).casefold()
    if word in _YES | _ALONE_YES | _NO | _ALONE_NO:
        return word in _YES | _ALONE_YES
    text = _BULLET.sub("", _QUESTION.sub(" ", text).strip())
    if _OPEN.search(text):
        return None
    leading = _KEYED.match(text) or _LEADING.match(text)
    if leading is not None:
        return _confirm(leading[1], text) if not _TURN.match(text[leading.end() :]) else None
    announced = {found[1].casefold() in _YES for found in _ANNOUNCED.finditer(text)}
    last = text.splitlines()[-1].strip(_AROUND).casefold() if text else ""
    if last in _YES | _NO:
        return _confirm(last, text)
    return (
        _confirm("yes" if announced.pop() else "no", text)
        if len(announced) == 1 and not _CONDITION.search(text)
        else None
    )


def _answer_part(text: str) -> str:
    text = truncate(clean_answer(text), _LONGEST)
    inside = last_tag(text)
    text = text if inside is None else inside
    inner = last_box(text)
    return clean_answer(text if inner is None else re.sub(r"\\text\w{0,2}\{([^{}]*)\}", r"\1", inner))


def _confirm(word: str, text: str) -> bool | None:
    """The meaning of the word; None if a claim of the text says the opposite."""
    truth = word.casefold() in _YES
    claims = [(hit[0].casefold() in _YES) ^ _is_negated(text, hit.start()) for hit in _CLAIM.finditer(text)]
    return truth if all(claim == truth for claim in claims) else None


def _is_negated(text: str, start: int) -> bool:
    clause = re.split(r"[.;:!?\n,]", text[max(start - 60, 0) : start])[-1]
    return _NEGATION.search(clause) is not None
