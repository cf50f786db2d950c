"""``flex-dspy library fit``: fits the offline chemist's ranking to a library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from flex_dspy.commands.actions.tables import print_json, print_table, stdout_for
from flex_dspy.commands.options.library import FitOptions
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.tables import build_table
from flex_dspy.evaluation.intervals import wilson
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.offline.fitting import LEAST_CHOICES, PENALTIES, Fit, Score, choose_precedents, fit_ranking, read_choices
from flex_dspy.offline.worker_process import count_cores
from flex_dspy.tracking.registry import read_library

_FEW = 500  # products that one process has read before others have started


def run(library_name: str, out: Path, options: FitOptions) -> None:
    """Fit a ranking, print its scores on held-out products, and write the ranking if it is better than before.

    Raises:
        ConfigurationError: If the library has too few precedents, or the fit does not help.
    """
    library = read_library(library_name)
    with stdout_for(options.json):
        fitted = _fit(library, options)
    about = _about(library, options, fitted)
    if options.json:
        print_json(about)
    else:
        head = ["ranking", "held-out products", "right one first (95% interval)", "won", "lost"]
        print_table(build_table(head, _rows(fitted)))
    if not fitted.is_better:
        raise ConfigurationError(
            "the fit is not surely better than the general ranking: nothing was written. "
            f"A fit takes thousands of precedents, and this one had {fitted.products}"
        )
    write_atomically(out, replace(fitted.ranking, fitted_on=about).text())
    if not options.json:
        print(f"\nranking  {out}\nuse it   --lm offline/chemist:{out} (eval finds it beside its library)")


def _fit(library: ExperienceLibrary, options: FitOptions) -> Fit:
    precedents = choose_precedents(library, options.examples, options.seed)
    read = read_choices(library, precedents, workers=count_cores() if len(precedents) > _FEW else 1)
    choices = list(tqdm(read, "reading proposals", len(precedents), unit="product"))
    if choices and not any(choices):
        raise ConfigurationError(
            f"the chemist has no right proposal for any of {len(choices)} precedents. It needs a library of reactions, "
            f"such as `learn uspto50k` writes; the task of this one is {library.task or 'not known'}"
        )
    try:
        return fit_ranking(choices, _penalties())
    except ValueError as error:
        more = f"raise --examples, as the library has {library.precedent_count} precedents"
        found = library.precedent_count > max(options.examples, LEAST_CHOICES)
        advice = more if found else "learn from more reactions"
        raise ConfigurationError(f"the ranking cannot be fitted: {error}; {advice}") from error


def _penalties() -> Iterator[float]:
    """The penalties with a progress bar, which begins with the first one that is tried."""
    yield from tqdm(PENALTIES, "choosing the penalty")


def _about(library: ExperienceLibrary, options: FitOptions, fitted: Fit) -> dict[str, Any]:
    return {
        "library": library.hash,
        "precedents": library.precedent_count,
        "products": fitted.products,
        "seed": options.seed,
        "penalty": fitted.penalty,
        "general": asdict(fitted.general),
        "fitted": asdict(fitted.score),
    }


def _rows(fitted: Fit) -> list[tuple[str, ...]]:
    scores = {"general": fitted.general, "fitted": fitted.score}
    return [(name, *map(str, (s.products, _share(s), s.gained, s.lost))) for name, s in scores.items()]


def _share(score: Score) -> str:
    low, high = wilson(score.first, score.products)
    return f"{score.first / score.products:.1%} ({low:.1%} to {high:.1%})"
