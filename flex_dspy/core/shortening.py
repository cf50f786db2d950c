"""Shortens attempts that are too long for the context of a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from flex_dspy.core.trajectory import Round, Trajectory

# Most characters of one field: first in every round, and then in only the first and the last round.
_LONG = 2_000
_SHORT = 500
_ATTEMPT = (None, 8_000, 2_000)


def elide(text: str, limit: int | None) -> str:
    """Shorten a text to about ``limit`` characters: its beginning and its end stay."""
    if limit is None or len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def shorter_attempts(trajectory: Trajectory) -> Iterator[str]:
    """Yield texts of a rollout: the full text, then with shortened fields, then only its first and last round."""
    yield trajectory.text()
    yield "\n".join(_number_rounds(trajectory.rounds, _LONG))
    rounds = _number_rounds(trajectory.rounds, _SHORT)
    if len(rounds) > 2:
        rounds[1:-1] = [f"({len(rounds) - 2} attempts left out)"]
    yield "\n".join(rounds)


def shorter_attempt(attempt: str) -> Iterator[str]:
    """Yield texts of one attempt: the full text, then without its middle."""
    for limit in _ATTEMPT:
        yield elide(attempt, limit)


def _number_rounds(rounds: tuple[Round, ...], limit: int) -> list[str]:
    return [_shorten_round(round_, limit).text(number) for number, round_ in enumerate(rounds, start=1)]


def _shorten_round(round_: Round, limit: int) -> Round:
    outputs = {
        name: elide(str(value), limit) if len(str(value)) > limit else value for name, value in round_.outputs.items()
    }
    steps = tuple(elide(step, limit // 4) for step in round_.steps)
    return replace(round_, outputs=outputs, feedback=elide(round_.feedback, limit), steps=steps)
