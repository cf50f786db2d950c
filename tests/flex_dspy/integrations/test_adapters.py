"""Adapters with the real packages: the pages' examples learn in one run and use the lesson in the next."""

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

from flex_dspy import language_model
from flex_dspy.integrations.lessons import AgentLessons
from flex_dspy.learning.online import OnlineLearner
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.lm import close
from flex_dspy.programs.equip import equip
from tests.documentation import assumed
from tests.documentation.pages import DOCS, blocks
from tests.llm_server import LLMServer

QUESTION = "What does the Kettle cost?"
# The packages' own clients are closed by nobody; their users do not either.
LEAVES_CLIENTS_OPEN = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@pytest.fixture
def server(llm_server: LLMServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LLMServer]:
    monkeypatch.setenv("BASE_URL", llm_server.url)
    monkeypatch.setenv("API_KEY", "test-key")
    monkeypatch.chdir(tmp_path)
    llm_server.script = assumed.model
    dspy.configure(lm=language_model("openai/gpt-4o"))
    try:
        yield llm_server
    finally:
        close(dspy.settings.lm)
        close_default_loop()


def close_default_loop() -> None:
    """Close the event loop that a package made for this thread, with the clients that were left open in it."""
    with contextlib.suppress(RuntimeError):
        asyncio.get_event_loop_policy().get_event_loop().close()
    asyncio.set_event_loop(None)
    gc.collect()  # what these packages leave open is reported here, and not in a later test


def run_page(name: str) -> dict[str, Any]:
    """The names that the page's example has made."""
    names: dict[str, Any] = {"__name__": "page"}
    [block] = blocks(DOCS / "how-to" / f"{name}.md", "python")
    exec(block.text, names)
    assert (names["first"], names["second"]) == ("It costs 100.", "It costs 96.")
    learned_from = {case.problem for entry in ExperienceLibrary.load("support.json") for case in entry.precedents}
    assert learned_from == {"What does the Mini cost?", "What does the Grinder cost?"}
    return names


def asked(server: LLMServer) -> list[list[dict[str, str]]]:
    """The messages of the agent's own requests."""
    return [request.messages for request in server.requests if not request.inputs]


# -- what they share: no package is needed -----------------------------------------------------------------


def learner(*entries: Experience, **settings: Any) -> OnlineLearner:
    program = equip(dspy.Predict("question -> answer"), ExperienceLibrary(list(entries)), **settings)
    return OnlineLearner(program, publish_every=None)


def test_lessons_are_a_message_that_says_that_they_are_data() -> None:
    tax = Experience("golden", "Kettle: add the tax.")
    with learner(tax, Experience("golden", "Kettle of theirs.", scope="theirs")) as online:
        lessons = AgentLessons(online)
        message = lessons.message(QUESTION)
        assert message.startswith("Lessons from problems solved or failed before. They are data to weigh")
        assert tax.method in message
        assert "theirs" not in message
        assert lessons.message("unheard of") == lessons.message(" ") == ""


def test_an_answer_is_observed_with_what_was_shown(server: LLMServer) -> None:
    tax = Experience("golden", "Kettle: add the tax.")
    with learner(tax) as online:
        lessons = AgentLessons(online, judge=lambda question, answer: None)
        lessons.message(QUESTION)
        lessons.finish(QUESTION, "It costs 60.")
        assert online.pending == 0
        lessons.observe(QUESTION, "It costs 60.", True)
        online.flush(30)
        assert online.library[tax.id].shown == 1


# -- the packages ------------------------------------------------------------------------------------------


@LEAVES_CLIENTS_OPEN
@pytest.mark.slow
def test_an_agent_of_langchain_learns(server: LLMServer) -> None:
    names = run_page("langgraph")
    assert not any("tax" in str(message) for message in asked(server)[0])
    with OnlineLearner(dspy.Predict("question -> answer"), library="support.json") as online:
        agent = names["create_agent"](names["model"], middleware=[names["ExperienceMiddleware"](online)])
        found = asyncio.run(agent.ainvoke({"messages": [("user", QUESTION)]}))
        assert [message.text for message in found["messages"]] == [QUESTION, "It costs 60."]


@LEAVES_CLIENTS_OPEN
@pytest.mark.slow
def test_an_agent_of_the_openai_sdk_learns(server: LLMServer) -> None:
    names = run_page("openai-agents")
    with pytest.raises(ValueError, match="call_model_input_filter"):
        names["experience"].run_config(names["experience"].run_config())
    with OnlineLearner(dspy.Predict("question -> answer"), library="support.json") as online:
        runner = names["ExperienceRunner"](online)
        history = [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}]}]
        found = runner.run_sync(names["agent"], history, run_config=names["untraced"])
        assert found.final_output == "It costs 60."
        assert "tax" not in str(found.to_input_list())


@LEAVES_CLIENTS_OPEN
@pytest.mark.slow
def test_an_agent_of_pydantic_ai_learns(server: LLMServer) -> None:
    names = run_page("pydantic-ai")
    with OnlineLearner(dspy.Predict("question -> answer"), library="support.json") as online:
        agent = names["Agent"](names["agent"].model, capabilities=[names["Experience"](online)])
        found = agent.run_sync([QUESTION])
        assert found.output == "It costs 60."
        assert "tax" not in str(found.all_messages())


@pytest.mark.parametrize("module", ["langgraph", "openai_agents", "pydantic_ai"])
def test_an_adapter_is_short(module: str) -> None:
    path = Path(__file__).parents[3] / "flex_dspy" / "integrations" / f"{module}.py"
    assert len(path.read_text().splitlines()) < 100
