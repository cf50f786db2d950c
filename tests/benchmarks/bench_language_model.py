"""FLEX beside DSPy's own optimizers, with a real language model: ``python tests/benchmarks/bench_language_model.py``.

::

    ... --task banking10 --lm openai/qwen --api-base http://127.0.0.1:8081/v1 --learning-tokens 200000 --out runs/10
    ... the same command again                                  # after a kill: it goes on where it stood
    ... the same command with --test held_out.csv               # answers other examples with what was learned

Every method has the same training and validation examples, the same model, and the same number of model tokens to learn
with; methods that need fewer say so. Each is then measured on the same test examples. ``--out`` holds all of it:
a folder for each method (settings, spending, the learned program or library, a record for each answer), and
``report.md``, ``report.json`` and ``report.png``. The report is of the methods that are named; what is measured already
is only read.

The examples are drawn by the seed, and balanced over labels. Without ``--test`` those for testing come from the
validation file, apart from those that are used for validation. ``--test FILE`` takes them from a file with the same
columns.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # started by its path, python puts this folder there and not the root
    sys.path.append(str(ROOT))

from flex_dspy.core.errors import ConfigurationError, FlexError  # noqa: E402
from tests.benchmarks.language_model.catalogue import METHODS, Method, chosen  # noqa: E402
from tests.benchmarks.language_model.settings import Settings  # noqa: E402

DATA_VARIABLE = "FLEX_DSPY_DATA"
TASKS = "banking10, banking77, clinc20 or gsm8k"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; the exit status is 0 where all methods were measured."""
    options = parser().parse_args(arguments)
    try:
        settings, methods = settings_of(options), chosen(options.methods, options.other_lm)
        return measured(settings, methods, options)
    except FlexError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def measured(settings: Settings, methods: list[Method], options: argparse.Namespace) -> int:
    """Measure, print and track; importing takes seconds, and waits until here."""
    _allow_any_key(settings)
    from tests.benchmarks.language_model.model import NoAnswerError
    from tests.benchmarks.language_model.run import run
    from tests.benchmarks.language_model.tracking import track

    try:
        report, failed = run(settings, methods)
    except NoAnswerError as error:
        print(f"error: {error}\nWhat was done is kept: put it right, and start the same command again", file=sys.stderr)
        return 3
    if report.results:
        print(report.text())
    if report.results and not options.no_tracking:
        experiment = options.experiment or f"language model, {settings.task}"
        track(report, settings.out, experiment=experiment, tracking_uri=options.tracking_uri)
    if failed:
        print(f"not measured: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that the options give.

    Raises:
        ConfigurationError: If one of them makes no sense, or there is no data.
    """
    names = set(Settings.__dataclass_fields__) & set(vars(options))
    given = {name: value for name, value in vars(options).items() if name in names}
    settings = Settings(**{**given, "data": data_folder(options.data)})
    counts = ("train_examples", "val_examples", "test_examples", "learning_tokens", "concurrency", "max_tokens",
              "rounds", "rollouts", "epochs", "shown", "block_tokens")  # fmt: skip
    for name in counts:
        if getattr(settings, name) < 1:
            raise ConfigurationError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(settings, name)}")
    return settings


def data_folder(given: Path | None) -> Path:
    """The data folder: the one given, else that of the environment, else one beside the repository."""
    beside = ROOT.parent / "shared" / "data"
    named = given or (Path(os.environ[DATA_VARIABLE]) if DATA_VARIABLE in os.environ else beside)
    if not named.is_dir():
        raise ConfigurationError(f"there is no data folder {named}: name it with --data, or in {DATA_VARIABLE}")
    return named


def _allow_any_key(settings: Settings) -> None:
    """A server of one's own takes any key, and DSPy wants one."""
    if settings.api_base and not {"API_KEY", "OPENAI_API_KEY"} & set(os.environ):
        os.environ["API_KEY"] = "none"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="methods:\n" + "\n".join(f"  {method.name:16}{method.about}" for method in METHODS),
    )
    default = Settings("", "", Path(), Path())
    made.add_argument("--task", required=True, help=TASKS)
    made.add_argument("--lm", required=True, help="the model, such as openai/qwen")
    made.add_argument("--api-base", help="address of an OpenAI-compatible server")
    made.add_argument("--other-lm", default="", help="learns the library of flex-inherited")
    made.add_argument("--other-api-base", help="address of its server")
    made.add_argument("--out", type=Path, required=True, help="folder for everything that is learned and measured")
    made.add_argument("--data", type=Path, help=f"the data folder; by default {DATA_VARIABLE}, or ../shared/data")
    made.add_argument("--test", type=Path, help="file with the test examples")
    made.add_argument("--methods", type=_names, default=[], help="names with commas; by default all")
    _add_numbers(made, default)
    made.add_argument("--temperature", type=float, default=default.temperature, help="sampling temperature")
    made.add_argument("--no-tracking", action="store_true", help="do not log to MLflow")
    made.add_argument("--tracking-uri", help="MLflow's store; by default MLflow's own choice")
    made.add_argument("--experiment", help="name of the MLflow experiment")
    return made


def _add_numbers(made: argparse.ArgumentParser, default: Settings) -> None:
    numbers = {
        "train_examples": "examples to learn from",
        "val_examples": "examples that optimizers measure candidates on",
        "test_examples": "examples that every method is measured on",
        "learning_tokens": "most model tokens that a method may take to learn",
        "concurrency": "most requests under way at once; with more than one, DSPy asks slow stragglers twice",
        "seed": "fixes the choice of examples, and the methods' own choices",
        "max_tokens": "most tokens of one answer",
        "rounds": "FLEX: most rounds of a rollout",
        "rollouts": "FLEX: most rollouts of a training example",
        "epochs": "FLEX: most passes over the training examples",
        "shown": "FLEX: most entries in a prompt; KNN: neighbours",
        "block_tokens": "FLEX: most tokens of the entries in a prompt",
    }
    for name, what in numbers.items():
        value = getattr(default, name)
        made.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help=f"{what}; by default {value}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    sys.exit(main())
