"""``flex-dspy library value``: the effect of each entry on the score, by trials with it and without it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flex_dspy.commands import paths
from flex_dspy.commands.arguments import Library, TaskName
from flex_dspy.commands.options.library import Calls, ValueOptions
from flex_dspy.commands.options.shared import MEASURING
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.paths import beside


def value(
    library: Library,
    *,
    task: TaskName,
    calls: Annotated[Calls, Parameter(help="Most calls of the program.", group=MEASURING)],
    options: ValueOptions = ValueOptions(),
) -> None:
    """Measure the effect of each entry on the score, by trials with it and without it.

    An entry is tried on the examples that it is shown on. No model is asked for an opinion. The estimates are written
    beside the library.
    """
    paths.check_library(library)
    if options.out is None and not Path(library).is_file():
        raise ConfigurationError(f"{library} is no file: say with --out where the estimates should be")
    out = options.out or beside(library, "value.json")
    paths.check_file(out)
    from flex_dspy.commands.actions import value as action

    action.run(library, task, calls, out, options)
