"""The fair opponent of a library: the same program without one, sampled as often as the library's tokens pay for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.scoring import Metric, Normalize
from flex_dspy.evaluation.evaluate import Evaluation, Measure, evaluate
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.spending import Ledger

MOST = 64


def equal_compute(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    metric: Metric,
    tokens: int,
    *,
    library: ExperienceLibrary | None = None,
    most: int = MOST,
    begun: Evaluation | None = None,
    measures: Mapping[str, Measure] | None = None,
    normalize: Normalize | None = None,
    ledger: Ledger | None = None,
    concurrency: int = 16,
    progress: bool = True,
) -> tuple[int, Evaluation]:
    """Measure a program without a library, at the cost that the library had.

    One sample an example is made and kept; its tokens say how many samples the budget pays for.

    Args:
        program: The program that was measured with the library.
        examples: The examples it was measured on.
        metric: See ``flex_dspy.core.scoring.score``.
        tokens: What the library took: its evaluation, and its learning where that is known.
        library: What the program reads instead; by default an empty library.
        most: Most samples an example.
        begun: An evaluation without the library that was made already: its samples are kept.
        measures: Further measures by name.
        normalize: One form for all ways of writing an answer, so that samples can vote.
        ledger: What tokens are charged to.
        concurrency: Most samples under way at once.
        progress: Whether to show a progress bar.

    Returns:
        The number of samples, and the evaluation: its ``accuracy`` is the mean over samples, ``maj_at_n`` the
        majority's, ``pass_at_n`` the share of examples that any sample solves.

    Raises:
        ConfigurationError: If ``tokens`` is not positive, or no model reports what it takes.
    """
    if tokens < 1 or most < 1:
        raise ConfigurationError(
            f"tokens and most must be at least 1, got {tokens} and {most}: nothing to compare with"
        )

    def measured(samples: int, before: Evaluation | None) -> Evaluation:
        return evaluate(
            program,
            examples,
            metric,
            samples=samples,
            library=ExperienceLibrary() if library is None else library,
            measures=measures,
            normalize=normalize,
            ledger=ledger,
            begun=before,
            concurrency=concurrency,
            label="measuring without the library",
            progress=progress,
            allow_overlap=True,
        )

    first = begun or measured(1, None)
    samples = min(max(round(tokens / tokens_per_sample(first)), 1), most)
    return samples, measured(samples, first)


def tokens_per_sample(evaluation: Evaluation) -> float:
    """Tokens that one sample of every example takes.

    An answer that came from a cache reports none: it counts as the mean of the others.

    Raises:
        ConfigurationError: If no answer reports any.
    """
    paid = [record.tokens for record in evaluation.records if record.tokens or record.error]
    if not sum(paid):
        raise ConfigurationError(
            "no model reported tokens, so there is no equal compute: offline experts use none, and answers from a "
            "cache are free (learn and measure with --no-cache)"
        )
    return evaluation.n * sum(paid) / len(paid)
