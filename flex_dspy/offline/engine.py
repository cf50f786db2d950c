"""An offline expert as a DSPy engine. It reads the same prompts and writes the same format as a language model."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

from dspy import lm15

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.offline.experts import EXPERTS, RANKING_FILE, Expert, expert_named
from flex_dspy.offline.worker_process import Worker, count_cores, process_worker

_FIELD = re.compile(r"\n\[\[ ## (\w+) ## \]\](?=\n)")  # searching for a newline is faster than a ^
_RESPOND = "Respond with "


def make_engines(expert: str | None) -> tuple[OfflineEngine, AsyncOfflineEngine]:
    """The synchronous and the asynchronous engine of an offline expert.

    Args:
        expert: Name of the expert; None for a task that has no expert. A colon and the file of a fitted ranking may
            follow the chemist's name.

    Raises:
        ConfigurationError: If there is no such expert, or no such ranking.
    """
    name, _, ranking = (expert or "").partition(":")
    if name not in EXPERTS:
        missing = f"no offline expert {name!r}" if expert else "no offline expert for this task yet"
        raise ConfigurationError(f"there is {missing}: name a language model with --lm, e.g. --lm openai/gpt-4o")
    return OfflineEngine(name, ranking), AsyncOfflineEngine(expert=name, ranking=ranking)


class OfflineEngine:
    """Answers synchronously, on a worker process that all synchronous calls of this process share.

    Args:
        expert: Name of the expert, one of ``flex_dspy.offline.experts.EXPERTS``.
        ranking: The file of a ranking that was fitted to the library; empty for none.

    Raises:
        ConfigurationError: If there is no such expert, or no such ranking.
        lm15.InvalidRequestError: From ``complete``, for a prompt that is none of the expert's roles, or takes too long.
    """

    def __init__(self, expert: str = "chemist", ranking: str = "") -> None:
        self.expert = expert
        self.ranking = ranking
        self._expert = _prepare(expert, ranking)

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer one prompt."""
        inputs, outputs, as_json = _read(request, self.ranking)
        try:
            if self._expert.is_quick(outputs):
                answer = self._expert.answer(inputs, outputs)
            else:
                answer = process_worker(self.expert).ask(inputs, outputs)
        except (ValueError, KeyError) as error:
            raise lm15.InvalidRequestError(_complaint(self.expert, error)) from error
        return _response(request, answer, outputs, as_json)

    def dump_state(self) -> dict[str, Any]:
        """The expert's name and its ranking. It has no other state."""
        return {"expert": self.expert, **_state(self.ranking)}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> OfflineEngine:
        """A new engine with the same expert and ranking."""
        return cls(**state)

    def __deepcopy__(self, memo: dict[int, Any]) -> OfflineEngine:
        return self


class AsyncOfflineEngine:
    """Answers on worker processes, one per core. They start at the first heavy prompt and end with the engine.

    The same problem goes to the same worker, because its cache has the results of the round before.

    Args:
        workers: Number of processes; None for one per core.
        expert: Name of the expert, one of ``flex_dspy.offline.experts.EXPERTS``.
        ranking: The file of a ranking that was fitted to the library; empty for none.

    Raises:
        ConfigurationError: If there is no such expert, or no such ranking.
        lm15.InvalidRequestError: From ``complete``, for a prompt that is none of the expert's roles, or takes too long.
    """

    def __init__(self, workers: int | None = None, expert: str = "chemist", ranking: str = "") -> None:
        self.workers = workers or count_cores()
        self.expert = expert
        self.ranking = ranking
        self._expert = _prepare(expert, ranking)
        self._pool: list[Worker] = []

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer one prompt."""
        inputs, outputs, as_json = _read(request, self.ranking)
        try:
            if self._expert.is_quick(outputs):
                answer = self._expert.answer(inputs, outputs)
            else:
                answer = await self._worker(inputs).answer(inputs, outputs)
        except (ValueError, KeyError) as error:
            raise lm15.InvalidRequestError(_complaint(self.expert, error)) from error
        return _response(request, answer, outputs, as_json)

    def _worker(self, inputs: Mapping[str, str]) -> Worker:
        if not self._pool:
            self._pool = [Worker(self.expert) for _ in range(self.workers)]
        problem = inputs.get("product") or inputs.get("problem") or ""
        return self._pool[zlib.crc32(problem.encode()) % len(self._pool)]

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._pool:
            worker.close()
        self._pool = []

    def dump_state(self) -> dict[str, Any]:
        """The number of workers, the expert's name, and its ranking."""
        return {"workers": self.workers, "expert": self.expert, **_state(self.ranking)}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> AsyncOfflineEngine:
        """A new engine with as many workers, the same expert and the same ranking."""
        return cls(**state)

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncOfflineEngine:
        return self


def _prepare(expert: str, ranking: str) -> Expert:
    """Load the expert and check its ranking."""
    if ranking and expert != "chemist":
        raise ConfigurationError(f"only the chemist takes a ranking, not the {expert}: leave out :{ranking}")
    if ranking:
        from flex_dspy.offline.ranking import read_ranking

        read_ranking(ranking)
    return expert_named(expert)


def _state(ranking: str) -> dict[str, str]:
    return {"ranking": ranking} if ranking else {}


def _read(request: lm15.Request, ranking: str = "") -> tuple[dict[str, str], list[str], bool]:
    """The input fields of the last message, the names of the output fields, and whether JSON is asked for."""
    text = request.messages[-1].text or ""
    body, _, respond = text.rpartition(_RESPOND)
    pieces = _FIELD.split(f"\n{body}\n")
    fields = zip(pieces[1::2], pieces[2::2], strict=True)
    inputs = {name: value.strip() for name, value in fields if name != RANKING_FILE}
    inputs |= {RANKING_FILE: ranking} if ranking else {}
    as_json = "JSON object" in respond
    names = re.findall(r"`(\w+)`" if as_json else r"`\[\[ ## (\w+) ## \]\]`", respond)
    return inputs, [name for name in names if name != "completed"], as_json


def _response(request: lm15.Request, answer: Mapping[str, Any], outputs: list[str], as_json: bool) -> lm15.Response:
    fields = {name: answer.get(name, "") for name in outputs}
    text = json.dumps(fields) if as_json else _as_fields(fields)
    return lm15.Response(
        id=None,
        model=request.model,
        message=lm15.Message.assistant(text),
        finish_reason="stop",
        usage=lm15.Usage(input_tokens=0, output_tokens=0),
    )


def _as_fields(fields: Mapping[str, Any]) -> str:
    lines = []
    for name, value in fields.items():
        lines += [f"[[ ## {name} ## ]]", value if isinstance(value, str) else json.dumps(value), ""]
    return "\n".join([*lines, "[[ ## completed ## ]]"])


def _complaint(expert: str, error: Exception) -> str:
    return f"the offline {expert} cannot answer this prompt: {error}"
