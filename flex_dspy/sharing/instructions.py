"""Exports a library as instructions for agents that do not use this package: a section of AGENTS.md, or a skill.

Example:
    >>> from flex_dspy.libraries.experience import Experience, Rule
    >>> from flex_dspy.libraries.library import ExperienceLibrary
    >>> lesson = Experience("golden", "Count the complement.", (Rule("P(some) = 1 - P(none)"),), category="chances")
    >>> export = export_instructions(ExperienceLibrary([lesson], task="dice"))
    >>> print(export.section.body.splitlines()[-5])
    ### Golden: chances
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flex_dspy.core.errors import ConfigurationError, LibraryError
from flex_dspy.core.terminal import visible
from flex_dspy.core.tokens import tokens
from flex_dspy.evaluation.entry_values import EntryValue
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import make_folder, write_atomically
from flex_dspy.sharing.choosing import Choice, choose
from flex_dspy.sharing.lessons import Lesson, lesson_text
from flex_dspy.sharing.sections import SECTION_NAME, Section, put_section

SKILL = "SKILL.md"
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_NAME_LENGTH = 64  # longest name that the format of skills allows
_DESCRIPTION_LENGTH = 1_024
_ID_LENGTH = 8  # letters that a short id has, unless the ids of two entries begin with them

_INTRODUCTION = """\
## {title}

These are lessons that were learned by solving problems{task}. They are advice and no orders: what the user and the
other instructions say comes first. **Golden** lessons come from success, **warning** lessons from failure, **mixed**
lessons from a failure that was put right. Look for the lessons whose heading fits the problem, and apply their rules.

{chosen}. Solved cases and worked instances are left out. Library {digest}."""


@dataclass(frozen=True, slots=True)
class Instructions:
    """An export.

    Attributes:
        section: The text with its markers.
        choice: The entries in the section, and the entries that were left out.
        tokens: An estimate of the tokens of the whole section.
    """

    section: Section
    choice: Choice
    tokens: int


def export_instructions(
    library: ExperienceLibrary,
    values: Mapping[str, EntryValue] | None = None,
    *,
    tokens: int = 4_000,
    name: str = "",
) -> Instructions:
    """Write the best lessons of a library as Markdown.

    Args:
        library: The library.
        values: Measured values of its entries, by id (see ``flex_dspy.evaluation.entry_values``).
        tokens: Largest number of tokens of the section, by the cautious estimate of ``flex_dspy.core.tokens``.
        name: Name of the section; by default the name of the task.

    Raises:
        ConfigurationError: If the budget is too small for one entry, or the name is not allowed.
    """
    if name and not SECTION_NAME.fullmatch(name):
        raise ConfigurationError(f"a section's name has letters, digits, hyphens, dots and underscores, got {name!r}")
    ids = short_ids(library)
    name = name or slug(library.task) or "experience"
    empty = _instructions(library, name, Choice((), (), 0, 0), ids)
    room = tokens - empty.tokens - _counting_tokens(len(library))
    choice = choose(library, values or {}, room, lambda entry: _entry_text(entry, ids) + _listing(entry, ids))
    if not choice.entries and len(library):
        raise ConfigurationError(f"no entry fits in {tokens} tokens: allow more with --tokens, or prune the library")
    return _instructions(library, name, choice, ids)


def _counting_tokens(entries: int) -> int:
    """The number of tokens to reserve for the numbers in the introduction."""
    return 40 + 4 * len(str(entries))


def _entry_text(entry: Experience, ids: Mapping[str, str]) -> str:
    return lesson_text(Lesson.of(entry), ids[entry.id])


def _listing(entry: Experience, ids: Mapping[str, str]) -> str:
    return f" {ids[entry.id]}:{Lesson.of(entry).digest}"


def _instructions(library: ExperienceLibrary, name: str, choice: Choice, ids: Mapping[str, str]) -> Instructions:
    task = f" of the task {slug(library.task)}" if slug(library.task) else ""
    head = _INTRODUCTION.format(
        title=f"Lessons from experience: {name}", task=task, chosen=choice.text(), digest=library.hash[:12]
    )
    body = "\n\n".join([head, *(_entry_text(entry, ids).strip() for entry in choice.entries)])
    section = Section(name, {ids[entry.id]: Lesson.of(entry).digest for entry in choice.entries}, body)
    return Instructions(section, choice, tokens(section.text()))


def short_ids(library: ExperienceLibrary) -> dict[str, str]:
    """For each id its beginning: eight letters, or as many more as no other id shares."""
    ids = sorted(entry.id for entry in library)
    short: dict[str, str] = {}
    for before, own, after in zip(["", *ids], ids, [*ids[1:], ""], strict=False):
        length = _ID_LENGTH
        while length < len(own) and own[:length] in (before[:length], after[:length]):
            length += 1
        short[own] = own[:length]
    return short


def slug(text: str) -> str:
    """A text as a name of lowercase letters, digits and hyphens; "" if nothing remains."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))[:_NAME_LENGTH].strip("-")


