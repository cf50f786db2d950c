"""Searches for procedures that lead from the numbers of solved problems to their answers.

The search enumerates procedures bottom-up, smaller ones first. It keeps each value once (observational equivalence,
Udupa et al., PLDI 2013) and compares each value with the answers. At the end it looks up sums, differences, products
and quotients of two known values instead of trying them. The number of tries is bounded, so that the result is the same
on any machine.

    >>> from flex_dspy.offline.procedures import text
    >>> [text(found) for found in find_procedures([Instance((3, 4), 35), Instance((5, 2), 21)])][0]
    'binomial(add(a, b), a)'
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations, product, repeat
from typing import NamedTuple, cast

from flex_dspy.offline.primitives import PRIMITIVES, Kind, Primitive
from flex_dspy.offline.procedures import VARIABLES, Call, Procedure, leaves, order_arguments, run, steps, text

# Limits of the total number of tries after all, or the first, procedures of 1, 2, ... steps.
_MOST_TRIES = (4_000, 8_000, 14_000, 20_000)
_INSTANCES = 3  # used in the search; the other instances check the procedures found
_MOST_NUMBERS = 5
# Constants that an argument of a primitive may be, by its place: 1 more, half of, the last three digits, ...
_CONSTANTS: dict[tuple[str, int], tuple[int, ...]] = {
    ("add", 1): (1,),
    ("subtract", 1): (1,),
    ("multiply", 1): (2,),
    ("divide", 1): (2,),
    ("power", 0): (2,),
    ("power", 1): (2,),
    ("binomial", 1): (2, 3, 4),
    ("mod", 1): (10, 1000),
    ("valuation", 1): (10,),
    ("power_mod", 2): (10, 1000),
}
# Largest number of steps inside the arguments of a primitive; 0 for primitives that are not listed.
_MOST_INNER = {
    **dict.fromkeys(("count", "sum", "least", "greatest"), 3),
    **dict.fromkeys(("intersection", "union", "difference"), 2),
    **dict.fromkeys(("binomial", "mod", "multiply", "add", "subtract", "divide"), 2),
    **dict.fromkeys(("up_to", "squares", "digit_sum", "power", "valuation", "gcd", "lcm", "quotient"), 1),
}
# Few problems need these primitives. So they count as two steps when procedures are ranked.
_RARE = frozenset(("digit_sum", "with_digit_sum", "divisor_sum", "divisor_count", "valuation", "quotient", "term"))


class Instance(NamedTuple):
    """A solved problem: its numbers, and its answer."""

    numbers: tuple[int, ...]
    answer: int


class _Value(NamedTuple):
    """The values of a procedure for each instance, and the number of variables that it uses."""

    values: tuple[int, ...]
    procedure: Procedure
    taken: int


def explains(procedure: Procedure, instance: Instance) -> bool:
    """Whether a procedure gives an instance's answer."""
    return run(procedure, instance.numbers) == instance.answer


def find_procedures(instances: Sequence[Instance], most: int = 6) -> list[Procedure]:
    """The simplest procedures found that explain all instances.

    Args:
        instances: Solved problems of one wording.
        most: Largest number of procedures to return.
    """
    sizes = {len(instance.numbers) for instance in instances}
    if len(sizes) != 1 or not 1 <= min(sizes) <= len(VARIABLES):
        return []
    found = {order_arguments(procedure) for procedure in _Search(instances[:_INSTANCES]).hits()}
    ranked = sorted(found, key=lambda procedure: cost(procedure, min(sizes)))
    fitting = (p for p in ranked if all(explains(p, instance) for instance in instances))
    return [procedure for procedure, _ in zip(fitting, range(most), strict=False)]


def cost(procedure: Procedure, numbers: int) -> tuple[float, str]:
    """The complexity of a procedure: its steps, its constants, and the problem's numbers that it does not use."""
    ends = list(leaves(procedure))
    used = {leaf for leaf in ends if isinstance(leaf, str)}
    constants = sum(isinstance(leaf, int) for leaf in ends)
    repeats = len(ends) - constants - len(used)
    taken = [2 if name in _RARE else 1 for name in steps(procedure)]
    return sum(taken) + 2 * (numbers - len(used)) + 0.5 * (constants + repeats), text(procedure)


