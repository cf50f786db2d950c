"""A provider's batch endpoint, called through litellm.

litellm is imported at the first batch, because the import takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.running import run_in_thread

# Providers of litellm whose batches are files of OpenAI chat completions, and need only a key and an address.
PROVIDERS = ("azure", "hosted_vllm", "litellm_proxy", "mistral", "openai", "xai")
PATH = "/v1/chat/completions"

State = Literal["running", "ended", "failed", "cancelled"]
_STATES: Mapping[str, State] = {
    **dict.fromkeys(("completed", "expired"), "ended"),
    **dict.fromkeys(("cancelled", "cancelling"), "cancelled"),
    "failed": "failed",
}
_LABEL = "flex_dspy"  # the key of our label in a batch's metadata
_MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request of a batch, as it would have come over HTTP.

    Attributes:
        status: The HTTP status.
        body: The body.
    """

    status: int
    body: bytes

    @classmethod
    def error(cls, status: int, message: str) -> Answer:
        """An error in OpenAI's form."""
        return cls(status, json.dumps({"error": {"message": message, "type": "batch", "code": None}}).encode())


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """The status of a batch.

    Attributes:
        state: ``running``; ``ended``, also if it expired with only some requests answered; ``failed`` if the provider
            refused the whole batch; ``cancelled``.
        files: Ids of the files of its answers and of its errors.
        message: What the provider says about a failure.
    """

    state: State
    files: tuple[str, ...] = ()
    message: str = ""


class BatchEndpoint(Protocol):
    """Takes batches of one model."""

    async def submit(self, requests: Mapping[str, Mapping[str, Any]], label: str) -> str:
        """Begin a batch.

        Args:
            requests: Bodies of chat completions, by an id of our own.
            label: A name by which ``find`` finds it.

        Returns:
            The provider's id of the batch.
        """

    async def find(self, label: str) -> str | None:
        """The id of the batch with a label; None if the newest batches do not include it."""

    async def status(self, batch_id: str) -> BatchStatus:
        """The status of a batch."""

    async def answers(self, status: BatchStatus) -> dict[str, Answer]:
        """The answers of an ended batch, by our ids. A request that was not processed has no answer."""


@dataclass(frozen=True)
class LiteLLMEndpoint:
    """The batch endpoint of a model's provider.

    Attributes:
        model: The model string.
        client: ``api_base`` and ``api_key``, as far as they are given.
    """

    model: str
    client: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        provider, slash, _ = self.model.partition("/")
        if not slash or provider not in PROVIDERS:
            raise ConfigurationError(
                f"{self.model} cannot be asked in batches: that goes with models of {', '.join(PROVIDERS)}"
            )

    async def submit(self, requests: Mapping[str, Mapping[str, Any]], label: str) -> str:
        """See ``BatchEndpoint``."""
        lines = (
            json.dumps({"custom_id": own_id, "method": "POST", "url": PATH, "body": body})
            for own_id, body in requests.items()
        )
        content = "\n".join(lines).encode()
        file = await self._ask("create_file", file=(f"{label}.jsonl", content), purpose="batch")
        given = {"completion_window": "24h", "endpoint": PATH, "input_file_id": file.id, "metadata": {_LABEL: label}}
        # The client must not retry: if only the reply was lost, the batch would be paid twice.
        return str((await self._ask("create_batch", max_retries=0, **given)).id)

    async def find(self, label: str) -> str | None:
        """See ``BatchEndpoint``."""
        page = await self._ask("list_batches", limit=_MOST_LISTED)
        found = (batch.id for batch in page.data if (batch.metadata or {}).get(_LABEL) == label)
        return next(found, None)

    async def status(self, batch_id: str) -> BatchStatus:
        """See ``BatchEndpoint``."""
        batch = await self._ask("retrieve_batch", batch_id=batch_id)
        errors = getattr(batch.errors, "data", None) or []
        files = (batch.output_file_id, batch.error_file_id)
        message = "; ".join(str(error.message) for error in errors)
        return BatchStatus(_STATES.get(batch.status, "running"), tuple(filter(None, files)), message)

    async def answers(self, status: BatchStatus) -> dict[str, Answer]:
        """See ``BatchEndpoint``."""
        found: dict[str, Answer] = {}
        for file_id in status.files:
            content = await self._ask("file_content", file_id=file_id)
            found |= read_answers(content.content.splitlines())
        return found

    async def _ask(self, function: str, **arguments: Any) -> Any:
        """Call a function of litellm in a thread, because its asynchronous clients stay open when their loop ends."""
        provider = self.model.partition("/")[0]
        return await run_in_thread(_call, function, custom_llm_provider=provider, **self.client, **arguments)


def _call(function: str, **arguments: Any) -> Any:
    import litellm

    litellm.suppress_debug_info = True  # otherwise it prints advice about unknown models
    return getattr(litellm, function)(**arguments)


def read_answers(lines: Iterable[bytes]) -> dict[str, Answer]:
    """The answers in a result file of a batch, by our ids.

    A line that cannot be read is skipped: its request counts as not processed.

    Args:
        lines: The lines of the file.
    """
    found: dict[str, Answer] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            own_id, response, error = entry["custom_id"], entry.get("response"), entry.get("error")
            if response and response.get("body") is not None:
                found[own_id] = Answer(int(response["status_code"]), json.dumps(response["body"]).encode())
            elif error and error.get("code") != "batch_expired":
                found[own_id] = Answer.error(500, str(error.get("message") or error))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found
