"""Families of competition-style problems whose answer is an integer from 0 to 999, each in two or three wordings.

Answers are counted step by step and not computed by a formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

from flex_dspy.data import problem_answers as answers

PEOPLE = ("Amara", "Bruno", "Chiara", "Dmitri", "Esra", "Farid", "Greta", "Hiro", "Ines", "Jonas", "Kofi", "Leila")


@dataclass(frozen=True)
class ProblemFamily:
    """Problems that are solved in the same way.

    Attributes:
        name: The subject of the problems.
        wordings: Texts with a place for each number, and for a ``person``.
        ranges: The values that each number may take.
        answer: Counts the answer; returns None for numbers that make no good problem.
    """

    name: str
    wordings: tuple[str, ...]
    ranges: Mapping[str, range]
    answer: Callable[..., int | None]


FAMILIES = (
    ProblemFamily(
        "multiples of either",
        (
            "How many positive integers not exceeding {n} are divisible by {p} or by {q}?",
            "Lockers stand in a row, numbered from one up to {n}. A guard checks every locker whose number is a "
            "multiple of {p}, and {person} checks every locker whose number is a multiple of {q}. Find the number of "
            "lockers that are checked at least once.",
            "Call a positive integer lucky if ${p}$ or ${q}$ divides it. How many lucky integers are there among the "
            "first ${n}$ positive integers?",
        ),
        {"p": range(3, 16), "q": range(4, 20), "n": range(150, 1600)},
        answers.either,
    ),
    ProblemFamily(
        "multiples of neither",
        (
            "Find the number of positive integers up to {n} that are divisible neither by {p} nor by {q}.",
            "From the list of all whole numbers from one to {n}, the student {person} crosses out the multiples of {p} "
            "and then the multiples of {q}. How many numbers are left?",
        ),
        {"p": range(2, 13), "q": range(3, 16), "n": range(100, 1300)},
        answers.neither,
    ),
    ProblemFamily(
        "multiples of one only",
        (
            "How many integers between one and {n}, inclusive, are multiples of {p} but not of {q}?",
            "Let $S$ be the set of positive integers at most ${n}$. Determine how many members of $S$ are divisible by "
            "${p}$ and are not divisible by ${q}$.",
        ),
        {"p": range(2, 10), "q": range(3, 17), "n": range(200, 2500)},
        answers.one_only,
    ),
    ProblemFamily(
        "remainder of a power",
        (
            "Find the remainder when ${a}^{{{b}}}$ is divided by {m}.",
            "The number ${a}^{{{b}}}$ is written as ${m}q + r$ with integers $q$ and $r$, where $r$ is as small as it "
            "can be without being negative. Compute $r$.",
            "A computer multiplies {b} copies of {a} together but shows only the remainder on division by {m}. What "
            "does {person} read on its screen?",
        ),
        {"a": range(2, 40), "b": range(30, 2400), "m": range(100, 1001)},
        answers.power_rest,
    ),
    ProblemFamily(
        "last three digits",
        (
            "What number is formed by the last three digits of ${a}^{{{b}}}$?",
            "All the digits of ${a}^{{{b}}}$ but the final three are erased. Which number remains?",
        ),
        {"a": range(3, 60), "b": range(11, 900)},
        lambda a, b: answers.power_rest(a, b, 1000),
    ),
    ProblemFamily(
        "lattice paths",
        (
            "An ant walks on a grid from the origin to the point $({a}, {b})$, each step going one unit right or one "
            "unit up. How many different walks are possible?",
            "A town has straight streets. The school is {a} blocks east and {b} blocks north of the home of {person}. "
            "In how many ways can one walk to school along the streets without taking a detour?",
        ),
        {"a": range(2, 9), "b": range(2, 14)},
        answers.paths,
    ),
    ProblemFamily(
        "number of divisors",
        ("How many positive divisors does {n} have?", "Determine the number of positive integers that divide {n}."),
        {"n": range(120, 9000)},
        answers.divisors,
    ),
    ProblemFamily(
        "divisors of prime powers",
        (
            "Find the number of positive integer factors of ${p}^{{{i}}} \\cdot {q}^{{{j}}}$.",
            "The volume of a box is ${p}^{{{i}}} {q}^{{{j}}}$ cubic units, and its height is a whole number that "
            "divides the volume. How many heights are possible?",
        ),
        {"p": range(2, 4), "i": range(2, 31), "q": range(5, 8, 2), "j": range(2, 31)},
        lambda p, i, q, j: sum(1 for _ in range(i + 1) for _ in range(j + 1)),
    ),
    ProblemFamily(
        "digit sum of a power",
        (
            "What is the sum of the decimal digits of ${a}^{{{b}}}$?",
            "After ${a}^{{{b}}}$ is written out in base ten, all of its digits are added. Find the result.",
        ),
        {"a": range(2, 20), "b": range(10, 60)},
        lambda a, b: answers.digit_sum(a**b),
    ),
    ProblemFamily(
        "numbers with a digit sum",
        (
            "How many positive integers not greater than {n} have a digit sum of {s}?",
            "Tickets are numbered from one through {n}. A ticket wins if its digits add up to {s}. How many tickets "
            "win?",
        ),
        {"n": range(200, 5000), "s": range(3, 20)},
        lambda n, s: answers.count(n, lambda x: answers.digit_sum(x) == s),
    ),
    ProblemFamily(
        "least number with given remainders",
        (
            "Find the least positive integer that leaves remainder {r} when divided by {m} and remainder {s} when "
            "divided by {k}.",
            "When marbles are put into bags of {m}, exactly {r} are left over. When they are put into bags of {k}, "
            "exactly {s} are left over. What is the smallest possible number of marbles, if there is at least one "
            "full bag each time?",
        ),
        {"r": range(1, 12), "m": range(5, 30), "s": range(1, 12), "k": range(6, 37)},
        answers.least_with_rests,
    ),
    ProblemFamily(
        "greatest number with a remainder",
        (
            "What is the greatest integer not exceeding {n} that leaves a remainder of {r} upon division by {m}?",
            "A farmer has at most {n} eggs. Packed in cartons of {m}, they leave {r} eggs over. At most how many eggs "
            "can the farmer have?",
        ),
        {"n": range(100, 1000), "m": range(7, 60), "r": range(1, 30)},
        answers.greatest_with_rest,
    ),
    ProblemFamily(
        "zeros at the end of a factorial",
        (
            "In how many zeros does the decimal expansion of ${n}!$ end?",
            "The product of the first {n} positive integers is computed. How many consecutive zeros stand at its end?",
        ),
        {"n": range(30, 480)},
        lambda n: min(answers.times_in_factorial(2, n), answers.times_in_factorial(5, n)),
    ),
    ProblemFamily(
        "prime power in a factorial",
        (
            "Find the largest integer $k$ for which ${p}^k$ divides ${n}!$.",
            "How many times can the product of all integers from one to {n} be divided by {p} before the result is no "
            "longer an integer?",
        ),
        {"p": range(2, 8), "n": range(20, 450)},
        lambda p, n: answers.times_in_factorial(p, n) if p in (2, 3, 5, 7) else None,
    ),
    ProblemFamily(
        "sharing equal things",
        (
            "In how many ways can {n} identical balls be placed into {k} distinct boxes, if boxes may stay empty?",
            "A baker sells {k} kinds of rolls. In how many ways can {person} choose {n} rolls, if rolls of one kind "
            "are all alike?",
        ),
        {"k": range(3, 8), "n": range(3, 40)},
        lambda k, n: answers.shares(k, n, 0),
    ),
    ProblemFamily(
        "sharing, each gets some",
        (
            "Find the number of ordered lists of {k} positive integers whose sum is {n}.",
            "In how many ways can {n} equal coins be shared among {k} children so that every child gets at least one "
            "coin?",
        ),
        {"k": range(3, 7), "n": range(7, 46)},
        lambda k, n: answers.shares(k, n, 1),
    ),
    ProblemFamily(
        "sum of multiples",
        (
            "Find the sum of all positive multiples of {k} that do not exceed {n}.",
            "The teacher asks {person} to add all numbers from one to {n} that are divisible by {k}. What is the sum?",
        ),
        {"k": range(4, 40), "n": range(50, 400)},
        lambda k, n: sum(range(k, n + 1, k)) if n > k else None,
    ),
    ProblemFamily(
        "diagonals",
        (
            "How many diagonals does a convex polygon with {n} sides have?",
            "At a round table {n} people are seated. Any two who are not neighbours clink glasses once. How often do "
            "glasses clink?",
        ),
        {"n": range(5, 46)},
        answers.diagonals,
    ),
    ProblemFamily(
        "crossings of chords",
        (
            "On a circle {n} points are marked, and all chords between them are drawn; no three chords meet inside the "
            "circle. Find the remainder when the number of crossings inside the circle is divided by {m}.",
            "Let $N$ be the number of ways to choose four of the {n} vertices of a polygon. Compute $N$ modulo {m}.",
        ),
        {"n": range(8, 70), "m": range(300, 1001)},
        lambda n, m: (answers.choices(n, 4) or 0) % m,
    ),
    ProblemFamily(
        "couples shaking hands",
        (
            "At a party of {n} married couples, everybody shakes hands once with every other guest except his or her "
            "spouse. How many handshakes take place?",
            "A tennis club has {n} pairs of twins. Each member plays one match against every other member but never "
            "against the own twin. How many matches are played?",
        ),
        {"n": range(3, 23)},
        lambda n: sum(1 for i, j in combinations(range(2 * n), 2) if i // 2 != j // 2),
    ),
    ProblemFamily(
        "terms of a recurrence",
        (
            "The first term of a sequence is {a}, and each further term is {p} times the term before it, plus {q}. "
            "Find the remainder when term number {n} is divided by {m}.",
            "A jar holds {a} cells. Every minute their number is multiplied by {p}, and {q} more are put in. Counting "
            "the start as observation one, what remainder does the count at observation {n} leave modulo {m}?",
        ),
        {"a": range(1, 12), "p": range(2, 8), "q": range(1, 15), "n": range(5, 40), "m": range(100, 1001)},
        answers.term,
    ),
    ProblemFamily(
        "squares that tile",
        (
            "A floor of {a} by {b} decimetres is to be covered with equal square tiles, as large as possible, whose "
            "sides are whole numbers of decimetres. How many tiles are needed?",
            "A sheet of paper of {a} times {b} millimetres is cut without waste into equal squares of the greatest "
            "possible whole side length. How many squares result?",
        ),
        {"a": range(24, 700, 6), "b": range(30, 800, 6)},
        answers.least_squares,
    ),
    ProblemFamily(
        "events together again",
        (
            "Two lighthouses flash together at midnight; one flashes every {a} seconds, the other every {b} seconds. "
            "After how many seconds do they next flash together?",
            "What is the smallest positive integer that is divisible by both {a} and {b}?",
        ),
        {"a": range(6, 60), "b": range(8, 90)},
        answers.together,
    ),
    ProblemFamily(
        "squares or cubes",
        (
            "How many positive integers up to {n} are perfect squares or perfect cubes?",
            "A collector keeps the stamps whose number, from one to {n}, is the square or the cube of an integer. How "
            "many stamps are kept?",
        ),
        {"n": range(60, 9900)},
        answers.squares_or_cubes,
    ),
    ProblemFamily(
        "numbers without a common factor",
        (
            "How many positive integers at most {n} have no common factor greater than one with {m}?",
            "Find the number of fractions with denominator {m} and a positive numerator not above {n} that are in "
            "lowest terms.",
        ),
        {"m": range(6, 150), "n": range(160, 1000)},
        answers.coprime,
    ),
    ProblemFamily(
        "sum of primes",
        (
            "What is the sum of all prime numbers that are not greater than {n}?",
            "On a number line, {person} marks every prime up to {n} and adds the marked numbers. Find the total.",
        ),
        {"n": range(12, 85)},
        answers.prime_sum,
    ),
    ProblemFamily(
        "committees",
        (
            "From {m} teachers and {w} students, a committee of {i} teachers and {j} students is to be formed. How "
            "many committees are possible?",
            "A menu offers {m} starters and {w} desserts. A group orders {i} different starters and {j} different "
            "desserts to share. In how many ways can the order be made?",
        ),
        {"m": range(4, 13), "w": range(4, 13), "i": range(2, 5), "j": range(2, 5)},
        answers.committees,
    ),
    ProblemFamily(
        "heads and feet",
        (
            "In a yard of hens and rabbits there are {h} heads and {f} feet. How many rabbits are there?",
            "A garage holds cars with four wheels and motorcycles with two. Together there are {h} vehicles and {f} "
            "wheels. Find the number of cars.",
        ),
        {"h": range(15, 400), "f": range(40, 1500, 2)},
        answers.four_legged,
    ),
    ProblemFamily(
        "product and common divisor",
        (
            "The product of two positive integers is {p} and their greatest common divisor is {g}. Find their least "
            "common multiple.",
        ),
        {"p": range(200, 9000), "g": range(2, 16)},
        answers.lcm_of_product,
    ),
    ProblemFamily(
        "multiples between bounds",
        (
            "How many multiples of {k} lie between {a} and {b}, both included?",
            "A bus leaves at every minute of its timetable that is divisible by {k}. How many buses leave from minute "
            "{a} to minute {b} inclusive?",
        ),
        {"a": range(100, 900), "b": range(400, 4000), "k": range(3, 23)},
        answers.between,
    ),
    ProblemFamily(
        "rectangles in a grid",
        (
            "How many rectangles with sides on the grid lines can be found in a grid of {a} rows and {b} columns?",
            "A window has {a} by {b} panes. Along the bars {person} looks for rectangles of all sizes. How many are "
            "there?",
        ),
        {"a": range(2, 9), "b": range(2, 15)},
        lambda a, b: sum(1 for _ in combinations(range(a + 1), 2) for _ in combinations(range(b + 1), 2)),
    ),
    ProblemFamily(
        "digits of page numbers",
        (
            "The pages of a book are numbered from one to {n}. How many digits are printed in all page numbers "
            "together?",
            "A typist writes the positive integers up to {n} one after the other without spaces. Find the length of "
            "the resulting string of digits.",
        ),
        {"n": range(20, 370)},
        lambda n: sum(len(str(x)) for x in range(1, n + 1)),
    ),
    ProblemFamily(
        "palindromes",
        ("How many positive integers not larger than {n} read the same forwards and backwards?",),
        {"n": range(150, 9900)},
        lambda n: answers.count(n, lambda x: str(x) == str(x)[::-1]),
    ),
)
