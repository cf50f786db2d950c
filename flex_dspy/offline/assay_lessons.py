"""The advice of lessons on the score columns of an assay. The critic writes it, and the actor reads it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flex_dspy.data.reference_formula import weighted_sum
from flex_dspy.metrics.formula import Call, Column, FormulaError, Node, Number, parse, spine, walk
from flex_dspy.offline.assay_table import AssayTable
from flex_dspy.search import rendering

WAYS = ("equal", "spearman", "best five")
_USE = re.compile(r"[Ii]n the assay `([^`]{1,200})` use `([^`]{1,8000})`(?:; by family: `([^`]{1,2000})`)?")
_AVOID = re.compile(r"^Avoid: in the assay `([^`]{1,200})` to (add|take away) `([^`]{1,200})`")
_WEIGH = re.compile(r"^Where no lesson names columns, weigh them by `[^`]{1,40}`: (.*)$")
_REACHED = re.compile(r"(equal|spearman|best five) (\d\.\d{1,6})", re.ASCII)
_FAMILY = re.compile(r"([^,`]{1,80}?) ([+-]\d{1,3}(?:\.\d{1,3})?)(?:, |$)", re.ASCII)
_LEAST_LEFT = 0.5  # share of a column's weight that stays if every lesson warns of it


@dataclass(frozen=True)
class AssayLesson:
    """A formula for an assay.

    Attributes:
        assay: The assay's name.
        weights: Weights of the ranks of columns, or of their ``z``.
        families: Sums of the weights by family, for other assays.
        is_regression: Whether the formula is a sum of ``z``. Its weights belong together: nothing is added to them.
    """

    assay: str
    weights: Mapping[str, float] = field(default_factory=dict)
    families: Mapping[str, float] = field(default_factory=dict)
    is_regression: bool = False

    @property
    def formula(self) -> str:
        """The formula."""
        return weighted_sum(list(self.weights), list(self.weights.values()), "z" if self.is_regression else "rank")

    def text(self, begin: str = "I") -> str:
        """The lesson as a rule."""
        families = ", ".join(f"{name} {weight:+.3g}" for name, weight in self.families.items())
        by_family = f"; by family: `{families}`" if families else ""
        return f"{begin}n the assay `{self.assay}` use `{self.formula}`{by_family}"


def preference_rule(way: str, reached: Mapping[str, float]) -> str:
    """The rule that names the best way of weighing, with the |Spearman| of each way."""
    told = ", ".join(f"{name} {value:.3f}" for name, value in reached.items())
    return f"Where no lesson names columns, weigh them by `{way}`: {told}"


def warning_rule(assay: str, column: str, added: bool) -> str:
    """The rule that warns of a column, because a formula was better without it."""
    return f"Avoid: in the assay `{assay}` to {'add' if added else 'take away'} `{column}`, which held a formula back"


@dataclass(frozen=True)
class Lessons:
    """The content of a block of experiences.

    Attributes:
        formulas: Formulas, each with the id of the entry that teaches it.
        avoided: For each warning the assay, the column, and whether the column was added or subtracted.
        ways: |Spearman| by way of weighing, for each time that several ways were tried.
    """

    formulas: tuple[tuple[str, AssayLesson], ...] = ()
    avoided: tuple[tuple[str, str, bool], ...] = ()
    ways: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True)
class Advice:
    """The combined advice of all lessons for one assay.

    Attributes:
        weights: Weights of columns; empty if no lesson names a column or a family of the assay.
        way: The way of weighing columns apart from these weights.
        own: Number of lessons from this assay.
        others: Number of other assays with lessons.
        ids: The entries that were followed.
        is_regression: Whether the weights are of ``z``, and complete: the average of the regressions on this assay.
    """

    weights: Mapping[str, float]
    way: str
    own: int
    others: int
    ids: tuple[str, ...]
    is_regression: bool = False


@functools.lru_cache(maxsize=32)  # the rounds of a rollout ask with the same lessons
def read_lessons(block: str) -> Lessons:
    """Read a rendered block of experiences."""
    formulas, warnings, ways = [], [], []
    for entry in rendering.parse(block):
        for rule in entry.rules:
            if found := _USE.search(rule):
                families = {name.strip(): float(weight) for name, weight in _FAMILY.findall(found[3] or "")}
                lesson = AssayLesson(found[1], weights_in(found[2]), families, is_regression(found[2]))
                formulas.append((entry.id, lesson))
            elif found := _AVOID.match(rule):
                warnings.append((found[1], found[3], found[2] == "add"))
            elif found := _WEIGH.match(rule):
                ways.append({way: float(reached) for way, reached in _REACHED.findall(found[1])})
    return Lessons(tuple(formulas), tuple(warnings), tuple(ways))


def advice(table: AssayTable, lessons: Lessons) -> Advice:
    """Weights for the columns of an assay.

    Each lesson from this assay counts once, whatever the size of its weights. If some are regressions, only these
    count. Otherwise all lessons from another assay together count once, by the families of their columns.
    """
    own = [(entry, lesson) for entry, lesson in lessons.formulas if lesson.assay == table.name]
    regressions = [(entry, lesson) for entry, lesson in own if lesson.is_regression]
    if weights := _total(table, regressions):
        ids = tuple(dict.fromkeys(entry for entry, _ in regressions))
        return Advice(weights, _best_way(lessons.ways), len(regressions), 0, ids, is_regression=True)
    weights = _total(table, own)
    for name, weight in weights.items():
        warned = lessons.avoided.count((table.name, name, weight > 0))
        weights[name] = weight * (1 - (1 - _LEAST_LEFT) * min(1.0, warned / len(own)))
    others = [(entry, lesson) for entry, lesson in lessons.formulas if lesson.assay != table.name]
    by_assay: dict[str, list[AssayLesson]] = {}
    for _, lesson in others:
        by_assay.setdefault(lesson.assay, []).append(lesson)
    carried = [share for group in by_assay.values() if (share := _carry_over(table, group))]
    for share in carried:
        _add(weights, {name: w for name, w in share.items() if w > 0 or _is_confirmed(name, carried)})
    ids = tuple(dict.fromkeys(entry for entry, _ in [*own, *(others if carried else [])]))
    return Advice({n: w for n, w in weights.items() if w}, _best_way(lessons.ways), len(own), len(carried), ids)


def _total(table: AssayTable, own: Sequence[tuple[str, AssayLesson]]) -> dict[str, float]:
    """The sum of the weights that lessons from this assay give to its columns."""
    weights: dict[str, float] = {}
    for _, lesson in own:
        _add(weights, _normalize({name: weight for name, weight in lesson.weights.items() if name in table.names}))
    return weights


def _carry_over(table: AssayTable, group: Sequence[AssayLesson]) -> dict[str, float]:
    """The weights by family from the lessons of another assay, distributed over the columns of these families here."""
    families: dict[str, float] = {}
    for lesson in group:
        _add(families, _normalize(lesson.families))
    members = {family: [c.name for c in table.columns if c.family == family] for family in families}
    spread = {name: families[f] / len(names) for f, names in members.items() for name in names}
    return _normalize(spread)


def _best_way(tried: Sequence[Mapping[str, float]]) -> str:
    """The way with the greatest lead over the other ways that were tried with it; equal weights if nothing is known."""
    ahead = dict.fromkeys(WAYS, 0.0)
    for reached in tried:
        for way, value in reached.items():
            ahead[way] += value - sum(reached.values()) / len(reached)
    return max(WAYS, key=lambda way: ahead[way])


def _is_confirmed(column: str, carried: Sequence[Mapping[str, float]]) -> bool:
    """Whether a second assay subtracts the column too. A single assay may do so by chance."""
    return sum(share.get(column, 0.0) < 0 for share in carried) > 1


def weights_in(formula: str, columns: Iterable[str] | None = None) -> dict[str, float]:
    """The weights of a sum of columns, or of their ranks or z; empty for any other formula and for invalid text.

    Args:
        formula: The formula.
        columns: The columns that it may use; None for any.
    """
    weights = dict(_weights_in(formula))
    return weights if columns is None or weights.keys() <= set(columns) else {}


@functools.lru_cache(maxsize=8_192)  # the same lessons are read for example after example
def is_regression(formula: str) -> bool:
    """Whether a formula is a weighted sum of ``z`` of columns, without a rank."""
    if not _weights_in(formula):
        return False
    functions = {node.function for node in walk(parse(formula).root) if isinstance(node, Call)}
    return "z" in functions and "rank" not in functions


@functools.lru_cache(maxsize=8_192)
def _weights_in(formula: str) -> tuple[tuple[str, float], ...]:
    try:
        root = parse(formula).root
    except FormulaError:
        return ()
    weights: dict[str, float] = {}
    for sign, term in _terms(root):
        found = _weight(term)
        if found is None:
            return ()
        weights[found[0]] = weights.get(found[0], 0.0) + sign * found[1]
    return tuple(weights.items())


def _terms(root: Node) -> list[tuple[float, Node]]:
    """The terms of a sum, each with its sign."""
    if isinstance(root, Call) and root.function == "mean":
        return [term for argument in root.arguments for term in _terms(argument)]
    first, operations = spine(root)
    # The inner operations of the spine may be products; they belong to the first term.
    start = next((n for n, node in enumerate(operations) if node.function in "+-"), len(operations))
    head: Node = operations[start - 1] if start else first
    if any(node.function not in "+-" for node in operations[start:]):
        return [(1.0, root)]
    return [(1.0, head), *((-1.0 if n.function == "-" else 1.0, n.arguments[1]) for n in operations[start:])]


def _weight(term: Node) -> tuple[str, float] | None:
    """The column of a term and its weight."""
    if isinstance(term, Column):
        return term.name, 1.0
    if not isinstance(term, Call):
        return None
    if term.function in ("rank", "z") and isinstance(term.arguments[0], Column):
        return term.arguments[0].name, 1.0
    if term.function == "neg":
        inner = _weight(term.arguments[0])
        return inner and (inner[0], -inner[1])
    if term.function in ("*", "/"):
        left, right = term.arguments
        if term.function == "*" and isinstance(left, Number):
            left, right = right, left
        inner = _weight(left)
        if inner is None or not isinstance(right, Number) or (term.function == "/" and right.value == 0):
            return None
        return inner[0], inner[1] * right.value if term.function == "*" else inner[1] / right.value
    return None


def _normalize(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(map(abs, weights.values()))
    return {name: weight / total for name, weight in weights.items()} if total else {}


def _add(total: dict[str, float], more: Mapping[str, float]) -> None:
    for name, weight in more.items():
        total[name] = total.get(name, 0.0) + weight
