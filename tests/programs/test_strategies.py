"""Ways to work on a problem, and ways to come by experience."""

import asyncio
import importlib.util
import shutil

import dspy
import pytest
from dspy.primitives.python_interpreter import CodeExecutionError, CodeInterpreterError
from dspy.utils.exceptions import ContextWindowExceededError

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.examples import problem_text
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs import Actor
from flex_dspy.programs.tools import _try_sandbox, calculate
from flex_dspy.search.reading import pinned
from flex_dspy.search.recall import recall
from flex_dspy.search.rendering import NONE, OPEN
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.llm_server import Fault, LLMServer

ANSWER = {"reasoning": "so", "answer": "42", "experiences_used": []}
EXAMPLES = [
    dspy.Example(question="1*1?", answer="1").with_inputs("question"),
    dspy.Example(question="6*7?", answer="42").with_inputs("question"),
]


def library_of(*lessons: Experience) -> ExperienceLibrary:
    return ExperienceLibrary(task="sums").apply(Commit("run", 1, tuple(Insert(lesson) for lesson in lessons)))


def lesson(method: str, *problems: str, **fields) -> Experience:
    solved = tuple(Precedent(f"e{n}", problem, "42") for n, problem in enumerate(problems))
    return Experience(zone="golden", method=method, precedents=solved, **fields)


def actor_with(*lessons: Experience, **settings) -> Actor:
    return Actor("question -> answer", ExperienceRetriever(library_of(*lessons), views=["lexical"]), **settings)


class Tools:
    """Answers with these tool calls in turn, then finishes and answers; over again for each problem."""

    def __init__(self, *calls: tuple[str, dict]) -> None:
        self.calls = [*calls, ("finish", {})]

    def __call__(self, role, inputs, messages):
        if "next_tool_name" not in messages[0]["content"]:
            return ANSWER
        name, args = self.calls[sum(name.startswith("observation_") for name in inputs)]
        return {"next_thought": "hm", "next_tool_name": name, "next_tool_args": args}


@pytest.fixture
def server(llm_server: LLMServer, lm: dspy.LM) -> LLMServer:
    llm_server.script = Tools()
    return llm_server


STRATEGIES = {
    "direct": ({}, ["attempt"]),
    "icl": ({"examples": EXAMPLES}, ["attempt"]),
    "cot": ({}, ["attempt.predict"]),
    "react": ({"tools": [calculate]}, ["attempt.react", "attempt.extract.predict"]),
}


@pytest.fixture(params=STRATEGIES)
def actor(request: pytest.FixtureRequest) -> Actor:
    settings, _ = STRATEGIES[request.param]
    return actor_with(lesson("Multiply numbers."), strategy=request.param, **settings)


def test_each_answers_with_experience_at_hand(server, ask, adapter, actor):
    given = ask(actor, question="numbers?")
    assert (given.answer, given.experiences_used) == ("42", [])
    assert ("reasoning" in given) == (actor.strategy in ("cot", "react"))
    assert all("Multiply numbers." in request.inputs["experiences"] for request in server.requests)
    assert len(server.requests) == (2 if actor.strategy == "react" else 1)


def test_each_is_an_ordinary_program(server, tmp_path, actor):
    settings, names = STRATEGIES[actor.strategy]
    assert [name for name, _ in actor.named_predictors()] == names
    for predictor in actor.predictors():
        predictor.signature = predictor.signature.with_instructions(predictor.signature.instructions + " Multiply.")
    actor.save(tmp_path / "actor.json")
    again = actor_with(lesson("Multiply numbers."), strategy=actor.strategy, **settings)
    again.load(tmp_path / "actor.json")
    again = again.deepcopy()
    again.set_lm(dspy.settings.lm.copy(model="openai/other"))
    problems = [dspy.Example(question=f"{n} numbers?").with_inputs("question") for n in range(3)]
    assert [given.answer for given in again.batch(problems, num_threads=2, disable_progress_bar=True)] == ["42"] * 3
    assert {request.body["model"] for request in server.requests} == {"other"}
    assert all("Multiply." in request.messages[0]["content"] for request in server.requests)


def test_each_sees_less_where_the_prompt_is_too_long(server, ask, actor):
    tools = Tools()

    def script(role, inputs, messages):
        fits = inputs["experiences"] == NONE
        return tools(role, inputs, messages) if fits else Fault(400, code="context_length_exceeded")

    server.script = script
    assert ask(actor, question="numbers?").answer == "42"
    server.script = lambda role, inputs, messages: Fault(400, code="context_length_exceeded")
    with pytest.raises(ContextWindowExceededError):
        ask(actor, question="numbers?")


def test_each_asks_anew_where_an_answer_cannot_be_read(server, ask, actor):
    tools, spoilt = Tools(), []

    def script(role, inputs, messages):
        spoilt.append("I would rather not.")
        return spoilt[-1] if len(spoilt) <= 2 else tools(role, inputs, messages)

    server.script = script
    assert ask(actor, question="numbers?").answer == "42"


