"""Calling programs from wherever the caller stands."""

import asyncio
import threading

import dspy
import pytest
from dspy.utils.exceptions import (
    AdapterParseError,
    ContextWindowExceededError,
    LMAuthError,
    LMInvalidRequestError,
    LMServerError,
    LMUnsupportedModelError,
)

from flex_dspy.core.errors import ConfigurationError, LibraryError, ModelError
from flex_dspy.core.running import call, overflows, raise_if_systemic, run_sync, select_inputs, takes, unreadable


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def fail() -> None:
    raise KeyError("lost")


def test_a_coroutine_runs_without_a_loop():
    assert run_sync(double(21)) == 42


def test_a_coroutine_runs_inside_a_loop_as_in_a_notebook():
    async def cell() -> int:
        return run_sync(double(21))

    assert asyncio.run(cell()) == 42


def test_its_error_is_the_callers_either_way():
    async def cell() -> None:
        run_sync(fail())

    with pytest.raises(KeyError, match="lost"):
        run_sync(fail())
    with pytest.raises(KeyError, match="lost"):
        asyncio.run(cell())


def test_dspys_settings_are_seen_on_the_other_thread():
    async def setting() -> tuple[int, bool]:
        return dspy.settings.num_threads, threading.current_thread() is threading.main_thread()

    async def cell() -> tuple[int, bool]:
        with dspy.context(num_threads=3):
            return run_sync(setting())

    assert asyncio.run(cell()) == (3, False)


class Sync(dspy.Module):
    def forward(self, number: int) -> dspy.Prediction:
        return dspy.Prediction(number=number, thread=threading.current_thread(), threads=dspy.settings.num_threads)


class Async(Sync):
    async def aforward(self, number: int) -> dspy.Prediction:
        return self.forward(number)


@pytest.mark.parametrize(("program", "on_the_loop"), [(Sync(), False), (Async(), True)])
def test_a_program_that_would_block_the_loop_runs_beside_it(program, on_the_loop):
    with dspy.context(num_threads=3):
        found = asyncio.run(call(program, number=42))
    assert (found.number, found.threads) == (42, 3)
    assert (found.thread is threading.main_thread()) is on_the_loop


@pytest.mark.parametrize("error", [ValueError("bad"), LMServerError("busy"), TimeoutError()])
def test_an_examples_own_errors_pass(error):
    raise_if_systemic(error)


def test_a_wrong_key_becomes_this_projects_error():
    with pytest.raises(ModelError, match="no such key") as caught:
        raise_if_systemic(LMAuthError("no such key"))
    assert isinstance(caught.value.__cause__, LMAuthError)


@pytest.mark.parametrize("error", [ConfigurationError("c"), ModelError("m"), LibraryError("f", "1", "bad", "Fix.")])
def test_this_projects_errors_go_through_as_they_are(error):
    with pytest.raises(type(error)) as caught:
        raise_if_systemic(error)
    assert caught.value is error


@pytest.mark.parametrize(
    ("message", "long"),
    [
        ("This model's maximum context length is 8192 tokens", True),
        ("prompt is too long: 9001 tokens", True),
        ("Input exceeds the context window", True),
        ("max_tokens is too large", False),
        ("unknown field", False),
    ],
)
def test_a_prompt_too_long_is_known_by_what_the_server_says(message, long):
    assert overflows(LMInvalidRequestError(message)) is long
    assert not overflows(LMServerError(message))
    assert overflows(ContextWindowExceededError())


def raised_after(first: Exception, second: Exception) -> Exception:
    try:
        try:
            raise first
        except Exception:
            raise second  # noqa: B904 (as DSPy's second request does)
    except Exception as error:
        return error


def test_an_answer_that_cannot_be_read_is_told_from_one_that_never_came():
    bad = AdapterParseError("ChatAdapter", dspy.Signature("question -> answer"), "?")
    assert unreadable(bad)
    assert unreadable(raised_after(bad, LMInvalidRequestError("no response_format here")))
    assert not unreadable(raised_after(bad, ContextWindowExceededError()))
    assert not unreadable(raised_after(bad, LMUnsupportedModelError("no such model")))
    assert not unreadable(raised_after(bad, LMServerError("busy")))
    assert not unreadable(LMInvalidRequestError("unknown field"))


class Takes(dspy.Module):
    def __init__(self, signature: str = "question -> answer") -> None:
        super().__init__()
        self.inner = dspy.ChainOfThought(signature)


class Named(Takes):
    def forward(self, question, hint=""):
        return dspy.Prediction()


class NamedAsync(Takes):
    async def aforward(self, question, hint=""):
        return dspy.Prediction()


class Open(Takes):
    def forward(self, **inputs):
        return self.inner(**inputs)


class Closed(Takes):
    def forward(self, question):
        return self.inner(question=question, hint="")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (Named(), True),
        (NamedAsync(), True),
        (Open(), False),
        (Open("question, hint -> answer"), True),
        (Closed("question, hint -> answer"), False),
        (dspy.Predict("question, hint -> answer"), True),
        (dspy.Predict("question -> answer"), False),
        (dspy.ReAct("question, hint -> answer", tools=[]), True),
    ],
)
def test_whether_a_program_takes_an_input(program, expected):
    assert takes(program, "hint") is expected


class Plain(dspy.Module):
    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer="forward")

    async def aforward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer="aforward")


class OwnForward(Plain):
    def forward(self, question: str, hint: str = "") -> dspy.Prediction:
        return dspy.Prediction(answer="my own")


@pytest.mark.parametrize(("program", "answer"), [(Plain(), "aforward"), (OwnForward(), "my own")])
def test_a_forward_that_a_user_wrote_is_the_one_that_is_called(program, answer):
    assert run_sync(call(program, question="?")).answer == answer
    assert select_inputs(program, hint="") == ({"hint": ""} if answer == "my own" else {})
