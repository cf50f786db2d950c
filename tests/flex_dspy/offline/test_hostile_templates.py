"""Templates that would take RDKit hours: refused where their text shows it, else ended by the worker's time limit."""

import asyncio
import json
from pathlib import Path
from typing import Any

import dspy
import pytest

from flex_dspy.evaluation.evaluate import evaluate
from flex_dspy.libraries.experience import Experience, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.offline import worker_process
from flex_dspy.offline.application import apply_template, read_template
from flex_dspy.offline.chemist import _TEMPLATE
from flex_dspy.offline.disconnections import NO_CANDIDATE, TOO_COSTLY, DisconnectionTool
from flex_dspy.offline.engine import AsyncOfflineEngine, OfflineEngine
from flex_dspy.offline.general import generalize
from flex_dspy.offline.template_limits import MAX_ATOMS, MAX_LENGTH, is_bounded
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.task import OFFLINE_RETRIEVAL

CHAIN = "C" * 60
# A walk through a cage of fused rings has two ways on at each atom. No limit on the text can tell it from chemistry.
CAGE = (
    "c12c3c4c5c1c1c6c7c2c2c8c3c3c9c4c4c%10c5c5c1c1c6c6c%11c7c2c2c7c8c3c3c8c9c4c4c9c%10c5c5c1c1c6c6c%11c2c2c7c3c3c8"
    "c4c4c9c5c1c1c6c2c3c41"
)
CORONENE = "c1cc2ccc3ccc4ccc5ccc6ccc1c1c2c3c4c5c16"
# The screening (see ``flex_dspy.offline.screening``) does not read [#7]. With [N] it would see that the cage has none.
WALK = "[c:1]" + ":[c]" * 40 + "-[#7]>>[c:1]"
AMIDE = "[C:1](=[O:2])-;!@[N:3]>>[C:1](=[O:2])-[O].[N:3]"


def lesson(template: str, product: str) -> Experience:
    case = Precedent("e1", product, "CC(=O)O.CN")
    return Experience("golden", "Cut.", (Rule(f"Disconnect with the retro template `{template}`"),), precedents=(case,))


HOSTILE = ExperienceLibrary([lesson(WALK, CORONENE), lesson(AMIDE, "CC(=O)NC")], task="uspto50k")


@pytest.mark.parametrize(
    "template",
    [
        "([*:1].[*].[*].[*].[*].[#92])>>[*:1]",
        "([C:1].[C].[C].[#92])>>[C:1]",
        "[$([$([*].[*].[*].[*].[#92]):1]):1]>>[*:1]",
        "[$([*].[*].[*].[*].[#92]):1]>>[*:1]",
        "[$([C;$([C;$(C~*)])]):1]>>[C:1]",
        "[$(*~*~*~*~*~*~*~*~[#92]):1]>>[*:1]",
        "[" + ",".join(["$(CC)"] * 5) + ":1]>>[C:1]",
        "[*:1]" + "~[*]" * 20 + "~[#92]>>[*:1]",
        "[!#1:1]" + "~[D2]" * 20 + "~[#92]>>[*:1]",
        "[C:1]" + "-[C]" * MAX_ATOMS + ">>[C:1]",
        "[C:1]>>[$([*].[*].[*]):1]",
        "[$(" * 300 + "C" + ")]" * 300 + ">>C",
        "[$(C:1]>>[C:1]",
        "[C:1]>>" + "C" * MAX_LENGTH,
    ],
)
def test_a_template_of_unbounded_cost_is_none(template: str) -> None:
    assert not is_bounded(template)
    assert read_template(template) is None
    assert generalize(template) is None
    assert apply_template(template, CHAIN) == []


@pytest.mark.parametrize(
    "template",
    [
        AMIDE,
        "([C:1]-[O].[N:2])>>[C:1].[N:2]",
        "[$([CX4]):1]-;!@[O:2]>>[C:1]-[Cl].[O:2]",
        "[#6:1]-[Al:2]-[13C:3]-[se:4]-[Br:5]-[nH:6]-[OX2:7]>>[C:1]",
        "[*:1]-;!@[N:2](-[*:3])-[A:4]>>[*:1].[N:2]",
    ],
)
def test_a_template_that_a_chemist_writes_is_bounded(template: str) -> None:
    assert is_bounded(template)


def test_every_shipped_template_is_bounded() -> None:
    text = Path("exps/uspto50k.json").read_text()
    templates = {json.loads(f'"{found}"') for found in _TEMPLATE.findall(text)}
    assert len(templates) > 100
    assert all(map(is_bounded, templates))
    assert all(is_bounded(form) for form in map(generalize, templates) if form)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model with one worker, which has 1 s of the processor for each prompt, as have the shared ones."""
    monkeypatch.setattr(worker_process, "CPU_SECONDS", 1.0)
    worker_process._process_worker.cache_clear()
    engine = AsyncOfflineEngine(workers=1)
    yield dspy.LM("offline/chemist", engine=OfflineEngine(), async_engine=engine, cache=False)
    engine.close()
    worker_process.process_worker("chemist").close()
    worker_process._process_worker.cache_clear()


def test_the_prompt_fails_and_the_next_has_a_new_worker(brief: dspy.LM) -> None:
    actor = get_task("uspto50k").actor(HOSTILE, **OFFLINE_RETRIEVAL)

    async def both() -> list[Any]:
        asked = [actor.acall(product=CAGE), actor.acall(product="CCC(=O)NCC")]  # the second waits for its turn
        return await asyncio.gather(*asked, return_exceptions=True)

    with dspy.context(lm=brief, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        failed, answered = asyncio.run(both())
        assert isinstance(failed, dspy.utils.exceptions.LMInvalidRequestError)
        assert "more than 1 s of computing time" in str(failed)
        assert answered.reactants == "CCC(=O)O.CCN"
        with pytest.raises(dspy.utils.exceptions.LMInvalidRequestError, match="more than 1 s of computing time"):
            actor(product=CAGE)
        assert actor(product="CCC(=O)NCC").reactants == "CCC(=O)O.CCN"


def test_an_evaluation_reports_the_example_as_failed_and_goes_on(brief: dspy.LM) -> None:
    task = get_task("uspto50k")
    examples = [
        dspy.Example(product=product, reactants=reactants, id=name).with_inputs("product")
        for name, product, reactants in (("cage", CAGE, "CC"), ("amide", "CCC(=O)NCC", "CCC(=O)O.CCN"))
    ]
    with dspy.context(lm=brief):
        measured = evaluate(task.actor(HOSTILE, **OFFLINE_RETRIEVAL), examples, task.metric)
    cage, amide = measured.records
    assert "computing time" in cage.error
    assert (amide.error, amide.score) == ("", 1.0)


def test_the_disconnection_tool_says_that_it_costs_too_much(brief: dspy.LM) -> None:
    tool = DisconnectionTool(ExperienceRetriever(HOSTILE, views=["structural"], exclude_self=False))
    assert tool(product=CAGE) == TOO_COSTLY
    assert tool(product="CCC(=O)NCC").startswith("1. CCC(=O)O.CCN")
    assert tool(product="C" * 5_000) == NO_CANDIDATE
