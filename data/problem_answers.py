"""Answers of the generated problems. They are counted step by step and not computed by a formula.

A function returns None if the numbers make no good problem.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations


def count(limit: int, condition: Callable[[int], bool]) -> int:
    """How many of the numbers from 1 to a limit satisfy a condition."""
    return sum(1 for n in range(1, limit + 1) if condition(n))


def either(p: int, q: int, n: int) -> int | None:
    """How many of the first n numbers are multiples of p or of q."""
    return None if p % q == 0 or q % p == 0 else count(n, lambda x: x % p == 0 or x % q == 0)


def neither(p: int, q: int, n: int) -> int | None:
    """How many of the first n numbers are multiples of neither p nor q."""
    return None if p % q == 0 or q % p == 0 else count(n, lambda x: x % p != 0 and x % q != 0)


def one_only(p: int, q: int, n: int) -> int | None:
    """How many of the first n numbers are multiples of p and not of q."""
    return None if p % q == 0 or q % p == 0 else count(n, lambda x: x % p == 0 and x % q != 0)


def power_rest(a: int, b: int, m: int) -> int | None:
    """The remainder of a to the power of b on division by m."""
    rest = 1
    for _ in range(b):
        rest = rest * a % m
    return rest if rest > 1 else None


def paths(a: int, b: int) -> int:
    """How many paths consist of a steps right and b steps up."""
    row = [1] * (a + 1)
    for _ in range(b):
        for x in range(1, a + 1):
            row[x] += row[x - 1]
    return row[a]


def choices(n: int, k: int) -> int | None:
    """In how many ways k of n things can be chosen, by Pascal's triangle."""
    row = [1] + [0] * k
    for _ in range(n):
        row = [1] + [row[j] + row[j - 1] for j in range(1, k + 1)]
    return row[k] if k < n else None


def divisors(n: int) -> int:
    """How many numbers divide n."""
    return count(n, lambda x: n % x == 0)


def digit_sum(n: int) -> int:
    """The sum of the decimal digits."""
    return sum(int(digit) for digit in str(n))


def least_with_rests(r: int, m: int, s: int, k: int) -> int | None:
    """The least number with remainder r on division by m, and s on division by k."""
    if not (r < m and s < k) or m % k == 0 or k % m == 0:
        return None
    least = next((x for x in range(1, 1000) if x % m == r and x % k == s), 0)
    return least if least >= max(m, k) else None


def greatest_with_rest(n: int, m: int, r: int) -> int | None:
    """The greatest number up to n with remainder r on division by m."""
    return max(x for x in range(1, n + 1) if x % m == r) if r < m else None


def times_in_factorial(p: int, n: int) -> int:
    """How often a prime p divides the factorial of n."""
    times = 0
    for x in range(1, n + 1):
        while x % p == 0:
            times += 1
            x //= p  # noqa: PLW2901
    return times


def shares(k: int, n: int, least: int) -> int:
    """In how many ways k people can share n equal things, if each person gets at least ``least``."""
    ways = [1] + [0] * n
    for _ in range(k):
        ways = [sum(ways[x - given] for given in range(least, x + 1)) for x in range(n + 1)]
    return ways[n]


def diagonals(n: int) -> int:
    """How many pairs of n points on a ring are not neighbours."""
    return sum(1 for i, j in combinations(range(n), 2) if 1 < j - i < n - 1)


def term(a: int, p: int, q: int, n: int, m: int) -> int | None:
    """The remainder modulo m of the n-th term of the sequence that starts at a and continues with p * x + q."""
    for _ in range(n - 1):
        a = a * p + q
    return a % m


def least_squares(a: int, b: int) -> int | None:
    """How many squares tile an a by b rectangle, if they are all as large as possible."""
    side = max(x for x in range(1, a + 1) if a % x == 0 and b % x == 0)
    return (a // side) * (b // side) if side > 1 and a != b else None


def together(a: int, b: int) -> int | None:
    """The first common multiple of a and b."""
    return next(x for x in range(a, a * b + 1, a) if x % b == 0) if a % b and b % a else None


def coprime(m: int, n: int) -> int:
    """How many of the first n numbers share no factor with m."""
    return count(n, lambda x: not any(x % d == 0 and m % d == 0 for d in range(2, m + 1)))


def prime_sum(n: int) -> int:
    """The sum of the primes up to n."""
    return sum(x for x in range(2, n + 1) if all(x % d for d in range(2, x)))


def four_legged(h: int, f: int) -> int | None:
    """How many of h animals have four feet, if each has four or two feet and all together have f."""
    return next((x for x in range(1, h) if 4 * x + 2 * (h - x) == f), None)


def lcm_of_product(p: int, g: int) -> int | None:
    """The least common multiple of two numbers with product p and greatest common divisor g."""
    pairs = ((x, p // x) for x in range(g, p, g) if p % x == 0 and p // x % g == 0)
    fitting = [(x, y) for x, y in pairs if x < y and not any(x % d == 0 and y % d == 0 for d in range(g + 1, x + 1))]
    return next((z for x, y in fitting for z in range(y, p + 1, y) if z % x == 0), None)


def between(a: int, b: int, k: int) -> int | None:
    """How many multiples of k there are from a to b."""
    return sum(1 for x in range(a, b + 1) if x % k == 0) if a < b else None


def committees(m: int, w: int, i: int, j: int) -> int | None:
    """In how many ways i of m and j of w people can be chosen."""
    men, women = choices(m, i), choices(w, j)
    return men * women if men and women else None


def squares_or_cubes(n: int) -> int:
    """How many of the first n numbers are squares or cubes."""
    return len({x**e for e in (2, 3) for x in range(1, n + 1) if x**e <= n})
