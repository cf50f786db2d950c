"""Ablation: measures which parts of a library are useful.

The same examples are answered with the whole library, without a library, with the entries of only one zone, and with
only one level of each entry. The next entries in the ranking take the places of entries that are left out.

Source: FLEX, arXiv 2511.06449, whose ablations take away retrieval and the zones.
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
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.rollouts import copy_program
from flex_dspy.programs.equip import equip
from flex_dspy.search.rendering import LEVELS
from flex_dspy.search.retrieval import retrievers
from flex_dspy.studies.conditions import Condition, compare_with_first

if TYPE_CHECKING:
    import pandas as pd

WHOLE, NO_RETRIEVAL = "whole library", "no retrieval"
RetrieverOptions = Mapping[str, Any]


@dataclass(frozen=True)
class Ablation(representations.Representable):
    """Results of a library and its parts on the same examples. A notebook shows it as a table.

    Attributes:
        conditions: Conditions by name, in the order of measuring. Each is compared with ``whole library``.
        evaluations: Evaluations of the conditions, with their records. They are not part of the JSON.
    """

    conditions: dict[str, Condition]
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict, compare=False, repr=False)

    @property
    def score(self) -> str:
        """Name of the mean score."""
        return next(iter(self.conditions.values())).score

    def figure(self, path: str | Path, *, title: str = "What the library's parts are good for") -> Path:
        """Draw the conditions with their intervals as a PNG. See ``flex_dspy.studies.figures.ablation_figure``."""
        return representations.figure(self, path, title=title)

    def __repr__(self) -> str:
        return str(self.to_pandas())

    def to_pandas(self) -> pd.DataFrame:
        """Table with one row for each condition: its score, and its difference from the whole library's score."""
        return representations.frame(self)

    def to_json(self) -> str:
        """Conditions as JSON text."""
        return json.dumps({"conditions": _CONDITIONS.dump_python(self.conditions, mode="json")}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Ablation:
        """Read a study from the output of ``to_json``.

        Raises:
            ValueError: If the text is not such a study.
        """
        try:
            return cls(_CONDITIONS.validate_python(json.loads(text)["conditions"]))
        except (TypeError, KeyError) as error:
            raise ValueError(f"this is no ablation study: {error}") from error


_CONDITIONS = TypeAdapter(dict[str, Condition])


def ablation(
    program: dspy.Module,
    library: ExperienceLibrary,
    examples: Sequence[dspy.Example],
    metric: Metric,
    *,
    conditions: Mapping[str, RetrieverOptions] | None = None,
    **options: Any,
) -> Ablation:
    """Measure a library and its parts.

    Args:
        program: An ``Actor``, or any program. A program without a retriever gets one from ``equip``.
        library: The library.
        examples: Examples that it was not learned from.
        metric: See ``flex_dspy.core.scoring.score``.
        conditions: Settings of the ``ExperienceRetriever`` by the name of the condition. By default, each zone alone
            and each level alone, if the library has them (see ``parts``).
        **options: Further arguments of ``flex_dspy.evaluation.evaluate.evaluate``.

    Raises:
        ConfigurationError: If the library is empty, or settings of the program contradict each other.
        OverlapError: If the library was learned from some of the examples.
        FlexError: For the same reasons as ``evaluate``.
    """
    if not len(library):
        raise ConfigurationError("an empty library has no parts to ablate")
    program = program if retrievers(program) else equip(program)
    chosen = parts(program, library) if conditions is None else conditions
    if taken := chosen.keys() & {WHOLE, NO_RETRIEVAL}:
        raise ConfigurationError(f"conditions of these names are measured anyway: {', '.join(sorted(taken))}")

    def under(name: str, each: dspy.Module, shown: ExperienceLibrary) -> Evaluation:
        return evaluate(each, examples, metric, library=shown, **{"label": name, **options})

    evaluations = {WHOLE: under(WHOLE, program, library)}
    evaluations[NO_RETRIEVAL] = under(NO_RETRIEVAL, program, ExperienceLibrary(task=library.task))
    evaluations |= {name: under(name, with_settings(program, each), library) for name, each in chosen.items()}
    return Ablation(compare_with_first([evaluations])[0], evaluations)


def parts(program: dspy.Module, library: ExperienceLibrary) -> dict[str, RetrieverOptions]:
    """Conditions with one zone alone, for each zone with entries, and with one level alone, for each level shown."""
    zones = [zone for zone, count in library.sizes().items() if count]
    settings: dict[str, RetrieverOptions] = {f"{zone} only": {"zones": [zone]} for zone in zones if len(zones) > 1}
    readers = retrievers(program)
    held = {
        "method": True,
        "rules": any(entry.rules for entry in library),
        # The lexical view finds entries by their words and returns no precedents.
        "precedents": library.precedent_count > 0 and any("structural" in reader.views for reader in readers),
        "trajectory": any(entry.trajectory for entry in library),
    }
    shown = {level for reader in readers for level in reader.levels}
    return settings | {f"{level} only": {"levels": [level]} for level in LEVELS if held[level] and level in shown}


def with_settings(program: dspy.Module, settings: RetrieverOptions) -> dspy.Module:
    """Copy of the program with other settings of its retrievers.

    Raises:
        ConfigurationError: If a setting cannot work.
    """
    changed = copy_program(program)
    for retriever in retrievers(changed):
        retriever.load_state({**retriever.dump_state(), **settings})
    return changed
