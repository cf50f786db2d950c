"""Comparisons as HTML, with drawings of molecules, and as pandas frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from flex_dspy.display import html
from flex_dspy.display.libraries import with_interval
from flex_dspy.display.molecules import molecule
from flex_dspy.evaluation.comparison import Comparison
from flex_dspy.evaluation.differences import Difference, ExampleChange, Samples, Side, answer_of, seconds
from flex_dspy.evaluation.intervals import named_score_text
from flex_dspy.evaluation.records import by_example

if TYPE_CHECKING:
    import pandas as pd

IN_A_CELL = 3  # most wins, and most losses, in a notebook's cell
ANSWERS = 3  # most different answers of one side to one example
NAMED = 5  # most entries of one prompt that are listed
_GRID = Markup(
    '<div style="display:grid;grid-template-columns:repeat(auto-fit,minmax(16rem,1fr));gap:0 1.6rem">{}</div>'
)
_LINE = Markup('<span class="fx-line">{}</span>')


def comparison_html(comparison: Comparison, title: str = "", examples: int = 10) -> str:
    """Comparison as a complete HTML document.

    Args:
        comparison: The comparison.
        title: The document's title.
        examples: Most wins, and most losses, of each side against the first.

    Returns:
        HTML without scripts and external resources. All texts of answers are escaped.
    """
    name = title or comparison.title
    return html.page(name, html.title(name), *_comparison(comparison, examples))


def comparison_cell(comparison: Comparison) -> str:
    """HTML of a comparison for a notebook's cell."""
    return html.fragment(html.title(comparison.title), *_comparison(comparison, IN_A_CELL))


def _comparison(comparison: Comparison, limit: int) -> list[Markup]:
    n = html.count(comparison.before.n, "example")
    about = (Markup("{} {}").format(name, html.code(value)) for name, value in comparison.about.items())
    left_out = f"{comparison.left_out:,} that not all had left out" if comparison.left_out else ""
    parts = [html.facts(n, left_out, *about), _sides(comparison), _differences(comparison)]
    if len(comparison.sides) > 2:
        parts += _matrix(comparison)
    for place, found in enumerate(comparison.differences(), start=1):
        wins, losses = comparison.changes(place)
        sides = comparison.sides[0], comparison.sides[place]
        parts += _changes(f"{found.second} is better than {found.first} on", wins, sides, limit)
        parts += _changes(f"{found.second} is worse than {found.first} on", losses, sides, limit)
    return parts


# -- numbers -----------------------------------------------------------------------------------------------


def _sides(comparison: Comparison) -> Markup:
    """Table with a row for each side. Empty columns are left out."""
    rows = [_side(side, comparison.score) for side in comparison.sides]
    names = dict.fromkeys(name for row in rows for name in row)
    head = [name for name in names if any(row.get(name) for row in rows)]
    return html.table([_TITLES.get(name, name) for name in head], [[row.get(name) for name in head] for row in rows])


_TITLES = {"name": "", "bar": ""}


def _side(side: Side, score: str) -> dict[str, Any]:
    evaluation = side.evaluation
    numbers = evaluation.metrics()
    measured = dict.fromkeys(name for record in evaluation.records for name in record.measures)
    version = Markup("<br>{}").format(html.code(side.library[:12])) if side.library else ""
    return {
        "name": Markup("<b>{}</b>{}").format(_LINE.format(side.name), version),
        "entries": side.size if side.library else None,
        f"{score} (95% interval)": _LINE.format(with_interval(evaluation.accuracy, *evaluation.interval, score=score)),
        "bar": Markup('<div style="width:7rem">{}</div>').format(html.bar([("good", evaluation.accuracy)])),
        **{name: _LINE.format(named_score_text(score, numbers[name])) for name in measured},
        "tokens": evaluation.tokens,
        "USD": evaluation.usd,
        "s a sample": seconds(evaluation),
        "errors": int(numbers["errors"]),
    }


def _differences(comparison: Comparison) -> Markup:
    several = len(comparison.sides) > 2
    p_value = "p (Holm's correction)" if several else "p"
    rows = [_difference(comparison, found) for found in comparison.differences()]
    beside = f"beside {comparison.sides[0].name}"
    return html.table([beside, "gain (95% interval)", "test", p_value, "won", "lost", "the same", "", "cost"], rows)


def _difference(comparison: Comparison, found: Difference) -> tuple[Any, ...]:
    apart = found.wins + found.losses or 1
    bar = html.bar([("good", found.wins / apart), ("bad", found.losses / apart)])
    return (
        Markup("<b>{}</b>").format(_LINE.format(found.second)),
        _LINE.format(comparison.gain_text(found)),
        _LINE.format(found.test),
        _LINE.format(f"{found.adjusted:.2g}"),
        found.wins,
        found.losses,
        found.ties,
        Markup('<div style="width:5rem">{}</div>').format(bar),
        _LINE.format(found.cost()),
    )


def _matrix(comparison: Comparison) -> list[Markup]:
    found = {(each.second, each.first): each for each in comparison.matrix()}
    names = [side.name for side in comparison.sides]
    rows = [
        (_LINE.format(row), *(_cell(comparison, found.get((row, column))) for column in names[:-1]))
        for row in names[1:]
    ]
    told = f"The row's {comparison.score} less the column's; p by Holm's correction for {len(found)}"
    return [html.heading("Each beside each"), html.soft(told), html.table(["", *names[:-1]], rows)]


def _cell(comparison: Comparison, found: Difference | None) -> Markup | None:
    if found is None:
        return None
    return Markup("{}<br>{}").format(comparison.gain_text(found), html.facts(f"p = {found.adjusted:.2g}"))


# -- examples ----------------------------------------------------------------------------------------------


def _changes(told: str, changes: Sequence[ExampleChange], sides: tuple[Side, Side], limit: int) -> list[Markup]:
    shown, more = html.some(changes, limit)
    head = html.heading(f"{told} {html.count(len(changes), 'example')}")
    return [head, *(_change(change, sides) for change in shown), more] if changes else []


def _change(change: ExampleChange, sides: tuple[Side, Side]) -> Markup:
    record = change.first[0]
    kind = "good" if change.difference > 0 else "bad"
    scores = " → ".join(f"{sum(r.score for r in samples) / len(samples):.3g}" for samples in _both(change))
    summary = Markup('<span class="fx-id">{}</span>{}{}').format(
        html.code(record.example_id), html.badge(scores, kind), html.short(record.problem, 140)
    )
    both = [_answers(side, samples) for side, samples in zip(sides, _both(change), strict=True)]
    cells = [_field("reference", _value(record.reference)), *both]
    problem = _drawing(record.problem) or html.prose(record.problem)
    body = problem + _GRID.format(html.join(Markup("<div>{}</div>").format(cell) for cell in cells))
    return html.fold(summary, body, is_open=True)


def _both(change: ExampleChange) -> tuple[Samples, Samples]:
    return change.first, change.second


def _field(name: str, body: Markup, marks: Sequence[Markup] = ()) -> Markup:
    return Markup('<div style="margin-top:.6em"><b>{}</b> {}</div>{}').format(name, html.join(marks), body)


def _value(text: str) -> Markup:
    return (_drawing(text) or Markup("")) + html.value(text)


def _drawing(text: str) -> Markup | None:
    """Drawing of a text if it is a SMILES. Short texts are not drawn, because most short words are valid SMILES."""
    drawing = molecule(text) if len(text) >= 3 else None
    return None if drawing is None else html.drawings([drawing])


def _answers(side: Side, samples: Samples) -> Markup:
    """Answers of one side, the most frequent first, and the entries in its prompt."""
    given = Counter((answer_of(record), record.score) for record in samples).most_common(ANSWERS)
    marks = [_mark(score, f"{score:g}" + (f" × {times}" if len(samples) > 1 else "")) for (_, score), times in given]
    parts = [_value(text) if text else html.soft("no answer") for (text, _), _ in given]
    errors = dict.fromkeys(record.error for record in samples if record.error)
    parts += [html.soft(html.short(error, 300)) for error in list(errors)[:1]]
    return _field(side.name, html.join([*parts, _entries(side, samples)]), marks)


def _mark(score: float, text: str) -> Markup:
    return html.badge(text, "good" if score >= 1 else "mixed" if score > 0 else "bad")


def _entries(side: Side, samples: Samples) -> Markup:
    """Entries in the prompt. The entries that the answer relied on come first."""
    shown = list(dict.fromkeys(entry_id for record in samples for entry_id in record.shown))
    if not shown:
        return html.soft("no entry in the prompt")
    used = {entry_id for record in samples for entry_id in record.outputs.get("experiences_used") or ()}
    relied = [entry_id for entry_id in shown if entry_id in used]
    named = [
        Markup("{} {}").format(html.code(entry_id), side.entries.get(entry_id, ""))
        for entry_id in (relied or shown)[:NAMED]
    ]
    count = html.count(len(shown), "entry", "entries")
    told = f"{count} in the prompt" + (f", relied on {len(relied):,}:" if relied else ":")
    return Markup('<div class="fx-soft" style="font-size:.88em">{}{}</div>').format(told, html.listing(named))


# -- frames ------------------------------------------------------------------------------------------------


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """Table with one row for each example; the index is the example's id.

    Columns are ``problem``, ``reference``, and for each side ``<name>.score``, ``<name>.answer`` and ``<name>.shown``.
    With several samples, the score is their mean, the answer is the first sample's, and ``shown`` lists the entries
    that were in the prompt of any sample.
    """
    import pandas as pd

    groups = zip(*(by_example(side.evaluation.records) for side in comparison.sides), strict=True)
    names = [side.name for side in comparison.sides]
    return pd.DataFrame([_row(names, samples) for samples in groups]).set_index("example_id")


def _row(names: Sequence[str], sides: Sequence[Samples]) -> dict[str, Any]:
    first = sides[0][0]
    row: dict[str, Any] = {"example_id": first.example_id, "problem": first.problem, "reference": first.reference}
    for name, samples in zip(names, sides, strict=True):
        row[f"{name}.score"] = sum(record.score for record in samples) / len(samples)
        row[f"{name}.answer"] = answer_of(samples[0])
        row[f"{name}.shown"] = list(dict.fromkeys(entry_id for record in samples for entry_id in record.shown))
    return row
