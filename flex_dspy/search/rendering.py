"""Writes experiences as text for a prompt, and reads this text back.

A language model and an offline expert read the same text. The texts of an entry cannot change the structure of the
prompt. They never begin a line, because their further lines are indented. Marks that open or close the block are broken
up, and so are marks that DSPy's adapters read as field headers. All tags are broken up too if the adapter in use
separates fields by tags, as ``dspy.XMLAdapter`` does, or if the adapter is not known here.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Literal

from flex_dspy.core.tokens import tokens
from flex_dspy.core.zones import Zone
from flex_dspy.libraries.experience import Experience, Precedent, Rule
from flex_dspy.libraries.hits import Hit

OPEN = "<experiences>"
CLOSE = "</experiences>"
NONE = "(no experience yet)"
INDENT = "\n    "  # between the lines of a text
_EXAMPLE = "  e.g. "


Level = Literal["method", "rules", "precedents", "trajectory"]
LEVELS: tuple[Level, ...] = ("method", "rules", "precedents", "trajectory")


def render(hits: Sequence[Hit], budget: int, levels: Sequence[Level] = LEVELS) -> str:
    """The block of experiences for a prompt, within a token budget.

    The levels are written in the order of their value per token: every entry's method, then rules, then precedents,
    then trajectories. Parts that do not fit are left out whole. So a smaller budget first loses instances, then rules,
    then methods.

    Args:
        hits: The retrieved entries, best first.
        budget: Most tokens of the block. If not even one method fits, the block says that there are no experiences.
        levels: The levels to write, in this order, ``method`` first. Without ``method``, an entry has its head line and
            the given levels. It is left out if it has no text on these levels.
    """
    return block(arrange(hits, budget, levels))


def arrange(hits: Sequence[Hit], budget: int, levels: Sequence[Level] = LEVELS) -> list[list[str]]:
    """The lines that ``render`` writes for each hit; no lines for a hit that does not fit."""
    chosen: list[list[str]] = [[] for _ in hits]
    left = budget - tokens(OPEN + "\n" + CLOSE)
    headless = "method" not in levels
    written = _without_tags if _reads_tags() else str
    for level in ("head", *levels) if headless else levels:
        lines = [
            (entry, written(line))
            for entry, hit in zip(chosen, hits, strict=True)
            if entry or level in _FIRST  # an entry without its method gets no rules
            for line in _WRITERS[level](hit)
        ]
        left -= _fill(lines, left)
    chosen = [_grouped(hit, entry, written) for hit, entry in zip(hits, chosen, strict=True)]
    return [entry if len(entry) > headless else [] for entry in chosen]


def _fill(lines: Sequence[tuple[list[str], str]], left: int) -> int:
    """Add each line to its entry if it fits into the rest of the budget, and return the tokens used."""
    # Most often the whole level fits. One count of it is three times as fast as a count of each line.
    everything = tokens("".join(line + "\n" for _, line in lines))
    if everything <= left:
        for entry, line in lines:
            entry.append(line)
        return everything
    spent = 0
    for entry, line in lines:
        cost = tokens(line + "\n")
        if cost <= left - spent:
            entry.append(line)
            spent += cost
    return spent


def block(entries: Iterable[Sequence[str]], tally: str = "") -> str:
    """Arranged entries as one text.

    Args:
        entries: The lines of each entry.
        tally: A last line on the answers of similar precedents; see ``flex_dspy.search.tally``.
    """
    lines = [line for entry in entries for line in entry] + ([tally] if tally else [])
    return "\n".join([OPEN, *lines, CLOSE]) if lines else NONE


def headline(experience: Experience, most: int = 160) -> str:
    """An entry as one line: id, zone, category, and the first ``most`` characters of its method."""
    method = " ".join(experience.method[: 2 * most].split())
    cut = method if len(method) <= most else method[:most].rsplit(" ", 1)[0] + " ..."
    line = f"- {_cell(experience.id)} | {experience.zone} | {_cell(experience.category)} | {one_line(cut)}"
    return _without_tags(line) if _reads_tags() else line


def _head_line(entry: Experience) -> str:
    return _head_text(entry.id, entry.zone, entry.category, entry.helped, entry.hurt)


@functools.lru_cache(maxsize=20_000)
def _head_text(entry_id: str, zone: Zone, category: str, helped: int, hurt: int) -> str:
    record = f" | helped {helped}, misled {hurt}" if helped + hurt else ""
    return f"## {_cell(entry_id)} | {zone} | {_cell(category)}{record}"


# Lists, not generators: hundreds of entries are written for each prompt, most of them with one line a level.
def _head(hit: Hit) -> list[str]:
    return [_head_line(hit.experience)]


def _method(hit: Hit) -> list[str]:
    head, method = _head_line(hit.experience), hit.experience.method
    return [f"{head}\nMethod: {_indent(method)}" if method else head]


def _rules(hit: Hit) -> list[str]:
    return [_rule_line(rule, hit.own) for rule in _shown_rules(hit)]


def _rule_line(rule: Rule, own: bool) -> str:
    line = f"Rule: {_indent(rule.text)}"
    if own or not rule.examples:
        return line
    return "\n".join([line, *(f"{_EXAMPLE}{_indent(text)}" for text in rule.examples)])


def _shown_rules(hit: Hit) -> Sequence[Rule]:
    """The rules of an entry. If it gathers many lessons, those of the precedents at hand, the nearest first.

    Rules without precedents of their own come before.
    """
    entry = hit.experience
    case_rules = entry.case_rules() if hit.precedents else ()
    if not case_rules:
        return entry.rules
    by_key = entry.rules_by_key()
    near = dict.fromkeys(_homes(hit))
    return [*(rule for key, rule in by_key.items() if key not in case_rules), *(by_key[key] for key in near)]


def _homes(hit: Hit) -> list[str]:
    """The key of each precedent's rule; the first rule, if the rule that the precedent names is gone."""
    by_key = hit.experience.rules_by_key()
    first = next(iter(by_key))
    return [precedent.rule if precedent.rule in by_key else first for precedent, _ in hit.precedents]


