"""Assays for fitness prediction by formulas, in the setting of ProteinGym's substitution benchmark.

A seed splits an assay's mutants into labelled and held-out mutants. The input of an example is a table of the assay's
score columns with their statistics on labelled mutants. The output is a formula. The same split gives two kinds of
examples:

- The assay itself shows all labelled mutants. It is for measuring.
- Practice, ``SOURCE@practice``, shows a random two thirds of the labelled mutants; the other third judges the formula.
  So one assay gives many examples to learn from. Practice uses no held-out measurement.

The reference answer of an example is a ridge regression on the labelled mutants that it shows, written as a formula.
Better formulas may exist.

The shipped assays are not part of ProteinGym; ``flex_dspy.data.generate_assays`` made them.

Example:
    >>> load("val").examples[0].inputs().keys()
    ['assay']
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dspy
import numpy as np
import numpy.typing as npt

from flex_dspy.core.errors import DataError
from flex_dspy.data.assay_archive import read_assays, with_scores
from flex_dspy.data.assays import Assay
from flex_dspy.data.hub import HubAddress, read_hub_rows
from flex_dspy.data.loading import BadRow, LoadedData, content_id, digest, sample
from flex_dspy.data.reference_formula import reference_weights, weighted_sum
from flex_dspy.data.score_columns import family

_HERE = Path(__file__).parent
# Training and validation use the same assays: lessons come from labelled mutants, and held-out mutants judge them.
_HERE_IS = "shipped:"
_LEARNED, _OTHERS = f"{_HERE_IS}assays_train.csv", f"{_HERE_IS}assays_test.csv"
SHIPPED: Mapping[str, str] = MappingProxyType(
    {"train": f"{_LEARNED}@practice", "val": _LEARNED, "test": _OTHERS, "test-practice": f"{_OTHERS}@practice"}
)
HUB = "OATML-Markslab/ProteinGym_v1"
_ON_THE_HUB = HubAddress(HUB, "DMS_substitutions", "train")
LABELLED = 100
PRACTICE = 20  # practice examples per assay
SHOWN = 2 / 3  # share of the labelled mutants that a practice example shows

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LoadedAssays(LoadedData):
    """Examples of assays.

    Attributes:
        gaps: By assay and column, the share of the mutants without a score, if it is not 0. The column's median fills
            these gaps.
        notes: By assay, the other changes made to its columns.
    """

    gaps: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class AssaySource:
    """The source of assays, and how their mutants are split.

    Attributes:
        path: A file, a folder, ``shipped:`` followed by a file of the package, or a hub id.
        labelled: Number of labelled mutants; below 1, their share of all mutants.
        split: The seed that chooses the labelled mutants.
        practice: Practice examples per assay; 0 for the assay itself.
        scores: For measurements from the hub, the folder of an archive with the models' predictions.
    """

    path: str
    labelled: float = LABELLED
    split: int = 0
    practice: int = 0
    scores: str = ""

    @classmethod
    def parse(cls, text: str) -> AssaySource:
        """Read ``path[@option,...]``; options are ``practice[=n]``, ``labelled=100`` (or ``3.5%``), ``split=0``.

        Raises:
            DataError: There is no such option, or its value is no number.
        """
        base, _, written = (text, "", "") if Path(text).exists() else text.partition("@")
        path, _, own = SHIPPED.get(base, base).partition("@")
        source = cls(path)
        for option in filter(None, (part.strip() for part in f"{own},{written}".split(","))):
            source = source._with(*option.partition("=")[::2])
        return source

    def _with(self, name: str, value: str) -> AssaySource:
        try:
            if name == "practice":
                return replace(self, practice=int(value or PRACTICE))
            if name == "split":
                return replace(self, split=int(value))
            if name == "labelled":
                share = value.endswith("%")
                return replace(self, labelled=float(value.removesuffix("%")) / (100 if share else 1))
        except ValueError:
            raise DataError(f"{self.path}: {name} is a number, not {value!r}.") from None
        if name == "scores":
            return replace(self, scores=value)
        raise DataError(f"{self.path}: no option {name!r}; there are practice, labelled, split and scores.")

    def assays(self) -> dict[str, Assay]:
        """The assays by name.

        Raises:
            DataError: There are none.
        """
        if self.path.startswith(HUB):
            return _from_the_hub(self.scores)
        if self.path.startswith(_HERE_IS):
            return read_assays(_HERE / self.path.removeprefix(_HERE_IS))
        return read_assays(Path(self.path).expanduser())


@functools.lru_cache(maxsize=1)
def _from_the_hub(scores: str) -> dict[str, Assay]:
    if not scores:
        raise DataError(
            f"{HUB} holds the measured scores alone, and no column of predictions: those come as CSV files in "
            f"ProteinGym's own archive. Unpack that, and name its folder: {HUB}@scores=FOLDER. Or give a folder with "
            "both, or a merged CSV of an assay."
        )
    return with_scores(read_hub_rows(_ON_THE_HUB), Path(scores).expanduser(), HUB)


def load(
    source: str | Path = "train",
    *,
    limit: int | None = None,
    seed: int | None = None,
    labelled: float | None = None,
    split: int | None = None,
    practice: int | None = None,
) -> LoadedAssays:
    """Load assays as examples: ``assay`` is the input and ``formula`` the output.

    An example also has an ``id``, and ``mutants``, which tells where its mutants are.

    Args:
        source: "train", "val", "test" or "test-practice" of the shipped set; a merged CSV with ``mutant``,
            ``DMS_score``, score columns, and ``DMS_id`` if it holds several assays; a folder of such files; an unpacked
            archive of ProteinGym; or the hub's id with ``@scores=FOLDER`` for the predictions. Options may follow, as
            in ``x.csv.gz@practice,split=3,labelled=3.5%``.
        limit: Take no more than this many examples.
        seed: Choose the examples at random with this seed, instead of taking the first ones. It does not affect how
            mutants are split.
        labelled: Number of labelled mutants; below 1, their share of all mutants. 100 by default.
        split: The seed that chooses the labelled mutants. Use the same seed for practice and for the assay itself.
        practice: Practice examples per assay; 0 for the assay itself.

    Raises:
        DataError: The source cannot be read or has no usable assay.
    """
    if limit is not None and limit < 1:
        raise DataError(f"The limit must be at least 1, not {limit}.")
    parsed = AssaySource.parse(str(source))
    parsed = replace(
        parsed,
        labelled=parsed.labelled if labelled is None else labelled,
        split=parsed.split if split is None else split,
        practice=parsed.practice if practice is None else practice,
    )
    assays, too_small = _splittable(parsed)
    chosen = [(assay, number) for number in range(max(parsed.practice, 1)) for assay in assays]
    chosen = chosen[:limit] if seed is None else sample(chosen, limit, seed)
    examples = [to_example(assays[assay], parsed, number) for assay, number in chosen]
    gaps = {name: {c: share for c, share in assay.missing.items() if share} for name, assay in assays.items()}
    return LoadedAssays(
        examples,
        [*too_small, *(row for assay in assays.values() for row in assay.bad_rows)],
        str(source),
        digest(examples),
        {assay: columns for assay, columns in gaps.items() if columns},
        {assay: assays[assay].notes for assay in assays if assays[assay].notes},
    )


def _splittable(source: AssaySource) -> tuple[dict[str, Assay], list[BadRow]]:
    """The assays with enough mutants for the split, and the reasons why others cannot be used."""
    usable: dict[str, Assay] = {}
    others: list[BadRow] = []
    for number, (name, assay) in enumerate(source.assays().items(), start=1):
        try:
            assay.split(source.labelled, source.split)
            usable[name] = assay
        except DataError as error:
            others.append(BadRow(number, str(error)))
    if not usable:
        raise DataError(others[0].reason)
    return usable, others


def to_example(assay: Assay, source: AssaySource, number: int = 0) -> dspy.Example:
    """An assay as an example.

    Args:
        assay: The assay.
        source: The source of the assay, and how its mutants are split.
        number: Number of the practice example; unused for the assay itself.
    """
    shares = _shares(assay, source, number if source.practice else None)
    correlations = assay.correlations(shares.shown)
    weights = reference_weights(*assay.covariances(shares.shown))
    role = f"practice {number}" if source.practice else "the assay itself"
    text = problem(assay, correlations, len(shares.shown), len(shares.labelled), f"split {source.split}, {role}")
    where: dict[str, Any] = {"path": source.path, "assay": assay.name, "labelled": source.labelled}
    where |= {"split": source.split} | ({"scores": source.scores} if source.scores else {})
    return dspy.Example(
        assay=text,
        formula=weighted_sum(assay.table.columns, list(weights), "z"),
        id=content_id(text),
        mutants=where | ({"practice": number} if source.practice else {}),
    ).with_inputs("assay")


@dataclass(frozen=True)
class Shares:
    """How an example uses the mutants of its assay, by row.

    Attributes:
        assay: The assay.
        labelled: The labelled mutants.
        shown: The labelled mutants that the table of columns is made from: two thirds in practice, otherwise all.
        held_out: The held-out mutants, for reports only.
    """

    assay: Assay
    labelled: Rows
    shown: Rows
    held_out: Rows


def shares_of(example: Any) -> Shares:
    """The mutants of an example.

    Raises:
        DataError: The example does not name its mutants, or their source no longer exists.
    """
    where = example.get("mutants") if isinstance(example, Mapping | dspy.Example) else None
    if not isinstance(where, Mapping) or not {"path", "assay", "labelled", "split"} <= where.keys():
        raise DataError("The example does not say where its mutants are: make it with flex_dspy.data.proteingym.load.")
    source = AssaySource(
        str(where["path"]), float(where["labelled"]), int(where["split"]), scores=str(where.get("scores", ""))
    )
    name, number = str(where["assay"]), where.get("practice")
    assays = source.assays()
    if name not in assays:
        raise DataError(f"{source.path} has no assay {name} any more.")
    return _shares(assays[name], source, None if number is None else int(number))


def _shares(assay: Assay, source: AssaySource, number: int | None) -> Shares:
    labelled, rest = assay.split(source.labelled, source.split)
    if number is None:
        return Shares(assay, labelled, labelled, rest)
    drawn = np.random.default_rng([source.split, number]).permutation(len(labelled))
    return Shares(assay, labelled, np.sort(labelled[drawn[: round(SHOWN * len(labelled))]]), rest)


def problem(assay: Assay, correlations: npt.NDArray[np.float64], shown: int, labelled: int, role: str) -> str:
    """The text of an assay for the actor, one line per column. It uses no held-out measurement."""
    error = 1 / np.sqrt(shown - 1)
    lines = [
        f"Assay: {assay.name}",
        f"Mutants: {len(assay.mutants)}, {labelled} of them labelled, {shown} of those used here ({role})",
        f"Spearman below is with the measured fitness of those {shown}; its standard error is {error:.2f}.",
        f"Columns ({len(assay.table.columns)}): name | family | reads | direction | Spearman | missing | most like",
    ]
    for number, name in enumerate(assay.table.columns):
        kind = family(name)
        direction = "greater is fitter" if kind.direction else "not known"
        likeness = np.array(assay.likeness[number])
        likeness[number] = -2.0
        nearest = int(np.argmax(likeness))
        like = f"{assay.table.columns[nearest]} {likeness[nearest]:.2f}" if len(likeness) > 1 else "-"
        lines.append(
            f"- {name} | {kind.name} | {kind.reads or 'not known'} | {direction} | {correlations[number]:+.3f} | "
            f"{assay.missing[name]:.0%} | {like}"
        )
    return "\n".join(lines)
