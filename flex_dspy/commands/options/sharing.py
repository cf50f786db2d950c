"""The options of the commands that exchange libraries with other teams and tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from flex_dspy.commands.arguments import Positive

INSTRUCTIONS = Group("Instructions")

Form = Literal["skill", "agents-md"]
SectionName = Annotated[str | None, Parameter(name="--name", help="The section's name (default: the task's).")]


@Parameter(name="*", group=INSTRUCTIONS)
@dataclass(frozen=True)
class InstructionOptions:
    """How a library is written for agents that read instructions."""

    form: Annotated[Form | None, Parameter(name="--as")] = None
    """A folder with a SKILL.md, or a section of an AGENTS.md; all else in such a file stays."""
    tokens: Positive = 4_000
    """Most tokens of the section."""
    estimates: Path | None = None
    """The file of measured values (default: the one beside the library, if there is one)."""
    name: str | None = None
    """The section's name (default: the task's)."""
    description: str = ""
    """Of a new skill: when to use it."""


@Parameter(name="*")
@dataclass(frozen=True)
class PushOptions:
    """What a library is pushed with."""

    license: str = ""
    """Identifier of its licence, such as mit or cc-by-4.0."""
    public: bool = False
    """Let everybody read a repository that is made on the hub."""
    overwrite: bool = False
    """Replace another library that lies there."""
    with_secrets: bool = False
    """Push though some places look like secrets."""
