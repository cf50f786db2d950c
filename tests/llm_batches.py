"""The batch endpoints of the scripted server: files, batches, and what may become of a batch.

A batch is answered when it is made: each line is asked as a request of its own. It shows this only after it was looked
at a few times, as a provider's takes a while.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flex_dspy.models.batch_endpoint import Answer, BatchStatus, read_answers
from tests.llm_faults import Fault, Reply


@dataclass(frozen=True)
class Fate:
    """What becomes of a batch.

    Attributes:
        looks: How often it is looked at before it has ended; None keeps it under way for good.
        status: The status that it ends with.
        answered: How many of its lines are answered; None for all.
        lost: Places of lines that are in no output file though the batch is complete.
        is_reply_lost: The batch is made, and the connection closed without an answer to its making.
    """

    looks: int | None = 1
    status: str = "completed"
    answered: int | None = None
    lost: tuple[int, ...] = ()
    is_reply_lost: bool = False


@dataclass
class Batch:
    """One batch.

    Attributes:
        id: Its id.
        lines: Its requests.
        metadata: What the client said of it.
        fate: What becomes of it.
        looks: How often it was looked at.
    """

    id: str
    lines: list[dict[str, Any]]
    metadata: dict[str, str]
    fate: Fate
    looks: int = 0
    answers: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)


class BatchDesk:
    """Answers the paths of files and batches.

    Args:
        answer: Answers one chat completion: takes its body, returns the reply.

    Attributes:
        fates: What becomes of the first batch, the second, and so on; of all others, the last.
        batches: All that were made.
    """

    def __init__(self, answer: Callable[[bytes], Reply]) -> None:
        self.fates: list[Fate] = [Fate()]
        self.batches: list[Batch] = []
        self._answer = answer
        self._files: dict[str, bytes] = {}

    def reply(self, method: str, path: str, content: bytes) -> Reply:
        """The reply to a request for one of the paths."""
        place = path.partition("?")[0].removeprefix("/v1/").split("/")
        match method, place:
            case "POST", ["files"]:
                return self._take_file(content)
            case "GET", ["files", file_id, "content"]:
                return Reply(200, self._files[file_id])
            case "POST", ["batches"]:
                return self._begin(json.loads(content))
            case "GET", ["batches"]:
                return _json({"object": "list", "data": [self._state(batch) for batch in self.batches]})
            case "GET", ["batches", batch_id]:
                return self._look(batch_id)
        return Fault(404, f"no such path: {method} {path}").reply()

    def _take_file(self, content: bytes) -> Reply:
        """Take in a multipart form: the one part with a file's name is the file."""
        mark = content.partition(b"\r\n")[0]
        parts = (part.partition(b"\r\n\r\n") for part in content.split(mark))
        body = next(body for head, _, body in parts if re.search(rb'filename="', head))
        file_id = self.keep(body.removesuffix(b"\r\n"))
        facts = {"object": "file", "bytes": len(body), "created_at": 0, "purpose": "batch", "status": "processed"}
        return _json({"id": file_id, "filename": "requests.jsonl", **facts})

    def keep(self, content: bytes) -> str:
        """Keep a file; returns its id."""
        file_id = f"file-{len(self._files)}"
        self._files[file_id] = content
        return file_id

    def _begin(self, body: dict[str, Any]) -> Reply:
        lines = [json.loads(line) for line in self._files[body["input_file_id"]].splitlines()]
        fate = self.fates[min(len(self.batches), len(self.fates) - 1)]
        batch = Batch(f"batch-{len(self.batches)}", lines, body.get("metadata") or {}, fate)
        self.batches.append(batch)
        if fate.status != "failed":
            self._work(batch)
        return Reply(0, ending="drop") if fate.is_reply_lost else _json(self._state(batch))

    def _work(self, batch: Batch) -> None:
        for place, line in enumerate(batch.lines[: batch.fate.answered]):
            reply = self._answer(json.dumps(line["body"]).encode())
            response = {"status_code": reply.status, "request_id": "r", "body": json.loads(reply.body or b"{}")}
            entry = {"id": f"line-{place}", "custom_id": line["custom_id"], "response": response, "error": None}
            if place not in batch.fate.lost:
                (batch.answers if reply.status == 200 else batch.errors).append(entry)
        for line in batch.lines[len(batch.lines[: batch.fate.answered]) :]:
            error = {"code": "batch_expired", "message": "This request could not be executed before it expired."}
            batch.errors.append({"id": "x", "custom_id": line["custom_id"], "response": None, "error": error})

    def _look(self, batch_id: str) -> Reply:
        batch = next((batch for batch in self.batches if batch.id == batch_id), None)
        if batch is None:
            return Fault(404, f"no such batch: {batch_id}").reply()
        batch.looks += 1
        return _json(self._state(batch))

    def _state(self, batch: Batch) -> dict[str, Any]:
        fate = batch.fate
        has_ended = fate.looks is not None and batch.looks >= fate.looks
        files = {"output_file_id": None, "error_file_id": None}
        if has_ended and fate.status != "failed":
            files["output_file_id"] = self.keep(_jsonl(batch.answers)) if batch.answers else None
            files["error_file_id"] = self.keep(_jsonl(batch.errors)) if batch.errors else None
        fault = {"code": "invalid", "message": "The file is not valid.", "line": 1, "param": None}
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "created_at": 0,
            "input_file_id": "file-0",
            "status": fate.status if has_ended else "in_progress",
            "metadata": batch.metadata,
            "errors": {"object": "list", "data": [fault]} if has_ended and fate.status == "failed" else None,
            **files,
        }


