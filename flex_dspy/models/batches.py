"""Collects requests of a run into batches, and waits for their answers.

    calls --> group --(no further call for a while)--> batch of the provider --(polls)--> answers

A call waits for its answer and does not know its batch. A result depends only on the model's answers, so it does not
matter which calls share a batch. The id of a request consists of the hash of its body and a count of earlier requests
with the same body. A process that resumes a run makes the same requests again, finds their ids in the journal, and
waits for the batch that was begun.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import logging
import threading
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from dspy import lm15

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.secrets import redact
from flex_dspy.models.batch_endpoint import Answer, BatchEndpoint, LiteLLMEndpoint
from flex_dspy.models.batch_journal import BatchJournal

logger = logging.getLogger(__name__)

LARGEST = 10_000  # requests in a batch; providers take 50,000
MOST_FAILURES = 20  # failed polls in a row, after which a batch counts as unreachable for now

MISSING = Answer.error(503, "the batch ended without an answer to this request")
LOST = Answer.error(503, "the batch was never sent, or its provider does not know it")


@dataclass
class _Group:
    """Requests that share a batch.

    Attributes:
        requests: Bodies by id, until they are sent.
        answers: The task that sends them and waits.
    """

    requests: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    answers: asyncio.Task[Mapping[str, Answer]] | None = None

    @property
    def is_broken(self) -> bool:
        """Whether the group ended without answers."""
        done = self.answers if self.answers is not None and self.answers.done() else None
        return done is not None and (done.cancelled() or done.exception() is not None)

    def start(self, work: Coroutine[Any, Any, Mapping[str, Answer]]) -> None:
        """Start the task that sends the batch and waits for it."""
        self.answers = asyncio.create_task(work)
        self.answers.add_done_callback(lambda done: done.cancelled() or done.exception())  # callers get errors

    async def answer(self, request: str) -> Answer:
        """Wait for the answer to one request."""
        assert self.answers is not None  # noqa: S101 (it is started before it is known to anybody)
        # Shielded, because a cancelled call must not end the batch of the other calls.
        return (await asyncio.shield(self.answers))[request]


@dataclass
class _Groups:
    """The groups of one event loop: open groups by model, and sent groups by label."""

    open: dict[Any, _Group] = field(default_factory=dict)
    sent: dict[str, _Group] = field(default_factory=dict)


class Batches:
    """Sends requests through providers' batch endpoints, for all models that share it.

    Args:
        path: The file that records the batches, so that a killed run can resume them. ``ForwardLearning``
            chooses a file beside the library. None keeps the record in memory only.
        poll_seconds: Seconds between two polls of a batch.
        quiet_seconds: A batch is sent after so many seconds without a further request.
        endpoint: Makes the batch endpoint of a model from its name and its client settings.

    Raises:
        ConfigurationError: If a number is not positive.
        RunError: If the file is damaged.

    Example:
        >>> from flex_dspy import language_model
        >>> batches = Batches(poll_seconds=60)
        >>> model = language_model("openai/gpt-4o", batches=batches)
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        poll_seconds: float = 30.0,
        quiet_seconds: float = 2.0,
        endpoint: Callable[[str, Mapping[str, Any]], BatchEndpoint] = LiteLLMEndpoint,
    ) -> None:
        for name, value in (("poll_seconds", poll_seconds), ("quiet_seconds", quiet_seconds)):
            if value <= 0:
                raise ConfigurationError(f"{name} must be positive, got {value}")
        self.journal = BatchJournal(path)
        self.poll_seconds = poll_seconds
        self.quiet_seconds = quiet_seconds
        self.make_endpoint = endpoint
        self._is_path_chosen = path is not None
        self._lock = threading.Lock()
        self._taken: set[str] = set()  # requests of this process that wait for an answer or have one
        self._groups: WeakKeyDictionary[asyncio.AbstractEventLoop, _Groups] = WeakKeyDictionary()

    def __deepcopy__(self, memo: dict[int, Any]) -> Batches:
        """Return the object itself, so that copies of a model share their batches."""
        return self

    def keep_in(self, path: Path) -> None:
        """Record batches in this file from now on, unless a file was given at the start.

        Raises:
            RunError: If the file is damaged.
        """
        if not self._is_path_chosen and path != self.journal.path:
            self.journal = BatchJournal(path)
            self._taken = set()

    async def ask(self, model: str, client: Mapping[str, Any], body: Mapping[str, Any]) -> tuple[str, Answer]:
        """Ask for one chat completion.

        Args:
            model: The model string.
            client: Settings of the client: ``api_key`` and ``api_base``.
            body: The request's body.

        Returns:
            The request's id, and the answer.

        Raises:
            BudgetError: If a batch cannot be recorded.
            LM15Error: If the provider cannot be reached.
        """
        digest = hashlib.sha256(json.dumps([model, body], sort_keys=True).encode()).hexdigest()[:24]
        while True:
            request = self._take(digest)
            label = self.journal.label_of(request)
            if label is None:
                group = self._collect(model, client, request, body)
            else:
                group = self._take_up(model, client, label)
            try:
                answer = await group.answer(request)
            except BaseException:  # the batch may be under way: a repeated request waits for the same batch
                self._taken.discard(request)
                raise
            if answer is not LOST:
                return request, answer

    def _take(self, digest: str) -> str:
        """The id of a request. A repeated request with the same body gets another id."""
        with self._lock:
            number = 0
            while (request := f"{digest}-{number}") in self._taken or self.journal.is_unanswered(request):
                number += 1
            self._taken.add(request)
            return request

    # -- groups --------------------------------------------------------------------------------------------

    def _here(self) -> _Groups:
        return self._groups.setdefault(asyncio.get_running_loop(), _Groups())

    def _collect(self, model: str, client: Mapping[str, Any], request: str, body: Mapping[str, Any]) -> _Group:
        """Put a request into the open group of its model."""
        groups, place = self._here(), (model, *sorted(client.items()))
        group = groups.open.get(place)
        if group is None:
            group = groups.open[place] = _Group()
            group.start(self._send(groups, place, group, self.make_endpoint(model, client)))
        group.requests[request] = body
        if len(group.requests) >= LARGEST:
            groups.open.pop(place)
        return group

    def _take_up(self, model: str, client: Mapping[str, Any], label: str) -> _Group:
        """The group of a batch that this or an earlier process began."""
        groups = self._here()
        group = groups.sent.get(label)
        if group is None or group.is_broken:
            group = groups.sent[label] = _Group()
            group.start(self._follow(label, self.make_endpoint(model, client)))
        return group

    async def _send(self, groups: _Groups, place: Any, group: _Group, endpoint: BatchEndpoint) -> Mapping[str, Answer]:
        """Wait until no further request comes, then send the batch and wait for its answers."""
        count = 0
        while count < len(group.requests) < LARGEST:
            count = len(group.requests)
            await asyncio.sleep(self.quiet_seconds)
        if groups.open.get(place) is group:
            groups.open.pop(place)
        label, requests = f"flex-dspy-{uuid.uuid4().hex}", group.requests
        group.requests = {}
        self.journal.begin(label, requests)
        groups.sent[label] = group
        try:
            batch = await endpoint.submit(requests, label)
        except Exception as error:
            if (answer := _refusal(error)) is not None:
                return self._complete(label, answer)
            return await self._follow(label, endpoint)  # it may have been sent: the provider knows
        self.journal.sent(label, batch)
        logger.info("a batch of %d requests was sent: %s", len(requests), batch)
        return self._complete(label, await self._wait(endpoint, batch))

    async def _follow(self, label: str, endpoint: BatchEndpoint) -> Mapping[str, Answer]:
        """Wait for the answers of a batch that was begun."""
        batch = self.journal.batch_of(label)
        if batch is None:
            batch = await self._find(endpoint, label)
            if batch is None:
                return self._complete(label, LOST)
            self.journal.sent(label, batch)
        logger.info("the batch %s is taken up again", batch)
        return self._complete(label, await self._wait(endpoint, batch))

    async def _find(self, endpoint: BatchEndpoint, label: str) -> str | None:
        try:
            found: str | None = await self._patiently(functools.partial(endpoint.find, label))
        except KeyError:  # this server cannot list batches
            return None
        return found

    def _complete(self, label: str, found: Mapping[str, Answer] | Answer) -> Mapping[str, Answer]:
        """An answer for each request of a batch. A request without an answer gets an error that callers retry."""
        requests = self.journal.requests_of(label)
        if isinstance(found, Answer):
            answers = dict.fromkeys(requests, found)
        else:
            answers = {request: found.get(request, MISSING) for request in requests}
        self.journal.give_up(label, (request for request, answer in answers.items() if answer.status != 200))
        return answers

    # -- waiting -------------------------------------------------------------------------------------------

    async def _wait(self, endpoint: BatchEndpoint, batch: str) -> Mapping[str, Answer] | Answer:
        """Wait until a batch has ended, and return its answers; if it failed, one answer for all its requests."""
        while True:
            try:
                status = await self._patiently(functools.partial(endpoint.status, batch))
            except KeyError:
                return LOST
            if status.state == "ended":
                return await self._patiently(functools.partial(endpoint.answers, status))
            if status.state != "running":
                return Answer.error(400, f"batch {batch}: {status.state}. {status.message}".strip())
            await asyncio.sleep(self.poll_seconds)

    async def _patiently(self, look: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Poll a batch, and repeat the poll if the provider cannot be reached.

        Raises:
            KeyError: If the provider does not know it.
            LM15Error: If the provider refuses, or cannot be reached for long.
        """
        failures = 0
        while True:
            try:
                return await look()
            except Exception as error:
                failures += 1
                status, text = getattr(error, "status_code", None), redact(str(error))
                logger.info("a batch cannot be looked at: %s", text)
                if status == 404:
                    raise KeyError(text) from error
                if status in (401, 403):
                    raise lm15.AuthError(text) from error
                if failures >= MOST_FAILURES:
                    raise lm15.TransportError(text) from error
            await asyncio.sleep(self.poll_seconds)


def _refusal(error: Exception) -> Answer | None:
    """The answer to requests whose batch the provider refused; None if it may have accepted the batch anyway."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status < 500:
        return Answer.error(status, redact(str(error)))
    return None
