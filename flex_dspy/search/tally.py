"""Counts the answers of similar precedents. The most frequent answer is most often right if a task has few answers.

A precedent counts by its similarity cubed. Measured without a language model: the majority of 24 precedents was right
for 79% of 1,051 messages of Banking77 with ten labels (150 precedents), 81% of 1,848 of CLINC150 with twenty (150), and
65% of 2,500 of Banking77 with all 77 labels (600). With eight precedents and similarity squared: 79, 80 and 64%.

A small model that reads eight labelled cases one by one often takes the label of a wrong case. The count shows which
label most cases have.

Source: weighted nearest neighbours, Dudani, IEEE Trans. Syst. Man Cybern. 1976, SMC-6, 325.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from flex_dspy.search.indexes import Match
from flex_dspy.search.rendering import one_line

MOST_ANSWERS = 4
LEAST_ANSWERS = 4
LONGEST_ANSWER = 80  # characters; a longer answer is not a label
LEAST_SHARE = 0.05
POWER = 3  # of the similarity
LEAST_LEAD = 0.1


def count_answers(
    matches: Sequence[Match], count: int, labels: Collection[str] | None = None
) -> list[tuple[str, float]]:
    """The answers of the most similar precedents with their shares, weighted by similarity, largest first.

    Args:
        matches: Precedents, most similar first. There should be many more than ``count``, to show whether answers
            repeat.
        count: Number of precedents whose answers are counted.
        labels: The only answers that count; None if the answers themselves must show that they are labels.

    Returns:
        At most four answers; none if there are fewer than four precedents, or if answers are long or hardly repeat.
    """
    answers = [answer for answer, _ in _answered(matches)]
    if len(answers) < LEAST_ANSWERS or (labels is None and not _repeat(answers)):
        return []
    best = sorted(vote(matches, count, labels).items(), key=lambda item: (-item[1], item[0]))[:MOST_ANSWERS]
    return [(one_line(answer), share) for answer, share in best if share >= LEAST_SHARE]


def likely_answer(answers: Sequence[tuple[str, float]]) -> str:
    """The most frequent answer; "" if there is none, or if another one is nearly as frequent.

    In a near tie the majority was right for 49 of 115 messages (Banking77 with ten labels, CLINC150 with twenty). A
    small language model that was told nothing, and chose among the labels that remained, was right for 60.

    Args:
        answers: See ``count_answers``.
    """
    lead = answers[0][1] - answers[1][1] if len(answers) > 1 else 1.0
    return answers[0][0] if answers and lead >= LEAST_LEAD else ""


def vote(matches: Sequence[Match], count: int, labels: Collection[str] | None = None) -> dict[str, float]:
    """The shares of all answers of the most similar precedents.

    Args:
        matches: Precedents, most similar first.
        count: Number of precedents that vote.
        labels: The only answers that count; None for all.
    """
    weight: defaultdict[str, float] = defaultdict(float)
    for answer, score in _answered(matches)[:count]:
        if labels is None or answer in labels:
            weight[answer] += score**POWER
    total = sum(weight.values())
    return {answer: part / total for answer, part in weight.items()} if total else {}


def _answered(matches: Sequence[Match]) -> list[tuple[str, float]]:
    """The answer and the similarity of each precedent; a problem counts once."""
    return list({m.precedent.problem: (m.precedent.answer, m.score) for m in matches if m.precedent}.values())


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
    short = all(len(answer) <= LONGEST_ANSWER and "\n" not in answer for answer in answers)
    return short and 2 * len(set(answers)) <= len(answers)
