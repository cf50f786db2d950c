"""The arguments of ``flex-dspy ui``; nothing heavy is imported."""

from __future__ import annotations

import argparse

FIRST_PORT = 5000


def add_ui(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``ui``.

    Args:
        commands: Where the top command keeps its commands.
    """
    parser = commands.add_parser(
        "ui",
        help="look at versions and evaluations in MLflow's pages",
        description="Serve MLflow's pages on this machine, with the settings that they need without a network. "
        "Ctrl-C ends it.",
    )
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow store (default: MLflow's own)")
    parser.add_argument(
        "--port", type=_port, metavar="N", help=f"the port to listen on (default: the first free from {FIRST_PORT})"
    )


def _port(text: str) -> int:
    value = int(text)
    if not 0 < value < 65_536:
        raise argparse.ArgumentTypeError(f"must be between 1 and 65535, got {value}")
    return value
