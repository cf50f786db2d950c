"""A section of a text file between two markers. This program writes only the section; the rest of the file stays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flex_dspy.core.errors import LibraryFormatError

SECTION_NAME = re.compile(r"[\w.-]{1,64}")
_BEGIN = re.compile(rf"<!-- flex-dspy begin ({SECTION_NAME.pattern})((?: [\w.:-]+)*) -->")
_END = "<!-- flex-dspy end -->"
_LISTED = re.compile(r"([0-9A-Za-z._-]{1,80}):([0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class Section:
    """The section of one library in a file.

    Attributes:
        name: Name of the section. A file may hold sections of several libraries.
        exported: The exported entries: the beginning of each id, and the digest of the lesson.
        body: The text between the markers.
    """

    name: str
    exported: Mapping[str, str]
    body: str

    def text(self) -> str:
        """The section with its markers, without a final line end."""
        listed = "".join(f" {entry}:{digest}" for entry, digest in self.exported.items())
        return f"<!-- flex-dspy begin {self.name}{listed} -->\n{self.body.strip()}\n{_END}"


def find_section(text: str, path: Path, name: str | None = None) -> tuple[Section, int, int] | None:
    """The section of a file, and the positions where it begins and ends.

    Args:
        text: The file's text.
        path: Name of the file in error messages.
        name: The section's name; None if the file has only one section.

    Raises:
        LibraryFormatError: If a section occurs twice or has no end, or if there are several sections and ``name`` is
            None.
    """
    begins = [match for match in _BEGIN.finditer(text) if name is None or match[1] == name]
    if not begins:
        return None
    if len(begins) > 1:
        names = ", ".join(sorted({match[1] for match in begins}))
        problem, remedy = f"has {len(begins)} sections ({names})", "Name one with --name, and let each be there once"
        raise LibraryFormatError(path, "the markers", problem, remedy)
    (begin,) = begins
    end = text.find(_END, begin.end())
    following = _BEGIN.search(text, begin.end())
    if end < 0 or (following and following.start() < end):
        problem = f"of the section {begin[1]} is missing"
        raise LibraryFormatError(path, "the end marker", problem, f"Put {_END} on the line after the section")
    exported = {match[1]: match[2] for word in begin[2].split() if (match := _LISTED.fullmatch(word))}
    return Section(begin[1], exported, text[begin.end() : end].strip()), begin.start(), end + len(_END)


def put_section(text: str, section: Section, path: Path) -> str:
    """The file's text with the new section. It replaces the section of the same name, or is added at the end.

    Raises:
        LibraryFormatError: If the existing section is damaged.
    """
    found = find_section(text, path, section.name)
    if found is not None:
        _, start, end = found
        return text[:start] + section.text() + text[end:]
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    return f"{text}{gap}{section.text()}\n"
