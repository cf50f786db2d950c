"""DSPy's features on equipped programs: each row of the table in ``docs/compatibility.md`` has a test here."""

import asyncio
import copy

import dspy
import pytest
from dspy.adapters.baml_adapter import BAMLAdapter

from flex_dspy import ExperienceLibrary, equip
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import Experience
from flex_dspy.programs.experienced import ExperiencedPredict
from flex_dspy.search.retrieval import retrievers
from tests import pipelines

QUESTION = "How many apples are in two baskets of three?"
LIBRARY = ExperienceLibrary([Experience(zone="golden", method="Apples in baskets: multiply.")], task="fruit")
EXAMPLES = [dspy.Example(question=f"{QUESTION} {n}", answer="6").with_inputs("question") for n in range(4)]


class Stages(dspy.Module):
    """Two predictors, one of them in a list."""

    def __init__(self):
        super().__init__()
        self.plans = [dspy.Predict("question -> query")]
        self.answer = dspy.ChainOfThought("query, question -> answer")

    def forward(self, question):
        return self.answer(query=self.plans[0](question=question).query, question=question)

    async def aforward(self, question):
        query = (await self.plans[0].acall(question=question)).query
        return await self.answer.acall(query=query, question=question)


def model(role, inputs, messages):
    """Answers right with the lesson alone."""
    return {"reasoning": "so", "query": "apples", "answer": "6" if "multiply" in str(inputs) else "5"}


@pytest.fixture
def server(llm_server, lm):
    llm_server.script = model
    return llm_server


@pytest.fixture
def program(server):
    return equip(Stages(), LIBRARY)


def right(example, prediction, trace=None):
    return example.answer == prediction.answer


def reward(inputs, prediction):
    return float(prediction.answer == "6")


def test_call(program):
    assert program(question=QUESTION).answer == "6"
    assert Stages()(question=QUESTION).answer == "5"


def test_acall(program):
    assert asyncio.run(program.acall(question=QUESTION)).answer == "6"


def test_asyncify(program):
    assert asyncio.run(dspy.asyncify(program)(question=QUESTION)).answer == "6"


def test_syncify(server):
    assert dspy.syncify(equip(Stages(), LIBRARY))(question=QUESTION).answer == "6"


def test_batch(program):
    answers = program.batch(EXAMPLES, num_threads=2, disable_progress_bar=True)
    assert [answer.answer for answer in answers] == ["6"] * 4


def test_parallel(program):
    parallel = dspy.Parallel(num_threads=2, disable_progress_bar=True)
    answers = parallel([(program, {"question": QUESTION}), (Stages(), {"question": QUESTION})])
    assert [answer.answer for answer in answers] == ["6", "5"]


def test_evaluate(program):
    evaluate = dspy.Evaluate(devset=EXAMPLES, metric=right, num_threads=2, display_progress=False)
    assert evaluate(program).score == 100.0
    assert evaluate(Stages()).score == 0.0


def test_best_of_n(program, server):
    best = dspy.BestOfN(module=program, N=2, reward_fn=reward, threshold=1.0)
    assert best(question=QUESTION).answer == "6"


def test_refine(program, server):
    assert dspy.Refine(module=program, N=2, reward_fn=reward, threshold=1.0)(question=QUESTION).answer == "6"


def test_equip_best_of_n_and_refine(server):
    for kind in (dspy.BestOfN, dspy.Refine):
        wrapped = kind(module=Stages(), N=2, reward_fn=reward, threshold=1.0)
        assert equip(wrapped, LIBRARY)(question=QUESTION).answer == "6"


def test_streamify(program, server):
    async def last():
        return [item async for item in dspy.streamify(program)(question=QUESTION)][-1]

    assert asyncio.run(last()).answer == "6"


def test_stream_listeners_find_the_predictor(program):
    listener = dspy.streaming.StreamListener(signature_field_name="answer", predict=program.answer.predict)
    stream = dspy.streamify(program, stream_listeners=[listener], async_streaming=False)
    *pieces, last = list(stream(question=QUESTION))
    assert "".join(piece.chunk for piece in pieces) == last.answer == "6"


def test_named_predictors(program):
    assert [name for name, _ in program.named_predictors()] == [name for name, _ in Stages().named_predictors()]
    assert all(isinstance(predictor, ExperiencedPredict) for predictor in program.predictors())


def test_set_lm(program, lm):
    other = lm.copy()
    program.set_lm(other)
    assert program.get_lm() is other
    assert program(question=QUESTION).answer == "6"


@pytest.mark.parametrize("made", [copy.deepcopy, dspy.Module.deepcopy, dspy.Module.reset_copy])
def test_copies(program, made):
    program.answer.predict.demos = EXAMPLES[:1]
    fresh = made(program)
    assert retrievers(fresh)[0].library is LIBRARY
    assert len(fresh.answer.predict.demos) == (made is not dspy.Module.reset_copy)
    assert fresh(question=QUESTION).answer == "6"


