"""Gives any program experience, without a change of its code.

::

    agent = equip(MyAgent(), "lessons.json")
    agent(question="...")                       # as before, with learned lessons in the prompt
    ForwardLearning(metric).compile(agent, trainset=train)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.rollouts import copy_program
from flex_dspy.programs.actor import Actor
from flex_dspy.programs.experienced import LESSONS, ExperiencedPredict, Key
from flex_dspy.search.recall import RECALL, Recall, recall_tool
from flex_dspy.search.retrieval import ExperienceRetriever, Followed, retrievers
from flex_dspy.search.settings import RetrievalSettings
from flex_dspy.signatures.lessons import with_lessons

Program = TypeVar("Program", bound=dspy.Module)
Way = Literal["prefetch", "recall", "both"]

_ENDS: dict[type[dspy.Module], str] = {dspy.ReAct: "finish", dspy.ReActV2: "submit"}  # the tool that DSPy adds


def equip(
    program: Program,
    library: ExperienceLibrary | ExperienceRetriever | Followed | str | Path | None = None,
    *,
    predictors: Literal["all", "entry"] | Sequence[str] = "all",
    access: Way = "prefetch",
    key: Key | None = None,
    field: str = LESSONS,
    settings: RetrievalSettings | None = None,
    **retrieval: Any,
) -> Program:
    """Return a copy of a program that reads experiences from a library.

    The chosen predictors get an ``experiences`` input. It is filled with the experiences that fit the other inputs.
    Instructions, demos, models and tools stay. If the library is empty, or if no experience fits, the prompts are
    exactly the prompts of the program without experience.

    Args:
        program: Any program; it is not changed.
        library: The experiences: a snapshot, a file, a ``FollowedLibrary`` whose new versions are read without a
            restart, or a retriever with its own settings. None is an empty library, which ``ForwardLearning`` can fill.
        predictors: ``all`` predictors; ``entry``, the first predictor that the program declares; or names, as in
            ``program.named_predictors()``. A predictor that the program creates during each call cannot be equipped.
        access: ``prefetch`` puts fitting experiences into the prompt. ``recall`` gives each ``dspy.ReAct`` or
            ``ReActV2`` in the program a tool for its own searches. ``both`` does both.
        key: The search key: names of inputs, or a function of all inputs; by default all inputs that are text.
        field: Name of the new input. Choose another name if the program has a field ``experiences``.
        settings: Settings of the retriever; None compares words only.
        **retrieval: Arguments of the ``ExperienceRetriever``, such as fields of its settings.

    Returns:
        A copy of the same class. An ``Actor`` in it has experience already. It reads this library from now on, in the
        given ``scopes``.

    Raises:
        ConfigurationError: If there is no predictor to equip, a name is unknown, or a field of that name exists.
        LibraryError: If the file cannot be read.

    Example:
        >>> import dspy
        >>> from flex_dspy import ExperienceLibrary, equip
        >>> program = equip(dspy.ChainOfThought("question -> answer"), ExperienceLibrary())
        >>> list(program.predict.signature.input_fields)
        ['question', 'experiences']
    """
    if access not in get_args(Way):
        raise ConfigurationError(f"access must be one of {', '.join(get_args(Way))}: {access!r}")
    equipped = copy_program(program)
    retriever = _retriever(library, settings, retrieval)
    actors = [actor for _, actor in equipped.named_sub_modules(Actor)]
    chosen = _choose_predictors(equipped, predictors, actors)
    agents = [each for kind in _ENDS for _, each in equipped.named_sub_modules(kind) if not _inside(each, actors)]
    if access != "prefetch" and not agents:
        raise ConfigurationError("the program holds no dspy.ReAct, so nothing in it could call a tool: use prefetch")
    if not chosen and not actors:
        raise ConfigurationError(
            f"{type(program).__name__} holds no predictor to equip: it has none, or an optimizer froze them "
            "(_compiled), or it makes them anew in each call"
        )
    for known in retrievers(equipped):
        known.library = retriever.source
        known.scopes = list(retriever.scopes or known.scopes)
    if access != "recall":
        names = {id(predictor): name for name, predictor in equipped.named_predictors()}
        for number, predictor in enumerate(chosen):
            _equip(predictor, retriever, key, field, keeps_library=number == 0)
            predictor.elsewhere = frozenset(names.values()) - {names[id(predictor)]}
    if access != "prefetch":
        for agent in agents:
            _give_recall(agent, retriever)
    return equipped


def _retriever(
    library: ExperienceLibrary | ExperienceRetriever | Followed | str | Path | None,
    settings: RetrievalSettings | None,
    options: dict[str, Any],
) -> ExperienceRetriever:
    if isinstance(library, ExperienceRetriever):
        if options or settings is not None:
            names = ", ".join(options) or "settings"
            raise ConfigurationError(f"the retriever has its own settings: {names} cannot be given too")
        return library
    if isinstance(library, str | Path):
        library = ExperienceLibrary.load(library)
    if library is not None and not isinstance(library, ExperienceLibrary | Followed):
        raise ConfigurationError(
            f"a library is an ExperienceLibrary, a FollowedLibrary or the path of a file; got {type(library).__name__}"
        )
    names_views = settings is not None and "views" in settings.model_fields_set
    defaults = {} if names_views else {"views": ["lexical"]}
    return ExperienceRetriever(library, settings=settings, **{**defaults, **options})


def _choose_predictors(program: dspy.Module, names: str | Sequence[str], actors: Sequence[Actor]) -> list[dspy.Predict]:
    """The predictors with these names, in the order of the program."""
    reachable = {name: p for name, p in program.named_predictors() if not _inside(p, actors)}
    if names == "all":
        return list(reachable.values())
    if names == "entry":
        return list(reachable.values())[:1]
    wanted = [names] if isinstance(names, str) else list(names)
    if unknown := sorted(set(wanted) - reachable.keys()):
        known = ", ".join(reachable) or "none"
        raise ConfigurationError(f"there is no predictor {', '.join(unknown)} to equip; predictors are {known}")
    return [predictor for name, predictor in reachable.items() if name in wanted]


def _inside(part: dspy.Module, actors: Sequence[Actor]) -> bool:
    return any(part is inner for actor in actors for _, inner in actor.named_sub_modules())


def _equip(
    predictor: dspy.Predict, retriever: ExperienceRetriever, key: Key | None, field: str, *, keeps_library: bool
) -> None:
    """Give a predictor experience, in place. Other references to it see the change."""
    anew = not isinstance(predictor, ExperiencedPredict)
    if anew and field in predictor.signature.fields:
        raise ConfigurationError(f"a predictor has a field {field!r} of its own: equip(..., field='another name')")
    predictor.signature = with_lessons(predictor.signature, field)
    if anew:
        predictor.__class__ = _class_with_experience(type(predictor))  # type: ignore[arg-type]
    predictor.__dict__.update(retriever=retriever, key=key, field=field, keeps_library=keeps_library)


@functools.cache
def _class_with_experience(kind: type[dspy.Predict]) -> type[ExperiencedPredict]:
    if kind is dspy.Predict:
        return ExperiencedPredict
    return type(f"Experienced{kind.__name__}", (ExperiencedPredict, kind), {"__doc__": kind.__doc__})


def _give_recall(agent: Any, retriever: ExperienceRetriever) -> None:
    """Add the tool to an agent, as if the agent had been created with it."""
    known = agent.tools.get(RECALL)
    if known is not None and not isinstance(known.func, Recall):
        raise ConfigurationError(f"the agent has a tool {RECALL!r} of its own")
    agent.experience_retriever = retriever  # as an attribute, so that DSPy finds and saves it
    if known is not None:  # equipped before
        known.func.retriever = retriever
        return
    tool = recall_tool(Recall(retriever))
    kind, end = next((kind, end) for kind, end in _ENDS.items() if isinstance(agent, kind))
    others = {name: each for name, each in agent.tools.items() if name != end}
    before = kind(agent.signature, list(others.values())).react.signature
    after = kind(agent.signature, [*others.values(), tool]).react.signature
    own = agent.react.signature
    rewritten = own.instructions != before.instructions  # by an optimizer or by hand: keep them, and add a line
    instructions = f"{own.instructions}\nOne more tool: {tool}" if rewritten else after.instructions
    if choice := after.output_fields.get("next_tool_name"):
        own = own.with_updated_fields("next_tool_name", choice.annotation)
    agent.react.signature = own.with_instructions(instructions)
    agent.tools = {**others, RECALL: tool, end: agent.tools[end]}
