"""The methods that are compared. Nothing heavy is imported here: a method's module is when it is its turn."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from flex_dspy.core.errors import ConfigurationError

if TYPE_CHECKING:
    import dspy

    from tests.benchmarks.language_model.examples import Data
    from tests.benchmarks.language_model.workspace import Learned, Workspace

Family = Literal["bare", "dspy", "flex"]
BARE = "bare"


@dataclass(frozen=True)
class Method:
    """One way to learn.

    Attributes:
        name: Its name on the command line.
        family: Whose it is.
        home: Module of this package, and function in it.
        about: One line.
        depends: Settings that it depends on, and others do not.
    """

    name: str
    family: Family
    home: str
    about: str
    depends: tuple[str, ...] = ()

    @property
    def needs_other(self) -> bool:
        """Whether it needs a second model."""
        return "other_lm" in self.depends

    def learn(self, student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
        """Learn, or go on where learning stopped.

        Args:
            student: The bare program; it is not changed.
            data: The examples; those for testing are not looked at.
            workspace: Settings, models and folder.
        """
        module, _, function = self.home.partition(":")
        home = importlib.import_module(f"tests.benchmarks.language_model.{module}")
        learn = cast("Callable[[dspy.Module, Data, Workspace], Learned]", getattr(home, function))
        return learn(student, data, workspace)


_SHOWING = ("shown", "block_tokens")
_LEARNING = (*_SHOWING, "rounds", "rollouts", "epochs")

METHODS = (
    Method(BARE, "bare", "few_shot:bare", "the program as it is"),
    Method("knn", "dspy", "few_shot:knn", "KNNFewShot on hashed n-grams; no tokens to learn", ("shown",)),
    Method("bootstrap", "dspy", "optimizers:bootstrap", "BootstrapFewShotWithRandomSearch"),
    Method("mipro", "dspy", "optimizers:mipro", "MIPROv2, light"),
    Method("simba", "dspy", "optimizers:simba", "SIMBA"),
    Method("gepa", "dspy", "optimizers:gepa", "GEPA, light; the same model reflects"),
    Method("flex", "flex", "experience:flex", "ForwardLearning with attempts", _LEARNING),
    Method("flex-study", "flex", "experience:flex_study", "ForwardLearning from worked answers", _LEARNING),
    Method("flex-merged", "flex", "experience:flex_merged", "two halves learned apart and merged", _LEARNING),
    Method(
        "flex-inherited", "flex", "experience:flex_inherited", "a library that --other-lm learned",
        (*_LEARNING, "other_lm"),
    ),
    Method("flex-lessons", "flex", "experience:flex_lessons", "methods and rules of flex's library", _LEARNING),
    Method("flex-cases", "flex", "experience:flex_cases", "solved cases alone; no tokens to learn", _SHOWING),
    Method("flex-trust", "flex", "experience:flex_trust", "flex-cases, and how far to trust the model", _SHOWING),
)  # fmt: skip


def method_of(name: str) -> Method:
    """The method with this name.

    Raises:
        KeyError: If there is none.
    """
    return {method.name: method for method in METHODS}[name]


def chosen(names: Iterable[str], other_lm: str) -> list[Method]:
    """The methods with these names, in the order of the catalogue; all of them for none.

    Args:
        names: Names of methods.
        other_lm: The second model; where there is none, methods that need it are left out unless they are named.

    Raises:
        ConfigurationError: If there is no such method, or one that is named needs a second model.
    """
    wanted = list(names)
    known = {method.name: method for method in METHODS}
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigurationError(f"there is no method {', '.join(unknown)}: methods are {', '.join(known)}")
    if not wanted:
        return [method for method in METHODS if other_lm or not method.needs_other]
    methods = [method for method in METHODS if method.name in wanted]
    if lacking := [method.name for method in methods if method.needs_other and not other_lm]:
        raise ConfigurationError(f"{', '.join(lacking)} needs a second model: name it with --other-lm")
    return methods
