"""The options of ``flex-dspy serve``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from flex_dspy.commands.arguments import LIBRARY_HELP, Address, Positive, TrackingUri, read_address

LIBRARY = Group.create_ordered("Library")
HTTP = Group.create_ordered("HTTP")
ACCESS = Group.create_ordered("Access")
LIMITS = Group.create_ordered("Limits")


@Parameter(name="*", group=LIBRARY)
@dataclass(frozen=True)
class ServedLibrary:
    """What is served, and where its outcomes are kept."""

    mcp: Annotated[str, Parameter(help=f"The library: {LIBRARY_HELP}.")]
    k: Positive = 8
    """Most lessons in a list."""
    token_budget: Positive = 4_000
    """Most tokens of lessons a call."""
    outcomes: Path | None = None
    """Keep outcomes beside this library file (default: the one served)."""
    read_only: bool = False
    """Record no outcomes, and learn nothing."""
    learn_with: str | None = None
    """Learn from what clients observe, with this language model, such as openai/gpt-4o."""
    tracking_uri: TrackingUri = None


@Parameter(name="*", group=HTTP)
@dataclass(frozen=True)
class HttpOptions:
    """How clients reach the server over HTTP."""

    http: Address | None = None
    """[HOST:]PORT: serve over streamable HTTP, not stdin and stdout. HOST is 127.0.0.1 by default; PORT 0 is free."""
    allowed_host: tuple[str, ...] = ()
    """A further name under which clients address the HTTP server; others are refused. May be repeated."""
    token_file: Path | None = None
    """Serve only clients with a token of this file (a line TOKEN or NAME:TOKEN each, then read=SCOPE,SCOPE and
    write=SCOPE; chmod 600). Needed for others."""
    token_variable: str | None = None
    """Serve only clients with a token of this environment variable, in lines as in a token file."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port, None for a server on stdin and stdout."""
        return read_address(self.http) if self.http is not None else None


@Parameter(name="*", group=ACCESS)
@dataclass(frozen=True)
class AccessOptions:
    """What clients without tokens may read and write."""

    read_scope: tuple[str, ...] = ()
    """A scope that clients read, besides what all share. May be repeated."""
    write_scope: str = "shared"
    """The scope that lessons belong to. It is read too."""


@Parameter(name="*", group=LIMITS)
@dataclass(frozen=True)
class ServerLimits:
    """What a client may ask for."""

    calls_per_minute: Positive = 600
    """Most calls of one client."""
    outcomes_per_minute: Positive = 120
    """Most outcomes that one client records."""
    time_limit: Positive = 20
    """Longest time for one call in seconds. A longer call fails."""
