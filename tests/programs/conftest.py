"""Calling a program both ways, in both formats."""

import asyncio
from collections.abc import Callable
from typing import Any

import dspy
import pytest

Ask = Callable[..., dspy.Prediction]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Call a program synchronously, then asynchronously."""

    def ask_sync(program: dspy.Module, **inputs: Any) -> dspy.Prediction:
        return program(**inputs)

    def ask_async(program: dspy.Module, **inputs: Any) -> dspy.Prediction:
        return asyncio.run(program.acall(**inputs))

    return ask_sync if request.param == "sync" else ask_async


@pytest.fixture(params=[dspy.ChatAdapter, dspy.JSONAdapter])
def adapter(request: pytest.FixtureRequest) -> dspy.Adapter:
    """Each of the two formats, configured."""
    dspy.configure(adapter=request.param())
    return dspy.settings.adapter
