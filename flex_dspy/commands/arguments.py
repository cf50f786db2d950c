"""The kinds of values that options take, and how each is read from a text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import ArgumentCollection, CoercionError, Group, Parameter, Token
from cyclopts.validators import Number

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.settings import Settings
from flex_dspy.tasks.names import check_task_name, task_names

Result = TypeVar("Result")
Role = Literal["actor", "verifier", "critic", "updater"]
Strategy = Literal["direct", "icl", "cot", "react", "code"]
Overlap = Literal["drop", "refuse", "allow"]
Zone = Literal["golden", "warning", "mixed"]

ROLES: tuple[Role, ...] = ("actor", "verifier", "critic", "updater")
RULES = ("value", "stale", "redundant")
TASKS_HELP = " | ".join([*task_names(), "module:attribute"])
LIBRARY_HELP = "a library file, a folder of them, or NAME@alias or NAME/version in MLflow"


def check(read: Callable[[str], Any]) -> Callable[[Any, str | Sequence[str] | None], None]:
    """Validator for cyclopts: refuses texts that ``read`` cannot read.

    Args:
        read: Reads one text. It raises ``ConfigurationError`` or ``ValueError``.
    """

    def validate(_: Any, value: str | Sequence[str] | None) -> None:
        for text in [value] if isinstance(value, str) else value or ():
            try:
                read(text)
            except ConfigurationError as error:
                raise ValueError(str(error)) from error

    return validate


def default_of(settings: type[Settings], name: str) -> Any:
    """The default of a setting, for the option that sets it.

    Args:
        settings: The model that holds the setting.
        name: The name of the setting.
    """
    return settings.model_fields[name].default


def read_pair(text: str) -> tuple[str, str]:
    """Read ``NAME=VALUE``.

    Raises:
        ValueError: If the text has another form.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"must be NAME=VALUE, got {text!r}")
    return name, value


def read_for_role(text: str, number: Callable[[str], Result]) -> tuple[str | None, Result]:
    """Read ``0.7`` for all roles, or ``critic=0.7`` for one.

    Args:
        text: The text.
        number: Reads the value.

    Returns:
        The role, None for all; and the value.

    Raises:
        ValueError: If there is no such role, or the value is no number.
    """
    role, value = read_pair(text) if "=" in text else (None, text)
    if role is not None and role not in ROLES:
        raise ValueError(f"roles are {', '.join(ROLES)}, got {role!r}")
    try:
        return role, number(value)
    except ValueError as error:
        raise ValueError(f"must be a number, or ROLE=NUMBER, got {text!r}") from error


def read_roles(text: str) -> tuple[Role, ...]:
    """Read names of roles, separated by commas; none of an empty text.

    Raises:
        ValueError: If there is no such role.
    """
    named = dict.fromkeys(filter(None, text.split(",")))
    if unknown := named.keys() - set(ROLES):
        raise ValueError(f"roles are {', '.join(ROLES)}, got {', '.join(sorted(unknown))}")
    return tuple(role for role in ROLES if role in named)


def read_positive(text: str) -> int:
    """Read a whole number from 1 on.

    Raises:
        ValueError: If it is none.
    """
    value = int(text)
    if value < 1:
        raise ValueError(f"must be at least 1, got {value}")
    return value


def read_whole(_: Any, tokens: Sequence[Token]) -> int:
    """Converter for cyclopts: reads a whole number, where cyclopts would round a fraction.

    Raises:
        CoercionError: If it is none, or there are several.
    """
    try:
        (token,) = tokens
        return int(token.value)
    except ValueError as error:
        raise CoercionError(token=tokens[0], target_type=int) from error


def read_price(text: str) -> tuple[str, list[float]]:
    """Read ``MODEL=PROMPT,COMPLETION`` or ``MODEL=PROMPT,COMPLETION,CACHED``, in USD a million tokens.

    Raises:
        ValueError: If the text has another form.
    """
    model, numbers = read_pair(text)
    try:
        prices = [float(number) for number in numbers.split(",")]
    except ValueError:
        prices = []
    if len(prices) not in (2, 3) or not all(0 <= price < math.inf for price in prices):
        raise ValueError("must be MODEL=PROMPT,COMPLETION[,CACHED] in USD a million tokens")
    return model, prices


def read_scale(text: str) -> tuple[float, float]:
    """Read ``LOWEST,HIGHEST``, the ends of a scale of ratings.

    Raises:
        ValueError: If the text has another form.
    """
    try:
        low, high = (float(number) for number in text.split(","))
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"must be LOWEST,HIGHEST, such as 1,5, got {text!r}")
    return low, high


def read_address(text: str) -> tuple[str, int]:
    """Read ``[HOST:]PORT``; the host is 127.0.0.1 where none is named.

    Raises:
        ValueError: If the text has another form.
    """
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"must be [HOST:]PORT, got {text!r}")
    return host.strip("[]") or "127.0.0.1", int(port)


def read_rules(text: str) -> tuple[str, ...]:
    """Read names of rules of pruning, separated by commas.

    Raises:
        ValueError: If there is no such rule.
    """
    rules = tuple(dict.fromkeys(text.split(",")))
    if unknown := set(rules) - set(RULES):
        raise ValueError(f"there is no rule {', '.join(sorted(unknown))}: some of {','.join(RULES)}")
    return rules


def check_exclusive(arguments: ArgumentCollection) -> None:
    """Validator for cyclopts: refuses more than one option of a group.

    Raises:
        ValueError: If there are more.
    """
    given = [each.name for each in arguments if each.tokens]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other: give one of them")


EXCLUSIVE = Group("exclusive", show=False, validator=check_exclusive)  # a command can have one such group

Whole = Annotated[int, Parameter(converter=read_whole)]
Positive = Annotated[int, Parameter(converter=read_whole, validator=Number(gte=1))]
NotNegative = Annotated[int, Parameter(converter=read_whole, validator=Number(gte=0))]
Weight = Annotated[float, Parameter(validator=Number(gte=0))]
Share = Annotated[float, Parameter(validator=Number(gt=0, lt=1))]
Port = Annotated[int, Parameter(converter=read_whole, validator=Number(gte=1, lte=65_535))]
Pairs = Annotated[tuple[str, ...], Parameter(validator=check(read_pair))]
Prices = Annotated[tuple[str, ...], Parameter(validator=check(read_price))]
Temperatures = Annotated[tuple[str, ...], Parameter(validator=check(lambda text: read_for_role(text, float)))]
TokenCounts = Annotated[tuple[str, ...], Parameter(validator=check(lambda text: read_for_role(text, read_positive)))]
Address = Annotated[str, Parameter(validator=check(read_address))]
Scale = Annotated[str, Parameter(validator=check(read_scale))]
Rules = Annotated[str, Parameter(validator=check(read_rules))]
TaskName = Annotated[str, Parameter(validator=check(check_task_name), help=TASKS_HELP)]
Library = Annotated[str, Parameter(help=LIBRARY_HELP[0].upper() + LIBRARY_HELP[1:] + ".")]
OutputFile = Annotated[Path, Parameter(name=("--out", "-o"), help="The file to write.")]
Overwrite = Annotated[bool, Parameter(name="--overwrite", help="Write the file though it is there.")]
Scopes = Annotated[
    tuple[str, ...],
    Parameter(name="--scope", negative=(), help="A scope to read besides the shared entries. May be repeated."),
]
PrintJson = Annotated[bool, Parameter(name="--json", help="Print JSON.")]
TrackingUri = Annotated[str | None, Parameter(name="--tracking-uri", help="MLflow store (default: MLflow's own).")]
