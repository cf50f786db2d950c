"""Runs a server that ends when the process that started it ends: ``python -m ... COMMAND``.

The starting process (the owner) holds one end of a pipe. The system closes the pipe when the owner ends, even if it is
killed. Then the whole process group is ended, with the workers of the server. This needs only pipes and process groups,
so it works on Linux and macOS. A signal on the parent's death would reach only direct children, and only on Linux.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

_PEACE = 5.0  # seconds to wait for the server to end by itself


def supervisor_command(command: Sequence[str]) -> list[str]:
    """Command line that runs a command under this supervisor.

    Start it with ``stdin=PIPE`` and in a new session, because the whole process group is ended.
    """
    return [sys.executable, "-m", __name__, *command]


def main(command: Sequence[str]) -> int:
    """Run a command until it ends, or until the pipe on standard input is closed."""
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # the server gets the signal too, so wait for its end
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 (our own words)
    is_alone = threading.Event()
    follower = threading.Thread(target=_follow_owner, args=(is_alone,), daemon=True)
    follower.start()
    code = server.wait()
    if is_alone.is_set():  # the server's workers may still run
        follower.join()
    return code


def _follow_owner(is_alone: threading.Event) -> None:
    sys.stdin.buffer.read()  # nothing is ever written, so it returns when the owner has ended
    is_alone.set()
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(_PEACE)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
