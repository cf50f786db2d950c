"""Options from the environment and from the file of ``--config``; the command line wins over both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection
from cyclopts.config import ConfigFromFile, Dict, Env, Toml, Yaml

from flex_dspy.core.errors import ConfigurationError

PREFIX = "FLEX_DSPY_"
ENVIRONMENT = (Env(PREFIX, show=False), Env(PREFIX, command=False, show=False))  # for one command, then for all

Tables = Mapping[str, Any]  # names of commands; of a group, with a mapping of those in it

_FORMATS: dict[str, Callable[..., ConfigFromFile]] = {".toml": Toml, ".yaml": Yaml, ".yml": Yaml}


def read_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection, *, tables: Tables) -> None:
    """Fill the arguments that are not given yet from the file that ``--config`` names, if it does.

    Options stand at the top of the file, or in a table named after the command (``[learn]``, ``[library.value]``).

    Args:
        app: The command.
        commands: Its name, word by word.
        arguments: Its arguments.
        tables: Names of the tables that the file may hold.

    Raises:
        ConfigurationError: If the file cannot be read, or has another form.
    """
    named = next((each for each in arguments if each.name == "--config" and each.tokens), None)
    if named is not None:
        path = Path(named.tokens[-1].value)
        values = _own(_read(path), commands, path, tables)
        for word in reversed(commands):
            values = {word: values}
        Dict(values, source=str(path))(app, commands, arguments)


def _read(path: Path) -> dict[str, Any]:
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ConfigurationError(f"--config {path}: the file's name must end in {', '.join(_FORMATS)}")
    try:
        values = form(path, must_exist=True).config
    except FileNotFoundError as error:
        raise ConfigurationError(f"--config {path}: there is no such file") from error
    except Exception as error:  # each format has errors of its own
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigurationError(f"--config {path}: {reason}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"--config {path}: must hold options by name")
    return values


def _own(values: dict[str, Any], commands: tuple[str, ...], path: Path, tables: Tables) -> dict[str, Any]:
    """The values at the top, and over them those of the command's table."""
    own = _plain_values(values, path, tables)
    table: Any = values
    for word in commands:
        table, tables = table.get(word, {}), tables[word]
        if not isinstance(table, dict):
            raise ConfigurationError(f"--config {path}: {word} must be a table of options")
    return own | _plain_values(table, path, tables)


def _plain_values(table: dict[Any, Any], path: Path, tables: Tables) -> dict[str, Any]:
    """The values of a table without the tables of commands in it.

    Raises:
        ConfigurationError: If a name is no text, a value is missing, or a table is not of a command.
    """
    for name, value in table.items():
        if not isinstance(name, str):
            raise ConfigurationError(f"--config {path}: names of options must be text, got {name!r}")
        if value is None:
            raise ConfigurationError(f"--config {path}: {name} has no value: give it one, or leave it out")
        if isinstance(value, dict) and name not in tables:
            raise ConfigurationError(f"--config {path}: {name} is a table, and no command has that name")
    return {name: value for name, value in table.items() if not isinstance(value, dict)}