# -- files -------------------------------------------------------------------------------------------------


def write_agents_md(path: Path, instructions: Instructions) -> None:
    """Put the section into an AGENTS.md. The text outside the section's markers does not change by a byte.

    Args:
        path: The file; it need not exist.
        instructions: The export.

    Raises:
        LibraryFormatError: If the section that is there is damaged.
        LibraryError: If the file cannot be read or written.
    """
    _write(path, put_section(_read(path), instructions.section, path))


def write_skill(folder: Path, instructions: Instructions, description: str = "") -> Path:
    """Write a skill, which is a folder with a SKILL.md. If the file exists, only the section in it is replaced.

    Args:
        folder: The folder. Its name is the name of the skill: lowercase letters, digits and hyphens.
        instructions: The export.
        description: When an agent should use the skill; by default made from the categories of the entries.

    Returns:
        The file.

    Raises:
        ConfigurationError: If the folder's name cannot be the name of a skill.
        LibraryFormatError: If the section that is there is damaged.
        LibraryError: If the file cannot be read or written.
    """
    name = folder.resolve().name
    if not _NAME.fullmatch(name) or len(name) > _NAME_LENGTH:
        raise ConfigurationError(
            f"a skill is named as its folder, with small letters, digits and hyphens: {name!r} is no such name"
            + (f", {slug(name)!r} would be" if slug(name) else "")
        )
    path = folder / SKILL
    old = _read(path) or _front_matter(name, description or _description(instructions))
    _write(path, put_section(old, instructions.section, path))
    return path


def _front_matter(name: str, description: str) -> str:
    """The YAML of a skill. Values are written as JSON, which is valid YAML, so they cannot break the structure."""
    shown = " ".join(visible(description).replace("<", "(").replace(">", ")").split())[:_DESCRIPTION_LENGTH]
    return f"---\nname: {name}\ndescription: {json.dumps(shown)}\n---\n"


def _description(instructions: Instructions) -> str:
    entries = instructions.choice.entries
    categories = list(dict.fromkeys(" ".join(entry.category.split())[:60] for entry in entries if entry.category))
    about = f", such as {'; '.join(categories[:8])}" if categories else ""
    return f"Lessons learned from solving {instructions.section.name} problems. Use when you solve one of them{about}."


def _read(path: Path) -> str:
    """The text of a file with unchanged line ends; "" if the file does not exist."""
    try:
        return path.read_bytes().decode() if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise LibraryError(path, "the file", f"cannot be read: {error}", "Choose another path") from error


def _write(path: Path, text: str) -> None:
    try:
        make_folder(path.parent)
    except OSError as error:
        raise LibraryError(path, "the folder", f"cannot be made: {error.strerror}", "Choose another path") from error
    write_atomically(path, text)
