"""The roles of a command: their models, limits, instructions, and what they may spend."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.models.limits import Limits
from flex_dspy.models.lm import is_offline, language_model
from flex_dspy.models.prices import Price
from flex_dspy.models.providers import is_native, key_variables
from flex_dspy.models.spending import Ledger
from flex_dspy.programs import Actor, Critic, Updater, Verifier
from flex_dspy.programs.instructions import instruct
from flex_dspy.tasks.task import Task

logger = logging.getLogger(__name__)

T = TypeVar("T")
ROLES = ("actor", "verifier", "critic", "updater")
Chosen = Sequence[tuple[str | None, T]]


def models(arguments: argparse.Namespace, task: Task | None) -> dict[str, dspy.LM]:
    """A model for each role; roles with the same settings share one, and models of one name their limits."""
    limits: dict[str, Limits] = {}
    made: dict[tuple[Any, ...], dspy.LM] = {}
    roles = {}
    for role in ROLES:
        name = getattr(arguments, f"{role}_lm", None) or arguments.lm
        settings = (name, _chosen(arguments.temperature, role), _chosen(arguments.max_tokens, role))
        if settings not in made:
            made[settings] = language_model(
                name,
                expert=task.expert if task else "chemist",
                api_base=arguments.api_base,
                temperature=settings[1],
                max_tokens=settings[2],
                timeout=arguments.timeout,
                retries=arguments.retries,
                limits=limits.setdefault(name, Limits(arguments.rpm, arguments.tpm)),
                backend=arguments.backend,
                cache=not arguments.no_cache,
            )
        roles[role] = made[settings]
    return roles


def check_keys(lms: Mapping[str, dspy.LM]) -> None:
    """Refuse models that lack a key, before anything is fetched or paid for.

    A model that only litellm knows may take its key from elsewhere, so it is asked.

    Raises:
        ConfigurationError: If there is such a model.
    """
    for lm in lms.values():
        names = () if is_offline(lm) or not is_native(str(lm.model)) else key_variables(lm)
        if names and not lm.kwargs.get("api_key") and not any(os.environ.get(name) for name in names):
            remedy = f"set {names[-1]}, or API_KEY (any word, where the server asks for none)"
            raise ConfigurationError(f"there is no key for {lm.model}: {remedy}")


def _chosen(options: Chosen[T] | None, role: str) -> T | None:
    """The last value given for a role, else the last for all."""
    given = dict(options or ())
    return given.get(role, given.get(None))


def actor(arguments: argparse.Namespace, task: Task, model: dspy.LM, examples: Sequence[dspy.Example] = ()) -> Actor:
    """The task's actor as the options want it; ``examples`` are for the ``icl`` strategy."""
    given = {"k": arguments.k, "depth": arguments.depth, "token_budget": arguments.token_budget}
    made = task.actor(
        lm=model,
        strategy=arguments.actor,
        experience="none" if arguments.no_retrieve else arguments.experience,
        examples=examples,
        **{name: value for name, value in given.items() if value is not None},
    )
    _instruct(arguments, {"actor": made})
    return made


def teachers(arguments: argparse.Namespace, task: Task, lms: dict[str, dspy.LM]) -> dict[str, dspy.Module]:
    """Verifier, critic and updater as the options want them."""
    made: dict[str, dspy.Module] = {
        "verifier": Verifier(task.threshold, task.normalize),
        "critic": Critic(),
        "updater": Updater(),
    }
    for role, program in made.items():
        program.set_lm(lms[role])
    _instruct(arguments, made)
    return made


def _instruct(arguments: argparse.Namespace, programs: dict[str, dspy.Module]) -> None:
    """Replace instructions by the text of files: ``critic=FILE``, or ``critic.golden=FILE`` for one predictor."""
    for target, file in arguments.instructions or ():
        role, _, predictor = target.partition(".")
        if role not in ROLES:
            raise ConfigurationError(f"--instructions {target}={file}: roles are {', '.join(ROLES)}")
        if role in programs:
            try:
                text = Path(file).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"--instructions {target}={file}: the file cannot be read: {error}") from error
            instruct(programs[role], text, predictor or None)


def ledger(arguments: argparse.Namespace, lms: dict[str, dspy.LM], path: Path | None = None) -> Ledger:
    """What the command may spend, and where it is written down."""
    prices = {model: Price.per_million(*numbers) for model, numbers in arguments.price or ()}
    made = Ledger(path, budget_usd=arguments.budget_usd, budget_tokens=arguments.budget_tokens, prices=prices)
    made.check_prices([str(lm.model) for lm in lms.values()])
    return made


def say_what_it_cost(account: Ledger) -> None:
    """Print a table of calls, tokens and money by role, if any were spent."""
    if account.total.tokens:
        print(f"\n{account.table()}")


def rollouts(arguments: argparse.Namespace, lms: dict[str, dspy.LM]) -> int:
    """Rollouts an example; an offline expert gives the same answer each time."""
    return arguments.rollouts or (1 if is_offline(lms["actor"]) else 3)
