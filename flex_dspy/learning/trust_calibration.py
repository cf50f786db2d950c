"""Learns how far to trust a model that picks labels, beside the vote of similar precedents."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from dspy.teleprompt import Teleprompter

from flex_dspy.core.errors import ConfigurationError, ModelError
from flex_dspy.core.examples import problem_of
from flex_dspy.core.settings import accepts
from flex_dspy.core.text import truncate
from flex_dspy.evaluation.evaluate import evaluate
from flex_dspy.evaluation.records import Record
from flex_dspy.evaluation.settings import EvaluationSettings
from flex_dspy.models.rollouts import copy_program
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.experienced import ExperiencedPredict
from flex_dspy.search.trust import LEAST_CASES, Answered, describe, fit_trust
from flex_dspy.signatures.labels import label_output, labels_of


class TrustCalibration(Teleprompter):
    """Fits ``trust``: how much a model's label counts beside the vote of similar precedents.

    The program answers some training examples, each without its own precedents. Its answers, the votes and the right
    labels give one number; see ``flex_dspy.search.trust``. A weak model is then overruled where precedents agree.
    A strong model decides alone. Fit again for another model or another library.

    Args:
        examples: Number of training examples that the program answers, at least 20.
        seed: Fixes the choice of examples.
        ledger: Counts tokens, and enforces a budget; None counts nothing.
        settings: How to call the program.
        **options: Fields of ``EvaluationSettings`` to change, such as ``concurrency``.

    After ``compile``, ``cases`` holds the answers that were used, ``failures`` the records of calls that failed, and
    ``summary`` what came of it, in a sentence.

    Raises:
        ConfigurationError: If there are too few examples, or a setting is unknown.

    Example:
        >>> agent = equip(MyAgent(), precedent_library(train))  # doctest: +SKIP
        >>> agent = TrustCalibration(examples=80).compile(agent, trainset=train)  # doctest: +SKIP
    """

    @accepts(EvaluationSettings)
    def __init__(
        self,
        *,
        examples: int = 80,
        seed: int = 0,
        ledger: Ledger | None = None,
        settings: EvaluationSettings | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if examples < LEAST_CASES:
            raise ConfigurationError(f"examples must be at least {LEAST_CASES}, got {examples}")
        settings = EvaluationSettings.resolve(settings or EvaluationSettings(label="learning trust"), options)
        self.settings = settings.with_options(allow_overlap=True)  # no example sees its own precedents
        self.examples = examples
        self.seed = seed
        self.ledger = ledger
        self.cases: list[Answered] = []
        self.failures: list[Record] = []
        self.summary = ""

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: list[dspy.Example],
        teacher: dspy.Module | None = None,
        valset: list[dspy.Example] | None = None,
        **kwargs: Any,
    ) -> dspy.Module:
        """Return a copy of the student with fitted ``trust``.

        Args:
            student: A program that ``equip`` gave experience: one predictor, whose output is a ``Literal``.
            trainset: Examples with their labels. They may be those that the library was learned from.
            teacher: Not used; for compatibility with DSPy.
            valset: Not used.
            **kwargs: Not supported.

        Raises:
            ConfigurationError: If precedents have no vote in the student, or too few examples have a label.
            ModelError: If the model does not work, or too few answers can be used.
            BudgetError: If the ledger's budget is spent.
        """
        if kwargs:
            raise ConfigurationError(f"compile() does not take {', '.join(sorted(kwargs))}")
        self.cases, self.failures, self.summary = [], [], ""  # if this run fails, nothing says what another one found
        calibrated = copy_program(student)
        predictor = _voting_predictor(calibrated)
        predictor.retriever.trust = None
        output = str(label_output(predictor.signature))
        labels = labels_of(predictor.signature, output)
        labelled = [each for each in trainset if str(each.get(output)) in labels]
        if len(labelled) < LEAST_CASES:
            raise ConfigurationError(_few_labels(trainset, len(labelled), output, labels))
        asked = _choose(labelled, self.examples, self.seed)
        records = evaluate(calibrated, asked, _same_label(output), ledger=self.ledger, settings=self.settings).records
        self.failures = [record for record in records if record.error]
        answered = [record for record in records if not record.error and str(record.outputs.get(output)) in labels]
        self.cases = [case for record in answered if (case := _case(record, predictor, output))]
        if len(self.cases) < LEAST_CASES:
            failed, strange = len(self.failures), len(records) - len(self.failures) - len(answered)
            raise ModelError(
                f"only {len(self.cases)} of {len(records)} answers can be used, and trust needs {LEAST_CASES}: "
                f"{failed} calls failed, {strange} answers hold no {output} that is one of the labels, "
                f"{len(answered) - len(self.cases)} have no similar precedents. "
                "The program must take and return the predictor's fields under their names, unchanged"
            )
        predictor.retriever.trust = fit_trust(self.cases, labels)
        self.summary = describe(self.cases, predictor.retriever.trust)
        return calibrated


def _voting_predictor(program: dspy.Module) -> ExperiencedPredict:
    """The predictor whose labels precedents vote on.

    Raises:
        ConfigurationError: If there is none, or its library is empty.
    """
    predictors = program.predictors()
    if len(predictors) == 1 and isinstance(predictors[0], ExperiencedPredict) and predictors[0].votes:
        [found] = predictors
        if not len(found.retriever.library):
            raise ConfigurationError(
                "the program's library is empty, so no precedent votes: equip it with precedent_library(trainset)"
            )
        return found
    raise ConfigurationError(
        "trust needs a program of one predictor, made by equip(program, library), whose one output is a Literal; "
        f"without key= and with tally above 0. {_obstacle(predictors)}"
    )


def _obstacle(predictors: Sequence[dspy.Predict]) -> str:
    """Why precedents do not vote in a program with these predictors."""
    if len(predictors) != 1:
        return f"This one has {len(predictors)} predictors"
    [predictor] = predictors
    if not isinstance(predictor, ExperiencedPredict):
        return "This one has no library yet: call equip first"
    output = label_output(predictor.signature)
    if output is None or not labels_of(predictor.signature, output):
        return f"The outputs of this one are {', '.join(predictor.signature.output_fields)}: none is a Literal"
    return "This one was equipped with key= or tally=0"


def _few_labels(trainset: Sequence[dspy.Example], count: int, output: str, labels: Sequence[str]) -> str:
    """The error for a training set with too few labels, with one of the values that are no label."""
    strange = next((repr(each.get(output)) for each in trainset if str(each.get(output)) not in labels), "")
    return (
        f"trust needs {LEAST_CASES} training examples with a label, got {count} of {len(trainset)}: "
        f"each needs a field {output!r} with one of the labels {truncate(', '.join(labels), 200)}"
        + (f", and one has {truncate(strange, 80)}" if strange else "")
    )


def _choose(examples: Sequence[dspy.Example], count: int, seed: int) -> list[dspy.Example]:
    """Some examples with different problems.

    Raises:
        ConfigurationError: If there are too few.
    """
    different = list({problem_of(example): example for example in examples}.values())
    if len(different) < LEAST_CASES:
        raise ConfigurationError(
            f"trust needs {LEAST_CASES} training examples with different problems, got {len(different)}"
        )
    return random.Random(seed).sample(different, min(count, len(different)))  # noqa: S311 (a sample, no secret)


def _same_label(output: str) -> Any:
    def metric(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
        return float(str(prediction.get(output)) == str(example[output]))

    return metric


def _case(record: Record, predictor: ExperiencedPredict, output: str) -> Answered | None:
    shares: Mapping[str, float] = predictor.shares(**record.inputs)
    answer, right = str(record.outputs.get(output)), str(record.labels[output])
    return Answered(shares, answer, right) if shares else None
