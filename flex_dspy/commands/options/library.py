"""The options of the commands of ``flex-dspy library``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from flex_dspy.commands.arguments import (
    EXCLUSIVE,
    RULES,
    NotNegative,
    Positive,
    PrintJson,
    Rules,
    Share,
    TaskName,
    Zone,
    default_of,
    read_rules,
)
from flex_dspy.commands.options.shared import DATA, MEASURING, OUTPUT, PRUNING, ActorRun, ExampleOptions
from flex_dspy.evaluation.settings import LEAST_BUDGET, PruningSettings, ValuationSettings

EDIT = Group("Edit")
LESSON = Group("Lesson")
Flag = Annotated[bool, Parameter(group=(EDIT, EXCLUSIVE))]
Calls = Annotated[int, Parameter(validator=Number(gte=LEAST_BUDGET))]


@Parameter(name="*")
@dataclass(frozen=True)
class Selection:
    """The entries to print."""

    entry_id: Annotated[str | None, Parameter(name="--id")] = None
    """Only the entry with this id, or those whose ids begin with it."""
    zone: Zone | None = None
    """Only entries of this zone."""
    category: str | None = None
    """Only entries with this text in their category."""
    by_category: bool = False
    """All entries of a category together, with their common method once."""
    limit: Positive = 20
    """Most entries to print; most categories with --by-category."""
    skip: NotNegative = 0
    """Entries, or categories, to leave out at the beginning."""


@Parameter(name="*", group=EDIT)
@dataclass(frozen=True)
class Edit:
    """One change of an entry; none of them means: in $EDITOR."""

    assignments: Annotated[tuple[str, ...], Parameter(name="--set", group=(EDIT, EXCLUSIVE))] = ()
    """FIELD=VALUE: a field's new value; rules are a JSON list. May be repeated."""
    remove: Flag = False
    """Remove the entry."""
    pin: Flag = False
    """Keep the entry from pruning, and from rewording by merges."""
    unpin: Flag = False
    """Allow pruning and rewording again."""


@Parameter(name="*", group=LESSON)
@dataclass(frozen=True)
class Lesson:
    """A lesson that a person adds."""

    method: str
    """The strategy, one paragraph."""
    rule: tuple[str, ...] = ()
    """When to do exactly what. May be repeated."""
    zone: Zone = "golden"
    """golden: advice; warning: what goes wrong; mixed: a way out of it."""
    category: str = ""
    """The problem family."""
    priority: Annotated[int, Parameter(validator=Number(gte=1, lte=5))] = 3
    """1 (minor) to 5 (decisive)."""
    trajectory: str = ""
    """A worked instance."""
    step: str = ""
    """Name of the predictor that it is for, in a program of several."""
    author: str = "a person"
    """Who wrote it; the entry says so."""
    unpinned: bool = False
    """Allow merges to reword it, and pruning to remove it."""
    review: bool = False
    """Let it wait for approval. No actor is shown it before."""


@Parameter(name="*")
@dataclass(frozen=True)
class ValueOptions(ActorRun):
    """All options of ``library value``."""

    data: ExampleOptions = ExampleOptions()
    confidence: Annotated[Share, Parameter(group=MEASURING)] = default_of(ValuationSettings, "confidence")
    """Confidence of the intervals."""
    top: Annotated[NotNegative, Parameter(group=OUTPUT)] = 20
    """Entries to print at each end."""
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), group=OUTPUT)] = None
    """The file to write (default: LIBRARY.value.json)."""
    json: Annotated[PrintJson, Parameter(group=OUTPUT)] = False


@Parameter(name="*", group=PRUNING)
@dataclass(frozen=True)
class PruningOptions:
    """Which entries are removed."""

    by: Annotated[Rules, Parameter(help=f"Some of {','.join(RULES)}.")] = "value"
    estimates: Path | None = None
    """By value: the file of estimates (default: the one beside the library)."""
    min_value: float = default_of(PruningSettings, "min_value")
    """By value: entries that add less are removed."""
    confidence: Share = default_of(PruningSettings, "confidence")
    """By value: confidence that all that are removed add less."""
    stale_after: Positive = 1_000
    """Stale: entries neither shown nor changed within so many examples are removed."""
    redundancy: Share = 0.8
    """Redundant: the share of words in common from which two texts count as the same."""
    dry_run: bool = False
    """Print the plan, and change nothing."""

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the rules."""
        return read_rules(self.by)


@Parameter(name="*")
@dataclass(frozen=True)
class PruneOptions(ActorRun):
    """All options of ``library prune``."""

    pruning: PruningOptions = PruningOptions()
    task: Annotated[TaskName | None, Parameter(group=DATA)] = None
    """The task: accuracy is measured before and after."""
    data: ExampleOptions = ExampleOptions()
    json: Annotated[PrintJson, Parameter(group=OUTPUT)] = False


@Parameter(name="*")
@dataclass(frozen=True)
class FitOptions:
    """All options of ``library fit``."""

    examples: Annotated[Positive, Parameter(group=DATA)] = 50_000
    """Most precedents to fit on."""
    seed: Annotated[int, Parameter(group=DATA)] = 0
    """Of the choice of precedents."""
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), group=OUTPUT)] = None
    """The file to write (default: LIBRARY.ranking.json)."""
    json: Annotated[PrintJson, Parameter(group=OUTPUT)] = False
