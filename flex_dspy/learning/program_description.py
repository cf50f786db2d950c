"""Describes a measured program as JSON, from which another machine can build the program again.

Only actors that need nothing but their signature, a model and a library have a description. These are actors with the
strategies ``direct`` and ``cot``, without demos, tools of the task or embedders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.run_identity import models_of
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.lm import language_model
from flex_dspy.programs.actor import Actor
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.search.settings import RetrievalSettings

Description = Mapping[str, Any]

_TYPES: Mapping[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "list[str]": list[str]}
_STRATEGIES = ("direct", "cot")
_REASONING = "reasoning"  # the output that ``cot`` adds


def describe_program(program: dspy.Module) -> dict[str, Any]:
    """A program as JSON values; empty if the program cannot be built again from them."""
    if not isinstance(program, Actor) or program.strategy not in _STRATEGIES or program.suggest is not None:
        return {}
    if program.experience not in ("prefetch", "none") or program.retriever.vectors is not None:
        return {}
    (predictor,) = program.attempt.predictors()
    plain = predictor.bare[0] if predictor.bare else predictor.signature
    added = {_REASONING} if program.strategy == "cot" else set()
    fields = {name: field for name, field in plain.fields.items() if name not in added}
    types = {name: _type_name(field.annotation) for name, field in fields.items()}
    if predictor.demos or not all(types.values()):
        return {}
    settings = program.retriever.dump_state()
    return {
        "signature": plain.__name__,
        "instructions": plain.instructions,
        "inputs": {name: _describe_field(fields[name], types[name]) for name in program.inputs},
        "outputs": {
            name: _describe_field(fields[name], types[name]) for name in plain.output_fields if name not in added
        },
        "strategy": program.strategy,
        "experience": program.experience,
        "retrieval": {name: value for name, value in settings.items() if name in RetrievalSettings.model_fields},
        "model": _describe_model(program),
    }


def build_program(description: Description, library: ExperienceLibrary) -> Actor:
    """Build the program of a description, with a library to read.

    Args:
        description: See ``describe_program``.
        library: The library.

    Raises:
        ConfigurationError: If the description is not valid.
    """
    try:
        inputs = {name: _field(each, dspy.InputField) for name, each in description["inputs"].items()}
        outputs = {name: _field(each, dspy.OutputField) for name, each in description["outputs"].items()}
        name, instructions = description["signature"], description["instructions"]
        signature = dspy.make_signature({**inputs, **outputs}, instructions, name)
        retriever = ExperienceRetriever(library, settings=RetrievalSettings(**description["retrieval"]))
        strategy, experience = description["strategy"], description["experience"]
        model = description["model"]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"this does not describe a program: {type(error).__name__}: {error}") from error
    actor = Actor(signature, retriever, strategy=strategy, experience=experience)
    if model:
        actor.set_lm(language_model(**model))
    return actor


def _type_name(annotation: Any) -> Any:
    """A type as JSON; None if it is not a plain type."""
    if get_origin(annotation) is Literal:
        return {"one of": list(get_args(annotation))}
    return next((name for name, each in _TYPES.items() if each == annotation), None)


def _describe_field(field: Any, type_name: Any) -> dict[str, Any]:
    return {"type": type_name, "desc": field.json_schema_extra["desc"], "prefix": field.json_schema_extra["prefix"]}


def _field(described: Mapping[str, Any], make: Any) -> tuple[Any, Any]:
    name = described["type"]
    annotation = _TYPES[name] if isinstance(name, str) else Literal[tuple(name["one of"])]
    return annotation, make(desc=described["desc"], prefix=described["prefix"])


def _describe_model(program: Actor) -> dict[str, Any]:
    """Name and sampling settings of the actor's model. Key and address are left out; the environment provides them."""
    models = models_of(program)
    if not models:
        return {}
    settings = getattr(models[0], "kwargs", {})
    sampling = {name: settings.get(name) for name in ("temperature", "max_tokens")}
    return {"name": str(models[0].model), **{name: value for name, value in sampling.items() if value is not None}}
