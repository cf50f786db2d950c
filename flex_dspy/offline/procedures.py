"""Procedures over the numbers of a problem. They are a small typed language that is parsed and interpreted here.

A procedure is a variable (``a`` is the first number of the problem, ``b`` the second, ...), a constant, or a primitive
applied to procedures. An undefined step has no value. The running time is bounded for any text and any numbers.

    >>> run(parse("binomial(add(a, b), a)"), (3, 4))
    35
    >>> text(parse("count(union(multiples(a,c),multiples(b,c)))"))
    'count(union(multiples(a, c), multiples(b, c)))'
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from flex_dspy.offline.primitives import PRIMITIVES, Kind

VARIABLES = "abcdefgh"
_LONGEST_TEXT = 300


class Call(NamedTuple):
    """A primitive applied to its arguments."""

    name: str
    arguments: tuple[Procedure, ...]


Procedure = Call | str | int


_TOKEN = re.compile(r"[a-z_]+|[0-9]+|[(),]")


@lru_cache(maxsize=8_192)
def parse(written: str) -> Procedure | None:
    """Read a procedure. Return None if the text is no procedure, or its result is not a number."""
    if len(written) > _LONGEST_TEXT:
        return None
    tokens = _TOKEN.findall(written)
    if "".join(tokens) != "".join(written.split()):
        return None
    tokens.reverse()
    try:
        procedure = _read(tokens)
    except (ValueError, IndexError):
        return None
    return procedure if not tokens and kind_of(procedure) == "number" else None


def _read(tokens: list[str]) -> Procedure:
    """Read one procedure, and remove its tokens from the end of the reversed list."""
    token = tokens.pop()
    if token[0].isdigit():
        return int(token[:13])
    if len(token) == 1 and token in VARIABLES:
        return token
    if token not in PRIMITIVES:
        raise ValueError(f"no primitive {token}")
    arguments = []
    for place, kind in enumerate(PRIMITIVES[token].takes):
        _expect(tokens, "," if place else "(")
        arguments.append(_read(tokens))
        if kind_of(arguments[-1]) != kind:
            raise ValueError(f"{token} takes a {kind} here")
    _expect(tokens, ")")
    return Call(token, tuple(arguments))


def _expect(tokens: list[str], mark: str) -> None:
    if tokens.pop() != mark:
        raise ValueError(f"{mark} is missing")


def text(procedure: Procedure) -> str:
    """A procedure as it is written in a rule."""
    if isinstance(procedure, Call):
        return f"{procedure.name}({', '.join(map(text, procedure.arguments))})"
    return str(procedure)


@lru_cache(maxsize=8_192)
def order_arguments(procedure: Procedure) -> Procedure:
    """The procedure with the arguments of sums, products and the like in a fixed order."""
    if not isinstance(procedure, Call):
        return procedure
    arguments = [order_arguments(argument) for argument in procedure.arguments]
    if PRIMITIVES[procedure.name].commutes:
        arguments.sort(key=text)
    return Call(procedure.name, tuple(arguments))


def kind_of(procedure: Procedure) -> Kind:
    """Whether a procedure gives a number or a set."""
    return PRIMITIVES[procedure.name].gives if isinstance(procedure, Call) else "number"


def leaves(procedure: Procedure) -> Iterator[str | int]:
    """The variables and constants of a procedure, in order."""
    if isinstance(procedure, Call):
        for argument in procedure.arguments:
            yield from leaves(argument)
    else:
        yield procedure


def steps(procedure: Procedure) -> list[str]:
    """The primitives of a procedure, outermost first."""
    if not isinstance(procedure, Call):
        return []
    return [procedure.name, *(name for argument in procedure.arguments for name in steps(argument))]


def run(procedure: Procedure, numbers: Sequence[int]) -> int | None:
    """The value of a procedure for a problem's numbers; None if it has no value."""
    if isinstance(procedure, int):
        return procedure
    if isinstance(procedure, str):
        place = VARIABLES.index(procedure)
        return numbers[place] if place < len(numbers) else None
    values = [run(argument, numbers) for argument in procedure.arguments]
    return None if None in values else PRIMITIVES[procedure.name].run(*values)
