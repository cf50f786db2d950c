"""Whatever a notebook's cell calls works while the notebook's event loop runs."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest

from flex_dspy.evaluation.evaluate import Evaluation, evaluate
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.lm import language_model
from flex_dspy.tasks.registry import get_task

TASK = get_task("uspto50k")


async def cells() -> dict[str, Any]:
    """Learn, measure, ask and edit, as cells do one after the other."""
    assert asyncio.get_running_loop().is_running()
    train, val = TASK.load("train").examples[:12], TASK.load("val").examples[:4]
    with dspy.context(lm=language_model("offline", expert="chemist")):
        optimizer = ForwardLearning(TASK.metric, max_rounds=2, max_rollouts=1, checkpoint_every=12)
        learned = optimizer.compile(TASK.actor(), trainset=train, valset=val)
        shown = {
            "evaluation": evaluate(learned, val, TASK.metric),
            "answer": learned(product=val[0].product).reactants,
            "the same": (await learned.acall(product=val[0].product)).reactants,
            "retrieved": learned.retriever(val[0].product).experiences,
        }
    library: ExperienceLibrary = learned.retriever.library
    first, second = list(library)[:2]
    edited = library.pin(first.id).veto(second.id)
    return shown | {
        "versions": optimizer.versions,
        "library": edited,
        "hits": edited.search(val[0].product, k=3),
        "diff": edited.diff(library),
        "merged": edited.merge(library),
        "entry": first,
    }


def test_the_cells_of_a_notebook_run_and_show_what_they_give(capsys: pytest.CaptureFixture[str]) -> None:
    shown = asyncio.run(cells())
    for name in ("evaluation", "versions", "library", "hits", "diff", "merged", "entry"):
        assert shown[name]._repr_html_().startswith("<style>"), name
    assert shown["answer"] == shown["the same"]
    assert "<experiences>" in shown["retrieved"]
    assert isinstance(shown["evaluation"], Evaluation)
    assert len(shown["diff"].to_pandas()) == 2
    bars = capsys.readouterr().err
    assert "learning: 100%" in bars
    assert "measuring" not in bars  # a bar within a bar is for terminals
