"""Writes entries as Markdown that people and agents read and that people may edit, and reads it back.

    ### Warning: signs of a square root
    <!-- flex-dspy entry 46634f79 -->

    > The strategy, one paragraph or several.

    - A rule.
      - An example of it.

The comment names the entry. A heading without a comment is a new entry that a person added.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from flex_dspy.core.zones import ZONES, Zone
from flex_dspy.libraries.experience import Experience, Rule
from flex_dspy.sharing.escaping import escape, escape_line, unescape

_HEADING = re.compile(rf"### +(?:({'|'.join(ZONES)})(?: *: *| *$))?(.*)", re.IGNORECASE)
_HIGHER = re.compile(r"##? ")  # no line of a lesson's own texts begins like this
_ENTRY = re.compile(r"<!-- flex-dspy entry ([0-9A-Za-z._-]{1,80}) -->")
_EXAMPLE = re.compile(r"(?:  |\t)[ \t]*[-*+](?: (.*)|[ \t]*)")
_RULE = re.compile(r"[-*+](?: (.*)|[ \t]*)")
_QUOTE = re.compile(r"> ?(.*)")


@dataclass(frozen=True, slots=True)
class Lesson:
    """The part of an entry that an export shows, without white space at the ends of lines and texts.

    Attributes:
        zone: See ``Experience``.
        category: See ``Experience``.
        method: See ``Experience``.
        rules: Text and examples of each rule.
    """

    zone: Zone
    category: str
    method: str
    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, entry: Experience) -> Lesson:
        """The lesson of an entry."""
        rules = (Rule(_trim(rule.text), _texts(rule.examples)) for rule in entry.rules)
        kept = tuple(rule for rule in rules if rule.text or rule.examples)
        return cls(entry.zone, " ".join(entry.category.split()), _trim(entry.method), kept)

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits of a hash of the content. They show whether a lesson was edited."""
        parts = [self.zone, self.category, self.method, [[rule.text, rule.examples] for rule in self.rules]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Block:
    """A lesson in a file.

    Attributes:
        entry: The beginning of the entry's id; "" if a person added the lesson.
        lesson: Its content.
        line: The line of its heading in the text that was read, from 1.
    """

    entry: str
    lesson: Lesson
    line: int


def _trim(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n")).strip()


def _texts(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text for text in map(_trim, texts) if text)


# -- writing -----------------------------------------------------------------------------------------------


def lesson_text(lesson: Lesson, entry: str) -> str:
    """A lesson as Markdown that ends with a line end.

    Args:
        lesson: The lesson.
        entry: The entry's id, or its beginning.
    """
    lines = [
        "### " + ": ".join(filter(None, (lesson.zone.capitalize(), escape_line(lesson.category)))),
        f"<!-- flex-dspy entry {entry} -->",
        "",
    ]
    if lesson.method:
        lines += [f"> {line}".rstrip() for line in escape(lesson.method).split("\n")] + [""]
    for rule in lesson.rules:
        lines += _item("- ", rule.text)
        lines += [line for example in rule.examples for line in _item("  - ", example)]
    return "\n".join([*lines, *([""] if lesson.rules else []), ""])


def _item(mark: str, text: str) -> Iterator[str]:
    first, *more = escape(text).split("\n")
    yield f"{mark}{first}".rstrip()
    yield from (f"{' ' * len(mark)}{line}".rstrip() for line in more)


# -- reading -----------------------------------------------------------------------------------------------


def read_lessons(text: str) -> list[Block]:
    """The lessons of a text, in order.

    Text before the first lesson is skipped. So is text under a person's own headings of a higher level.

    Args:
        text: Markdown, as ``lesson_text`` writes it and people edit it.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    found = ((number, _HEADING.fullmatch(line.rstrip())) for number, line in enumerate(lines))
    headings = [(number, heading) for number, heading in found if heading]
    ends = [number for number, line in enumerate(lines) if _HEADING.fullmatch(line.rstrip()) or _HIGHER.match(line)]
    ends.append(len(lines))
    return [_block(heading, lines[start : ends[bisect_right(ends, start)]], start + 1) for start, heading in headings]


def _block(heading: re.Match[str], lines: list[str], number: int) -> Block:
    found = (_ENTRY.fullmatch(line.strip()) for line in lines[1:])
    entry = next((match[1] for match in found if match), "")
    method, rules = _read_body(line for line in lines[1:] if not _ENTRY.fullmatch(line.strip()))
    zone = next((zone for zone in ZONES if zone == (heading[1] or "").lower()), ZONES[0])
    category = " ".join(unescape(heading[2]).split())
    return Block(entry, Lesson(zone, category, method, rules), number)


def _read_body(lines: Iterator[str]) -> tuple[str, tuple[Rule, ...]]:
    """The strategy and the rules. A line without a mark continues the text before it."""
    method: list[str] = []
    rules: list[list[list[str]]] = []  # for each rule: its text and its examples, each as lines
    for line in lines:
        if rules and (example := _EXAMPLE.fullmatch(line)):
            rules[-1].append([example[1] or ""])
        elif rule := _RULE.fullmatch(line):
            rules.append([[rule[1] or ""]])
        elif rules:
            indent = 2 if len(rules[-1]) == 1 else 4
            rules[-1][-1].append(_without_indent(line, indent))
        elif quote := _QUOTE.fullmatch(line):
            method.append(quote[1])
        else:
            method.append(line)
    return _join(method), tuple(_rule(texts) for texts in rules)


def _without_indent(line: str, width: int) -> str:
    return line[min(width, len(line) - len(line.lstrip(" "))) :]


def _rule(texts: list[list[str]]) -> Rule:
    text, *examples = map(_join, texts)
    return Rule(text, tuple(example for example in examples if example))


def _join(lines: list[str]) -> str:
    return _trim(unescape("\n".join(line.rstrip() for line in lines)))
