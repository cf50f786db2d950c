"""Estimates the cost of a run without calling a model.

For a sample of the examples, the prompts are built as they would be sent. Their tokens are counted by
``flex_dspy.core.tokens.tokens``, which rather overestimates. The length of the models' answers is assumed. The low
estimate assumes that every example is solved at the first attempt, and that no experience is shown. The high estimate
assumes that every round and rollout is used, that the experiences fill their budget, and that the updater decides on
every lesson twice. Neither estimate counts cached answers, retries or unreadable answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy

from flex_dspy.core.examples import problem_of, reference_of
from flex_dspy.core.tables import build_table, table_text
from flex_dspy.core.tokens import tokens
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.learning.sources import stops
from flex_dspy.models.spending import Ledger, Usage
from flex_dspy.search.retrieval import retrievers

SAMPLE = 20  # number of examples whose prompts are built
FEEDBACK = 100  # tokens of a verifier's feedback in the next round's prompt
STEP = 400  # tokens that a step of ReAct adds to the next one's prompt: thought, call and observation

# Least and most tokens of one answer, in DSPy's format with its field headers. The high numbers are those of a
# model that reasons at length in its answer; a reasoning model's hidden reasoning is billed on top of them.
COMPLETIONS: Mapping[str, tuple[int, int]] = {
    "actor": (300, 2_000),
    "verifier": (60, 400),
    "critic": (400, 1_200),
    "updater": (80, 800),
}


@dataclass(frozen=True, slots=True)
class Range:
    """The estimated usage of one role, low and high.

    Attributes:
        role: ``actor``, ``verifier``, ``critic``, ``updater``, or ``validation``, which is the actor on the validation
            examples.
        model: Names of the role's models.
        low: The low estimate.
        high: The high estimate.
    """

    role: str
    model: str
    low: Usage
    high: Usage


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated usage of a run.

    Attributes:
        roles: The usage of each role. Roles that would not be called are left out.
        versions: How many versions would be published, each measured on the validation examples.
    """

    roles: tuple[Range, ...]
    versions: int

    @property
    def low(self) -> Usage:
        """The low estimate of the whole run."""
        return sum((role.low for role in self.roles), Usage())

    @property
    def high(self) -> Usage:
        """The high estimate of the whole run."""
        return sum((role.high for role in self.roles), Usage())

    def text(self) -> str:
        """The estimate as a table for a terminal."""
        head = ["role", "model", "calls", "prompt tokens", "completion tokens", "USD"]
        rows = []
        for role in (*self.roles, Range("all", "", self.low, self.high)):
            low, high = role.low, role.high
            counts = [
                (low.calls, high.calls),
                (low.prompt_tokens, high.prompt_tokens),
                (low.completion_tokens, high.completion_tokens),
            ]
            rows.append([role.role, role.model, *(_span(*ends) for ends in counts), _money(low, high)])
        say = (
            f"{self.versions} versions, each measured on the validation examples. At least: every first attempt is "
            "right. At most: every round and rollout is used. Nothing was asked."
        )
        return "\n".join([table_text(build_table(head, rows)), "", say])


@dataclass
class _Role:
    """How a role's prompts are filled, and how long its answers are."""

    name: str
    program: dspy.Module
    ends: tuple[int, int]
    fillings: dict[str, tuple[int, int]] = field(default_factory=dict)  # tokens of an input field, low and high


def estimate(
    optimizer: ForwardLearning,
    actor: dspy.Module,
    trainset: Sequence[dspy.Example],
    valset: Sequence[dspy.Example] = (),
    *,
    completions: Mapping[str, tuple[int, int]] | None = None,
) -> Estimate:
    """Estimate the usage of ``optimizer.compile(actor, trainset=trainset, valset=valset)``.

    Args:
        optimizer: Holds the settings, the other roles, and the ledger with the prices.
        actor: The program that makes the attempts.
        trainset: The training examples.
        valset: The validation examples.
        completions: Other assumptions on the tokens of an answer: the least and the most, by role.

    Returns:
        The low and high estimates, by role.
    """
    written = {**COMPLETIONS, **(completions or {})}
    roles = _roles(optimizer, actor, written)
    runs = len(trainset) * optimizer.settings.epochs
    versions = len(stops(runs, optimizer.settings.checkpoint_every)) if runs else 0
    measured = versions * len(valset)
    known = optimizer.settings.reference and bool(trainset) and bool(_reference(trainset[0], actor))
    calls = {"validation": (measured, measured), **_calls(optimizer, runs, known)}
    examples = {"validation": valset}
    ranges = [
        _range(roles[name], name, calls[name], examples.get(name, trainset), optimizer.ledger)
        for name in ("actor", "verifier", "critic", "updater", "validation")
    ]
    return Estimate(tuple(entry for entry in ranges if entry.high.calls), versions)


def _calls(optimizer: ForwardLearning, runs: int, known: bool) -> dict[str, tuple[int, int]]:
    """How often each role's program runs. If the right answer is known, the metric accepts."""
    rollouts = 1 if optimizer.settings.study else optimizer.settings.max_rollouts
    rounds = 0 if optimizer.settings.study else runs * rollouts * optimizer.settings.max_rounds
    attempts = 0 if optimizer.settings.study else runs
    return {
        "actor": (attempts, rounds),
        "verifier": (0 if known else attempts, rounds),
        "critic": (runs, runs * rollouts),
        "updater": (max(runs - 1, 0), 2 * runs * rollouts),
    }


