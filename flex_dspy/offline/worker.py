"""A worker process of an offline expert. It reads and writes JSON lines until its input ends.

The process ends when its parent ends in any way, because the pipe closes. The operating system ends it if a request
takes too much computing time, even inside RDKit's code.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from flex_dspy.offline.experts import expert_named


def main(name: str, seconds: float) -> None:
    """Answer requests ``{"inputs": {...}, "outputs": [...]}`` with ``{"answer": ...}`` or ``{"error": ...}``.

    Args:
        name: The expert who answers.
        seconds: Largest processor time of one request, in seconds.
    """
    expert = expert_named(name)
    for line in sys.stdin:
        request = json.loads(line)
        _set_timer(seconds)
        reply: dict[str, Any]
        try:
            reply = {"answer": expert.answer(request["inputs"], request["outputs"])}
        except Exception as error:  # the parent raises it
            reply = {"error": f"{type(error).__name__}: {error}"}
        _set_timer(0)
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def _set_timer(seconds: float) -> None:
    """Send SIGPROF after ``seconds`` of processor time; never for 0. Windows has no such timer."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes the pipe
    if hasattr(signal, "SIGPROF"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # if the parent ignores it, the limit would have no effect
    try:
        main(sys.argv[1], float(sys.argv[2]))
    except BrokenPipeError:  # the parent is gone
        os._exit(0)
