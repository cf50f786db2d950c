"""Measures the fair baseline of a library: the same program without it, given the same number of tokens."""

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
    """Measure a program without a library, with as many tokens as the library used.

    It first makes one sample of each example. The tokens of these samples give the number of samples that the budget
    allows.

    Args:
        program: The program that was measured with the library.
        examples: The examples that the program was measured on.
        metric: See ``flex_dspy.core.scoring.score``.
        tokens: Tokens that the library used in its evaluation and, if known, in learning.
        most: Most samples of each example.
        begun: An earlier evaluation without the library. Its samples are kept.
        **options: Further arguments of ``flex_dspy.evaluation.evaluate.evaluate``. By default ``library`` is an empty
            library, and overlap is allowed.

    Returns:
        The number of samples of each example, and the evaluation. Its ``accuracy`` is the mean over samples,
        ``maj_at_n`` the score of the majority's answer, ``pass_at_n`` the share of examples with a right sample.

    Raises:
        ConfigurationError: If ``tokens`` is not positive, or no model reports its tokens.
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
    """Number of tokens that one sample of every example uses.

    An answer from a cache reports no tokens. It counts as the mean of the others.

    Raises:
        ConfigurationError: If no answer reports tokens.
    """
    tokens = [record.tokens for record in evaluation.records if record.tokens or record.error]
    if not sum(tokens):
        raise ConfigurationError(
            "no model reported tokens, so there is no equal compute: offline experts use none, and answers from a "
            "cache are free (learn and measure with --no-cache)"
        )
    return evaluation.n * sum(tokens) / len(tokens)
