"""The command line: ``learn``, ``eval``, ``compare``, ``rescore``, ``library``, ``serve``, ``ui`` and ``doctor``.

Only the arguments are parsed here, and nothing heavy is imported before they are known to be right.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from flex_dspy.commands.compare_options import add_compare
from flex_dspy.commands.library_options import add_library
from flex_dspy.commands.serve_options import add_serve
from flex_dspy.commands.ui_options import add_ui
from flex_dspy.commands.value_options import add_prune, add_value
from flex_dspy.core.errors import BudgetError, ConfigurationError, FlexError, TrackingError
from flex_dspy.core.terminal import ReaderGoneError, safe_streams
from flex_dspy.tasks import names as task_names

ROLES = ("actor", "verifier", "critic", "updater")
STRATEGIES = ("direct", "icl", "cot", "react", "code")
_FILES = {"eval": "evaluate"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments; by default those of the process.

    Returns:
        0 if it was done, 1 if it could not be (the reason is on stderr), 2 if the arguments are wrong, 3 if it
        stopped because its budget is spent, 4 if a run has learned but MLflow lacks versions of it, 130 if it was
        interrupted.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    with safe_streams(is_protocol=given[:1] == ["serve"]):
        return _run(parser().parse_args(given))


def _run(arguments: argparse.Namespace) -> int:
    """Run a command, and say in one line what stopped it."""
    _quiet()
    try:
        name = _FILES.get(arguments.command, arguments.command)
        importlib.import_module(f"flex_dspy.commands.{name}").run(arguments)
        sys.stdout.flush()
    except ReaderGoneError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where the rest goes
    except FlexError as error:
        return _complain(error, next((code for kind, code in _CODES.items() if isinstance(error, kind)), 1))
    except OSError as error:
        return _complain(_reason(error), 1)
    except KeyboardInterrupt:
        further = "; run the same command again to go on" if arguments.command == "learn" else ""
        return _complain(f"interrupted{further}", 130)
    except Exception:  # a fault of ours: what is needed to find it goes to the stream that holds secrets back
        traceback.print_exc()
        return 1
    return 0


_CODES = {BudgetError: 3, TrackingError: 4}


def _complain(reason: object, code: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(f"flex-dspy: {reason}", file=sys.stderr)
    return code


def _reason(error: OSError) -> str:
    """The file, and what is wrong with it."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    if not names or not error.strerror:
        return f"{type(error).__name__}: {error}"
    return f"{' and '.join(names)}: {error.strerror}"