def _roles(optimizer: ForwardLearning, actor: dspy.Module, written: Mapping[str, tuple[int, int]]) -> dict[str, _Role]:
    """The roles, with the tokens that their prompts hold in addition to the example's own texts."""
    attempt, lesson = written["actor"], written["critic"]
    shown = sum(retriever.token_budget for retriever in retrievers(actor)[:1])
    earlier = (optimizer.settings.max_rounds - 1) * (attempt[1] + FEEDBACK)
    reading = {"experiences": (0, shown)}
    nearest = int(getattr(optimizer.updater, "token_budget", 4_000))
    return {
        # The first round sees no earlier attempt, and the last round sees all of them. The average is one half.
        "actor": _Role("actor", actor, attempt, {**reading, "earlier_attempts": (0, earlier // 2)}),
        "validation": _Role("validation", actor, attempt, reading),
        "verifier": _Role("verifier", optimizer.verifier, written["verifier"], {"attempt": attempt}),
        "critic": _Role("critic", optimizer.critic, lesson, {"attempts": (attempt[0], earlier + attempt[1])}),
        "updater": _Role(
            "updater", optimizer.updater, written["updater"], {"new_lesson": lesson, "nearest": (lesson[0], nearest)}
        ),
    }


def _range(role: _Role, name: str, calls: tuple[int, int], examples: Sequence[dspy.Example], ledger: Ledger) -> Range:
    sample = list(examples[:: max(1, len(examples) // SAMPLE)])[:SAMPLE]
    ends = [_usage(role, end, calls[end], sample, ledger) if calls[end] else Usage() for end in (0, 1)]
    names = sorted({str(lm.model) for lm in map(_lm, role.program.predictors()) if lm is not None})
    return Range(name, ", ".join(names), ends[0], ends[1])


def _usage(role: _Role, end: int, runs: int, sample: Sequence[dspy.Example], ledger: Ledger) -> Usage:
    """The usage of ``runs`` runs of a role's program."""
    total = Usage()
    for predictor, times in _predictors_of(role, end):
        lm = _lm(predictor)
        prompt = _prompt_tokens(predictor, role, end, sample)
        if times > 1:  # each step of ReAct sees the steps before it
            prompt += STEP * (times - 1) // 2
        written = min(role.ends[end], _most(lm))
        price = ledger.price(str(lm.model)) if lm is not None else None
        count = runs * times
        one = {"prompt_tokens": prompt, "completion_tokens": written}
        usd = count * price.cost(one) if price else 0.0
        total += Usage(count, count * prompt, count * written, usd, count if price is None else 0)
    return total


def _predictors_of(role: _Role, end: int) -> Iterator[tuple[dspy.Predict, int]]:
    """A program's predictors, and how often each is called in one run.

    All predictors of an actor are called. The critic has a predictor for each kind of outcome, and one of them is
    called. ReAct makes between one step and ``max_iters`` steps before it writes the answer.
    """
    named = role.program.named_predictors()
    steps = {
        id(module.react): module.max_iters
        for _, module in role.program.named_sub_modules()
        if isinstance(module, dspy.ReAct)
    }
    if role.name in ("actor", "validation"):
        yield from ((predictor, steps.get(id(predictor), 1) if end else 1) for _, predictor in named)
        return
    predictors = [predictor for _, predictor in named]
    lengths = [tokens(predictor.signature.instructions) for predictor in predictors]
    yield predictors[lengths.index((min, max)[end](lengths))], 1


def _prompt_tokens(predictor: dspy.Predict, role: _Role, end: int, sample: Sequence[dspy.Example]) -> int:
    """The mean number of prompt tokens over a sample, with the prompts built as DSPy builds them."""
    fields = predictor.signature.input_fields
    filling = sum(ends[end] for name, ends in role.fillings.items() if name in fields)
    adapter = dspy.ChatAdapter()
    counts = []
    for example in sample:
        own = {**dict(example.inputs()), "problem": problem_of(example), "reference": _reference(example, role.program)}
        inputs = {name: own.get(name, "") for name in fields}
        messages = adapter.format(predictor.signature, predictor.demos, inputs)
        counts.append(sum(tokens(_text(message["content"])) for message in messages))
    return sum(counts) // max(len(counts), 1) + filling


def _text(content: Any) -> str:
    """The text of a message. Images and other media are left out."""
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)


def _reference(example: dspy.Example, program: dspy.Module) -> str:
    names = {name for predictor in program.predictors() for name in predictor.signature.output_fields}
    return reference_of(example, names) or reference_of(example, example.labels().keys())


def _lm(predictor: dspy.Predict) -> dspy.LM | None:
    return predictor.lm or dspy.settings.lm


def _most(lm: dspy.LM | None) -> int:
    settings = lm.kwargs if lm is not None else {}
    return int(settings.get("max_tokens") or settings.get("max_completion_tokens") or 10**9)


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _money(low: Usage, high: Usage) -> str:
    if high.calls and high.unpriced == high.calls:
        return "unknown"
    more = "+" if high.unpriced else ""
    return f"{low.usd:,.2f}{more}" if low.usd == high.usd else f"{low.usd:,.2f} to {high.usd:,.2f}{more}"
