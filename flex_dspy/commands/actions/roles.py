"""Makes the roles of a command, with their models, limits, instructions and budget."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import dspy

from flex_dspy.commands.arguments import (
    ROLES,
    default_of,
    read_for_role,
    read_pair,
    read_positive,
    read_price,
    read_roles,
)
from flex_dspy.commands.options.shared import ActorRun, BudgetOptions, ModelOptions, TeacherOptions
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.evaluation.entry_values import EntryValue, read_valuation, value_file
from flex_dspy.learning.settings import LearningSettings
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.batches import Batches
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


def models(
    options: ModelOptions,
    teachers: TeacherOptions | None = None,
    *,
    task: Task | None = None,
    expert: str | None = None,
) -> dict[str, dspy.LM]:
    """Make a model for each role. Roles with the same settings share a model; models with the same name share limits.

    Args:
        options: The options of all models.
        teachers: The models of the critic, the updater and the verifier; None for the actor's model.
        task: The task, whose offline expert is used for the name ``offline``.
        expert: Another offline expert for this name.
    """
    limits: dict[str, Limits] = {}
    in_batches = read_roles(options.batch)
    batches = Batches() if in_batches else None
    shared: dict[tuple[Any, ...], dspy.LM] = {}
    roles: dict[str, dspy.LM] = {}
    for role in ROLES:
        name = getattr(teachers if role != "actor" else options, f"{role}_lm", None) or options.lm
        temperature = _choose(options.temperature, role, float)
        most_tokens = _choose(options.max_tokens, role, read_positive)
        key = (name, temperature, most_tokens, role in in_batches)
        if key not in shared:
            shared[key] = language_model(
                name,
                expert=expert or (task.expert if task else "chemist"),
                api_base=options.api_base,
                temperature=temperature,
                max_tokens=most_tokens,
                timeout=options.timeout,
                retries=options.retries,
                limits=limits.setdefault(name, Limits(options.rpm, options.tpm)),
                batches=batches if role in in_batches else None,
                backend=options.backend,
                cache=options.cache,
            )
        roles[role] = shared[key]
    return roles


def _choose(texts: Sequence[str], role: str, number: Callable[[str], T]) -> T | None:
    """Last value given for a role, or else the last value given for all roles."""
    given = dict(read_for_role(text, number) for text in texts)
    return given.get(role, given.get(None))


def actor_model(options: ActorRun, task: Task, expert: str | None = None) -> dspy.LM:
    """Make the actor's model.

    Args:
        options: The options.
        task: The task, whose offline expert is used for the name ``offline``.
        expert: Another offline expert for this name.

    Raises:
        ConfigurationError: If the model lacks a key.
    """
    model = models(options.models, task=task, expert=expert)["actor"]
    check_keys({"actor": model})
    return model


def check_keys(lms: Mapping[str, dspy.LM]) -> None:
    """Raise an error if a model lacks a key, before data is downloaded or tokens are paid for.

    A model that only litellm supports may get its key from elsewhere. It is therefore not checked here.

    Raises:
        ConfigurationError: If a model lacks a key.
    """
    for lm in lms.values():
        names = () if is_offline(lm) or not is_native(str(lm.model)) else key_variables(lm)
        if names and not lm.kwargs.get("api_key") and not any(os.environ.get(name) for name in names):
            remedy = f"set {names[-1]}, or API_KEY (any word, where the server asks for none)"
            raise ConfigurationError(f"there is no key for {lm.model}: {remedy}")


def actor(
    options: ActorRun,
    task: Task,
    model: dspy.LM,
    examples: Sequence[dspy.Example] = (),
    effects: Mapping[str, EntryValue] | None = None,
) -> Actor:
    """Make the task's actor from the options.

    Args:
        options: The options.
        task: The task.
        model: The actor's model.
        examples: Worked examples for the ``icl`` strategy.
        effects: Measured values of entries, for a ranking by utility.
    """
    shown = options.retrieval
    given: dict[str, Any] = {"k": shown.k, "depth": shown.depth, "token_budget": shown.token_budget}
    given |= {"utility": shown.utility, "exploration": shown.explore, "scopes": options.scopes or None}
    program = task.actor(
        lm=model,
        strategy=options.actor.actor,
        experience=options.actor.experience if shown.retrieve else "none",
        examples=examples,
        effects=effects,
        **{name: value for name, value in given.items() if value is not None},
    )
    _instruct(options.actor.instructions, {"actor": program})
    return program


def effects_of(name: str, library: ExperienceLibrary) -> dict[str, EntryValue]:
    """Read the measured values of a library's entries from the file of ``library value``; empty without this file.

    Args:
        name: Name of the library on the command line.
        library: The library. Values of entries that have changed since the measurement are left out.
    """
    path = value_file(name)
    return read_valuation(path).still_true(library) if path.is_file() else {}


def teachers(options: ActorRun, task: Task, lms: Mapping[str, dspy.LM]) -> dict[str, dspy.Module]:
    """Make the verifier, the critic and the updater from the options."""
    programs: dict[str, dspy.Module] = {
        "verifier": Verifier(task.threshold, task.normalize),
        "critic": Critic(),
        "updater": Updater(),
    }
    for role, program in programs.items():
        program.set_lm(lms[role])
    _instruct(options.actor.instructions, programs)
    return programs


def _instruct(instructions: Sequence[str], programs: Mapping[str, dspy.Module]) -> None:
    """Replace instructions with texts from files: ``critic=FILE``, or ``critic.golden=FILE`` for one predictor."""
    for target, file in map(read_pair, instructions):
        role, _, predictor = target.partition(".")
        if role not in ROLES:
            raise ConfigurationError(f"--instructions {target}={file}: roles are {', '.join(ROLES)}")
        if role in programs:
            try:
                text = Path(file).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"--instructions {target}={file}: the file cannot be read: {error}") from error
            instruct(programs[role], text, predictor or None)


def ledger(options: BudgetOptions, lms: Mapping[str, dspy.LM]) -> Ledger:
    """Make the ledger of the command, with its budget.

    Raises:
        ConfigurationError: If the budget is in money, and a model has no price.
    """
    prices = {model: Price.per_million(*numbers) for model, numbers in map(read_price, options.price)}
    account = Ledger(budget_usd=options.budget_usd, budget_tokens=options.budget_tokens, prices=prices)
    account.check_prices([str(lm.model) for lm in lms.values()])
    return account


def print_costs(account: Ledger) -> None:
    """Print a table of calls, tokens and money by role, if any were spent."""
    if account.total.tokens:
        print(f"\n{account.table()}")


def rollouts(wanted: int | None, model: dspy.LM) -> int:
    """Number of rollouts for each example. An offline expert always gives the same answer, so it needs only one."""
    return wanted or (1 if is_offline(model) else default_of(LearningSettings, "max_rollouts"))
