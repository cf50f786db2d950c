"""Experiences as text in a prompt, and back.

What is retrieved is written once, for every reader: a language model and an offline expert see the same text.
Nothing in an entry can leave its place: each line of it is indented, and the marks that close the block, or that
DSPy's adapters read as field headers, are broken up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from flex_dspy.experience import Experience, Precedent, Zone

OPEN = "<experiences>"
CLOSE = "</experiences>"
NONE = "(no experience yet)"
# SMILES and LaTeX split into more tokens than prose does; three characters a token does not underestimate them.
CHARACTERS_PER_TOKEN = 3


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that was retrieved, and why.

    Attributes:
        experience: The entry.
        score: Its fused score.
        precedents: Its solved cases that fit the query, each with its similarity in [0, 1], best first.
        ranks: Its rank in each view that found it, from 1.
        own: The query's own example is among the entry's precedents: what shows its solution is left out.
    """

    experience: Experience
    score: float
    precedents: tuple[tuple[Precedent, float], ...] = ()
    ranks: dict[str, int] = field(default_factory=dict)
    own: bool = False


def tokens(text: str) -> int:
    """A cautious estimate of the number of tokens in a text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


Level = Literal["method", "rules", "precedents", "trajectory"]
LEVELS: tuple[Level, ...] = ("method", "rules", "precedents", "trajectory")


def render(hits: Sequence[Hit], budget: int, levels: Sequence[Level] = LEVELS) -> str:
    """The block of experiences for a prompt, within a token budget.

    The levels are filled in the order of their worth a token: every entry's method, then rules, then precedents,
    then trajectories. What no longer fits is left out whole, so that a smaller budget degrades instance, then
    rules, then method.

    Args:
        hits: What was retrieved, best first.
        budget: Most tokens the block may take.
        levels: The levels to write, ``method`` first.
    """
    chosen: list[list[str]] = [[] for _ in hits]
    left = budget - tokens(OPEN + CLOSE)
    for level in levels:
        for lines, hit in zip(chosen, hits, strict=True):
            if lines or level == "method":  # no rule without the method above it
                for line in _WRITERS[level](hit):
                    cost = tokens(line + "\n")
                    if cost <= left:
                        lines.append(line)
                        left -= cost
    blocks = ["\n".join(lines) for lines in chosen if lines]
    return "\n".join([OPEN, *blocks, CLOSE]) if blocks else NONE


def _method(hit: Hit) -> Iterable[str]:
    entry = hit.experience
    record = f" | helped {entry.helped}, misled {entry.hurt}" if entry.helped + entry.hurt else ""
    yield f"## {entry.id} | {entry.zone} | {_line(entry.category)}{record}\nMethod: {_indented(entry.method)}"


def _rules(hit: Hit) -> Iterable[str]:
    for rule in hit.experience.rules:
        examples = () if hit.own else rule.examples
        yield "\n".join([f"Rule: {_indented(rule.text)}", *(f"  e.g. {_indented(text)}" for text in examples)])


def _precedents(hit: Hit) -> Iterable[str]:
    for precedent, similarity in hit.precedents:
        yield f"Solved ({similarity:.3f}): {_line(precedent.problem)} => {_line(precedent.answer)}"


def _trajectory(hit: Hit) -> Iterable[str]:
    if hit.experience.trajectory and not hit.own:
        yield f"Instance: {_indented(hit.experience.trajectory)}"


_WRITERS: dict[Level, Callable[[Hit], Iterable[str]]] = {
    "method": _method,
    "rules": _rules,
    "precedents": _precedents,
    "trajectory": _trajectory,
}


def _safe(text: str) -> str:
    # Each mark is broken by what is put in: taking something out would let "[[ ### x" become a mark.
    return text.replace(CLOSE, "< /experiences>").replace("[[ ##", "[ [ ##").replace("## ]]", "## ] ]")


def _line(text: str) -> str:
    return " ".join(_safe(text).split())


def _indented(text: str) -> str:
    return "\n    ".join(_safe(text).splitlines())


@dataclass(slots=True)
class Rendered:
    """One entry as a reader of the prompt finds it."""

    id: str
    zone: Zone
    category: str
    method: str = ""
    rules: list[str] = field(default_factory=list)
    precedents: list[tuple[str, str, float]] = field(default_factory=list)  # problem, answer, similarity


_HEAD = re.compile(r"## (\w+) \| (golden|warning|mixed) \| ([^|]*)")
_SOLVED = re.compile(r"Solved \(([\d.]+)\): (.*) => (.*)")


def parse(block: str) -> list[Rendered]:
    """Read a rendered block back; lines that do not belong to the format are passed over."""
    entries: list[Rendered] = []
    for line in block.splitlines():
        if head := _HEAD.fullmatch(line) or _HEAD.match(line):
            zone: Zone = head[2]  # type: ignore[assignment]
            entries.append(Rendered(head[1], zone, head[3].strip()))
        elif not entries:
            continue
        elif line.startswith("Method: "):
            entries[-1].method = line.removeprefix("Method: ")
        elif line.startswith("Rule: "):
            entries[-1].rules.append(line.removeprefix("Rule: "))
        elif solved := _SOLVED.fullmatch(line):
            entries[-1].precedents.append((solved[2], solved[3], float(solved[1])))
    return entries
