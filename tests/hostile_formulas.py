"""Formulas that a model, or somebody through one, might send to do harm: seeded, of many kinds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

_CODE = (
    "__import__('os').system('true')", "{0}.__class__.__mro__", "(lambda: {0})()", "exec('1')", "open('/etc/passwd')",
    "[{0} for _ in range(9**9)]", "{0} if 1 else 2", "{0};{0}", "{0}[0]", "f'{{{0}}}'", "rank.__globals__", "{0}=1",
    "`{0}`", "'{0}'", '"""{0}"""', "{0}\x00", "{0}\n\n#", "$({0})", "{{}}", "<{0}>", "[[ ## completed ## ]]", "{0}!",
    "getattr({0}, 'x')", "rank(*{0})", "rank(**{0})", "rank(x={0})", "{0} and {0}", "not {0}", "{0} // 2", "{0} % 2",
    "{0} << 99", "~{0}", "{0} ** 9", "0x10*{0}", "1_000*{0}", "1j*{0}", "nan*{0}", "inf*{0}", "True*{0}", "{0}..{0}",
)  # fmt: skip
_UNICODE = (
    "{0}\u2212{0}", "{0}\u00d7{0}", "\uff52\uff41\uff4e\uff4b({0})", "{0}+\u0661", "\u202e{0}", "{0}\u200b+{0}",
    "\u0421\u0030", "{0}\u00b2", "{0}+\u2460", "\ufeff{0}", "{0}\u2044{0}", "\U0001f9ec", "\u212f*{0}",
    "{0}\u00a0+ {0}", "ra\u0146k({0})",
    '"{0}\u200b"', "{0}\u037e", "\u2126 + {0}", "{0}\u3000", "\u0000",
)  # fmt: skip


def hostile(count: int, seed: int, columns: Sequence[str]) -> Iterator[str]:
    """So many formulas.

    Args:
        count: How many.
        seed: Fixes them.
        columns: Names that are columns.
    """
    rng = random.Random(seed)
    kinds: list[Callable[[random.Random, Sequence[str]], str]] = [
        _nested, _powers, _wide, _code, _unicode, _unknown, _noise, _numbers, _costly, _mutated,
    ]  # fmt: skip
    for number in range(count):
        yield kinds[number % len(kinds)](rng, columns)


def _size(rng: random.Random) -> int:
    return rng.choice((3, 20, 29, 31, 100, 400, 1_500, 9_000))


def _nested(rng: random.Random, columns: Sequence[str]) -> str:
    depth, column = _size(rng), rng.choice(columns)
    opening, closing = rng.choice(
        (("(", ")"), ("rank(", ")"), ("-(", ")"), ("log(abs(", "))"), ("max(1,", ")"), ("-", ""))
    )
    return opening * depth + column + closing * rng.choice((depth, depth - 1, 0))


def _powers(rng: random.Random, columns: Sequence[str]) -> str:
    column, times = rng.choice(columns), _size(rng)
    kinds = (
        "*".join([column] * times),
        "/".join([column] * times),
        f"{column}**{10**6}",
        f"{column}^{times}",
        "*".join([f"(1000000*{column})"] * times),
        f"1/({column}-{column})*" * min(times, 99) + column,
    )
    return rng.choice(kinds)


def _wide(rng: random.Random, columns: Sequence[str]) -> str:
    function, times = rng.choice(("mean", "max", "min", "rank", "clip")), _size(rng)
    return f"{function}({', '.join(rng.choice(columns) for _ in range(times))})"


def _code(rng: random.Random, columns: Sequence[str]) -> str:
    return rng.choice(_CODE).format(rng.choice(columns))


def _unicode(rng: random.Random, columns: Sequence[str]) -> str:
    return rng.choice(_UNICODE).format(rng.choice(columns))


def _unknown(rng: random.Random, columns: Sequence[str]) -> str:
    name = "".join(rng.choice("abcXYZ_019") for _ in range(_size(rng)))
    return rng.choice((f"q{name}", f'"{name}"', f"q{name}({columns[0]})", f"{columns[0]} + q{name}", f"rank(q{name})"))


def _noise(rng: random.Random, columns: Sequence[str]) -> str:
    return "".join(chr(rng.choice((rng.randrange(128), rng.randrange(0xD800), 0x1F600))) for _ in range(_size(rng)))


def _numbers(rng: random.Random, columns: Sequence[str]) -> str:
    number = rng.choice(
        ("9" * _size(rng), "1e309", "1e-400", "0." + "0" * _size(rng) + "1", "1e" + "9" * _size(rng), "1e6")
    )
    return f"{number}*{rng.choice(columns)}" + f"*{number}" * rng.randrange(9)


def _costly(rng: random.Random, columns: Sequence[str]) -> str:
    inner = rng.choice(
        ("rank({0}+{1})", "z({0}*{1})", "log({0}/{1})", "rank(rank(rank({0}*2)))", "mean({0},{1},{0}*{1})")
    )
    terms = (inner.format(rng.choice(columns), rng.choice(columns)) for _ in range(_size(rng)))
    return rng.choice((" + ", " * ", "-")).join(terms)


def _mutated(rng: random.Random, columns: Sequence[str]) -> str:
    letters = list(f"0.5*rank({rng.choice(columns)}) - max(z({rng.choice(columns)}), log({rng.choice(columns)}), 2)/3")
    for _ in range(rng.randrange(1, 5)):
        letters[rng.randrange(len(letters))] = rng.choice("()+-*/,.\"'_ 9eC\\")
    return "".join(letters)
