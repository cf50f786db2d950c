"""Waiting: for requests and tokens a minute, for a place, and for what a provider asks."""

import asyncio
import copy
import threading
import time

import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.models.limits import FIRST_GUESS, Limits, Pace


def starts(pace: Pace, amounts: list[float], every: float = 0.0) -> list[float]:
    return [pace.reserve(amount, number * every) for number, amount in enumerate(amounts)]


def most_in_a_minute(at: list[float], amounts: list[float]) -> float:
    return max(sum(a for t, a in zip(at, amounts, strict=True) if start <= t < start + 60) for start in at)


@pytest.mark.parametrize("per_minute", [6, 60, 600])
def test_a_minute_never_holds_more_than_the_rate_and_a_second_of_it(per_minute):
    amounts = [1.0] * (per_minute * 3)
    at = starts(Pace(per_minute), amounts)
    assert most_in_a_minute(at, amounts) <= per_minute + max(1, per_minute / 60)
    assert at[-1] == pytest.approx(180, rel=0.2)  # and all of it is used


def test_what_is_booked_before_is_paid_off_first():
    pace = Pace(6_000)  # 100 a second
    assert pace.reserve(1_000, 0) == 0
    assert pace.reserve(10, 0) == pytest.approx(10, abs=1)
    assert pace.reserve(10, 500) == 500


def test_time_that_nobody_used_is_not_saved_up():
    at = starts(Pace(60), [1.0] * 5)
    late = Pace(60)
    late.reserve(1, 0)
    assert [late.reserve(1, 1_000) - 1_000 for _ in range(5)] == at


@pytest.mark.parametrize(("by", "expected"), [(500, 15), (-500, 5)])
def test_a_correction_moves_the_next_start(by, expected):
    pace = Pace(6_000)
    pace.reserve(1_000, 0)
    pace.correct(by, 1)
    assert pace.reserve(1, 1) == pytest.approx(expected, abs=1)


def test_without_a_limit_nothing_waits():
    assert starts(Pace(None), [1e9] * 3) == [0, 0, 0]


@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute", "concurrency"])
def test_a_limit_is_positive(name):
    with pytest.raises(ConfigurationError, match=f"{name} must be positive, got 0"):
        Limits(**{name: 0})
    for number in (float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match=f"{name} must be positive, got {number}"):
            Limits(**{name: number})


def test_copies_are_the_same_limits():
    limits = Limits(60)
    assert copy.copy(limits) is limits
    assert copy.deepcopy({"a": limits})["a"] is limits


def test_active():
    limits = Limits()
    assert not limits.active
    limits.pause(30)
    assert limits.active
    assert Limits(concurrency=3).active
    assert repr(Limits(60, concurrency=3)) == "Limits(requests_per_minute=60, concurrency=3)"


def test_requests_are_spaced_across_threads_and_event_loops():
    limits = Limits(requests_per_minute=60 * 20)  # twenty a second, a burst of twenty
    at: list[float] = []

    def one() -> None:
        with limits.turn():
            at.append(time.monotonic())

    async def several(count: int) -> None:
        async def single() -> None:
            async with limits.aturn():
                at.append(time.monotonic())

        await asyncio.gather(*(single() for _ in range(count)))

    begun = time.monotonic()
    threads = [threading.Thread(target=one) for _ in range(10)]
    for thread in threads:
        thread.start()
    asyncio.run(several(10))
    asyncio.run(several(10))
    for thread in threads:
        thread.join()
    assert len(at) == 30
    assert max(at) - begun >= 0.45
    assert sum(t < begun + 0.2 for t in at) <= 26


def test_concurrency_across_threads_and_event_loops():
    limits = Limits(concurrency=3)
    under_way = most = done = 0
    lock = threading.Lock()

    def enter(by: int) -> None:
        nonlocal under_way, most, done
        with lock:
            under_way += by
            most = max(most, under_way)
            done += by < 0

    def one() -> None:
        with limits.turn():
            enter(1)
            time.sleep(0.01)
            enter(-1)

    async def several() -> None:
        async def single() -> None:
            async with limits.aturn():
                enter(1)
                await asyncio.sleep(0.01)
                enter(-1)

        await asyncio.gather(*(single() for _ in range(15)))

    threads = [threading.Thread(target=one) for _ in range(15)]
    for thread in threads:
        thread.start()
    asyncio.run(several())
    for thread in threads:
        thread.join()
    assert (most, done) == (3, 30)


def test_a_place_that_was_given_up_goes_to_the_next():
    limits = Limits(concurrency=1)

    async def scenario() -> list[str]:
        came = []

        async def one(name: str, seconds: float) -> None:
            async with limits.aturn():
                came.append(name)
                await asyncio.sleep(seconds)

        first = asyncio.create_task(one("first", 30))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(one("second", 30))
        third = asyncio.create_task(one("third", 0))
        await asyncio.sleep(0.01)
        second.cancel()  # while it waits
        first.cancel()  # while it holds the place
        await asyncio.wait_for(third, 5)
        await asyncio.gather(first, second, return_exceptions=True)
        return came

    assert asyncio.run(scenario()) == ["first", "third"]
    with limits.turn():
        pass


def test_a_failure_gives_the_place_back():
    limits = Limits(concurrency=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="asked badly"), limits.turn():
            raise ValueError("asked badly")


def test_a_pause_holds_everybody_and_keeps_the_pace():
    limits = Limits(requests_per_minute=60 * 50)
    at: list[float] = []

    async def one() -> None:
        async with limits.aturn():
            at.append(time.monotonic())

    async def scenario() -> None:
        await asyncio.gather(*(one() for _ in range(50)))  # the burst
        waiting = [asyncio.create_task(one()) for _ in range(10)]  # 20 ms apart, all before the pause ends
        await asyncio.sleep(0)
        limits.pause(0.3)
        limits.pause(0.1)  # shorter than what is left
        await asyncio.gather(*waiting)

    begun = time.monotonic()
    asyncio.run(scenario())
    after = sorted(at)[50:]
    assert after[0] - begun >= 0.3
    assert after[-1] - after[0] >= 0.1


def test_tokens_are_booked_by_an_estimate_and_corrected():
    limits = Limits(tokens_per_minute=60_000)
    with limits.turn(prompt_tokens=100) as turn:
        assert turn.reserved == 100 + FIRST_GUESS
        turn.settle(100, 40)
        assert turn.reserved == 140
    with limits.turn(prompt_tokens=100) as turn:
        assert turn.reserved == 140  # the mean answer so far
    with limits.turn(prompt_tokens=100, max_tokens=10) as turn:
        assert turn.reserved == 110


def test_a_token_limit_waits():
    limits = Limits(tokens_per_minute=60_000)  # a thousand a second
    with limits.turn(prompt_tokens=1_000) as turn:
        turn.settle(1_000, 300)
    begun = time.monotonic()
    with limits.turn(prompt_tokens=1):
        assert time.monotonic() - begun >= 0.25