def _precedents(hit: Hit) -> list[str]:
    return [_case_line(precedent, similarity) for precedent, similarity in hit.precedents]


def _case_line(precedent: Precedent, similarity: float) -> str:
    return f"Solved ({similarity:.3f}): {_solved(precedent.problem, precedent.answer)}"


def _grouped(hit: Hit, lines: list[str], written: Callable[[str], str]) -> list[str]:
    """The lines of an entry that gathers lessons, with each rule above its precedents; other entries unchanged."""
    entry = hit.experience
    if not hit.precedents or not entry.case_rules():
        return lines
    places = {written(_rule_line(rule, hit.own)): rule.key for rule in _shown_rules(hit)}
    shown = {places[line]: number for number, line in enumerate(lines) if line in places}
    if not shown:
        return lines
    homes = {written(_case_line(*case)): home for case, home in zip(hit.precedents, _homes(hit), strict=True)}
    place = {line: shown[home] for line, home in homes.items() if home in shown}
    kept = [
        (place.get(line, number), line in homes, line)
        for number, line in enumerate(lines)
        if line not in homes or line in place
    ]
    return [line for _, _, line in sorted(kept, key=itemgetter(0, 1))]


@functools.lru_cache(maxsize=50_000)  # the same precedents are shown again and again
def _solved(problem: str, answer: str) -> str:
    # The last arrow of the line is the one that counts.
    return f"{one_line(problem)} => {_ARROW.sub('⇒', one_line(answer))}"


def _trajectory(hit: Hit) -> list[str]:
    shown = hit.experience.trajectory and not hit.own
    return [f"Instance: {_indent(hit.experience.trajectory)}"] if shown else []


_FIRST = ("head", "method")  # the levels that open an entry
_WRITERS: dict[str, Callable[[Hit], list[str]]] = {
    "head": _head,
    "method": _method,
    "rules": _rules,
    "precedents": _precedents,
    "trajectory": _trajectory,
}

_ARROW = re.compile(r"(?<!\S)=>(?!\S)")
_TAG = re.compile(r"<(?=/?experiences\b)", re.IGNORECASE)
# A mark is broken up by adding characters. Removing characters could turn "[[ ### x" into a mark.
_FIELD_OPENS = re.compile(r"\[\[(?=\s*##)")
_FIELD_CLOSES = re.compile(r"(?<=##)(\s*)\]\]")


_ANY_TAG = re.compile(r"<(?=[/!?]|[^\W\d])")


