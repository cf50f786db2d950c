"""The parent's side of an offline expert's worker process. It sends one prompt at a time and restarts an ended process.

RDKit cannot be interrupted, and a hostile template or molecule can keep it at work for days. So a worker may compute
for ``CPU_SECONDS`` on one prompt. Then the system ends it, the prompt fails, and the next prompt starts a new worker.
Processor time is counted, so a busy machine changes no result. Windows has no such timer; there only the limits of
``flex_dspy.offline.template_limits`` apply.

    >>> reaction = {"problem": "CC(=O)NC", "reference": "CC(=O)O.CN"}
    >>> process_worker("chemist").ask(reaction, ["lesson"])["lesson"]["category"]
    'amide formation from a carboxylic acid'
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, cast

from dspy import lm15

# No prompt of the shipped problems takes more than 0.7 s; the largest reaction that is mapped, of 300 atoms, takes 2 s.
CPU_SECONDS = 60.0


class Worker:
    """A worker process. Any number of threads and event loops may ask it; they wait for their turn.

    Args:
        expert: Name of the expert, one of ``flex_dspy.offline.experts.EXPERTS``.
    """

    def __init__(self, expert: str) -> None:
        self._expert = expert
        self._turn = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flex-dspy-offline")
        self._start()

    def _start(self) -> None:
        # A plain subprocess, not multiprocessing: it does not run the user's main module a second time.
        self._process = process = subprocess.Popen(  # noqa: S603  (the expert is one of EXPERTS)
            [sys.executable, "-m", "flex_dspy.offline.worker", self._expert, str(CPU_SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._stdin, self._stdout = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        self._end = weakref.finalize(self, _end, process)

    def close(self) -> None:
        """End the process. Pending requests fail."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._end()

    async def answer(self, inputs: Mapping[str, str], outputs: Sequence[str]) -> dict[str, Any]:
        """Asynchronous version of ``ask``."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.ask, inputs, outputs)

    def ask(self, inputs: Mapping[str, str], outputs: Sequence[str]) -> dict[str, Any]:
        """The expert's answer to a prompt.

        Args:
            inputs: The prompt's input fields.
            outputs: Names of the output fields.

        Raises:
            ValueError: If the expert could not answer, or took longer than ``CPU_SECONDS``.
            lm15.ServerError: If the process has ended.
        """
        line = json.dumps({"inputs": dict(inputs), "outputs": list(outputs)})
        with self._turn:
            if self._process.poll() is not None:
                self._end()
                self._start()
            reply = self._reply(line)
        if "error" in reply:
            raise ValueError(reply["error"])
        answer: dict[str, Any] = reply["answer"]
        return answer

    def _reply(self, line: str) -> dict[str, Any]:
        try:
            self._stdin.write(line + "\n")
            self._stdin.flush()
            reply: dict[str, Any] = json.loads(self._stdout.readline())
        except (OSError, ValueError) as error:
            self._process.kill()  # the answers of a running process would be out of step
            code = self._process.wait()
            if hasattr(signal, "SIGPROF") and code == -signal.SIGPROF:
                raise ValueError(f"it took more than {CPU_SECONDS:g} s of computing time, and was ended") from error
            raise lm15.ServerError(
                f"a worker process of the offline {self._expert} ended (exit code {code})"
            ) from error
        return reply


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # a request that an ended worker did not read
                pipe.close()
    process.wait()


def process_worker(expert: str) -> Worker:
    """The worker of this process for calls outside an event loop.

    It starts at the first call and ends with the process.

    Args:
        expert: Name of the expert.
    """
    return _process_worker(expert, os.getpid())


@functools.cache
def _process_worker(expert: str, parent: int) -> Worker:  # a fork must not write into its parent's pipe
    return Worker(expert)


def count_cores() -> int:
    """The number of cores that this process may use; on macOS and Windows the number of all cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
