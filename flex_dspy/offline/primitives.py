"""The primitives of procedures: the operations that take one step.

There are two kinds of value: whole numbers from 0 up, and sets of whole numbers from 1 to `LARGEST_MEMBER`. A set is
stored as an integer with one bit for each member, so that union, intersection and size take one instruction per word. A
primitive is undefined (None) for a difference below 0, a division with a remainder, and values beyond its limits.

    >>> PRIMITIVES["binomial"].run(7, 3)
    35
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

Kind = Literal["number", "set"]
LARGEST_MEMBER = 9_999
# Only mod, valuation, digit_sum and divisor_count accept larger numbers.
LARGEST_NUMBER = 10**12
_MOST_BITS = 1_024
_LARGEST_FACTORIAL = 500
_MOST_TERMS = 100


@dataclass(frozen=True, slots=True)
class Primitive:
    """An operation of the language that takes one step.

    Attributes:
        run: Takes the arguments' values; returns None if the result is undefined.
        takes: Kinds of the arguments.
        gives: Kind of the result.
        commutes: Whether the order of the arguments does not matter.
    """

    run: Callable[..., int | None]
    takes: tuple[Kind, ...]
    gives: Kind
    commutes: bool = False


# -- numbers ---------------------------------------------------------------------------------------------------


def _within_bounds(value: int) -> int | None:
    return value if 0 <= value <= LARGEST_NUMBER else None


def _small(*values: int) -> bool:
    return max(values) <= LARGEST_NUMBER


def _add(x: int, y: int) -> int | None:
    return _within_bounds(x + y)


def _subtract(x: int, y: int) -> int | None:
    return _within_bounds(x - y)


def _multiply(x: int, y: int) -> int | None:
    return x * y if _small(x, y) else None


def _divide(x: int, y: int) -> int | None:
    return x // y if y and _small(x) and x % y == 0 else None


def _quotient(x: int, y: int) -> int | None:
    return x // y if y and _small(x) else None


def _mod(x: int, y: int) -> int | None:
    return x % y if y else None


def _power(x: int, y: int) -> int | None:
    return x**y if y <= _MOST_BITS and x.bit_length() * y <= _MOST_BITS else None


def _power_mod(x: int, y: int, modulus: int) -> int | None:
    return pow(x, y, modulus) if modulus and _small(y, modulus) else None


def _factorial(x: int) -> int | None:
    return math.factorial(x) if x <= _LARGEST_FACTORIAL else None


def _binomial(x: int, y: int) -> int | None:
    return math.comb(x, y) if y <= x <= 2 * _LARGEST_FACTORIAL else None


def _gcd(x: int, y: int) -> int | None:
    return math.gcd(x, y) if _small(x, y) else None


def _lcm(x: int, y: int) -> int | None:
    return _within_bounds(math.lcm(x, y)) if _small(x, y) else None


def _valuation(x: int, y: int) -> int | None:
    """The exponent of the largest power of y that divides x."""
    if x < 1 or y < 2:
        return None
    times = 0
    while x % y == 0:
        x //= y
        times += 1
    return times


def _digit_sum(x: int) -> int | None:
    return sum(map(int, str(x)))


def _term(first: int, factor: int, step: int, place: int) -> int | None:
    """The term at a place of the sequence that starts with `first` at place 1; each term is factor * last + step."""
    if not 1 <= place <= _MOST_TERMS or not _small(first, factor, step):
        return None
    value = first
    for _ in range(place - 1):
        value = value * factor + step
        if value.bit_length() > _MOST_BITS:
            return None
    return value


_PRIMES = [n for n in range(2, 1000) if all(n % d for d in range(2, math.isqrt(n) + 1))]


@lru_cache(maxsize=4_096)
def _factors(x: int) -> tuple[tuple[int, int], ...] | None:
    """Prime factors with exponents; None for 0, and if large factors would have to be searched for."""
    if x < 1:
        return None
    factors = []
    for prime in _PRIMES:
        if times := _valuation(x, prime) or 0:
            factors.append((prime, times))
            x //= prime**times
        if x == 1:
            break
    if x >= 1_000_000:
        return None
    return (*factors, (x, 1)) if x > 1 else tuple(factors)


def _divisor_count(x: int) -> int | None:
    factors = _factors(x)
    return None if factors is None else math.prod(times + 1 for _, times in factors)


def _divisor_sum(x: int) -> int | None:
    factors = _factors(x) if _small(x) else None
    return None if factors is None else math.prod((p ** (times + 1) - 1) // (p - 1) for p, times in factors)


# -- sets ------------------------------------------------------------------------------------------------------


def _set(marks: bytes | bytearray) -> int:
    """The set of the positions that hold a 1; the first position is 0."""
    return int(marks[::-1], 2)


@lru_cache(maxsize=1_024)
def _residues(remainder: int, modulus: int) -> int | None:
    """The numbers that have this remainder modulo `modulus`."""
    if not 0 <= remainder < modulus <= LARGEST_MEMBER:
        return None
    marks = bytearray(b"0") * (LARGEST_MEMBER + 1)
    marks[remainder::modulus] = b"1" * len(range(remainder, LARGEST_MEMBER + 1, modulus))
    marks[0:1] = b"0"
    return _set(marks)


def _multiples(x: int, limit: int) -> int | None:
    within = _up_to(limit)
    return None if within is None else _both(_residues(0, x), within)


def _up_to(limit: int) -> int | None:
    return (1 << (limit + 1)) - 2 if limit <= LARGEST_MEMBER else None


def _from_to(first: int, last: int) -> int | None:
    below, within = _up_to(first - 1) if first else None, _up_to(last)
    return None if below is None or within is None or first > last else within & ~below


def _both(x: int | None, y: int | None) -> int | None:
    return None if x is None or y is None else x & y


@lru_cache(maxsize=16)
def _powers(exponent: int) -> int:
    return sum(1 << n**exponent for n in range(1, LARGEST_MEMBER) if n**exponent <= LARGEST_MEMBER)


def _squares(limit: int) -> int | None:
    return _both(_powers(2), _up_to(limit))


def _cubes(limit: int) -> int | None:
    return _both(_powers(3), _up_to(limit))


@lru_cache(maxsize=1)
def _all_primes() -> int:
    marks = bytearray(b"00") + bytearray(b"1") * (LARGEST_MEMBER - 1)
    for n in range(2, math.isqrt(LARGEST_MEMBER) + 1):
        marks[n * n :: n] = b"0" * len(range(n * n, LARGEST_MEMBER + 1, n))
    return _set(marks)


def _primes(limit: int) -> int | None:
    return _both(_all_primes(), _up_to(limit))


@lru_cache(maxsize=256)
def _coprime(x: int) -> int | None:
    """The numbers that share no factor with x."""
    if not 1 <= x <= LARGEST_NUMBER:
        return None
    return _set(b"0" + b"".join(b"1" if math.gcd(n, x) == 1 else b"0" for n in range(1, LARGEST_MEMBER + 1)))


@lru_cache(maxsize=64)
def _with_digit_sum(x: int) -> int | None:
    return _set(bytes(48 + (sum(map(int, str(n))) == x) for n in range(LARGEST_MEMBER + 1))) if 0 < x < 37 else None


_OCTETS = LARGEST_MEMBER // 8 + 1
# For each byte value: the number of set bits, and the sum of their positions.
_BITS = np.array([octet.bit_count() for octet in range(256)])
_PLACES = np.array([sum(bit for bit in range(8) if octet >> bit & 1) for octet in range(256)])
_OFFSETS = 8 * np.arange(_OCTETS)


def _sum(members: int) -> int | None:
    octets = np.frombuffer(members.to_bytes(_OCTETS, "little"), np.uint8)
    return int(_BITS[octets] @ _OFFSETS + _PLACES[octets].sum())


def _least(members: int) -> int | None:
    return (members & -members).bit_length() - 1 if members else None


def _greatest(members: int) -> int | None:
    return members.bit_length() - 1 if members else None


_N: tuple[Kind, ...] = ("number",)
_S: tuple[Kind, ...] = ("set",)

# A search tries them in this order.
PRIMITIVES = {
    "count": Primitive(int.bit_count, _S, "number"),
    "sum": Primitive(_sum, _S, "number"),
    "least": Primitive(_least, _S, "number"),
    "greatest": Primitive(_greatest, _S, "number"),
    "multiples": Primitive(_multiples, _N * 2, "set"),
    "residues": Primitive(_residues, _N * 2, "set"),
    "from_to": Primitive(_from_to, _N * 2, "set"),
    "up_to": Primitive(_up_to, _N, "set"),
    "squares": Primitive(_squares, _N, "set"),
    "cubes": Primitive(_cubes, _N, "set"),
    "primes": Primitive(_primes, _N, "set"),
    "coprime": Primitive(_coprime, _N, "set"),
    "with_digit_sum": Primitive(_with_digit_sum, _N, "set"),
    "intersection": Primitive(int.__and__, _S * 2, "set", commutes=True),
    "union": Primitive(int.__or__, _S * 2, "set", commutes=True),
    "difference": Primitive(lambda x, y: x & ~y, _S * 2, "set"),
    "digit_sum": Primitive(_digit_sum, _N, "number"),
    "divisor_count": Primitive(_divisor_count, _N, "number"),
    "divisor_sum": Primitive(_divisor_sum, _N, "number"),
    "factorial": Primitive(_factorial, _N, "number"),
    "binomial": Primitive(_binomial, _N * 2, "number"),
    "power": Primitive(_power, _N * 2, "number"),
    "mod": Primitive(_mod, _N * 2, "number"),
    "valuation": Primitive(_valuation, _N * 2, "number"),
    "gcd": Primitive(_gcd, _N * 2, "number", commutes=True),
    "lcm": Primitive(_lcm, _N * 2, "number", commutes=True),
    "multiply": Primitive(_multiply, _N * 2, "number", commutes=True),
    "add": Primitive(_add, _N * 2, "number", commutes=True),
    "subtract": Primitive(_subtract, _N * 2, "number"),
    "divide": Primitive(_divide, _N * 2, "number"),
    "quotient": Primitive(_quotient, _N * 2, "number"),
    "power_mod": Primitive(_power_mod, _N * 3, "number"),
    "term": Primitive(_term, _N * 4, "number"),
}
