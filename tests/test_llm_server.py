"""The test server itself: what it claims of its faults, its counts and its speed."""

import contextlib
import http.client
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import dspy
import pytest

from tests.llm_faults import HARMLESS, KINDS, UNCOUNTED, Faults, Latency
from tests.llm_server import LLMServer

PROMPT = "[[ ## question ## ]]\nWhy?\n\nRespond with `[[ ## answer ## ]]`"
BODY = {"model": "test", "messages": [{"role": "user", "content": PROMPT}]}


def post(server: LLMServer, timeout: float = 5.0) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.split(":")[2][:-3]), timeout=timeout)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(BODY))
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def readable(body: bytes) -> bool:
    """Whether a body is an answer in the format that was asked for."""
    try:
        choice = json.loads(body)["choices"][0]
    except (ValueError, KeyError):
        return False
    return choice["finish_reason"] == "stop" and "[[ ## answer ## ]]\nBecause." in (choice["message"]["content"] or "")


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_a_fault_is_what_it_says_and_is_noted(llm_server, kind):
    llm_server.script = lambda role, inputs, messages: {"answer": "Because."}
    llm_server.faults = Faults(1.0, kinds=[kind])
    if kind in ("hang", "drop", "cut"):
        with pytest.raises((TimeoutError, ConnectionError, http.client.HTTPException)):
            post(llm_server, timeout=0.1)
    else:
        status, body, headers = post(llm_server)
        assert readable(body) == (kind in HARMLESS)
        assert (status == 200) == (kind[:3] not in ("429", "500", "502", "503", "con"))
        assert ("Retry-After" in headers) == (kind[:3] in ("429", "500", "502", "503") and kind != "429")
        assert (b'"usage"' in body) == (status == 200 and kind not in UNCOUNTED)
    [request] = llm_server.requests
    assert (request.fault, request.usable) == (kind, kind in HARMLESS)


def test_faults_are_drawn_by_request_and_repetition():
    faults = Faults(0.3, seed=4)
    drawn = [faults.draw(f"{digest}", times) for digest in range(1_000) for times in (1, 2)]
    assert drawn == [faults.draw(f"{digest}", times) for digest in range(1_000) for times in (1, 2)]
    counts = Counter(drawn)
    assert counts.keys() == {"", *KINDS}
    assert sum(counts[kind] for kind in KINDS) == pytest.approx(600, abs=70)
    assert drawn[::2] != drawn[1::2]
    assert drawn != [Faults(0.3, seed=5).draw(f"{digest}", times) for digest in range(1_000) for times in (1, 2)]


def test_sixty_four_answers_at_once_each_after_its_latency(llm_server):
    llm_server.script = lambda role, inputs, messages: {"answer": "Because."}
    llm_server.latency = Latency(median=0.5, low=0.4, high=0.6)

    start = time.perf_counter()
    with ThreadPoolExecutor(64) as pool:
        list(pool.map(post, [llm_server] * 64))
    assert time.perf_counter() - start < 5
    assert llm_server.most_in_flight > 32
    assert min(request.seconds for request in llm_server.requests) >= 0.4
    assert len({round(request.seconds, 3) for request in llm_server.requests}) > 10


def test_a_client_is_told_what_the_server_counts(llm_server, lm):
    llm_server.script = lambda role, inputs, messages: {"answer": "Because."}
    llm_server.faults = Faults(0.5, seed=1, kinds=["500", "empty", "half of the JSON"])
    with dspy.track_usage() as tracker:
        for number in range(20):
            with contextlib.suppress(dspy.DSPyError):
                dspy.Predict("question -> answer")(question=f"Why {number}?")
    told = tracker.get_total_tokens()["openai/test"]
    counted = llm_server.usage["all"]
    assert (told["prompt_tokens"], told["completion_tokens"]) == (counted.prompt_tokens, counted.completion_tokens)
    assert 0 < counted.calls < len(llm_server.requests)


def test_a_react_step_is_an_actors(llm_server, lm):
    def script(role: str, inputs: dict[str, str], messages: list[dict[str, str]]) -> dict[str, object]:
        if "next_tool_name" not in messages[-1]["content"].rpartition("Respond with")[2]:
            return {"reasoning": "It was looked up.", "answer": "42"}
        done = "x is 42" in str(messages)
        finish = {"next_tool_name": "finish", "next_tool_args": {}}
        look_it_up = {"next_tool_name": "look_up", "next_tool_args": {"key": "x"}}
        return {"next_thought": "What is it?", **(finish if done else look_it_up)}

    def look_up(key: str) -> str:
        return f"{key} is 42"

    llm_server.script = script
    assert dspy.ReAct("question -> answer", tools=[look_up])(question="What is x?").answer == "42"
    assert [request.role for request in llm_server.requests] == ["actor"] * 3
