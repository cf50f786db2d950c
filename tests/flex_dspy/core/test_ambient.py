"""Values that pass through DSPy's code."""

import asyncio

import dspy

from flex_dspy.core.ambient import Ambient

COLOUR = Ambient("a colour", "none")
SIZE = Ambient("a size", 0)


class Look(dspy.Module):
    def forward(self, number: int) -> dspy.Prediction:
        return dspy.Prediction(number=number, colour=COLOUR.get())


def test_blocks_nest_and_values_do_not_meet():
    with COLOUR.within("red"), SIZE.within(2):
        with COLOUR.within("blue"):
            assert (COLOUR.get(), SIZE.get()) == ("blue", 2)
        assert COLOUR.get() == "red"
    assert (COLOUR.get(), SIZE.get()) == ("none", 0)


def test_tasks_see_the_value_around_them_and_none_of_each_other():
    async def look(colour: str) -> list[str]:
        with COLOUR.within(colour):
            await asyncio.sleep(0)
            return [COLOUR.get(), await asyncio.to_thread(COLOUR.get)]

    async def both() -> list[list[str]]:
        return await asyncio.gather(look("red"), look("blue"))

    assert asyncio.run(both()) == [["red", "red"], ["blue", "blue"]]


def test_threads_of_dspys_own_see_it():
    with COLOUR.within("red"):
        seen = dspy.Parallel(num_threads=2, disable_progress_bar=True)([(Look(), {"number": n}) for n in range(3)])
    assert [prediction.colour for prediction in seen] == ["red"] * 3
