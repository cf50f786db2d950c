"""Runs a server that ends with whoever started it, however that one ends: ``python -m ... COMMAND``.

The owner holds one end of a pipe, which the system closes when the owner is gone, killed ones too. Then the whole
process group is ended, workers of the server included. This needs nothing but pipes and process groups, so it works on
Linux and macOS alike, where a signal on the parent's death reaches its direct children only, and only on Linux.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

_PEACE = 5.0  # seconds that the server has to end by itself


def supervisor_command(command: Sequence[str]) -> list[str]:
    """The command line that runs a command so.

    Start it with ``stdin=PIPE`` and in a session of its own: the group is ended as a whole.
    """
    return [sys.executable, "-m", __name__, *command]


def main(command: Sequence[str]) -> int:
    """Run a command until it ends, or the pipe on standard input does."""
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # the server gets it too: wait for its end
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 (our own words)
    is_alone = threading.Event()
    follower = threading.Thread(target=_follow_owner, args=(is_alone,), daemon=True)
    follower.start()
    code = server.wait()
    if is_alone.is_set():  # the server's workers may still be there
        follower.join()
    return code


def _follow_owner(is_alone: threading.Event) -> None:
    sys.stdin.buffer.read()  # nothing is ever written: it returns when the owner is gone
    is_alone.set()
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(_PEACE)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