class _Search:
    """One enumeration: values by kind and by the number of steps to them."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        self.target = tuple(instance.answer for instance in instances)
        columns = list(zip(*(instance.numbers for instance in instances), strict=True))[:_MOST_NUMBERS]
        # The more numbers a problem has, the less likely a number is used twice.
        self.most_taken = len(columns) + max(0, min(2, 4 - len(columns)))
        self.known: dict[Kind, dict[tuple[int, ...], _Value]] = {"number": {}, "set": {}}
        self.levels: dict[Kind, list[list[_Value]]] = {"number": [[]], "set": [[]]}
        self.found: list[Procedure] = []
        self.tries = 0
        for column, variable in zip(columns, VARIABLES, strict=False):
            self._keep("number", _Value(column, variable, 1))
        self.variables = list(self.levels["number"][0])

    def hits(self) -> Iterator[Procedure]:
        """Procedures that give the answers."""
        for size, most_tries in enumerate(_MOST_TRIES, start=1):
            for levels in self.levels.values():
                levels.append([])
            for name, primitive in PRIMITIVES.items():
                for arguments in self._arguments(name, primitive, size - 1):
                    if self.tries >= most_tries:
                        break
                    self._try(name, primitive, arguments)
        yield from self.found
        yield from self._sums_and_products()

    def _arguments(self, name: str, primitive: Primitive, inner: int) -> Iterator[tuple[_Value | int, ...]]:
        """Arguments to try that take `inner` steps together."""
        pool = self.levels[primitive.takes[0]]
        if inner > _MOST_INNER.get(name, 0):
            return
        if len(primitive.takes) > 2:
            yield from self._of_variables(name, len(primitive.takes))
        elif len(primitive.takes) == 1:
            yield from ((value,) for value in pool[inner])
        else:
            for left in range(inner + 1):
                yield from self._pairs(pool[left], pool[inner - left], primitive.commutes)
            yield from ((x, constant) for constant in _CONSTANTS.get((name, 1), ()) for x in pool[inner])
            yield from ((constant, x) for constant in _CONSTANTS.get((name, 0), ()) for x in pool[inner])

    def _pairs(
        self, first: Sequence[_Value], second: Sequence[_Value], commutes: bool
    ) -> Iterator[tuple[_Value, _Value]]:
        """Ordered pairs; each once if the order does not matter. The caller also exchanges the two halves."""
        left, right = ([value for value in half if value.taken < self.most_taken] for half in (first, second))
        if first is second:
            yield from combinations(left, 2) if commutes else permutations(left, 2)
        elif not commutes or len(first) >= len(second):
            yield from product(left, right)

    def _of_variables(self, name: str, count: int) -> Iterator[tuple[_Value | int, ...]]:
        yield from permutations(self.variables, count)
        for constant in _CONSTANTS.get((name, count - 1), ()):
            for chosen in permutations(self.variables, count - 1):
                arguments: tuple[_Value | int, ...] = (*chosen, constant)
                yield arguments

    def _try(self, name: str, primitive: Primitive, arguments: tuple[_Value | int, ...]) -> None:
        taken = 0
        for part in arguments:
            taken += 0 if isinstance(part, int) else part.taken
        if taken > self.most_taken:
            return
        self.tries += 1
        columns = [repeat(part) if isinstance(part, int) else part.values for part in arguments]
        values = tuple(map(primitive.run, *columns))
        if None not in values and (primitive.gives == "number" or all(values)):
            procedure = Call(name, tuple([p if isinstance(p, int) else p.procedure for p in arguments]))
            self._keep(primitive.gives, _Value(cast("tuple[int, ...]", values), procedure, taken))

    def _keep(self, kind: Kind, value: _Value) -> None:
        if kind == "number" and value.values == self.target:
            self.found.append(value.procedure)
        elif self.known[kind].setdefault(value.values, value) is value:
            self.levels[kind][-1].append(value)

    def _sums_and_products(self) -> Iterator[Procedure]:
        """Procedures whose answers are a sum, a difference, a product or a quotient of two known values."""
        known = self.known["number"]
        for x in known.values():
            pairs = list(zip(x.values, self.target, strict=True))
            if (y := known.get(tuple(t - v for v, t in pairs))) is not None:
                yield Call("add", (x.procedure, y.procedure))
            if (y := known.get(tuple(t + v for v, t in pairs))) is not None:
                yield Call("subtract", (y.procedure, x.procedure))
            if (y := known.get(tuple(t * v for v, t in pairs))) is not None and all(x.values):
                yield Call("divide", (y.procedure, x.procedure))
            if (
                all(v and t % v == 0 for v, t in pairs)
                and (y := known.get(tuple(t // v for v, t in pairs))) is not None
            ):
                yield Call("multiply", (x.procedure, y.procedure))