@pytest.mark.parametrize("suffix", ["json", "pkl"])
def test_save_and_load_state(program, tmp_path, suffix):
    program.save(tmp_path / f"state.{suffix}")
    loaded = equip(Stages(), LIBRARY)
    loaded.load(tmp_path / f"state.{suffix}", allow_pickle=True)
    assert loaded.dump_state() == program.dump_state()
    assert loaded(question=QUESTION).answer == "6"


def test_save_and_load_state_with_the_library_in_it(server, tmp_path):
    equip(Stages(), LIBRARY, embed=True).save(tmp_path / "state.json")
    loaded = equip(Stages())
    loaded.load(tmp_path / "state.json")
    assert retrievers(loaded)[0].library == LIBRARY
    assert loaded(question=QUESTION).answer == "6"


def test_save_and_load_whole_program(program, tmp_path):
    program.save(tmp_path / "program", save_program=True)
    loaded = dspy.load(str(tmp_path / "program"), allow_pickle=True)
    assert retrievers(loaded)[0].library == LIBRARY
    assert loaded(question=QUESTION).answer == "6"


def test_adapters(server):
    """In each format the lessons are in the prompt; the test's server writes in two of them."""
    for adapter in (dspy.ChatAdapter(), dspy.JSONAdapter()):
        with dspy.context(adapter=adapter):
            assert equip(Stages(), LIBRARY)(question=QUESTION).answer == "6"
    signature = equip(dspy.Predict("question -> answer"), LIBRARY).signature
    given = {"question": QUESTION, "experiences": "<experiences>multiply</experiences>"}
    assert "multiply" in str(dspy.XMLAdapter().format(signature, [], given))


def test_callbacks_see_the_retrieval(program):
    seen = []

    class Watch(dspy.utils.callback.BaseCallback):
        def on_module_start(self, call_id, instance, inputs):
            if isinstance(instance, dspy.Retrieve):
                seen.append(inputs["kwargs"]["query"])

    with dspy.context(callbacks=[Watch()]):
        program(question=QUESTION)
    assert seen == [QUESTION, f"query: apples\nquestion: {QUESTION}"]


def test_usage_is_tracked(program):
    with dspy.context(track_usage=True):
        usage = program(question=QUESTION).get_lm_usage()
    assert sum(model["total_tokens"] for model in usage.values()) > 0


def test_caching(program, server, lm):
    dspy.configure(lm=dspy.LM(lm.model, api_base=server.url, api_key="none", cache=True))
    program(question=QUESTION)
    asked = len(server.requests)
    assert program(question=QUESTION).answer == "6"
    assert len(server.requests) == asked


def test_inspect_history(program, capsys):
    program(question=QUESTION)
    dspy.inspect_history(n=1)
    assert "Apples in baskets: multiply." in capsys.readouterr().out


def test_bootstrap_few_shot(program):
    teleprompter = dspy.BootstrapFewShot(metric=right, max_bootstrapped_demos=2, max_labeled_demos=0)
    compiled = teleprompter.compile(program, trainset=EXAMPLES)
    assert len(compiled.answer.predict.demos) == 2
    assert retrievers(compiled)[0].library is LIBRARY
    assert compiled(question=QUESTION).answer == "6"


def test_labeled_few_shot(program):
    compiled = dspy.LabeledFewShot(k=2).compile(program, trainset=EXAMPLES)
    assert compiled(question=QUESTION).answer == "6"


# -- modules of DSPy's own ---------------------------------------------------------------------------------


def test_predict(server):
    assert equip(dspy.Predict("question -> answer"), LIBRARY)(question=QUESTION).answer == "6"
    assert dspy.Predict("question -> answer")(question=QUESTION).answer == "5"


def test_chain_of_thought(server):
    answer = equip(dspy.ChainOfThought("question -> answer"), LIBRARY)(question=QUESTION)
    assert (answer.reasoning, answer.answer) == ("so", "6")


@pytest.mark.filterwarnings("ignore:The 'prefix' argument:DeprecationWarning")  # DSPy's own
def test_multi_chain_comparison(server):
    chains = [dspy.Prediction(reasoning=f"guess {n}", answer=str(n)) for n in range(2)]
    server.script = lambda *prompt: {"rationale": "so", **model(*prompt)}
    comparison = dspy.MultiChainComparison("question -> answer", M=2)
    for program, answer in ((comparison, "5"), (equip(comparison, LIBRARY), "6")):
        assert program(chains, question=QUESTION).answer == answer


KNOWN = ExperienceLibrary([Experience(zone="golden", method="What is a Case with #: multiply, plus one.")])


@pytest.mark.parametrize("shape", ["recursive language model", "own aforward", "typed extractor", "classifier"])
def test_shape(server, shape):
    server.script = pipelines.model
    program, [example] = pipelines.PIPELINES[shape].make(), pipelines.PIPELINES[shape].examples(1)
    for each, score in ((program, 0.0), (equip(program, KNOWN), 1.0)):
        answer = asyncio.run(each.acall(**example.inputs()))
        assert pipelines.PIPELINES[shape].metric(example, answer) == score


