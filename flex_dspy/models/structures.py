"""Reads a JSON object or list from a language model's text, and lists that are not JSON.

A model may add prose and fences, write Python instead of JSON, leave a comma at the end or a quote unescaped. All of
that is read. A structure that is cut short is refused. A text with two different structures is refused too.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from flex_dspy.core.text import MAX_LENGTH, sound, truncate
from flex_dspy.metrics.answers import last_box, last_tag
from flex_dspy.metrics.cleaning import clean_answer, depth, parse_container, visible_answer, without_quotes

MAX_DEPTH = 50
# json_repair takes quadratic time if quotes do not match.
_MAX_REPAIRED, _MAX_QUOTES = 20_000, 400
_MOST_SPANS = 20
_CUT_SHORT = "found an answer that was cut short: it opens a bracket and never closes it"
# Brackets and JSON texts, because a bracket inside a text does not count.
_MARKS = {"{": re.compile(r'[{}]|"(?:[^"\\\n]|\\.)*+"'), "[": re.compile(r'[\[\]]|"(?:[^"\\\n]|\\.)*+"')}
_CLOSING = {"{": "}", "[": "]"}

_TOKEN = re.compile(
    r'(?P<text>"(?:[^"\\]|\\.)*+(?:"|\Z))|(?P<comment>//[^\n]*|/\*.*?(?:\*/|\Z)|(?<=\s)#[^\n]*)'
    r"|(?P<comma>,(?=\s*+(?:(?://|#)[^\n]*\n\s*+)?[}\]]))|\b(?P<word>True|False|None)\b",
    re.DOTALL,
)
_JSON_WORDS = {"True": "true", "False": "false", "None": "null"}
_BAD_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|(\\)', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
# Two texts in the place of one: "a" or "b".
_SEVERAL = re.compile(r'"\s*(?:or|and|,|/|\|)\s*"')
_WORD = re.compile(r"\w+")

_EMPTY = re.compile(
    r"(?:\[\s*\]|\(\s*\)|none|null|nil|n/?a|empty|nothing|[-–—]|(?:an\s)?empty\slist|not\sapplicable"
    r"|no\s(?:items?|entries|elements|alternatives))[.!]?",
    re.IGNORECASE,
)
_BULLET = re.compile(r"(?P<indent>\s*)(?:[-*•–+]|\(?\d{1,3}[.):]|\(?[a-z][.)])\s+(?=\S)", re.IGNORECASE)
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+")
_SENTENCE = re.compile(r"[.!?](?:\s|\Z)|\b(?:is|are|was|were|the|not|cannot|would|should|because|I|you|if)\b|\|")
# Signs in an item of a list without brackets that the list was not understood, or has an open end.
_STRAY = re.compile(r'["{}]|</|\A(?:others?|more|etc|or|not)\b|\.\.\.|…', re.IGNORECASE)
_MOST_WORDS = 6
_LONGEST_ITEM = 300
# Words before a list which show that the list is not the answer.
_DOUBT = re.compile(
    r"\b(?:not|never|no|wrong|incorrect|rejected|cannot|instead|options?|or|candidates?|example|e\.g|if)\b|n['’]t\b|\?",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"(?:\A|\s)(?://|#).*")
_LEADS_TO_LIST = re.compile(r"(?:\A|[\n:=]|\b(?:is|are))[ \t`*\"']{0,4}\Z")


def read_object(text: str) -> dict[str, Any]:
    """The only JSON object in a text.

    Raises:
        ValueError: If there is none, it is cut short, or there are two. The message says what was found.
    """
    found = _structure(text, "{")
    if not isinstance(found, dict):
        raise ValueError(f"found no JSON object in {quote(text)}")
    return found


def read_list(text: str, *, of_text: bool) -> list[Any]:
    """The items of the only list in a text: JSON, Python, bullets, numbered or plain lines, or items between commas.

    Args:
        text: The text of one field.
        of_text: Whether the items are texts; a sentence with commas is then not a list.

    Raises:
        ValueError: If there is none, it is cut short, or there are two. The message says what was found.
    """
    exact = _load_json(text)
    if isinstance(exact, list):
        found: list[Any] = sound(exact)
        return found
    text = _unwrap(textwrap.dedent(text))
    clean = clean_answer(text)
    if _EMPTY.fullmatch(clean):
        return []
    if clean[:1] in ("{", "[", "(") or "[" in text:
        try:
            return _as_list(text)
        except LookupError:
            pass
    items = _plain_items(clean, of_text=of_text)
    if items is None or any(map(_STRAY.search, items)):
        raise ValueError(f"found no list in {quote(text)}")
    return items


def _unwrap(text: str) -> str:
    """The content of an ``<answer>`` tag or box around the whole text (without its reasoning); else the text."""
    visible = visible_answer(text).strip("$ \n")
    if visible.startswith("<answer>"):
        return last_tag(visible) or text
    return last_box(visible) or text if visible.startswith("\\boxed{") and visible.endswith("}") else text


def quote(text: str) -> str:
    """A text for a message: in quotes and shortened."""
    return repr(truncate(" ".join(text[:1_000].split()), 80))


# -- JSON and its look-alikes ------------------------------------------------------------------------------


def _as_list(text: str) -> list[Any]:
    """A list in brackets; LookupError if there is none."""
    clean = clean_answer(text)
    if clean.startswith("{"):
        values = list(read_object(text).values())
        lists = [value for value in values if isinstance(value, list)]
        if len(lists) == 1 and len(values) == 1:
            return lists[0]
        raise ValueError(f"found an object and no list in {quote(text)}")
    if clean.startswith("("):
        found = parse_container(clean)
        if isinstance(found, tuple):
            return list(found)
    found = _structure(text, "[")
    if not isinstance(found, list):
        raise LookupError
    return found


def _structure(text: str, opening: str) -> Any:
    """The only structure in a text that begins with this bracket; None if there is none."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"found a text of {len(text)} characters, which is too long")
    wanted = dict if opening == "{" else list
    found = _load_json(text)
    if isinstance(found, wanted):
        return sound(found)
    text = visible_answer(text)
    if text.startswith("[{") and "]" not in text[text.rfind("}") :]:
        raise ValueError(_CUT_SHORT)
    parsed = [
        _parse_span(text[start:end])
        for start, end in _spans(text, opening)
        if opening == "{" or _is_answer(text, start, end)
    ]
    if not any(isinstance(value, wanted) for value in parsed):
        whole = clean_answer(text)
        parsed = [_repair_json(whole)] if whole[:1] == opening and whole[-1:] == _CLOSING[opening] else []
    parsed = [value for value in parsed if isinstance(value, wanted)]
    different = [value for place, value in enumerate(parsed) if value not in parsed[:place]]
    if len(different) > 1:
        raise ValueError(f"found {len(different)} of them in {quote(text)}")
    return sound(different[0]) if different else None


def _is_answer(text: str, start: int, end: int) -> bool:
    """Whether brackets in a text hold the answer's list, and not for example a source such as [1] in prose."""
    before = text[max(start - 200, 0) : start]
    behind = _COMMENT.sub("", text[end:].split("\n", 1)[0]).strip(" \t`*\"'.,;")
    return bool(_LEADS_TO_LIST.search(before)) and not behind and not _DOUBT.search(before)


def _spans(text: str, opening: str) -> Iterator[tuple[int, int]]:
    """Start and end of each outermost pair of brackets in a text.

    Raises:
        ValueError: If a bracket is never closed, because the answer was cut short.
    """
    start, level, found = 0, 0, 0
    for mark in _MARKS[opening].finditer(text):
        if mark[0] == opening:
            start = start if level else mark.start()
            level += 1
        elif level and mark[0] == _CLOSING[opening]:
            level -= 1
            if not level and found < _MOST_SPANS:
                found += 1
                yield start, mark.end()
    if level:
        raise ValueError(_CUT_SHORT)


def _parse_span(span: str) -> Any:
    """The value of a span with balanced brackets: JSON, JSON with small errors, or Python; None otherwise."""
    if depth(span) > MAX_DEPTH:
        return None
    for attempt in (_load_json, _mend_json, parse_container):
        value = attempt(span)
        if value is not None:
            return value
    return None


def _load_json(text: str) -> Any:
    if depth(text) > MAX_DEPTH:
        return None
    try:
        return json.loads(text, strict=False)
    except ValueError:
        return None


def _mend_json(span: str) -> Any:
    """Parse JSON after comments, trailing commas, wrong escapes and Python's words are corrected."""

    def token(found: re.Match[str]) -> str:
        if found["text"]:
            return _BAD_ESCAPE.sub(lambda escape: r"\\" if escape[1] else escape[0], found["text"])
        return _JSON_WORDS.get(found["word"] or "", "")

    return _load_json(_TOKEN.sub(token, span))


def _repair_json(span: str) -> Any:
    """Repair a short span by json_repair; None if a word was lost, as it drops parts that it does not understand."""
    if len(span) > _MAX_REPAIRED or depth(span) > MAX_DEPTH or span.count('"') + span.count("'") > _MAX_QUOTES:
        return None
    import json_repair

    value: Any = json_repair.loads(span)
    told = " ".join(_words_of(value))
    if sorted(_WORD.findall(told)) != sorted(_WORD.findall(_ESCAPE.sub(" ", span))):
        return None
    in_list = isinstance(value, list) and any(isinstance(item, str) and '"' in item for item in value)
    return None if in_list or _SEVERAL.search(told) else value


def _words_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _words_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words_of(inner)
    elif isinstance(value, str):
        yield _ESCAPE.sub(" ", value) if "\\" in value else value
    else:
        yield json.dumps(value)


# -- lists that are no JSON --------------------------------------------------------------------------------


def _plain_items(text: str, *, of_text: bool) -> list[str] | None:
    """Items after bullets or numbers, one on each line, or between commas; None if no form is clear."""
    lines = [line for line in text.splitlines() if line.strip()]
    bullets = [found for found in map(_BULLET.match, lines) if found]
    if len(lines) > 1 and (lines[0].rstrip().endswith(":") or (bullets and not _BULLET.match(lines[0]))):
        if _DOUBT.search(lines[0]) or len(lines[0].split()) > 2 * _MOST_WORDS:
            return None
        lines = lines[1:]
    if bullets:
        even = len(bullets) == len(lines) and len({found["indent"] for found in bullets}) == 1
        return [_bare(_BULLET.sub("", line, count=1)) for line in lines] if even else None
    if len(lines) > 1:
        return None if any(map(_is_prose, lines)) else [_bare(line) for line in lines]
    return None if _is_prose(text.rstrip(".")) else _behind_commas(text, of_text=of_text)


def _behind_commas(text: str, *, of_text: bool) -> list[str] | None:
    """The items of ``a, b, c`` or ``a; b; c``; one short item is a list of one item."""
    if _THOUSANDS.fullmatch(text):
        return None
    *items, last = re.split(";" if ";" in text else ",", text.rstrip("."))
    if " and " in f" {last.strip()}":
        if of_text and len(items) < 2:
            return None  # for example "salt and pepper"
        items += [part for part in re.split(r"\band\b", last) if part.strip()]
    else:
        items.append(last)
    items = [_bare(item) for item in items]
    if len(items) == 1 and (" " in items[0] or len(items[0]) > _LONGEST_ITEM):
        return None
    return items if all(map(_WORD.search, items)) else None


def _bare(item: str) -> str:
    return without_quotes(item.strip().rstrip(",;").strip())


def _is_prose(line: str) -> bool:
    """Whether a line is a sentence and not the name of an item."""
    longest = max((len(part.split()) for part in re.split("[,;]", line)), default=0)
    return longest > _MOST_WORDS or bool(_SENTENCE.search(line)) or line.rstrip().endswith(":")
