"""Parses formulas over the score columns of an assay. They are a small language and are never executed as Python.

    formula   = product (("+" | "-") product)*
    product   = signed (("*" | "/") signed)*
    signed    = ("+" | "-") signed | atom
    atom      = number | column | function "(" formula ("," formula)* ")" | "(" formula ")"
    column    = letters, digits and _ , or anything else in double quotes
    function  = rank | z | abs | log | clip | min | max | mean

``flex_dspy.metrics.formula_values`` evaluates formulas.

Example:
    >>> formula = parse('2*rank(ESM1b) - z("ProSST-20")', ["ESM1b", "ProSST-20"])
    >>> formula.columns
    ('ESM1b', 'ProSST-20')
    >>> str(formula)
    '2 * rank(ESM1b) - z("ProSST-20")'
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

MAX_LENGTH = 8_000  # characters; enough for a hundred columns, each with a weight
MAX_DEPTH = 30
MAX_NODES = 800
LARGEST_NUMBER = 1e6

# Smallest and largest number of arguments.
FUNCTIONS: dict[str, tuple[int, int]] = {
    "rank": (1, 1), "z": (1, 1), "abs": (1, 1), "log": (1, 1), "clip": (3, 3),
    "min": (2, MAX_NODES), "max": (2, MAX_NODES), "mean": (2, MAX_NODES),
}  # fmt: skip

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r'|"(?P<quoted>[^"\n]{1,200})"|(?P<mark>[-+*/(),])|(?P<blank>[ \t\r\n]+)',
    re.ASCII,
)


class FormulaError(ValueError):
    """A text that is no formula over these columns.

    Attributes:
        place: Position of the first wrong character, from 1.
    """

    def __init__(self, place: int, problem: str) -> None:
        self.place = place
        super().__init__(f"at character {place}: {problem}")


@dataclass(frozen=True, slots=True)
class Number:
    """A number."""

    value: float

    def __str__(self) -> str:
        return f"{self.value:.12g}"


@dataclass(frozen=True, slots=True)
class Column:
    """The values of a column."""

    name: str

    def __str__(self) -> str:
        return quote(self.name)


@dataclass(frozen=True, slots=True)
class Call:
    """A function call, or an operation: ``neg`` (one argument), ``+``, ``-``, ``*``, ``/`` (two arguments)."""

    function: str
    arguments: tuple[Node, ...]

    def __str__(self) -> str:
        first = self.arguments[0]
        if self.function == "neg":
            return f"-{_within(first, 3)}"
        if self.function in _BINDING:
            return _chain(self)
        return f"{self.function}({', '.join(map(str, self.arguments))})"


Node = Number | Column | Call
_BINDING = {"+": 1, "-": 1, "*": 2, "/": 2}


def _within(node: Node, binding: int) -> str:
    own = {**_BINDING, "neg": 2}.get(node.function, 9) if isinstance(node, Call) else 9
    return f"({node})" if own < binding else str(node)


def spine(node: Node) -> tuple[Node, list[Call]]:
    """The leftmost operand of a chain of operations, and the operations on it, the innermost first.

    A chain may have hundreds of operands, and its tree is as deep. So a loop is used instead of recursion.
    """
    operations: list[Call] = []
    while isinstance(node, Call) and node.function in _BINDING:
        operations.append(node)
        node = node.arguments[0]
    return node, operations[::-1]


def _chain(node: Call) -> str:
    first, operations = spine(node)
    text = _within(first, _BINDING[operations[0].function])
    binding = 9
    for operation in operations:
        own = _BINDING[operation.function]
        right = _within(operation.arguments[1], own + 1)
        text = f"({text})" if binding < own else text
        text, binding = f"{text} {operation.function} {right}", own
    return text


@dataclass(frozen=True)
class Formula:
    """A parsed formula."""

    root: Node

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that the formula uses, each once, in order."""
        return tuple(dict.fromkeys(node.name for node in walk(self.root) if isinstance(node, Column)))

    def __str__(self) -> str:
        return str(self.root)


def parse(text: str, columns: Sequence[str] | None = None) -> Formula:
    """Read a formula.

    Args:
        text: The formula.
        columns: The columns that exist; None accepts any name as a column.

    Raises:
        FormulaError: The text breaks the grammar or a limit, names an unknown column, or uses no column.
    """
    if len(text) > MAX_LENGTH:
        raise FormulaError(MAX_LENGTH + 1, f"a formula has at most {MAX_LENGTH} characters")
    reader = _Reader(text, columns)
    root = reader.sum(0)
    reader.end()
    formula = Formula(root)
    if not formula.columns:
        raise FormulaError(1, "the formula uses no column")
    return formula


def quote(name: str) -> str:
    """A column's name as a formula writes it, in quotes if necessary."""
    return name if _BARE.fullmatch(name) else f'"{name}"'


def canonical(text: str) -> str | None:
    """A form that is independent of a formula's spaces and redundant brackets; None if the text is no formula."""
    try:
        return str(parse(text))
    except FormulaError:
        return None


