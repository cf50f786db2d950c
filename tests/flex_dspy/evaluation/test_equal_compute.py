"""Equal compute: as many samples as the tokens pay for, and no sample twice."""

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.evaluation.equal_compute import equal_compute, tokens_per_sample
from flex_dspy.evaluation.evaluate import Evaluation, evaluate
from flex_dspy.evaluation.records import Record

EXAMPLES = [dspy.Example(question=f"q{i}", answer="yes").with_inputs("question") for i in range(4)]


def exact(example, prediction) -> bool:
    return example.answer == prediction.answer


@pytest.fixture
def program(lm, llm_server) -> dspy.Module:
    llm_server.script = lambda role, inputs, messages: {"answer": "yes" if inputs["question"] < "q2" else "no"}
    return dspy.Predict("question -> answer")


@pytest.mark.parametrize(("times", "samples"), [(0.1, 1), (1.0, 1), (2.6, 3), (1000, 5)])
def test_the_tokens_say_how_many_samples(program, llm_server, times, samples) -> None:
    one = evaluate(program, EXAMPLES, exact, progress=False).tokens
    asked = len(llm_server.requests)
    found, evaluation = equal_compute(program, EXAMPLES, exact, max(round(times * one), 1), most=5, progress=False)
    assert found == evaluation.samples == samples
    assert len(llm_server.requests) - asked == 4 * samples  # the first sample is kept
    assert evaluation.accuracy == 0.5
    if samples > 1:
        assert evaluation.metrics()[f"maj_at_{samples}"] == evaluation.metrics()[f"pass_at_{samples}"] == 0.5


def test_an_evaluation_that_is_there_already_is_used(program, llm_server) -> None:
    one = evaluate(program, EXAMPLES, exact, progress=False)
    asked = len(llm_server.requests)
    found, evaluation = equal_compute(program, EXAMPLES, exact, 2 * one.tokens, begun=one, progress=False)
    assert (found, len(llm_server.requests) - asked) == (2, 4)
    assert evaluation.records[0] == one.records[0]


def test_without_tokens_there_is_no_equal_compute() -> None:
    class Free(dspy.Module):
        def forward(self, question: str) -> dspy.Prediction:
            return dspy.Prediction(answer="yes")

    with pytest.raises(ConfigurationError, match="offline experts"):
        equal_compute(Free(), EXAMPLES, exact, 1000, progress=False)
    with pytest.raises(ConfigurationError, match="at least 1"):
        equal_compute(Free(), EXAMPLES, exact, 0, progress=False)


def test_an_answer_from_a_cache_counts_as_the_mean_of_the_others() -> None:
    tokens = (100, 0, 300)
    records = tuple(Record(f"e{i}", "p", "r", {}, 1.0, prompt_tokens=count) for i, count in enumerate(tokens))
    failed = Record("f", "p", "r", {}, 0.0, error="OSError: cut off")
    assert tokens_per_sample(Evaluation(records)) == 3 * 200
    assert tokens_per_sample(Evaluation((*records[::2], failed))) == 400
