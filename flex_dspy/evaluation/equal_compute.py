"""The fair opponent of a library: the same program without one, sampled as often as the library's tokens pay for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.scoring import Metric
from flex_dspy.evaluation.evaluate import Evaluation, evaluate
from flex_dspy.libraries.library import ExperienceLibrary

MOST = 64


def equal_compute(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    metric: Metric,
    tokens: int,
    *,
    most: int = MOST,
    begun: Evaluation | None = None,
    **options: Any,
) -> tuple[int, Evaluation]:
    """Measure a program without a library, at the cost that the library had.

    One sample an example is made and kept; its tokens say how many samples the budget pays for.

    Args:
        program: The program that was measured with the library.
        examples: The examples it was measured on.
        metric: See ``flex_dspy.core.scoring.score``.
        tokens: Tokens that the library took: for its evaluation, and for its learning where that is known.
        most: Most samples an example.
        begun: An evaluation without the library that was made already: its samples are kept.
        **options: Further arguments of ``flex_dspy.evaluation.evaluate.evaluate``. By default ``library`` is an empty
            one, and overlap is allowed.

    Returns:
        The number of samples, and the evaluation: its ``accuracy`` is the mean over samples, ``maj_at_n`` the
        majority's, ``pass_at_n`` the share of examples that any sample solves.

    Raises:
        ConfigurationError: If ``tokens`` is not positive, or no model reports the tokens that it takes.
    """
    if tokens < 1 or most < 1:
        raise ConfigurationError(
            f"tokens and most must be at least 1, got {tokens} and {most}: nothing to compare with"
        )
    options = {"label": "measuring without the library", "allow_overlap": True, **options}
    if options.get("library") is None:
        options["library"] = ExperienceLibrary()
    first = begun or evaluate(program, examples, metric, **options)
    samples = min(max(round(tokens / tokens_per_sample(first)), 1), most)
    return samples, evaluate(program, examples, metric, begun=first, **{**options, "samples": samples})


def tokens_per_sample(evaluation: Evaluation) -> float:
    """Tokens that one sample of every example takes.

    An answer that came from a cache reports none: it counts as the mean of the others.

    Raises:
        ConfigurationError: If no answer reports any.
    """
    tokens = [record.tokens for record in evaluation.records if record.tokens or record.error]
    if not sum(tokens):
        raise ConfigurationError(
            "no model reported tokens, so there is no equal compute: offline experts use none, and answers from a "
            "cache are free (learn and measure with --no-cache)"
        )
    return evaluation.n * sum(tokens) / len(tokens)
