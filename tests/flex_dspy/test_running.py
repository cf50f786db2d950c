"""Calling programs from wherever the caller stands."""

import asyncio
import threading

import dspy
import pytest
from dspy.utils.exceptions import LMAuthError, LMServerError

from flex_dspy.errors import ConfigurationError, LibraryError, ModelError
from flex_dspy.running import call, raise_if_systemic, run_sync


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