def _quiet() -> None:
    """Keep other libraries' chatter out of a learner's terminal."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no price list from the network
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    top = argparse.ArgumentParser(
        prog="flex-dspy",
        description="Forward learning from experience: an agent learns a library of lessons, not weights.",
        epilog="Try: flex-dspy learn uspto50k",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    learn = commands.add_parser(
        "learn",
        help="learn an experience library from a task's training examples",
        description="Learn an experience library, publish versions of it, and measure each on validation "
        "examples. A run that was cut short goes on when the same command is given again.",
    )
    evaluate = commands.add_parser(
        "eval",
        help="measure a library on a task's examples",
        description="Measure a library, beside the same actor without one; one record an example is kept.",
    )
    rescore = commands.add_parser(
        "rescore",
        help="judge saved records under another metric",
        description="Judge the records of an evaluation again, under another metric; no model is asked.",
    )
    doctor = commands.add_parser(
        "doctor",
        help="check that a model can be used",
        description="Check key, address, model, latency and structured output, with a handful of small requests.",
    )
    add_serve(commands)
    add_ui(commands)
    add_compare(commands, _add_common)
    actions = add_library(commands)
    add_value(actions, _add_common)
    add_prune(actions, _add_common)
    for command in (learn, evaluate):
        known = " | ".join(task_names.task_names())
        command.add_argument("task", type=_task, metavar="TASK", help=f"{known} | module:attribute")
    _add_learning(learn)
    _add_evaluation(evaluate)
    _add_rescoring(rescore)
    for command, roles in ((learn, ROLES), (evaluate, ROLES[:1]), (doctor, ROLES)):
        _add_models(command, roles)
    for command in (learn, evaluate):
        _add_actor(command)
        _add_money(command)
        _add_retrieval(command, overlap="drop" if command is learn else "refuse")
        _add_tracking(command)
    return top


def _add_learning(learn: argparse.ArgumentParser) -> None:
    data = learn.add_argument_group("data")
    data.add_argument("--train", metavar="SOURCE", help="split name, file (csv, jsonl, parquet, .gz) or hub id")
    data.add_argument("--val", metavar="SOURCE", help="validation examples, likewise")
    data.add_argument("--train-samples", type=_positive, metavar="N", help="learn from a random N of them")
    data.add_argument("--val-samples", type=_positive, metavar="N", help="measure on a random N of them")
    loop = learn.add_argument_group("learning")
    loop.add_argument("--study", action="store_true", help="learn from reference answers, without attempts")
    loop.add_argument(
        "--without-reference",
        action="store_true",
        help="learn without reference answers: the verifier decides, and lessons are not verified",
    )
    loop.add_argument("--rounds", type=_positive, default=5, metavar="N", help="rounds a rollout (default 5)")
    loop.add_argument(
        "--rollouts", type=_positive, metavar="N", help="rollouts an example (default 3; 1 offline, which repeats)"
    )
    loop.add_argument("--epochs", type=_positive, default=1, metavar="N", help="passes over the data (default 1)")
    loop.add_argument(
        "--window",
        type=_positive,
        default=32,
        metavar="N",
        help="an example sees the library as it was at most N examples ago (default 32)",
    )
    loop.add_argument(
        "--checkpoint-every",
        type=_positive,
        metavar="N",
        help="publish a version every N examples (default: six, spread on a log scale)",
    )
    loop.add_argument("--library", metavar="LIBRARY", help="start from this file or MLflow NAME@alias")
    run = learn.add_argument_group("run")
    run.add_argument("--dry-run", action="store_true", help="say what it would cost at least and at most, and stop")
    run.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default exps/TASK-RUN)")
    again = run.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with a run; an error if there is none")
    again.add_argument("--fresh", action="store_true", help="start anew; what is there is moved aside")
    run.add_argument(
        "--retry-failed",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="attempt again what failed in an earlier run of the command, and measure again what was measured with "
        "errors (default)",
    )


def _add_evaluation(evaluate: argparse.ArgumentParser) -> None:
    data = evaluate.add_argument_group("data")
    data.add_argument(
        "--val", "--data", "--test", dest="val", metavar="SOURCE", help="split name, file or hub id (default test)"
    )
    data.add_argument(
        "--samples", "--val-samples", dest="samples", type=_positive, metavar="N", help="a random N of them"
    )
    data.add_argument("--train", metavar="SOURCE", help="where the examples of --actor icl come from")
    data.add_argument("--library", metavar="LIBRARY", help="a library file, or NAME@alias or NAME/version in MLflow")
    measured = evaluate.add_argument_group("measuring")
    measured.add_argument(
        "--pass-at",
        type=_positive,
        default=1,
        metavar="N",
        help="independent samples an example: mean@n, majority vote and pass@k (default 1)",
    )
    measured.add_argument("--no-baseline", action="store_true", help="do not measure the actor without a library")
    measured.add_argument(
        "--equal-compute",
        action="store_true",
        help="measure it without a library too, with as many samples as the library's tokens pay for",
    )
    measured.add_argument("--out", type=Path, metavar="DIR", help="folder for the records (default exps/eval-TASK-...)")


def _add_rescoring(rescore: argparse.ArgumentParser) -> None:
    rescore.add_argument("folder", type=Path, metavar="DIR", help="a folder with records.jsonl, or such a file")
    rescore.add_argument("--metric", required=True, metavar="METRIC", help="a task's name, or module:function")


def _add_models(command: argparse.ArgumentParser, roles: Sequence[str]) -> None:
    models = command.add_argument_group("models")
    models.add_argument(
        "--lm",
        default="offline",
        metavar="MODEL",
        help="'offline' (no key, no network) or a model string such as openai/gpt-4o (default offline)",
    )
    for role in roles:
        models.add_argument(f"--{role}-lm", metavar="MODEL", help=f"another model for the {role}")
    models.add_argument("--api-base", metavar="URL", help="address of an OpenAI-compatible server")
    models.add_argument(
        "--backend",
        choices=("auto", "native", "litellm"),
        default="auto",
        help="how models are spoken to: by DSPy itself, or through litellm (default: as DSPy thinks best)",
    )
    models.add_argument(
        "--temperature", type=_by_role(float), action="append", metavar="[ROLE=]T", help="sampling temperature"
    )
    models.add_argument(
        "--max-tokens", type=_by_role(_positive), action="append", metavar="[ROLE=]N", help="most tokens of one answer"
    )
    models.add_argument("--no-cache", action="store_true", help="ask even where DSPy has the answer in its cache")
    models.add_argument("--rpm", type=_positive, metavar="N", help="most requests a minute, by waiting")
    models.add_argument("--tpm", type=_positive, metavar="N", help="most tokens a minute, by waiting")
    models.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="seconds to wait for an answer (default 600)"
    )
    models.add_argument(
        "--retries", type=int, default=6, metavar="N", help="further tries of a call that failed (default 6)"
    )


def _add_common(command: argparse.ArgumentParser) -> None:
    """What a command takes that runs an actor on examples."""
    _add_models(command, ROLES[:1])
    _add_actor(command)
    _add_money(command)
    _add_retrieval(command, overlap="drop")
    _add_tracking(command)


def _add_actor(command: argparse.ArgumentParser) -> None:
    models = command.add_argument_group("actor")
    models.add_argument(
        "--actor",
        choices=STRATEGIES,
        default="cot",
        help="one call; worked examples in context; reasoning first; tools; tools and Python (default cot)",
    )
    models.add_argument(
        "--experience",
        choices=("prefetch", "recall", "both", "levels", "none"),
        default="prefetch",
        help="in the prompt; by a tool that react and code actors call; both; level by level; none (default prefetch)",
    )
    models.add_argument("--shots", type=_positive, default=8, metavar="N", help="examples of icl (default 8)")
    models.add_argument(
        "--instructions",
        type=_pair,
        action="append",
        metavar="ROLE=FILE",
        help="a role's instructions from a file; critic.golden=FILE for one of the critic's four",
    )
    models.add_argument(
        "--concurrency", type=_positive, default=16, metavar="N", help="examples under way at once (default 16)"
    )
    models.add_argument("--seed", type=int, default=0, metavar="N", help="order and choice of examples (default 0)")


def _add_money(command: argparse.ArgumentParser) -> None:
    money = command.add_argument_group("money")
    money.add_argument("--budget-usd", type=float, metavar="X", help="stop when so many US dollars are spent")
    money.add_argument("--budget-tokens", type=_positive, metavar="N", help="stop when so many tokens are spent")
    money.add_argument(
        "--price",
        type=_price,
        action="append",
        metavar="MODEL=IN,OUT",
        help="a model's price in USD a million tokens, instead of the list price",
    )


def _add_retrieval(command: argparse.ArgumentParser, overlap: str) -> None:
    retrieval = command.add_argument_group("retrieval")
    retrieval.add_argument("--no-retrieve", action="store_true", help="the same as --experience none")
    retrieval.add_argument("--k", type=_positive, metavar="N", help="most experiences in a prompt")
    retrieval.add_argument("--depth", type=_positive, metavar="N", help="precedents or entries that a view ranks")
    retrieval.add_argument("--token-budget", type=_positive, metavar="N", help="most tokens of experience")
    retrieval.add_argument(
        "--overlap",
        choices=("drop", "refuse", "allow"),
        default=overlap,
        help=f"measured examples that were learned from: leave them out, stop, or keep them (default {overlap})",
    )


def _add_tracking(command: argparse.ArgumentParser) -> None:
    tracking = command.add_argument_group("tracking")
    tracking.add_argument("--tracking-uri", metavar="URI", help="MLflow store (default: MLflow's own)")
    tracking.add_argument("--experiment", metavar="NAME", help="MLflow experiment (default flex-TASK)")
    tracking.add_argument("--no-tracking", action="store_true", help="log nothing to MLflow")
    tracking.add_argument("--quiet", action="store_true", help="no progress bars")


def _task(text: str) -> str:
    try:
        return task_names.check_task_name(text)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    return name, value


def _by_role(number: Callable[[str], float]) -> Callable[[str], tuple[str | None, float]]:
    """Reads ``0.7`` for all roles, or ``critic=0.7`` for one."""

    def read(text: str) -> tuple[str | None, float]:
        role, value = _pair(text) if "=" in text else (None, text)
        if role is not None and role not in ROLES:
            raise argparse.ArgumentTypeError(f"roles are {', '.join(ROLES)}, got {role!r}")
        return role, number(value)

    read.__name__ = "number"  # what argparse calls it when it complains
    return read


def _price(text: str) -> tuple[str, list[float]]:
    model, numbers = _pair(text)
    prices = [float(number) for number in numbers.split(",")]
    if len(prices) not in (2, 3) or min(prices) < 0:
        raise argparse.ArgumentTypeError("must be MODEL=PROMPT,COMPLETION[,CACHED] in USD a million tokens")
    return model, prices


if __name__ == "__main__":
    sys.exit(main())
