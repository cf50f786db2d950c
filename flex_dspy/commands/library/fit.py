"""``flex-dspy library fit``: fit the offline chemist's ranking to a library."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.commands import paths
from flex_dspy.commands.arguments import Library
from flex_dspy.commands.options.library import FitOptions
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.paths import ranking_of


def fit(library: Library, *, options: FitOptions = FitOptions()) -> None:
    """Fit the offline chemist's ranking to a library of reactions.

    It is fitted on the library's own precedents, each with its own case left out. Nothing is written unless it is
    surely better than the general ranking on a fifth of them that takes no part. flex-dspy eval uses the file beside
    its library by itself. Elsewhere name it: --lm offline/chemist:FILE.

    Args:
        library: A library of reactions.
        options: The other options.
    """
    paths.check_library(library)
    if options.out is None and not Path(library).is_file():
        raise ConfigurationError(f"{library} is no file: say with --out where the ranking should be")
    out = options.out or ranking_of(library)
    paths.check_file(out)
    from flex_dspy.commands.actions import fit as action

    action.run(library, out, options)