def walk(node: Node) -> Iterator[Node]:
    """The node and all nodes below it, from left to right."""
    waiting: list[Node] = [node]
    while waiting:
        following = waiting.pop()
        yield following
        if isinstance(following, Call):
            waiting.extend(reversed(following.arguments))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise FormulaError(position + 1, _no_token(text[position]))
        kind = str(found.lastgroup)
        if kind != "blank":
            yield _Token(kind, found[kind], position + 1)
        position = found.end()
    yield _Token("end", "", len(text) + 1)


def _no_token(character: str) -> str:
    if character == '"':
        return "a name in quotes has no end"
    if character == "^":
        return "there is no power: write x*x"
    return f"{character!a} has no place in a formula"


class _Reader:
    """A recursive descent parser with one token of lookahead. It checks limits while it reads."""

    def __init__(self, text: str, columns: Sequence[str] | None) -> None:
        self._tokens = _tokens(text)
        self._columns = columns
        self._nodes = 0
        self._next = next(self._tokens)

    def sum(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise FormulaError(self._next.place, f"nested more than {MAX_DEPTH} deep")
        node = self._product(depth)
        while self._is_mark("+-"):
            sign = self._take().text
            node = self._call(sign, node, self._product(depth))
        return node

    def end(self) -> None:
        if self._next.kind != "end":
            raise FormulaError(self._next.place, f"{_describe(self._next)} after the end of the formula")

    def _product(self, depth: int) -> Node:
        node = self._sign(depth)
        while self._is_mark("*/"):
            mark = self._take()
            if self._is_mark("*"):
                raise FormulaError(mark.place, "there is no power: write x*x")
            node = self._call(mark.text, node, self._sign(depth))
        return node

    def _sign(self, depth: int) -> Node:
        negative, signs = False, 0
        while self._is_mark("+-"):
            negative ^= self._take().text == "-"
            signs += 1
            if signs > MAX_DEPTH:
                raise FormulaError(self._next.place, f"more than {MAX_DEPTH} signs in a row")
        node = self._atom(depth)
        if not negative:
            return node
        return Number(-node.value) if isinstance(node, Number) else self._call("neg", node)

    def _atom(self, depth: int) -> Node:
        token = self._take()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "quoted":
            return self._column(token)
        if token.kind == "name":
            return self._function(token, depth) if self._is_mark("(") else self._column(token)
        if token.text == "(":
            node = self.sum(depth + 1)
            self._expect(")")
            return node
        raise FormulaError(token.place, f"expected a column, a number or a function, found {_describe(token)}")

    def _function(self, token: _Token, depth: int) -> Node:
        if token.text not in FUNCTIONS:
            problem = f"unknown function {token.text[:60]!r}; functions are {', '.join(FUNCTIONS)}"
            raise FormulaError(token.place, problem)
        self._take()
        arguments = [self.sum(depth + 1)]
        while self._is_mark(","):
            self._take()
            arguments.append(self.sum(depth + 1))
        self._expect(")")
        least, most = FUNCTIONS[token.text]
        if not least <= len(arguments) <= most:
            wanted = f"{least}" if least == most else f"at least {least}"
            raise FormulaError(token.place, f"{token.text} takes {wanted} arguments, not {len(arguments)}")
        if token.text == "clip" and not all(isinstance(bound, Number) for bound in arguments[1:]):
            raise FormulaError(token.place, "clip takes a formula and two numbers")
        return self._call(token.text, *arguments)

    def _number(self, token: _Token) -> Node:
        value = float(token.text) if len(token.text) <= 30 else LARGEST_NUMBER * 2
        if value > LARGEST_NUMBER:
            raise FormulaError(token.place, f"a number is at most {LARGEST_NUMBER:g}")
        return self._count(Number(value), token.place)

    def _column(self, token: _Token) -> Node:
        if self._columns is not None and token.text not in self._columns:
            raise FormulaError(token.place, _unknown(token.text, self._columns))
        return self._count(Column(token.text), token.place)

    def _call(self, function: str, *arguments: Node) -> Node:
        return self._count(Call(function, arguments), self._next.place)

    def _count(self, node: Node, place: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise FormulaError(place, f"a formula has at most {MAX_NODES} parts")
        return node

    def _is_mark(self, marks: str) -> bool:
        return self._next.kind == "mark" and self._next.text in marks

    def _expect(self, mark: str) -> None:
        if not self._is_mark(mark):
            raise FormulaError(self._next.place, f"expected {mark!r}, found {_describe(self._next)}")
        self._take()

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._tokens)
        return token


def _describe(token: _Token) -> str:
    return "the end" if token.kind == "end" else repr(token.text[:60])


def _unknown(name: str, columns: Sequence[str]) -> str:
    folded = {column.casefold(): column for column in columns}
    near = difflib.get_close_matches(name[:60].casefold(), list(folded), n=1, cutoff=0.5)
    near = near or [key for key in folded if key.startswith(name[:60].casefold())][:1]
    hint = f"; nearest: {quote(folded[near[0]])}" if near else ""
    return f"unknown column {name[:60]!r}{hint}"
