"""Tools for actors that call tools: exact arithmetic, and a sandbox for Python. A task may add others.

An error in a call is returned as text, so that the model can read it and correct the call.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import importlib.util
import math
import operator
import shutil
import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import dspy

from flex_dspy.core.dspy_internals import kill_interpreter
from flex_dspy.core.errors import ConfigurationError

MAX_LENGTH = 500  # characters of an expression
MAX_BITS = 10_000  # largest size of a number: about 3,000 digits
_MAX_DEPTH = 50
_MAX_ARGUMENT = 1_000  # largest argument of factorial
_MAX_PRIME = 3_317_044_064_679_887_385_961_981  # below it, the witnesses decide with certainty
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)

CODE_SECONDS = 60.0
_MAX_PRINTED = 4_000  # characters


def calculate(expression: str) -> str:
    """Evaluates an arithmetic expression exactly, with integers and fractions of any size.

    Operators: + - * / // % **. Functions: gcd, lcm, comb, factorial, isqrt, isprime, and pow(base, exponent,
    modulus). Example: comb(10, 3) / 2**5
    """
    try:
        if len(expression) > MAX_LENGTH:
            raise ValueError(f"the expression is longer than {MAX_LENGTH} characters")
        return _number_text(_value(ast.parse(expression.strip(), mode="eval").body, 0))
    except SyntaxError:
        return "error: this is no expression; write it as in Python, e.g. 2*(3+4)**2 // 5"
    except ZeroDivisionError:
        return "error: division by zero"
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        return f"error: {error}"


def _value(node: ast.expr, depth: int) -> Fraction:
    """The value of a part of an expression, which is interpreted and never compiled."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"the expression is nested more than {_MAX_DEPTH} deep")
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _check_size(Fraction(repr(node.value)))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        return _SIGNS[type(node.op)] * _value(node.operand, depth + 1)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left, depth + 1), _value(node.right, depth + 1)
        return _check_size(_OPERATORS[type(node.op)](left, right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _call(node.func.id, [_value(argument, depth + 1) for argument in node.args])
    hint = "; a power is written **" if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor) else ""
    raise ValueError(f"{ast.unparse(node)[:60]!r} is not allowed: numbers, + - * / // % ** and functions are{hint}")


def _call(name: str, arguments: list[Fraction]) -> Fraction:
    function = _FUNCTIONS.get(name)
    if function is None:
        raise ValueError(f"there is no function {name!r}; functions are {', '.join(_FUNCTIONS)}")
    return _check_size(Fraction(function(*(_integer(name, argument) for argument in arguments))))


def _integer(name: str, value: Fraction) -> int:
    if value.denominator != 1:
        raise ValueError(f"{name} takes integers, not {value}")
    return value.numerator


def _check_size(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise ValueError(f"a number has more than {MAX_BITS} bits")
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise ValueError("the exponent must be an integer (isqrt(n) is the integer part of a square root)")
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) == 1:
        return Fraction(base ** (exponent.numerator % 2))
    if (size - 1) * abs(exponent.numerator) > MAX_BITS:
        raise ValueError(f"the power has more than {MAX_BITS} bits; pow(base, exponent, modulus) gives its remainder")
    return Fraction(base**exponent.numerator)


def _factorial(n: int) -> int:
    if n > _MAX_ARGUMENT:
        raise ValueError(f"factorial takes numbers up to {_MAX_ARGUMENT}")
    return math.factorial(n)


def _comb(n: int, k: int) -> int:
    if 0 <= k <= n and min(k, n - k) * n.bit_length() > 4 * MAX_BITS:
        raise ValueError("this binomial coefficient is too large")
    return math.comb(n, k)


def _pow(base: int, exponent: int, modulus: int) -> int:
    return pow(base, exponent, modulus)


def _is_prime(n: int) -> bool:
    """Miller and Rabin's test, which is exact below the limit (Sorenson and Webster, Math. Comp. 2017, 86, 985)."""
    if n >= _MAX_PRIME:
        raise ValueError(f"isprime takes numbers below {_MAX_PRIME}")
    if n < 2 or any(n % p == 0 for p in _WITNESSES):
        return n in _WITNESSES
    odd = (n - 1) >> (twos := ((n - 1) & (1 - n)).bit_length() - 1)
    return all(_may_be_prime(pow(witness, odd, n), n, twos) for witness in _WITNESSES)


def _may_be_prime(x: int, n: int, twos: int) -> bool:
    if x in (1, n - 1):
        return True
    return any((x := x * x % n) == n - 1 for _ in range(twos - 1))


_SIGNS: dict[type, int] = {ast.UAdd: 1, ast.USub: -1}
_OPERATORS: dict[type, Callable[[Fraction, Fraction], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_FUNCTIONS: dict[str, Callable[..., int]] = {
    "gcd": math.gcd,
    "lcm": math.lcm,
    "comb": _comb,
    "factorial": _factorial,
    "isqrt": math.isqrt,
    "isprime": _is_prime,
    "pow": _pow,
}


def _number_text(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value)
    try:
        return f"{value} (about {float(value):.10g})"
    except OverflowError:
        return str(value)


class SandboxTool(dspy.Tool):  # type: ignore[misc, unused-ignore]
    """``run_python(code)``: Python in a sandbox without files or network, by DSPy's ``PythonInterpreter``.

    Each call has its own interpreter. So calls may run at the same time, and no call sees the data of another.

    Raises:
        ConfigurationError: If Deno, which runs the sandbox, is not installed, or the sandbox does not start. (At its
            first start Deno fetches Python for it from the network.)
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("deno") is None and shutil.which("deno") is None:
            raise ConfigurationError(
                "Python for actors runs in Deno's sandbox, which is not installed: "
                'pip install "flex-dspy[code]", or choose another strategy'
            )
        _try_sandbox()
        super().__init__(run_python, arg_desc={"code": "a whole program that prints what you want to know"})

    async def acall(self, **kwargs: Any) -> Any:
        """Run the call in a thread, because a program may take long."""
        return await asyncio.to_thread(self, **kwargs)


@functools.cache
def _try_sandbox() -> None:
    """Start the sandbox once. Otherwise an actor would blame its own code if the sandbox never starts."""
    try:
        with dspy.PythonInterpreter() as interpreter:
            interpreter("print(1)")
    except dspy.CodeInterpreterError as error:
        raise ConfigurationError(f"the sandbox for Python does not start: {str(error)[:500]}") from error


def run_python(code: str) -> str:
    """Runs a Python program in a sandbox and gives back what it prints; nothing is kept between two runs."""
    interpreter = dspy.PythonInterpreter()
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        kill_interpreter(interpreter)

    clock = threading.Timer(CODE_SECONDS, stop)
    clock.start()
    try:
        with interpreter:
            printed = interpreter(code)
    except Exception as error:  # the author of the program, the model, reads the error
        if expired.is_set():
            return f"error: it ran for more than {CODE_SECONDS:g} s"
        return f"error: {error}"[:_MAX_PRINTED]
    finally:
        clock.cancel()
    text = "" if printed is None else str(printed)
    return text[:_MAX_PRINTED] or "(nothing was printed)"
