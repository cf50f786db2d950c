"""The language of procedures, the search in it, and the wording of problems: values, limits, hostile input."""

import math
import time

import pytest

from flex_dspy.offline.primitives import LARGEST_MEMBER, PRIMITIVES
from flex_dspy.offline.procedure_search import Instance, explains, find_procedures
from flex_dspy.offline.procedures import Call, kind_of, order_arguments, parse, run, steps, text
from flex_dspy.offline.wording import likeness, read

N = range(1, 401)

VALUES = {
    "count(union(multiples(a, c), multiples(b, c)))": ((4, 6, 400), sum(n % 4 == 0 or n % 6 == 0 for n in N)),
    "sum(difference(up_to(c), multiples(a, c)))": ((3, 0, 400), sum(n for n in N if n % 3)),
    "least(intersection(residues(a, b), residues(c, d)))": ((2, 5, 3, 7), 17),
    "greatest(intersection(residues(b, c), up_to(a)))": ((100, 3, 8), 99),
    "count(intersection(with_digit_sum(b), up_to(a)))": ((400, 9), sum(sum(map(int, str(n))) == 9 for n in N)),
    "sum(primes(a))": ((30,), 2 + 3 + 5 + 7 + 11 + 13 + 17 + 19 + 23 + 29),
    "count(union(squares(a), cubes(a)))": ((400,), len({n**2 for n in range(1, 21)} | {n**3 for n in range(1, 8)})),
    "count(intersection(coprime(a), up_to(b)))": ((30, 400), sum(math.gcd(n, 30) == 1 for n in N)),
    "sum(from_to(a, b))": ((17, 40), sum(range(17, 41))),
    "valuation(factorial(a), 10)": ((100,), 24),
    "power_mod(a, b, c)": ((7, 2024, 1000), 7**2024 % 1000),
    "digit_sum(power(2, a))": ((100,), sum(map(int, str(2**100)))),
    "divisor_count(multiply(power(a, b), power(c, d)))": ((2, 5, 3, 7), 48),
    "divisor_sum(a)": ((360,), sum(n for n in N if 360 % n == 0)),
    "mod(term(a, b, c, d), 1000)": ((1, 2, 1, 10), 1023 % 1000),
    "subtract(binomial(multiply(2, a), 2), a)": ((5,), 40),
    "divide(multiply(a, b), power(gcd(a, b), 2))": ((12, 18), 6),
    "add(lcm(a, b), quotient(a, b))": ((9, 4), 38),
    "a": ((5, 6), 5),
    "17": ((5,), 17),
}


@pytest.mark.parametrize(("written", "case"), VALUES.items())
def test_a_procedure_has_its_value(written, case):
    numbers, value = case
    assert run(parse(written), numbers) == value


def test_every_primitive_is_tested():
    assert {name for written in VALUES for name in steps(parse(written))} == PRIMITIVES.keys()


@pytest.mark.parametrize("written", VALUES)
def test_a_procedure_is_read_as_it_is_written(written):
    assert text(parse(written)) == written
    assert text(parse(written.replace(" ", ""))) == written


@pytest.mark.parametrize(
    "written",
    [
        "",
        "add",
        "add(a",
        "add(a, b))",
        "add(a, b) c",
        "add(a, b, c)",
        "subtract(a)",
        "add(a; b)",
        "z",
        "1.5",
        "-1",
        "__import__(a)",
        "up_to(a)",  # a set is no answer
        "count(a)",
        "add(up_to(a), b)",
        "(" * 200,
        "add(" * 70,
        "add(a, " * 1000 + "b" + ")" * 1000,
        "add(a, b)\x00",
    ],
)
def test_what_is_no_procedure_is_refused(written):
    assert parse(written) is None


def test_the_order_of_a_sum_is_no_matter():
    assert order_arguments(parse("add(b, multiply(c, a))")) == order_arguments(parse("add(multiply(a, c), b)"))
    assert order_arguments(parse("subtract(b, a)")) != order_arguments(parse("subtract(a, b)"))


