"""Inheritance: the gain of other actors from a library that one actor learned.

Each actor answers the same examples without a library and with each of the libraries.

Source: FLEX, arXiv 2511.06449, its section on the inheritance of experience.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy
from pydantic import TypeAdapter

from flex_dspy.core import representations
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.scoring import Metric
from flex_dspy.evaluation.evaluate import Evaluation, evaluate
from flex_dspy.evaluation.overlap import refuse_overlap
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.rollouts import copy_program
from flex_dspy.programs.equip import equip
from flex_dspy.search.retrieval import retrievers
from flex_dspy.studies.conditions import Condition, compare_with_first

if TYPE_CHECKING:
    import pandas as pd

NO_LIBRARY = "no library"
Cells = dict[str, dict[str, Condition]]


@dataclass(frozen=True)
class Inheritance(representations.Representable):
    """Matrix of results by actor and library. A notebook shows it as a table.

    Attributes:
        cells: Conditions by actor and library. ``no library`` comes first, and the others are compared with it.
        entries: Number of entries of each library.
        evaluations: Evaluations of the cells, with their records. They are not part of the JSON.
    """

    cells: Cells
    entries: Mapping[str, int]
    evaluations: Mapping[str, Mapping[str, Evaluation]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def score(self) -> str:
        """Name of the mean score."""
        return next(iter(next(iter(self.cells.values())).values())).score

    def figure(self, path: str | Path, *, title: str = "Who gains from whose library") -> Path:
        """Draw the matrix as a heat map, as a PNG. See ``flex_dspy.studies.figures.inheritance_figure``."""
        return representations.figure(self, path, title=title)

    def __repr__(self) -> str:
        return str(self.to_pandas())

    def to_pandas(self) -> pd.DataFrame:
        """Table with one row for each cell: accuracy and gain, each with its interval, wins, losses and p-values.

        A graded score has its own name, such as ``|Spearman|``.
        """
        return representations.frame(self)

    def to_json(self) -> str:
        """Matrix as JSON text."""
        return json.dumps(
            {"cells": _CELLS.dump_python(self.cells, mode="json"), "entries": dict(self.entries)}, indent=1
        )

    @classmethod
    def from_json(cls, text: str) -> Inheritance:
        """Read a matrix from the output of ``to_json``.

        Raises:
            ValueError: If the text is not such a matrix.
        """
        data = json.loads(text)
        try:
            return cls(_CELLS.validate_python(data["cells"]), data["entries"])
        except (TypeError, KeyError) as error:
            raise ValueError(f"this is no inheritance study: {error}") from error


_CELLS = TypeAdapter(Cells)


def inheritance(
    libraries: Mapping[str, ExperienceLibrary],
    actors: Mapping[str, dspy.Module | dspy.LM],
    examples: Sequence[dspy.Example],
    metric: Metric,
    *,
    program: dspy.Module | None = None,
    **options: Any,
) -> Inheritance:
    """Measure every actor with every library, and without one, on the same examples.

    Args:
        libraries: Libraries by name.
        actors: Programs by name, or language models for ``program``. A program without a retriever gets one from
            ``equip``.
        examples: Examples that none of the libraries was learned from.
        metric: See ``flex_dspy.core.scoring.score``.
        program: The program that a language model among the actors runs.
        **options: Further arguments of ``flex_dspy.evaluation.evaluate.evaluate``.

    Raises:
        ConfigurationError: If there is no library or actor, or a language model has no program.
        OverlapError: If a library was learned from some of the examples.
        FlexError: For the same reasons as ``evaluate``.
    """
    if not libraries or not actors or NO_LIBRARY in libraries:
        raise ConfigurationError(f"name at least one library, none of them {NO_LIBRARY!r}, and at least one actor")
    programs = {name: _program(name, actor, program) for name, actor in actors.items()}
    for library in libraries.values() if not options.get("allow_overlap") else ():
        refuse_overlap(library, examples, key=options.get("key"))  # before the first call
    shown = {NO_LIBRARY: ExperienceLibrary(task=next(iter(libraries.values())).task), **libraries}
    evaluations: dict[str, dict[str, Evaluation]] = {
        actor: {
            name: evaluate(each, examples, metric, library=library, **{"label": f"{actor}, {name}", **options})
            for name, library in shown.items()
        }
        for actor, each in programs.items()
    }
    cells = dict(zip(evaluations, compare_with_first(list(evaluations.values())), strict=True))
    return Inheritance(cells, {name: len(each) for name, each in libraries.items()}, evaluations)


def _program(name: str, actor: dspy.Module | dspy.LM, program: dspy.Module | None) -> dspy.Module:
    if not isinstance(actor, dspy.Module):
        if program is None:
            raise ConfigurationError(
                f"actor {name!r} is a language model: inheritance(..., program=...) says what it runs"
            )
        model, actor = actor, copy_program(program)
        actor.set_lm(model)
    return actor if retrievers(actor) else equip(actor)
