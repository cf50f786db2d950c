"""Settings as frozen pydantic models, which define names, defaults, checks and help texts in one place.

Python functions, the command line, configuration files and MLflow's parameters all use the same model. A function
takes either the model or its fields by name::

    @accepts(LearningSettings)
    def __init__(self, metric, *, settings=None, **options):
        self.settings = LearningSettings.resolve(settings, options)
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from flex_dspy.core.errors import ConfigurationError

Function = TypeVar("Function", bound=Callable[..., Any])

# Texts for bounds, by pydantic's name of the error.
_BOUNDS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be greater than"),
    "less_than_equal": ("le", "must be at most"),
    "less_than": ("lt", "must be less than"),
}


class Settings(BaseModel):
    """Base of all settings: immutable, and strict about names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    def __init__(self, **values: Any) -> None:
        """Check the values.

        Raises:
            ConfigurationError: If a name is unknown or a value is invalid. The error lists all of them.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError("; ".join(_message(detail, type(self)) for detail in error.errors())) from None

    @classmethod
    def resolve(cls, settings: Self | None, options: Mapping[str, Any]) -> Self:
        """Settings with some fields changed by name.

        Args:
            settings: The settings to start from; None starts from the defaults.
            options: Fields to change.

        Raises:
            ConfigurationError: If the settings have another class, a name is unknown or a value is invalid.
        """
        if settings is not None and not isinstance(settings, cls):
            raise ConfigurationError(f"settings must be {cls.__name__}, got {type(settings).__name__}")
        return cls(**options) if settings is None else settings.with_options(**options)

    def with_options(self, **options: Any) -> Self:
        """Copy with some fields changed. All fields are checked.

        Raises:
            ConfigurationError: If a name is unknown or a value is invalid.
        """
        kept = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**kept, **options}) if options else self


def accepts(settings: type[Settings]) -> Callable[[Function], Function]:
    """Decorator: shows the fields of the settings in the signature of a function that takes them as ``**options``.

    Only ``inspect.signature``, ``help`` and completion in a notebook use this signature. The function is unchanged.

    Args:
        settings: The settings model whose fields the function takes.
    """

    def decorate(function: Function) -> Function:
        typing.cast("Any", function).__signature__ = _signature(function, settings)
        return function

    return decorate


def _signature(function: Callable[..., Any], settings: type[Settings]) -> inspect.Signature:
    own = inspect.signature(function)
    named = [parameter for parameter in own.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    fields = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is PydanticUndefined else field.default,
            annotation=field.annotation,
        )
        for name, field in settings.model_fields.items()
        if name not in own.parameters  # one of them may be positional too
    ]
    return own.replace(parameters=[*named, *fields])


def _message(detail: ErrorDetails, settings: type[Settings]) -> str:
    """Text of one pydantic error, as one clause."""
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"there is no setting {name!r}; there are {', '.join(sorted(settings.model_fields))}"
    if detail["type"] == "value_error":  # the project's own check: its text is complete
        return str(detail["ctx"]["error"])
    got = detail["input"]
    if (bound := _BOUNDS.get(detail["type"])) is not None:
        return f"{name} {bound[1]} {detail['ctx'][bound[0]]:g}, got {got}"
    if detail["type"] == "literal_error":
        return f"{name} must be {detail['ctx']['expected']}, got {got!r}"
    said = detail["msg"].removeprefix("Input ")
    return f"{name} {said}, got {got!r}"