def test_examples_stand_before_the_question_save_the_question_itself(server, ask):
    ask(actor_with(strategy="icl", examples=EXAMPLES), question="2*2?")
    ask(actor_with(strategy="icl", examples=EXAMPLES), question="6*7?")
    texts = ["\n".join(message["content"] for message in request.messages[1:-1]) for request in server.requests]
    assert [("1*1?" in text, "6*7?" in text) for text in texts] == [(True, True), (True, False)]


def test_tools_are_called(server, ask, adapter):
    server.script = Tools(("calculate", {"expression": "6*7"}), ("calculate", {"expression": "6*"}))
    found = ask(actor_with(strategy="react", tools=[calculate]), question="numbers?")
    assert found.trajectory["observation_0"] == "42"
    assert found.trajectory["observation_1"].startswith("error: ")
    assert found.answer == "42"


def test_there_are_at_most_so_many_calls(server):
    server.script = Tools(*[("calculate", {"expression": "1"})] * 5)
    found = actor_with(strategy="react", tools=[calculate], max_iters=3)(question="numbers?")
    assert sum(name.startswith("tool_name_") for name in found.trajectory) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "magic"}, "strategies are direct, icl"),
        ({"experience": "memory"}, "prefetch, recall"),
        ({"strategy": "cot", "experience": "recall"}, "react and code do"),
        ({"strategy": "direct", "experience": "both"}, "react and code do"),
        ({"strategy": "cot", "examples": EXAMPLES}, "icl does"),
        ({"strategy": "react", "max_iters": 0}, "max_iters"),
        ({"strategy": "react", "experience": "recall", "tools": [recall]}, "more than one tool is called recall"),
    ],
)
def test_what_does_not_fit_together_is_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        actor_with(**settings)


# -- recall ------------------------------------------------------------------------------------------------

RECALL = ("recall", {"query": "numbers"})


def recalling(*lessons: Experience, **settings) -> Actor:
    return actor_with(*lessons, **{"strategy": "react", "experience": "recall", **settings})


def test_experience_can_be_recalled_by_a_query_of_its_own(server, ask, adapter):
    server.script = Tools(RECALL, ("recall", {"query": "letters"}))
    found = ask(recalling(lesson("Multiply numbers."), lesson("Sort letters.")), question="something else")
    assert "Multiply numbers." in found.trajectory["observation_0"]
    assert "Sort letters." in found.trajectory["observation_1"]
    assert found.trajectory["observation_0"].startswith(OPEN)
    first = server.requests[0]
    assert "experiences" not in first.inputs
    assert "the tool `recall` finds lessons" in first.messages[0]["content"]
    assert "Multiply" not in first.messages[-1]["content"]


def test_both_are_shown_and_found(server, ask):
    server.script = Tools(RECALL)
    found = ask(recalling(lesson("Multiply numbers."), experience="both"), question="numbers?")
    assert "Multiply numbers." in server.requests[0].inputs["experiences"]
    assert "Multiply numbers." in found.trajectory["observation_0"]


def test_what_was_recalled_is_recorded(server, ask):
    server.script = Tools(RECALL)
    entry = lesson("Multiply numbers.")
    with pinned(library_of(entry)) as reading:
        ask(recalling(), question="something else")
    assert reading.shown == [entry.id]


def test_no_query_brings_back_the_solution_of_the_problem_itself(server, ask):
    server.script = Tools(RECALL)
    problem = "How many numbers?"
    own = lesson("Own numbers.", problem)
    shared = lesson(
        "Shared numbers.", problem, "Other numbers?", rules=(Rule("rule", ("its example",)),), trajectory="its way"
    )
    found = ask(recalling(own, shared), question=problem)
    block = found.trajectory["observation_0"]
    assert "Shared numbers." in block
    for hidden in ("Own numbers.", "its example", "its way"):
        assert hidden not in block
    for shown in ("Own numbers.", "its example", "its way"):  # to another problem
        assert shown in ask(recalling(own, shared), question="Another?").trajectory["observation_0"]


def test_no_structure_brings_back_the_solution_of_the_problem_itself(server):
    product = "CC(=O)NCc1ccccc1"
    server.script = Tools(("recall", {"query": "c1ccccc1CNC(C)=O"}))
    library = library_of(lesson("Own.", product), lesson("Shared.", product, "CC(=O)NCCc1ccccc1"))
    actor = Actor(
        "product -> answer", ExperienceRetriever(library, views=["structural"]), strategy="react", experience="recall"
    )
    block = actor(product=product).trajectory["observation_0"]
    assert "Shared." in block
    assert "Own." not in block
    assert "CC(=O)NCCc1ccccc1 => 42" in block
    assert f"{product} =>" not in block


