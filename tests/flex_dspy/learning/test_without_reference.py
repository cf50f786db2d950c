"""Learning without reference answers: the verifier decides, and nobody is shown the right answer."""

import json
import re
from pathlib import Path

import dspy
import pytest

from flex_dspy.cli import main
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.dry_run import estimate
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.lm import language_model
from flex_dspy.programs import Actor
from flex_dspy.programs.rejection_sampling import UNVERIFIED
from flex_dspy.tasks.registry import get_task
from tests.llm_server import LLMServer
from tests.scripted import student

pytestmark = pytest.mark.usefixtures("shared_chemists", "no_figures")

SECRET = "7741{}"  # what the right answers look like: no script ever says it
TRAIN = [
    dspy.Example(problem=f"Case {n}: what is {n} # 3?", answer=int(SECRET.format(n))).with_inputs("problem")
    for n in range(8)
]
VAL = [
    dspy.Example(problem=f"Case {n}: what is {n} # 4?", answer=int(SECRET.format(n))).with_inputs("problem")
    for n in range(90, 93)
]


def believing(role, inputs, messages):
    """Accepts what even cases answer, and never what odd ones do."""
    if role == "verifier":
        even = int(re.search(r"Case (\d+)", inputs["problem"])[1]) % 2 == 0
        return {"accepted": even, "feedback": "Well done." if even else "Something was forgotten."}
    if role == "critic":
        return {
            "lesson": {"category": "operation", "method": f"Multiply. {inputs['problem']}", "rules": [{"text": "Do."}]}
        }
    return student(role, inputs, messages)


def measured(example, prediction, trace=None):
    measured.asked.add(example.problem)
    return example.answer == prediction.answer


@pytest.fixture
def server(llm_server: LLMServer) -> LLMServer:
    llm_server.script = believing
    measured.asked = set()
    dspy.configure(lm=dspy.LM("openai/test", api_base=llm_server.url, api_key="none", cache=False, num_retries=0))
    return llm_server


def optimizer(path: Path | None = None, **settings) -> ForwardLearning:
    settings = {"max_rollouts": 1, "max_rounds": 2, "reference": False, "progress": False, **settings}
    return ForwardLearning(measured, library=path, **settings)


def test_no_prompt_holds_a_reference_answer_and_the_verifier_decides(server, tmp_path):
    learning = optimizer(tmp_path / "library.json", window=1)
    learned = learning.compile(Actor("problem -> answer: int"), trainset=TRAIN, valset=VAL)
    assert learning.failures == []
    prompts = json.dumps([request.messages for request in server.requests])
    assert "7741" not in prompts
    assert {request.role for request in server.requests} == {"actor", "verifier", "critic", "updater"}
    assert all("reference" not in request.inputs for request in server.of("verifier"))
    known = {request.inputs["reference"] for request in server.of("critic")}
    assert known == {"(not known)", *(f"{n * 3 + 1} {UNVERIFIED}" for n in range(0, 8, 2))}
    assert measured.asked == {example.problem for example in VAL}  # the metric measures, and decides nothing

    library = learned.retriever.library
    assert "7741" not in library.to_json()
    precedents = {case.problem: case.answer for entry in library for case in entry.precedents}
    for n, example in enumerate(TRAIN):
        answer = precedents[example.problem]
        assert answer == (f"{n * 3 + 1} {UNVERIFIED}" if n % 2 == 0 else "")
    assert {zone for zone, count in library.sizes().items() if count} == {"golden", "warning"}


def test_the_run_is_another_one_and_says_so(server):
    actor = Actor("problem -> answer: int")
    ids = [ForwardLearning(measured, **settings).run_id(actor, TRAIN) for settings in ({}, {"reference": True})]
    assert ids[0] == ids[1] != ForwardLearning(measured, reference=False).run_id(actor, TRAIN)


def test_its_parameters_say_that_lessons_are_not_verified(server):
    said = []

    class Noting:
        def start(self, params):
            said.append(params["reference"])

        def log_version(self, version): ...

        def finish(self, artifacts=()): ...

    for reference in (True, False):
        optimizer(reference=reference, tracker=Noting()).compile(Actor("problem -> answer: int"), trainset=TRAIN[:2])
    assert said == ["yes", "no: the verifier decides, lessons are not verified"]


def test_the_verifier_is_part_of_the_estimate(server):
    roles = {each.role: each for each in estimate(optimizer(), Actor("problem -> answer: int"), TRAIN).roles}
    assert roles["verifier"].low.calls == len(TRAIN)


def test_study_without_reference_answers_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["learn", "uspto50k", "--study", "--without-reference", "--no-tracking"]) == 1
    assert "cannot go without them" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_offline_experts_need_reference_answers():
    task = get_task("uspto50k")
    with dspy.context(lm=language_model("offline", expert="chemist")):
        learning = ForwardLearning(task.metric, reference=False, progress=False)
        with pytest.raises(ConfigurationError, match=r"the verifier is an offline expert.*--verifier-lm"):
            learning.compile(task.actor(), trainset=task.load("train").examples[:2])


def test_it_is_an_option_of_the_command(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("API_KEY", "none")
    monkeypatch.chdir(tmp_path)
    for name, examples in (("train", TRAIN), ("val", VAL)):
        rows = (json.dumps({"problem": e.problem, "answer": 77 * 10 + n}) for n, e in enumerate(examples))
        Path(f"{name}.jsonl").write_text("\n".join(rows))
    models = ["--lm", "openai/test", "--api-base", server.url, "--no-tracking", "--quiet", "--out", "run"]
    data = ["--train", "train.jsonl", "--val", "val.jsonl", "--rollouts", "1"]
    assert main(["learn", "aime", "--without-reference", *models, *data]) == 0
    answers = [case.answer for entry in ExperienceLibrary.load("run/library.json") for case in entry.precedents]
    assert any(answer.endswith(UNVERIFIED) for answer in answers)
    assert "77" not in json.dumps([request.inputs.get("reference", "") for request in server.requests])
