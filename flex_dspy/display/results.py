"""Trajectories and evaluations as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from flex_dspy.core.scoring import ACCURACY
from flex_dspy.display import html
from flex_dspy.display.libraries import with_interval
from flex_dspy.display.molecules import molecule

if TYPE_CHECKING:
    from flex_dspy.core.trajectory import Round, Trajectory
    from flex_dspy.evaluation.evaluate import Evaluation
    from flex_dspy.evaluation.records import Record

IN_A_CELL = 10  # most records in a notebook's cell
LISTED = 20  # most items of a list


def trajectory_cell(trajectory: Trajectory) -> str:
    """HTML of a rollout for a notebook's cell, with one block for each round."""
    rounds = html.count(len(trajectory.rounds), "round")
    head = html.title("Rollout: " + ("solved" if trajectory.solved else "not solved"))
    parts = [head, html.badge(trajectory.zone, trajectory.zone) + html.facts(rounds)]
    parts += [_round(round_, number) for number, round_ in enumerate(trajectory.rounds, start=1)]
    if trajectory.error:
        parts += [html.label("broken off by"), html.prose(trajectory.error)]
    return html.fragment(*parts)


def _round(round_: Round, number: int) -> Markup:
    verdict = html.badge("accepted", "good") if round_.accepted else html.badge("rejected", "bad")
    score = f"score {round_.score:g}" if round_.score is not None else "judged by the verifier"
    body = [outputs(round_.outputs), html.label("feedback"), html.prose(round_.feedback)]
    if round_.redacted:
        body.append(html.soft("The right answer was taken out of this feedback."))
    head = Markup("<b>Round {}</b> {}{}").format(number, verdict, html.facts(score))
    return html.fold(head, html.join(body), is_open=True)


def outputs(values: Mapping[str, Any]) -> Markup:
    """HTML of named values. SMILES are drawn as molecules."""
    given = ((name, value) for name, value in values.items() if value not in (None, "", [], ()))
    return html.join(_field(name, _list(value) if isinstance(value, list | tuple) else value) for name, value in given)


def _field(name: str, value: Any) -> Markup:
    """HTML of a named value. A SMILES is drawn as a molecule."""
    if isinstance(value, Markup):
        return html.label(name.replace("_", " ")) + value
    text = str(value)
    drawing = molecule(text) if len(text) >= 3 else None  # most short words are valid SMILES
    return html.label(name.replace("_", " ")) + html.value(text) + html.drawings([drawing])


def _list(values: Sequence[Any]) -> Markup:
    shown, more = html.some(values, LISTED)
    return html.join(html.code(html.short(str(value), 400)) + Markup(" ") for value in shown) + more


# -- evaluations -------------------------------------------------------------------------------------------


def evaluation_cell(evaluation: Evaluation, limit: int = IN_A_CELL) -> str:
    """HTML of an evaluation for a notebook's cell: its metrics and its first records.

    Args:
        evaluation: The evaluation.
        limit: Most records.
    """
    if not evaluation.records:
        return html.fragment(html.title("Evaluation of nothing"))
    name = "Accuracy" if evaluation.score == ACCURACY else evaluation.score
    score = with_interval(evaluation.accuracy, *evaluation.interval, score=evaluation.score)
    head = f"{name} {score} on {html.count(evaluation.n, 'example')}"
    samples = f"{evaluation.samples} samples each" if evaluation.samples > 1 else ""
    errors = sum(bool(record.error) for record in evaluation.records)
    numbers = html.facts(
        samples,
        html.count(errors, "error") if errors else "",
        f"{evaluation.tokens:,} tokens" if evaluation.tokens else "",
        f"${evaluation.usd:.4f}" if evaluation.usd else "",
    )
    bar = html.bar([("good", evaluation.accuracy)])
    shown, more = html.some(evaluation.records, limit)
    return html.fragment(html.title(head), bar, numbers, _measures(evaluation), *map(_record, shown), more)


def _measures(evaluation: Evaluation) -> Markup:
    numbers = evaluation.metrics()
    told = {"n", "samples", "errors", "accuracy"}
    rows = [
        (name, value, _interval(numbers, name))
        for name, value in numbers.items()
        if name not in told and not name.endswith(("_low", "_high"))
    ]
    width = 3 if any(interval for *_, interval in rows) else 2
    return (
        html.table(["measure", "mean", "95% interval"][:width], [row[:width] for row in rows]) if rows else Markup("")
    )


def _interval(numbers: Mapping[str, float], name: str) -> str:
    low, high = numbers.get(f"{name}_low"), numbers.get(f"{name}_high")
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _record(record: Record) -> Markup:
    kind = "good" if record.score >= 1 else "mixed" if record.score > 0 else "bad"
    summary = Markup('<span class="fx-id">{}</span>{}{}').format(
        html.code(record.example_id), html.badge(f"{record.score:g}", kind), html.short(record.problem, 140)
    )
    told = {"feedback": record.feedback, "error": record.error, "experiences shown": record.shown}
    parts = [{"problem": record.problem}, record.outputs, {"reference": record.reference}, told]
    return html.fold(summary, html.join(map(outputs, parts)))