def test_the_problem_is_all_inputs_together(server):
    server.script = Tools(RECALL)
    problem = problem_text({"first": "numbers", "second": "more"})
    retriever = ExperienceRetriever(library_of(lesson("Own numbers.", problem)), views=["lexical"])
    actor = Actor("first, second -> answer", retriever, strategy="react", experience="recall")
    assert actor(first="numbers", second="more").trajectory["observation_0"] == NONE
    assert "Own" in actor(first="numbers", second="less").trajectory["observation_0"]


def test_a_copy_recalls_what_it_holds_itself(server, ask):
    server.script = Tools(RECALL)
    original = recalling(lesson("Old numbers."))
    copied = original.deepcopy()
    copied.retriever.library = library_of(lesson("New numbers."))
    assert "New numbers." in ask(copied, question="?").trajectory["observation_0"]
    assert "Old numbers." in ask(original, question="?").trajectory["observation_0"]


def test_actors_at_work_at_once_do_not_meet(server):
    server.script = Tools(RECALL)
    actor = recalling(*(lesson(f"Numbers of {n}.", f"{n}?") for n in range(6)))
    problems = [dspy.Example(question=f"{n}?").with_inputs("question") for n in range(6)]
    blocks = [
        found.trajectory["observation_0"] for found in actor.batch(problems, num_threads=6, disable_progress_bar=True)
    ]
    seen = [[f"Numbers of {n}." in block for n in range(6)] for block in blocks]
    assert seen == [[n != own for n in range(6)] for own in range(6)]


def test_without_an_actor_there_is_nothing_to_recall():
    assert recall("numbers") == NONE


# -- code --------------------------------------------------------------------------------------------------


def test_without_its_sandbox_code_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"flex-dspy\[code\]"):
        actor_with(strategy="code")


def test_a_sandbox_that_does_not_start_is_refused(monkeypatch):
    class Broken(Interpreter):
        def __call__(self, code):
            raise CodeInterpreterError("Deno exited (code 1)")

    monkeypatch.setattr(shutil, "which", lambda name: "/bin/deno")
    monkeypatch.setattr(dspy, "PythonInterpreter", Broken)
    _try_sandbox.cache_clear()
    with pytest.raises(ConfigurationError, match="does not start: Deno exited"):
        actor_with(strategy="code")


class Interpreter:
    """Stands in for the sandbox."""

    deno_process = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def __call__(self, code):
        if "crash" in code:
            raise CodeExecutionError("NameError: crash")
        return f"ran {code}" if code else None


def test_code_is_run_in_a_sandbox(server, ask, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/deno")
    monkeypatch.setattr(dspy, "PythonInterpreter", Interpreter)
    _try_sandbox.cache_clear()
    calls = [("run_python", {"code": code}) for code in ("print(6*7)", "crash", "")]
    server.script = Tools(*calls, ("calculate", {"expression": "1+1"}))
    found = ask(actor_with(strategy="code", tools=[calculate]).deepcopy(), question="numbers?").trajectory
    assert [found[f"observation_{n}"] for n in range(4)] == [
        "ran print(6*7)",
        "error: NameError: crash",
        "(nothing was printed)",
        "2",
    ]


_LEVEL_BY_LEVEL = (
    ("list_methods", {"query": "odd"}),
    ("read_rules", {"ids": ["l1"]}),
    ("read_trajectories", {"ids": ["l1"]}),
    ("finish", {}),
)


def _leveled(n: int) -> Experience:
    rules = (Rule(f"rule {n}"),)
    return Experience(id=f"l{n}", zone="golden", method=f"odd method {n}", rules=rules, trajectory=f"story {n}")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_actor_reads_lessons_level_by_level(llm_server, lm, asynchronous):
    steps = iter(_LEVEL_BY_LEVEL)

    def script(role, inputs, messages):
        if "next_tool_name" not in messages[0]["content"]:
            return {"reasoning": "as the lesson says", "answer": "7", "experiences_used": ["l1"]}
        name, given = next(steps)
        return {"next_thought": "look", "next_tool_name": name, "next_tool_args": given}

    llm_server.script = script
    library = ExperienceLibrary([_leveled(number) for number in range(3)])
    actor = Actor("question -> answer", ExperienceRetriever(views=["lexical"]), strategy="react", experience="levels")
    with pinned(library) as reading:
        out = asyncio.run(actor.acall(question="odd?")) if asynchronous else actor(question="odd?")
    assert "- l1 |" in out.trajectory["observation_0"]
    assert "rule 1" in out.trajectory["observation_1"]
    assert "story 1" in out.trajectory["observation_2"]
    assert set(reading.shown) == {"l0", "l1", "l2"}


def test_levels_need_an_actor_that_calls_tools():
    with pytest.raises(ConfigurationError, match="react"):
        Actor("question -> answer", experience="levels")
