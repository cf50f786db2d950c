"""What a run would cost, before it is paid for."""

import dspy
import pytest

from flex_dspy.core.scoring import Metric
from flex_dspy.core.tokens import tokens
from flex_dspy.learning.dry_run import COMPLETIONS, Estimate, estimate
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.models.prices import Price
from flex_dspy.models.spending import Ledger, Usage
from flex_dspy.programs import Actor
from flex_dspy.search.retrieval import ExperienceRetriever

BUDGET = 1_000
MODEL = "openai/some-model"


def right(example, prediction, trace=None, pred_name=None, pred_trace=None):
    return float(prediction.answer == example.answer)


def examples(count: int, start: int = 0) -> list[dspy.Example]:
    pairs = ((f"what is {n} plus {n}?", f"{2 * n}") for n in range(start, start + count))
    return [dspy.Example(question=question, answer=answer).with_inputs("question") for question, answer in pairs]


@pytest.fixture(autouse=True)
def model():
    """A model that nobody can ask."""
    dspy.configure(lm=dspy.LM(MODEL, api_base="http://127.0.0.1:9/v1", max_tokens=500))


def actor(**settings) -> Actor:
    return Actor("question -> answer", ExperienceRetriever(token_budget=BUDGET), **settings)


def optimizer(metric: Metric = right, **settings) -> ForwardLearning:
    ledger = Ledger(prices={MODEL: Price.per_million(1, 10)})
    return ForwardLearning(metric, **{"max_rounds": 5, "max_rollouts": 3, "ledger": ledger, **settings})


def calls(found: Estimate) -> dict[str, tuple[int, int]]:
    return {role.role: (role.low.calls, role.high.calls) for role in found.roles}


def test_calls():
    found = estimate(optimizer(checkpoint_every=10), actor(), examples(20), examples(7, 100))
    assert found.versions == 3  # after 0, 10 and 20
    assert calls(found) == {
        "actor": (20, 20 * 15),
        "verifier": (0, 20 * 15),
        "critic": (20, 20 * 3),
        "updater": (19, 20 * 3 * 2),
        "validation": (21, 21),
    }
    assert found.low.calls == 80
    assert found.high.calls == 801


def test_epochs_and_study():
    found = estimate(optimizer(study=True, epochs=2), actor(), examples(20))
    assert calls(found) == {"critic": (40, 40), "updater": (39, 80)}
    assert calls(estimate(optimizer(), actor(), [])) == {}


def test_without_reference_answers_the_verifier_is_asked_each_time():
    unknown = [dspy.Example(question="why?").with_inputs("question")] * 4
    assert calls(estimate(optimizer(), actor(), unknown))["verifier"] == (4, 60)


def test_prompts_are_measured_and_answers_assumed():
    found = {role.role: role for role in estimate(optimizer(), actor(), examples(10)).roles}
    low, high = found["actor"].low, found["actor"].high
    program = actor()
    inputs = {"question": "what is 5 plus 5?", "experiences": "", "earlier_attempts": ""}
    messages = dspy.ChatAdapter().format(program.attempt.predict.signature, [], inputs)
    written = sum(tokens(message["content"]) for message in messages)
    assert low.prompt_tokens == 10 * written
    earlier = (COMPLETIONS["actor"][1] + 100) * 4 // 2
    assert high.prompt_tokens == 150 * (written + BUDGET + earlier)
    assert low.completion_tokens == 10 * COMPLETIONS["actor"][0]
    assert high.completion_tokens == 150 * 500  # max_tokens
    assert low.usd == pytest.approx(low.prompt_tokens * 1e-6 + low.completion_tokens * 10e-6)


def test_longer_problems_make_longer_prompts():
    longer = [example.copy(question=example.question * 50) for example in examples(10)]
    short, long = (estimate(optimizer(), actor(), some) for some in (examples(10), longer))
    for role in ("actor", "critic", "updater"):
        before, after = (next(r.low.prompt_tokens for r in e.roles if r.role == role) for e in (short, long))
        assert (after > before) is (role != "updater")


def test_other_assumptions():
    found = estimate(optimizer(), actor(), examples(10), completions={"critic": (7, 8)})
    critic = next(role for role in found.roles if role.role == "critic")
    assert (critic.low.completion_tokens, critic.high.completion_tokens) == (70, 240)


def test_an_actor_that_calls_tools_is_asked_more_often():
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    found = estimate(optimizer(), actor(strategy="react", tools=[add], max_iters=6), examples(10))
    assert calls(found)["actor"] == (10 * 2, 150 * 7)


def test_any_program_with_a_retriever():
    class Program(dspy.Module):
        def __init__(self):
            super().__init__()
            self.retrieve = ExperienceRetriever()
            self.plan = dspy.Predict("question -> plan")
            self.solve = dspy.ChainOfThought("question, plan -> answer")

    found = estimate(optimizer(max_rounds=1, max_rollouts=1), Program(), examples(10))
    assert calls(found)["actor"] == (20, 20)


def test_a_price_that_nobody_knows():
    found = estimate(optimizer(ledger=Ledger()), actor(), examples(2))
    assert found.high.usd == 0
    assert found.high.unpriced == found.high.calls
    assert "unknown" in found.text()


def test_as_text():
    text = estimate(optimizer(checkpoint_every=10), actor(), examples(20), examples(7, 100)).text().splitlines()
    assert text[0].split() == ["role", "model", "calls", "prompt", "tokens", "completion", "tokens", "USD"]
    assert text[1].split()[:5] == ["actor", MODEL, "20", "to", "300"]
    assert text[6].startswith("all")
    assert text[-1].startswith("3 versions")


def test_the_estimate_holds_what_a_run_takes(llm_server):
    """A small run against a server: its calls lie within the range."""
    lesson = {"category": "sums", "method": "double the number", "rules": [{"text": "double it"}]}
    answers = {
        "critic": {"lesson": lesson},
        "updater": {"decision": {"action": "insert"}},
        "verifier": {"accepted": False, "feedback": "not so"},
        "actor": {"reasoning": "I add.", "answer": "4", "experiences_used": []},
    }
    llm_server.script = lambda role, inputs, messages: answers[role]
    dspy.configure(lm=dspy.LM("openai/test", api_base=llm_server.url, api_key="k", cache=False))
    settings = {"max_rounds": 2, "max_rollouts": 1, "progress": False}
    learning = ForwardLearning(right, ledger=Ledger(), **settings)
    train, val = examples(6), examples(3, 100)
    found = estimate(learning, actor(), train, val)
    learning.compile(actor(), trainset=train, valset=val)
    spent = learning.ledger.total
    assert found.low.calls <= spent.calls <= found.high.calls
    assert found.low.prompt_tokens <= spent.prompt_tokens * 2  # the server counts four characters a token
    assert spent.prompt_tokens <= found.high.prompt_tokens
    assert isinstance(spent, Usage)
