"""Counts the answers of similar precedents. The most frequent answer is most often right if a task has few answers.

A small model that reads eight labelled cases one by one often takes the label of a wrong case. The count shows which
label most cases have.

Source: weighted nearest neighbours, Dudani, IEEE Trans. Syst. Man Cybern. 1976, SMC-6, 325.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from flex_dspy.search.indexes import Match
from flex_dspy.search.rendering import one_line

MOST_ANSWERS = 4
LONGEST_ANSWER = 80  # characters; a longer answer is not a label
LEAST_SHARE = 0.05


def count_answers(matches: Sequence[Match], count: int) -> list[tuple[str, float]]:
    """The answers of the most similar precedents with their shares, weighted by similarity squared, largest first.

    Args:
        matches: Precedents, most similar first. There should be many more than ``count``, to show whether answers
            repeat.
        count: Number of precedents whose answers are counted.

    Returns:
        At most four answers; none if answers are long, or if hardly any answer comes twice.
    """
    answered = list({m.precedent.problem: (m.precedent.answer, m.score) for m in matches if m.precedent}.values())
    if not _repeat([answer for answer, _ in answered]):
        return []
    weight: defaultdict[str, float] = defaultdict(float)
    for answer, score in answered[:count]:
        weight[answer] += score**2
    total = sum(weight.values())
    best = sorted(weight.items(), key=lambda item: (-item[1], item[0]))[:MOST_ANSWERS]
    return [(one_line(answer), part / total) for answer, part in best if part >= LEAST_SHARE * total]


def tally_line(answers: Sequence[tuple[str, float]], count: int) -> str:
    """One line with counted answers and their shares; "" for none.

    Args:
        answers: See ``count_answers``.
        count: Number of precedents whose answers were counted.
    """
    shares = ", ".join(f"{answer} {share:.0%}" for answer, share in answers)
    return f"Answers to the {count} most similar problems: {shares}" if answers else ""


def tally_answers(matches: Sequence[Match], count: int) -> str:
    """The line with the counted answers of these precedents; "" for none."""
    return tally_line(count_answers(matches, count), min(count, len(matches)))


def _repeat(answers: Sequence[str]) -> bool:
    """Whether the answers are labels: short, on one line, and each at least twice on average."""
    if len(answers) < 4 or any(len(answer) > LONGEST_ANSWER or "\n" in answer for answer in answers):
        return False
    return 2 * len(set(answers)) <= len(answers)