@pytest.mark.parametrize(
    ("written", "numbers"),
    [
        ("subtract(a, b)", (1, 2)),
        ("divide(a, b)", (7, 2)),
        ("divide(a, b)", (7, 0)),
        ("mod(a, b)", (7, 0)),
        ("power_mod(a, b, c)", (7, 2, 0)),
        ("binomial(a, b)", (2, 3)),
        ("valuation(a, b)", (8, 1)),
        ("least(difference(up_to(a), up_to(a)))", (5,)),
        ("add(a, b)", (1,)),
    ],
)
def test_what_is_not_defined_has_no_value(written, numbers):
    assert run(parse(written), numbers) is None


HUGE = 10**12


@pytest.mark.parametrize("name", PRIMITIVES)
def test_no_number_makes_a_primitive_run_long(name):
    begun = time.perf_counter()
    sets = [(1 << LARGEST_MEMBER) - 2, 2, 0]
    for number in (0, 1, 2, 997, LARGEST_MEMBER, 10**6, HUGE - 11, HUGE, 10**100):
        for other in (0, 1, 2, 997, HUGE):
            pools = {"number": [number, other, number, other], "set": sets}
            arguments = [pools[kind][place] for place, kind in enumerate(PRIMITIVES[name].takes)]
            value = PRIMITIVES[name].run(*arguments)
            assert value is None or value.bit_length() <= 10_000
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    "written",
    ["factorial(factorial(factorial(a)))", "power(power(power(a, a), a), a)", "term(a, power(a, 99), a, 100)"],
)
def test_nested_growth_is_stopped(written):
    begun = time.perf_counter()
    assert run(parse(written), (9,)) is None
    assert time.perf_counter() - begun < 0.1


def test_the_search_finds_what_explains_all_instances():
    instances = [Instance((4, 6, 500), 167), Instance((6, 10, 400), 93)]
    found = find_procedures(instances)
    assert text(found[0]) == "count(union(multiples(a, c), multiples(b, c)))"
    assert all(explains(procedure, instance) for procedure in found for instance in instances)
    assert all(order_arguments(procedure) == procedure and kind_of(procedure) == "number" for procedure in found)


def test_one_instance_leaves_more_open_than_two():
    one, two = find_procedures([Instance((3, 4), 35)], 50), find_procedures([Instance((3, 4), 35)] * 2, 50)
    both = find_procedures([Instance((3, 4), 35), Instance((5, 2), 21)], 50)
    assert one == two
    assert Call("binomial", (Call("add", ("a", "b")), "a")) in both
    assert [text(p) for p in one] != [text(p) for p in both]


@pytest.mark.parametrize(
    "instances",
    [
        [Instance((), 5)],
        [Instance((1,), 5), Instance((1, 2), 5)],
        [Instance((3,), 5), Instance((3,), 6)],
        [],
    ],
)
def test_nothing_is_found_where_nothing_can_be(instances):
    assert find_procedures(instances) == []


@pytest.mark.parametrize("numbers", [(HUGE,) * 8, (999, 998, 997, 996, 995, 994), (2, 3), (0, 0, 0), (500,)])
def test_the_search_ends_soon(numbers):
    begun = time.process_time()
    assert len(find_procedures([Instance(numbers, 907)])) <= 6
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("problem", "pattern", "numbers"),
    [
        ("Find $7^{2024}$ mod 1,000.", "find N ^ N mod N", (7, 2024, 1000)),
        ("The numbers 12, 18 and 1{,}234,567.", "the numbers N N and N", (12, 18, 1234567)),
        ("Now Amara buys 3 pens for 2.50 each.", "now buys N pens for each", (3,)),
        ("Now Bruno buys 5 pens for 1.75 each.", "now buys N pens for each", (5,)),
        ("Is 12345678901234567890 prime?", "is prime", ()),
        (" ".join(map(str, range(20))), " ".join("N" * 20), tuple(range(8))),
        ("", "", ()),
    ],
)
def test_a_problem_is_taken_apart(problem, pattern, numbers):
    assert read(problem) == (pattern, numbers)


@pytest.mark.parametrize("problem", ["9" * 100_000, "1," * 50_000, "1,000" * 20_000, "Aa " * 50_000, "$" * 100_000])
def test_a_hostile_text_is_read_in_a_moment(problem):
    begun = time.perf_counter()
    wording = read(problem)
    assert len(wording.numbers) <= 8
    assert len(wording.pattern) <= 600
    assert time.perf_counter() - begun < 0.5


def test_likeness():
    assert likeness("how many N", "how many N") == 1
    assert likeness("how many N", "what is") == 0
    assert likeness("", "") == 0
