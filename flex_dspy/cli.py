"""The command line: ``learn``, ``eval``, ``compare``, ``versions``, ``library``, ``runs``, ``serve``, ``ui`` and more.

A command's module is imported when the command is named, and nothing heavy before its arguments are known to be right.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from cyclopts import App, CycloptsError, Parameter, ValidationError
from rich.console import Console

from flex_dspy.commands.configuration import ENVIRONMENT, PREFIX, read_file
from flex_dspy.core.errors import BudgetError, ConfigurationError, FindingsError, FlexError, TrackingError
from flex_dspy.core.terminal import ReaderGoneError, safe_streams, unsafe_stdout

# Where each command is. Its module is imported when it is named, or listed.
_COMMANDS = {
    "learn": "learn:learn",
    "eval": "evaluate:evaluate",
    "compare": "compare:compare",
    "rescore": "rescore:rescore",
    "versions": "versions:list_versions",
    "serve": "serve:serve",
    "ui": "ui:serve_pages",
    "doctor": "doctor:diagnose",
}
_LIBRARY_COMMANDS = {
    "show": "library.show:show",
    "stats": "library.stats:show_stats",
    "search": "library.search:search",
    "versions": "library.versions:list_versions",
    "diff": "library.diff:diff",
    "merge": "library.merge:merge",
    "import": "library.import_library:import_library",
    "export": "library.export:export",
    "add": "library.add:add",
    "edit": "library.edit:edit",
    "review": "library.review:review",
    "approve": "library.approve:approve",
    "reject": "library.reject:reject",
    "log": "library.log:log",
    "value": "library.value:value",
    "prune": "library.prune:prune",
    "fit": "library.fit:fit",
    "audit": "library.audit:audit",
    "push": "library.push:push",
    "pull": "library.pull:pull",
}
_RUN_COMMANDS = {"list": "runs.list_runs:list_runs", "show": "runs.show:show", "delete": "runs.delete:delete"}
_GROUPS = {"library": _LIBRARY_COMMANDS, "runs": _RUN_COMMANDS}
_TABLES: dict[str, Any] = {
    **{name: {} for name in _COMMANDS},
    **{group: {name: {} for name in commands} for group, commands in _GROUPS.items()},
}  # that a file of --config may hold
_EPILOGUE = (
    f"An environment variable sets each option, too: {PREFIX}LEARN_WINDOW=64 for one command, "
    f"{PREFIX}LM=openai/gpt-4o for all."
)
_PATH_OPTIONS = ("--out", "--library", "--start-from")  # an empty text would be the current folder
_UNLIMITED = 100_000  # columns of a pipe: nothing is wrapped
_CODES = {BudgetError: 3, TrackingError: 4, FindingsError: 5}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments; by default those of the process.

    Returns:
        0 if it was done, 1 if it could not be (the reason is on stderr), 3 if it stopped because its budget is spent,
        4 if a run has learned but MLflow lacks versions of it, 5 if a check found something for a person to decide, 130
        if it was interrupted.

    Raises:
        SystemExit: With code 2, if the arguments are wrong.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    with safe_streams(is_protocol=given[:1] == ["serve"]):
        return _run(given)


def _run(argv: Sequence[str]) -> int:
    """Run a command, and report in one line the error that stopped it."""
    _silence_libraries()
    try:
        call(argv)
        sys.stdout.flush()
    except ReaderGoneError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where the rest goes
    except CycloptsError as error:
        _complain(_usage_text(error), 2)
        raise SystemExit(2) from error
    except FlexError as error:
        return _complain(error, next((code for kind, code in _CODES.items() if isinstance(error, kind)), 1))
    except OSError as error:
        return _complain(_reason(error), 1)
    except KeyboardInterrupt:
        further = "; run the same command again to go on" if argv[:1] == ["learn"] else ""
        return _complain(f"interrupted{further}", 130)
    except Exception:  # a fault of ours: what is needed to find it goes to the stream that holds secrets back
        traceback.print_exc()
        return 1
    return 0


def call(argv: Sequence[str]) -> None:
    """Run a command, and let its errors through.

    Args:
        argv: The arguments.

    Raises:
        CycloptsError: If the arguments are wrong.
        FlexError: If the command cannot be done.
    """
    command = parse(argv)
    command()


def parse(argv: Sequence[str]) -> Callable[[], Any]:
    """Read the arguments of a command.

    Args:
        argv: The arguments.

    Returns:
        The command, ready to be called.

    Raises:
        ConfigurationError: If the path of a file is empty.
        CycloptsError: If the arguments are wrong.
    """
    console = Console(file=unsafe_stdout())  # the help is our own text, with our own colours
    if not console.is_terminal:
        console.width = _UNLIMITED
    for option, value in itertools.pairwise(argv):
        if option in _PATH_OPTIONS and not value:
            raise ConfigurationError(f"{option} is empty: is a shell variable not set?")
    app = make_app("default" if console.is_terminal else "plain")
    _load_commands(app, argv)
    command, bound, _ = app.parse_args(list(argv), console=console, print_error=False, exit_on_error=False)
    return partial(command, *bound.args, **bound.kwargs)


def _load_commands(app: App, argv: Sequence[str]) -> None:
    """Import the commands that the help of a group lists: their docstrings are the list."""
    words = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    group = app.parse_commands(words)[1][-1]
    for name in group:
        group[name]


def make_app(help_formatter: str = "default") -> App:
    """Make the application; the modules of its commands are not imported.

    Args:
        help_formatter: ``default`` for boxes and colours, ``plain`` for plain text.
    """
    app = App(
        name="flex-dspy",
        help="Forward learning from experience: an agent learns a library of lessons, not weights.\n\n"
        "Try: flex-dspy learn uspto50k",
        help_epilogue=_EPILOGUE,
        help_format="plaintext",
        help_formatter=help_formatter,  # type: ignore[arg-type]
        version=_version,
        config=(*ENVIRONMENT, partial(read_file, tables=_TABLES)),
        default_parameter=Parameter(negative=(), allow_repeating=True, show_default=_default_text),
    )
    library = App(name="library", help="Look at libraries, compare, merge, convert and edit them.", sort_key=5)
    runs = App(name="runs", help="Look at the runs of learn, and delete them.", sort_key=6)
    for parent, commands in ((app, _COMMANDS), (library, _LIBRARY_COMMANDS), (runs, _RUN_COMMANDS)):
        for place, (name, path) in enumerate(commands.items()):
            parent.command(f"flex_dspy.commands.{path}", name=name, sort_key=2 * place)
    app.command(library)
    app.command(runs)
    app.register_install_completion_command(help="Install completion for this shell.")
    return app


def _version() -> str:
    return importlib.metadata.version("flex-dspy")


def _default_text(value: object) -> str | None:
    """A default as the help shows it; a flag that is off, an empty list or text, and None are not shown."""
    return None if value is None or value is False or value in ((), "") else str(value)


def _usage_text(error: CycloptsError) -> str:
    """One line on wrong arguments, and the command that shows the right ones."""
    words = ["flex-dspy", *(error.command_chain or ())]
    reason = str(error)
    if isinstance(error, ValidationError):
        named = f"{error.argument.name}: " if error.argument is not None else ""
        reason = f"{named}{error.exception_message.rstrip('.')}"
        if error.argument is not None and error.exception_message.startswith("Must be"):  # cyclopts' own check
            reason = f"{named}{error.exception_message.rstrip('.').lower()}, got {error.argument.tokens[-1].value}"
    return f"{_without_stop(' '.join(reason.split()))} (see {' '.join(words)} --help)"


def _without_stop(sentence: str) -> str:
    """The sentence without the stop at its end; three dots stay."""
    return sentence if sentence.endswith("...") else sentence.removesuffix(".")


def _complain(reason: object, code: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(f"flex-dspy: {reason}", file=sys.stderr)
    return code


def _reason(error: OSError) -> str:
    """The file, and the problem with it."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    if not names or not error.strerror:
        return f"{type(error).__name__}: {error}"
    return f"{' and '.join(names)}: {error.strerror}"


def _silence_libraries() -> None:
    """Keep other libraries' chatter out of a learner's terminal."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no price list from the network
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


if __name__ == "__main__":
    sys.exit(main())