def _reads_tags() -> bool:
    """Whether the adapter in use may read a tag in a text as the end of a field."""
    dspy = sys.modules.get("dspy")
    adapter = None if dspy is None else dspy.settings.adapter
    if dspy is None or adapter is None:
        return False
    return isinstance(adapter, dspy.XMLAdapter) or not isinstance(adapter, dspy.ChatAdapter)


def _without_tags(text: str) -> str:
    return _ANY_TAG.sub("< ", text)


def _safe(text: str) -> str:
    if "<" in text:
        text = _TAG.sub("< ", text)
    if "##" in text:
        text = _FIELD_CLOSES.sub(r"\1] ]", _FIELD_OPENS.sub("[ [", text))
    return text


def one_line(text: str) -> str:
    """A text as one line that cannot end the block or a field."""
    return _safe(" ".join(text.split()))


def _cell(text: str) -> str:
    """A text for the place between two bars."""
    return one_line(text).replace("|", "/")


@functools.lru_cache(maxsize=20_000)
def _indent(text: str) -> str:
    written = INDENT.join(_safe(text).splitlines())
    return text if written == text else written


@dataclass(slots=True)
class Rendered:
    """One entry as a reader of the prompt sees it."""

    id: str
    zone: Zone
    category: str
    method: str = ""
    rules: list[str] = field(default_factory=list)
    precedents: list[tuple[str, str, float]] = field(default_factory=list)  # problem, answer, similarity
    examples: dict[str, list[str]] = field(default_factory=dict)  # of rules
    case_rules: list[int] = field(default_factory=list)  # for each precedent its rule; empty if all share the rules


_HEAD = re.compile(r"## ([^|]+) \| (golden|warning|mixed) \|([^|]*)(?:\|.*)?")


def parse(block: str) -> list[Rendered]:
    """Read a rendered block back. Lines that do not belong to the format are skipped."""
    entries: list[Rendered] = []
    for text in f"\n{block}".partition(f"\n{CLOSE}")[0].split("\n## "):
        # The lesson of an entry is the same in every prompt, so it is parsed once. The shown cases differ.
        head, *cases = text.split("\nSolved (")
        lines = [case.partition("\n") for case in cases]
        taught = _taught("\n".join([f"## {head}", *(rest for _, _, rest in lines if rest)]))
        if taught is not None:
            solved = [case for line, _, _ in lines if (case := _parse_case(line))]
            entries.append(
                replace(taught, precedents=solved, rules=list(taught.rules), case_rules=_places(head, lines))
            )
    return entries


def _places(head: str, cases: Sequence[tuple[str, str, str]]) -> list[int]:
    """For each case the number of the rule above it; empty if all cases stand below all rules."""
    places, place = [], head.count("\nRule: ") - 1
    for line, _, rest in cases:
        if _parse_case(line):
            places.append(place)
        place += f"\n{rest}".count("\nRule: ")
    return [] if all(each == place for each in places) else places


def _parse_case(line: str) -> tuple[str, str, float] | None:
    """Problem, answer and similarity from the line of a precedent that begins with the similarity."""
    similarity, _, case = line.partition("): ")
    problem, arrow, answer = case.rpartition(" =>")
    if not arrow or not similarity.replace(".", "", 1).isdecimal():
        return None
    return problem, answer.removeprefix(" "), float(similarity)


@functools.lru_cache(maxsize=20_000)
def _taught(text: str) -> Rendered | None:
    """An entry without its precedents; None if the text is not an entry."""
    first, *lines = _join_lines(text) or [""]
    head = _HEAD.fullmatch(first.partition("\n")[0])
    if head is None:
        return None
    zone: Zone = head[2]  # type: ignore[assignment]
    entry = Rendered(head[1], zone, head[3].strip())
    for line in lines:
        if line.startswith("Method: "):
            entry.method = line.removeprefix("Method: ")
        elif line.startswith("Rule: "):
            entry.rules.append(line.removeprefix("Rule: "))
        elif line.startswith(_EXAMPLE) and entry.rules:
            entry.examples.setdefault(entry.rules[-1], []).append(line.removeprefix(_EXAMPLE))
    return entry


def _join_lines(block: str) -> list[str]:
    """The lines of a block, each together with its indented continuation lines."""
    lines: list[str] = []
    for line in block.splitlines():
        if line.startswith(INDENT[1:]) and lines:
            lines[-1] += "\n" + line.removeprefix(INDENT[1:])
        else:
            lines.append(line)
    return lines
