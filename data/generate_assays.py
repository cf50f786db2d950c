"""Makes the shipped assays, byte for byte the same from the same seed.

A mutant has three latent properties: function, stability, and a bias. The bias does not affect fitness, but it affects
most predictors. The measurement is a nonlinear mixture of function and stability with noise; the mixture differs
between assays. Predictors belong to families. The families differ in the properties that they see, in their noise, in
the noise that their members share, and in the weight of the bias. The scores of ``Energy`` fall with fitness, and
``Composition`` sees only the bias. No protein, model or measurement is real.

    python -m flex_dspy.data.generate_assays            write the files
    python -m flex_dspy.data.generate_assays --check    exit with 1 if the files are not what would be written
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

SEED = 20251106
MUTANTS = 320
GAPS = 0.06  # share of missing scores in a column that has gaps

_HERE = Path(__file__).parent
_ACIDS = "ACDEFGHIKLMNPQRSTVWY"


@dataclass(frozen=True)
class Kind:
    """A family of predictors: the weight of each latent property in its scores.

    Attributes:
        function: Weight of function.
        stability: Weight of stability.
        bias: Weight of the bias.
        shared: Noise that all members share.
        own: Noise of each member.
        members: The columns.
    """

    function: float
    stability: float
    bias: float
    shared: float
    own: float
    members: tuple[str, ...]


KINDS: tuple[Kind, ...] = (
    Kind(1.0, 0.2, 0.8, 0.6, 0.4, ("Coevolution_S", "Coevolution_M", "Coevolution_L")),
    Kind(0.6, 0.5, 1.0, 0.8, 0.3, ("Language_1", "Language_2", "Language_3", "Language_4")),
    Kind(0.1, 1.0, 0.3, 0.7, 0.6, ("Packing_1", "Packing_2")),
    Kind(0.0, -0.9, 0.2, 0.9, 0.5, ("Energy_soft", "Energy_hard")),
    Kind(0.0, 0.0, 1.0, 0.3, 0.4, ("Composition",)),
    Kind(0.8, 0.0, 0.2, 1.2, 0.6, ("Profile",)),
    Kind(0.1, 0.1, 0.3, 1.0, 1.0, ("Miniature_1", "Miniature_2")),
)


@dataclass(frozen=True)
class AssayDesign:
    """The design of an assay: its measurement, and the columns that it lacks.

    Attributes:
        name: Its name.
        function: Share of function in fitness; the rest is stability.
        curve: How strongly fitness levels off.
        noise: Noise of the measurement.
        without: Columns that the assay does not have.
        gaps: Columns with gaps.
    """

    name: str
    function: float
    curve: float
    noise: float
    without: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


DESIGNS: Mapping[str, tuple[AssayDesign, ...]] = MappingProxyType(
    {
        "train": (
            AssayDesign("GEN1_binding", 0.8, 1.0, 0.8),
            AssayDesign("GEN2_abundance", 0.2, 1.5, 0.7, ("Profile",), ("Packing_1", "Packing_2")),
            AssayDesign("GEN3_activity", 0.6, 0.5, 1.0, ("Language_4", "Energy_hard")),
            AssayDesign("GEN4_growth", 0.5, 2.0, 0.9, (), ("Coevolution_L",)),
            AssayDesign("GEN5_signal", 0.7, 1.0, 1.2, ("Packing_2", "Miniature_1")),
        ),
        "test": (
            AssayDesign("GEN6_growth", 0.55, 1.0, 0.9, ("Coevolution_S",)),
            AssayDesign("GEN7_binding", 0.75, 1.5, 0.8, ("Energy_soft", "Language_1"), ("Profile",)),
            AssayDesign("GEN8_abundance", 0.3, 1.0, 1.0),
        ),
    }
)


def generate(split: str, seed: int = SEED) -> list[dict[str, str]]:
    """The rows of a split's file. If an assay lacks a column, the column is empty in its rows."""
    return [row for design in DESIGNS[split] for row in _assay(design, random.Random(f"{seed}:{design.name}"))]  # noqa: S311


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """The text of a file."""
    text = io.StringIO()
    columns = ["DMS_id", "mutant", "DMS_score", *(name for kind in KINDS for name in kind.members)]
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the shipped files, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the files, write nothing")
    check = parser.parse_args(arguments).check
    different = []
    for split in DESIGNS:
        path, text = _HERE / f"assays_{split}.csv", as_csv(generate(split))
        if not check:
            path.write_text(text, encoding="utf-8", newline="\n")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            different.append(path)
    for path in different:
        print(f"{path} is not what the generator makes", file=sys.stderr)
    return 1 if different else 0


def _assay(design: AssayDesign, rng: random.Random) -> list[dict[str, str]]:
    sequence = [rng.choice(_ACIDS) for _ in range(80)]
    # All mutants of a position share its tolerance, as in real scans.
    positions = [(rng.gauss(0, 0.7), rng.gauss(0, 0.7), rng.gauss(0, 0.7)) for _ in sequence]
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    while len(rows) < MUTANTS:
        place, acid = rng.randrange(len(sequence)), rng.choice(_ACIDS)
        mutant = f"{sequence[place]}{place + 1}{acid}"
        if acid != sequence[place] and mutant not in seen:
            seen.add(mutant)
            function, stability, bias = (mean + rng.gauss(0, 0.7) for mean in positions[place])
            rows.append({"DMS_id": design.name, "mutant": mutant, **_measure(design, function, stability, rng)})
            rows[-1].update(_predict(design, (function, stability, bias), rng))
    return rows


def _measure(design: AssayDesign, function: float, stability: float, rng: random.Random) -> dict[str, str]:
    mixed = design.function * function + (1 - design.function) * stability
    fitness = math.tanh(design.curve * mixed) / design.curve + rng.gauss(0, 0.4 * design.noise)
    return {"DMS_score": f"{fitness:.3f}"}


def _predict(design: AssayDesign, latent: tuple[float, float, float], rng: random.Random) -> dict[str, str]:
    scores = {}
    for kind in KINDS:
        signal = sum(w * x for w, x in zip((kind.function, kind.stability, kind.bias), latent, strict=True))
        shared = rng.gauss(0, kind.shared)
        for name in kind.members:
            score, absent = signal + shared + rng.gauss(0, kind.own), rng.random() < GAPS
            if name not in design.without and not (name in design.gaps and absent):
                scores[name] = f"{score:.3f}"
    return scores


if __name__ == "__main__":
    sys.exit(main())
