import asyncio

import dspy
import pytest

from flex_dspy import ExperienceLibrary, ForwardLearning, equip, evaluate, language_model
from tests.pipelines import PIPELINES, model

pytestmark = pytest.mark.parametrize("shape", PIPELINES)


@pytest.fixture
def server(llm_server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    llm_server.script = model
    dspy.configure(lm=language_model("openai/test", api_base=llm_server.url, cache=False))
    return llm_server


def ask(program, example):
    """The answer; by ``acall`` where the program has no other way."""
    if not hasattr(program, "forward"):
        return asyncio.run(program.acall(**example.inputs()))
    return program(**example.inputs())


def asked(server):
    """The prompts since the last time, in an order that does not depend on which came first."""
    prompts = sorted(str(request.messages) for request in server.requests)
    server.requests.clear()
    return prompts


def test_without_experience_it_asks_and_answers_as_the_bare_program_does(server, shape):
    example = PIPELINES[shape].examples(1)[0]
    program = PIPELINES[shape].make()
    answer, prompts = ask(program, example), asked(server)
    equipped = equip(program, ExperienceLibrary())
    assert isinstance(equipped, type(program))
    assert ask(equipped, example).toDict() == answer.toDict()
    assert asked(server) == prompts


def test_it_learns_and_the_bare_program_is_untouched(server, shape, tmp_path):
    pipeline = PIPELINES[shape]
    program = pipeline.make()
    train, val = pipeline.examples(6), pipeline.examples(6, start=20)
    optimizer = ForwardLearning(pipeline.metric, library=tmp_path / "library.json", max_rounds=2, progress=False)
    learned = optimizer.compile(program, trainset=train, valset=val)
    assert optimizer.versions[0].metrics["accuracy"] == 0.0
    assert optimizer.versions[-1].metrics["accuracy"] == 1.0
    assert evaluate(learned, val, pipeline.metric, progress=False).accuracy == 1.0
    assert evaluate(program, val, pipeline.metric, progress=False).accuracy == 0.0
    entry = next(iter(ExperienceLibrary.load(tmp_path / "library.json")))
    assert entry.zone == "mixed"  # it was told of its rejected answer, and mended it
    assert not optimizer.failures


def test_the_critic_reads_the_steps_that_led_to_the_answer(server, shape):
    pipeline = PIPELINES[shape]
    ForwardLearning(pipeline.metric, max_rounds=1, max_rollouts=1, progress=False).compile(
        pipeline.make(), trainset=pipeline.examples(1)
    )
    names = [name for name, _ in pipeline.make().named_predictors()]
    [critic] = server.of("critic")
    steps = [line for line in critic.inputs["attempts"].splitlines() if line.startswith("  step ")]
    in_the_answer = "  trajectory: " in critic.inputs["attempts"]  # an agent's calls, which are no steps then
    assert (bool(steps) or in_the_answer) == (len(server.of("actor")) > 1 or in_the_answer)
    assert all(any(f"step {name}: " in step for name in names) for step in steps)
