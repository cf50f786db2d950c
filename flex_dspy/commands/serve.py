"""``flex-dspy serve``: a library for agents outside DSPy."""

from __future__ import annotations

from flex_dspy.commands import paths
from flex_dspy.commands.options.serve import AccessOptions, HttpOptions, ServedLibrary, ServerLimits


def serve(
    *,
    library: ServedLibrary,
    http: HttpOptions = HttpOptions(),
    access: AccessOptions = AccessOptions(),
    limits: ServerLimits = ServerLimits(),
) -> None:
    """Serve a library to agents outside DSPy by the Model Context Protocol.

    Agents can search, read by levels, record outcomes, and teach. When the library changes, the next call reads it
    anew.
    """
    paths.check_library(library.mcp)
    from flex_dspy.commands.actions import serve as action

    action.run(library, http, access, limits)
