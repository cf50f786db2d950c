"""The arguments of ``flex-dspy serve``. Nothing heavy is imported, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``serve``.

    Args:
        commands: Where the top command keeps its commands.
    """
    serve = commands.add_parser(
        "serve",
        help="serve a library to agents outside DSPy",
        description="Serve a library to agents by the Model Context Protocol: to search, to read by levels, and to "
        "record what came of it. When the library changes, the next call reads it anew.",
    )
    serve.add_argument(
        "--mcp",
        required=True,
        metavar="LIBRARY",
        help="a library file, a folder of them, or NAME@alias or NAME/version in MLflow",
    )
    serve.add_argument(
        "--http",
        type=_address,
        metavar="[HOST:]PORT",
        help="serve over streamable HTTP, not stdin and stdout (HOST 127.0.0.1 by default; PORT 0 for a free one)",
    )
    serve.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name under which clients address the HTTP server; others are refused",
    )
    serve.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="serve over HTTP only to clients whose bearer token is in this file: a line TOKEN or NAME:TOKEN for each. "
        "Only its owner may read it (chmod 600). Without it the server listens at this machine's own addresses only",
    )
    serve.add_argument("--read-only", action="store_true", help="record no outcomes")
    serve.add_argument("--k", type=_positive, default=8, metavar="N", help="most lessons in a list (default 8)")
    serve.add_argument(
        "--token-budget",
        type=_positive,
        default=4_000,
        metavar="N",
        help="most tokens of lessons a call (default 4000)",
    )
    serve.add_argument(
        "--outcomes",
        type=Path,
        metavar="LIBRARY",
        help="keep outcomes beside this library file (default: the one served)",
    )
    serve.add_argument(
        "--calls-per-minute", type=_positive, default=600, metavar="N", help="most calls of one client (default 600)"
    )
    serve.add_argument(
        "--outcomes-per-minute",
        type=_positive,
        default=120,
        metavar="N",
        help="most outcomes that one client records (default 120)",
    )
    serve.add_argument(
        "--time-limit",
        type=_positive,
        default=20,
        metavar="SECONDS",
        help="longest time for one call, which then fails (default 20)",
    )
    serve.add_argument("--tracking-uri", metavar="URI", help="MLflow store (default: MLflow's own)")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"must be [HOST:]PORT, got {text!r}")
    return host.strip("[]") or "127.0.0.1", int(port)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value
