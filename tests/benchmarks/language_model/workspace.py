"""Where a method works: its settings, its models, and a folder that keeps everything it has learned and answered."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from flex_dspy.core.errors import RunError
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.models.spending import Usage
from tests.benchmarks.language_model.catalogue import Method, method_of
from tests.benchmarks.language_model.model import patient_model
from tests.benchmarks.language_model.settings import Settings
from tests.benchmarks.language_model.tasks import BenchTask

NOTHING = Usage()
ANY_NUMBER = 10**9  # of unreadable answers: a small model gives many, and none of them ends learning


@dataclass(frozen=True)
class Learned:
    """What a method learned.

    Attributes:
        program: Answers the test examples.
        spent: What learning took.
        seconds: How long the model worked for it.
        note: Anything a reader must know to judge it.
    """

    program: dspy.Module
    spent: Usage = NOTHING
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Workspace:
    """A method's place.

    Attributes:
        method: The method.
        task: The task.
        settings: The run's settings.
        examples: Digest of the examples to learn from.
    """

    method: Method
    task: BenchTask
    settings: Settings
    examples: str

    @property
    def folder(self) -> Path:
        """The method's folder; made where it is missing."""
        folder = self.settings.out / self.method.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def path(self, name: str) -> Path:
        """A file in the folder."""
        return self.folder / name

    def of(self, method: str) -> Workspace:
        """The workspace of another method, whose work this one shares."""
        other = Workspace(method_of(method), self.task, self.settings, self.examples)
        other.claim()
        return other

    def claim(self) -> None:
        """Refuse to mix results of different settings in one folder.

        Raises:
            RunError: If the folder holds results of other settings.
        """
        path = self.path("settings.json")
        mine = {**self.settings.identity(*self.method.depends), "examples": self.examples}
        if not path.exists():
            write_atomically(path, json.dumps(mine, indent=1) + "\n")
            return
        known = json.loads(path.read_text())
        if changed := [f"{name}: {known.get(name)} -> {mine[name]}" for name in mine if known.get(name) != mine[name]]:
            raise RunError(f"{self.folder} holds results of other settings ({'; '.join(changed)}): name another --out")

    # -- models --------------------------------------------------------------------------------------------

    @cached_property
    def learner(self) -> dspy.LM:
        """The model for learning. Its answers are cached: what a killed run has paid for is not paid for again."""
        return self._model(self.settings.lm, self.settings.api_base, cache=True)

    @cached_property
    def other_learner(self) -> dspy.LM:
        """The second model."""
        return self._model(self.settings.other_lm, self.settings.other_api_base, cache=True)

    @cached_property
    def answerer(self) -> dspy.LM:
        """The model for the test examples. It uses no cache: every answer is on record with all that it took."""
        return self._model(self.settings.lm, self.settings.api_base, cache=False)

    def _model(self, name: str, api_base: str | None, *, cache: bool) -> dspy.LM:
        settings = self.settings
        return patient_model(
            name, api_base, temperature=settings.temperature, max_tokens=settings.max_tokens, cache=cache
        )

    @contextlib.contextmanager
    def learning(self, lm: dspy.LM, *callbacks: BaseCallback) -> Iterator[None]:
        """DSPy as a method learns with it: a cache of the method's own, and callbacks.

        Within a method a question is paid for once, as anywhere in DSPy; no method profits from the answers that
        another one has paid for.
        """
        dspy.configure_cache(disk_cache_dir=str(self.path("cache")), restrict_pickle=True)
        settings: dict[str, Any] = {"max_errors": ANY_NUMBER, "num_threads": self.settings.concurrency}
        try:
            with dspy.context(lm=lm, callbacks=list(callbacks), **settings):
                yield
        finally:
            dspy.cache.disk_cache.close()
            dspy.configure_cache(enable_disk_cache=False)

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Whatever is printed within the block goes into ``log.txt``: DSPy's optimizers draw a bar for each step."""
        log = self.path("log.txt").open("a", encoding="utf-8")
        with log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield
