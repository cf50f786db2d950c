"""The command line: ``flex-dspy learn TASK`` and ``flex-dspy eval TASK``.

Only the arguments are parsed here, and nothing heavy is imported before they are known to be right.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from flex_dspy.errors import FlexError

TASKS = ("uspto50k", "retro", "uspto", "aime", "math")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments; by default those of the process.

    Returns:
        0 if it was done, 1 if it could not be (the reason is on stderr), 130 if it was interrupted.
    """
    arguments = parser().parse_args(argv)
    _quiet()
    try:
        from flex_dspy import commands

        command = commands.learn if arguments.command == "learn" else commands.evaluate
        command(arguments)
    except FlexError as error:
        print(f"flex-dspy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nflex-dspy: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


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
    for command in (learn, evaluate):
        command.add_argument("task", choices=TASKS, metavar="TASK", help=" | ".join(TASKS))
    _add_learning(learn)
    _add_evaluation(evaluate)
    for command in (learn, evaluate):
        _add_models(command)
        _add_retrieval(command)
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
    run.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default exps/TASK-RUN)")
    again = run.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with a run; an error if there is none")
    again.add_argument("--fresh", action="store_true", help="start anew; what is there is moved aside")


def _add_evaluation(evaluate: argparse.ArgumentParser) -> None:
    data = evaluate.add_argument_group("data")
    data.add_argument(
        "--val", "--data", "--test", dest="val", metavar="SOURCE", help="split name, file or hub id (default test)"
    )
    data.add_argument(
        "--samples", "--val-samples", dest="samples", type=_positive, metavar="N", help="a random N of them"
    )
    data.add_argument("--library", metavar="LIBRARY", help="a library file, or NAME@alias or NAME/version in MLflow")
    data.add_argument("--no-baseline", action="store_true", help="do not measure the actor without a library")
    data.add_argument("--out", type=Path, metavar="DIR", help="folder for the records (default exps/eval-TASK-...)")


def _add_models(command: argparse.ArgumentParser) -> None:
    models = command.add_argument_group("models")
    models.add_argument(
        "--lm",
        default="offline",
        metavar="MODEL",
        help="'offline' (no key, no network) or a model string such as openai/gpt-4o (default offline)",
    )
    roles = ("actor",) if command.prog.endswith("eval") else ("actor", "verifier", "critic", "updater")
    for role in roles:
        models.add_argument(f"--{role}-lm", metavar="MODEL", help=f"another model for the {role}")
    models.add_argument("--api-base", metavar="URL", help="address of an OpenAI-compatible server")
    models.add_argument("--temperature", type=float, metavar="T", help="sampling temperature")
    models.add_argument("--max-tokens", type=_positive, metavar="N", help="most tokens of one answer")
    models.add_argument(
        "--concurrency", type=_positive, default=16, metavar="N", help="examples under way at once (default 16)"
    )
    models.add_argument("--seed", type=int, default=0, metavar="N", help="order and choice of examples (default 0)")


def _add_retrieval(command: argparse.ArgumentParser) -> None:
    retrieval = command.add_argument_group("retrieval")
    retrieval.add_argument("--no-retrieve", action="store_true", help="show the actor no experience")
    retrieval.add_argument("--k", type=_positive, metavar="N", help="most experiences in a prompt")
    retrieval.add_argument("--depth", type=_positive, metavar="N", help="precedents or entries that a view ranks")
    retrieval.add_argument("--token-budget", type=_positive, metavar="N", help="most tokens of experience")
    retrieval.add_argument(
        "--overlap",
        choices=("drop", "refuse", "allow"),
        default="drop",
        help="measured examples that were learned from: leave them out and say so (drop), stop, or keep them",
    )


def _add_tracking(command: argparse.ArgumentParser) -> None:
    tracking = command.add_argument_group("tracking")
    tracking.add_argument("--tracking-uri", metavar="URI", help="MLflow store (default: MLflow's own)")
    tracking.add_argument("--experiment", metavar="NAME", help="MLflow experiment (default flex-TASK)")
    tracking.add_argument("--no-tracking", action="store_true", help="log nothing to MLflow")
    tracking.add_argument("--quiet", action="store_true", help="no progress bars")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