def _json(value: Any) -> Reply:
    return Reply(200, json.dumps(value).encode())


def _jsonl(entries: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


class RefusedError(Exception):
    """What a client raises where the server says no."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body.decode())
        self.status_code = reply.status


class DeskEndpoint:
    """The batch endpoint of a desk without HTTP, so that a test need not import litellm."""

    def __init__(self, desk: BatchDesk) -> None:
        self._desk = desk

    async def submit(self, requests: Mapping[str, Mapping[str, Any]], label: str) -> str:
        """Begin a batch."""
        lines = ({"custom_id": own_id, "body": body} for own_id, body in requests.items())
        file_id = self._desk.keep(_jsonl(list(lines)))
        body = {"input_file_id": file_id, "metadata": {"flex_dspy": label}}
        return str(self._ask("POST", "/v1/batches", json.dumps(body).encode())["id"])

    async def find(self, label: str) -> str | None:
        """The id of the batch with a label."""
        batches = self._ask("GET", "/v1/batches")["data"]
        return next((batch["id"] for batch in batches if batch["metadata"].get("flex_dspy") == label), None)

    async def status(self, batch_id: str) -> BatchStatus:
        """Where a batch stands."""
        state = self._ask("GET", f"/v1/batches/{batch_id}")
        files = tuple(filter(None, (state["output_file_id"], state["error_file_id"])))
        states = {"in_progress": "running", "completed": "ended", "expired": "ended"}
        message = state["errors"]["data"][0]["message"] if state["errors"] else ""
        return BatchStatus(states.get(state["status"], state["status"]), files, message)  # type: ignore[arg-type]

    async def answers(self, status: BatchStatus) -> dict[str, Answer]:
        """The answers of a batch that has ended."""
        found: dict[str, Answer] = {}
        for file_id in status.files:
            content = self._desk.reply("GET", f"/v1/files/{file_id}/content", b"").body
            found |= read_answers(content.splitlines())
        return found

    def _ask(self, method: str, path: str, content: bytes = b"") -> dict[str, Any]:
        reply = self._desk.reply(method, path, content)
        if not reply.status:
            raise ConnectionResetError("the server closed the connection")
        if reply.status != 200:
            raise RefusedError(reply)
        found: dict[str, Any] = json.loads(reply.body)
        return found
