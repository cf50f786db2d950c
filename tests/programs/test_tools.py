"""Tools for actors."""

import math
import re
import threading
import time

import dspy
import pytest
from dspy.primitives.python_interpreter import CodeInterpreterError

from flex_dspy.programs import tools
from flex_dspy.programs.tools import calculate, run_python


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("6*7", "42"),
        (" 2**10 - 1 ", "1023"),
        ("1/3 + 1/6", "1/2 (about 0.5)"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("7/2 % 1", "1/2 (about 0.5)"),
        ("0.1 + 0.2", "3/10 (about 0.3)"),
        ("2**-2", "1/4 (about 0.25)"),
        ("(2/3)**3", "8/27 (about 0.2962962963)"),
        ("(-1)**(10**40 + 1)", "-1"),
        ("gcd(12, 18, 27)", "3"),
        ("lcm(4, 6)", "12"),
        ("comb(10, 3)", "120"),
        ("comb(1000, 500) % 1000", str(math.comb(1000, 500) % 1000)),
        ("factorial(20)", str(math.factorial(20))),
        ("isqrt(10**20)", "10000000000"),
        ("pow(7, 10**9, 1000)", str(pow(7, 10**9, 1000))),
        ("pow(3, -1, 7)", "5"),
        ("2**2024 % 1000", str(2**2024 % 1000)),
    ],
)
def test_arithmetic_is_exact(expression, value):
    assert calculate(expression) == value


def test_primes():
    sieve = [n for n in range(-2, 2_000) if n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))]
    assert [n for n in range(-2, 2_000) if calculate(f"isprime({n})") == "1"] == sieve
    # The last is a strong pseudoprime to the first twelve primes as bases.
    found = [calculate(f"isprime({n})") for n in (2**61 - 1, 3215031751, 561, 318665857834031151167461)]
    assert found == ["1", "0", "0", "0"]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("6*", "no expression"),
        ("", "no expression"),
        ("x + 1", "'x' is not allowed"),
        ("1 < 2", "is not allowed"),
        ("2^10", "a power is written \\*\\*"),
        ("True + 1", "is not allowed"),
        ("'a' * 3", "is not allowed"),
        ("1j", "is not allowed"),
        ("[1][0]", "is not allowed"),
        ("().__class__", "is not allowed"),
        ("__import__('os')", "is not allowed|no function"),
        ("sqrt(2)", "no function 'sqrt'; functions are gcd"),
        ("gcd(1/2, 3)", "gcd takes integers"),
        ("2**(1/2)", "exponent must be an integer"),
        ("1/0", "division"),
        ("0**-1", "."),
        ("comb(1)", "argument"),
        ("pow(2, 3)", "argument"),
        ("isqrt(-4)", "nonnegative"),
        ("factorial(10**9)", "up to 1000"),
        ("comb(10**9, 10**8)", "too large"),
        ("9**9**9", "pow\\(base, exponent, modulus\\)"),
        ("10**3000 * 10**3000", "more than 10000 bits"),
        ("isprime(10**30)", "below"),
        ("1e999", "."),
        ("1+" * 400 + "1", "longer than"),
        ("-" * 200 + "1", "nested|no expression"),
        ("(" * 240 + "1" + ")" * 240, "nested|no expression|."),
        ("gcd(*[1, 2])", "not allowed"),
        ("gcd(a=1)", "not allowed"),
    ],
)
def test_what_is_wrong_is_said_and_costs_nothing(expression, says):
    start = time.perf_counter()
    text = calculate(expression)
    assert time.perf_counter() - start < 2
    assert text.startswith("error: ")
    assert re.search(says, text), text


class Endless:
    """A program in the sandbox that does not end by itself."""

    def __init__(self) -> None:
        self.killed = threading.Event()
        self.deno_process = self

    def kill(self) -> None:
        self.killed.set()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def __call__(self, code):
        assert self.killed.wait(10)
        raise CodeInterpreterError("Deno exited")


def test_a_program_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(dspy, "PythonInterpreter", Endless)
    monkeypatch.setattr(tools, "CODE_SECONDS", 0.05)
    assert run_python("while True: pass") == "error: it ran for more than 0.05 s"
