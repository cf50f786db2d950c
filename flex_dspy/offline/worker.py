"""A worker process of an offline expert: JSON lines in, JSON lines out, until its input ends.

It ends with its parent, however that ends: the pipe closes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from flex_dspy.offline.experts import expert_named


def main(name: str) -> None:
    """Answer requests ``{"inputs": {...}, "outputs": [...]}`` with ``{"answer": ...}`` or ``{"error": ...}``.

    Args:
        name: The expert who answers.
    """
    expert = expert_named(name)
    for line in sys.stdin:
        request = json.loads(line)
        reply: dict[str, Any]
        try:
            reply = {"answer": expert.answer(request["inputs"], request["outputs"])}
        except Exception as error:  # told to the parent, who raises it there
            reply = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes the pipe
    try:
        main(sys.argv[1])
    except BrokenPipeError:  # the parent is gone
        os._exit(0)