def agent_v2():
    def count(baskets: int) -> int:
        """Count what is in baskets."""
        return 3 * baskets

    return dspy.ReActV2("question -> answer", tools=[count], max_iters=3)


@pytest.mark.parametrize(("access", "prefetched"), [("prefetch", True), ("recall", False), ("both", True)])
def test_react_v2(server, access, prefetched):
    calls = [("count", {"baskets": 2}), ("recall", {"query": "apples"}), ("submit", {"answer": "6"})]
    left = iter(calls if access != "prefetch" else calls[::2])

    def script(role, inputs, messages):
        name, args = next(left)
        return {"next_thought": "hm", "tool_calls": {"tool_calls": [{"name": name, "args": args}]}}

    server.script = script
    answer = equip(agent_v2(), LIBRARY, access=access)(question=QUESTION)
    assert (answer.answer, answer.termination_reason) == ("6", "submit")
    assert all(("experiences" in request.inputs) == prefetched for request in server.requests)
    assert ("multiply" in str(answer.history)) == (access != "prefetch")
    assert ("`recall`" in server.requests[0].messages[0]["content"]) == (access != "prefetch")


# -- where predictors are ----------------------------------------------------------------------------------


class Held(dspy.Module):
    """Predictors in a list, in a dict, in a module in a list, and deeper than DSPy looks."""

    def __init__(self):
        super().__init__()
        self.steps = [dspy.Predict("question -> answer"), Stages()]
        self.desks = {"fruit": dspy.ChainOfThought("question -> answer")}
        self.deep = [[dspy.Predict("question -> answer")]]

    def forward(self, question):
        parts = [self.steps[0], self.steps[1], self.desks["fruit"], self.deep[0][0]]
        return dspy.Prediction(answers=[part(question=question).answer for part in parts])


def test_modules_in_lists_and_dicts(server):
    assert equip(Held(), LIBRARY)(question=QUESTION).answers[:3] == ["6", "6", "6"]


def test_a_list_in_a_list_is_beyond_dspy(server):
    """Neither saving nor ``set_lm`` nor an optimizer reaches a predictor there."""
    program = Held()
    assert not [name for name, _ in program.named_predictors() if name.startswith("deep")]
    assert equip(program, LIBRARY)(question=QUESTION).answers[3] == "5"


def test_a_predictor_made_anew_in_each_call_is_out_of_reach(server):
    class Anew(dspy.Module):
        def forward(self, question):
            return dspy.Predict("question -> answer")(question=question)

    with pytest.raises(ConfigurationError, match="makes them anew in each call"):
        equip(Anew(), LIBRARY)


def test_a_frozen_part_stays_as_it_is(server):
    program = Stages()
    program.answer._compiled = True
    equipped = equip(program, LIBRARY)
    assert isinstance(equipped.plans[0], ExperiencedPredict)
    assert type(equipped.answer.predict) is dspy.Predict
    assert equipped(question=QUESTION).answer == "5"


def test_a_program_frozen_as_a_whole_is_equipped(server):
    """What an optimizer has compiled is marked at the top: its parts can still be reached."""
    compiled = dspy.BootstrapFewShot(metric=right).compile(Stages(), trainset=EXAMPLES)
    assert compiled._compiled
    assert equip(compiled, LIBRARY)(question=QUESTION).answer == "6"


# -- formats -----------------------------------------------------------------------------------------------

FORMATS = {
    "chat": (dspy.ChatAdapter, "[[ ## answer ## ]]\n{}\n\n[[ ## completed ## ]]"),
    "json": (dspy.JSONAdapter, '{{"answer": "{}"}}'),
    "xml": (dspy.XMLAdapter, "<answer>{}</answer>"),
    "baml": (BAMLAdapter, '{{"answer": "{}"}}'),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_adapter(server, kind):
    adapter, answer = FORMATS[kind]
    server.script = lambda role, inputs, messages: answer.format("6" if "multiply" in str(messages) else "5")
    program = dspy.Predict("question -> answer")
    with dspy.context(adapter=adapter()):
        assert program(question=QUESTION).answer == "5"
        assert equip(program, LIBRARY)(question=QUESTION).answer == "6"


def test_two_step_adapter(server, lm):
    """The model that answers is told; the one that reads the answer out of its words is not."""

    def script(role, inputs, messages):
        if "text" in inputs:
            return {"answer": inputs["text"].split()[-1]}
        return "It comes to 6" if "multiply" in str(messages) else "It comes to 5"

    server.script = script
    with dspy.context(adapter=dspy.TwoStepAdapter(lm)):
        assert equip(dspy.Predict("question -> answer"), LIBRARY)(question=QUESTION).answer == "6"
    asked, read = (str(request.messages) for request in server.requests)
    assert "multiply" in asked
    assert "multiply" not in read
