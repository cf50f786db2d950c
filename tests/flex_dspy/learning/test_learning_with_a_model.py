"""Learning end to end from a language model: a made-up operation that a model gets right once it has read a lesson."""

import json
import re
from pathlib import Path

import dspy
import pytest

from flex_dspy.cli import main
from flex_dspy.core.errors import ModelError
from flex_dspy.core.zones import ZONES
from flex_dspy.evaluation.evaluate import evaluate
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs import Actor
from flex_dspy.search.rendering import parse
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.llm_server import Fault, LLMServer

KEY = "sk-a-very-secret-key"
LESSON = {
    "category": "hash operation",
    "method": "The hash operation of two numbers is their product plus one.",
    "rules": [{"text": "a # b = a * b + 1", "examples": ["2 # 3 = 7"]}],
}


def numbers(question: str) -> tuple[int, int]:
    first, second = re.search(r"(\d+) # (\d+)", question).groups()
    return int(first), int(second)


def student(role, inputs, messages):
    """Adds, until a lesson says better; corrects itself when it is told so, where the first number is even."""
    if role == "verifier":
        return {"accepted": False, "feedback": "The hash operation is no sum: it is the product plus one."}
    if role == "critic":
        return {"lesson": LESSON}
    if role == "updater":
        lesson, nearest = parse(inputs["new_lesson"])[0], parse(inputs["nearest"])
        target = next((entry.id for entry in nearest if entry.zone == lesson.zone), None)
        merge = {"action": "merge", "target": target, "rules": [{"rule": 0, "action": "skip"}]}
        return {"decision": merge if target else {"action": "insert"}}
    first, second = numbers(inputs.get("problem") or inputs["question"])
    lessons = parse(inputs["experiences"])
    learned = any("product plus one" in lesson.method for lesson in lessons)
    told = "product plus one" in inputs["earlier_attempts"] and first % 2 == 0
    answer = first * second + 1 if learned or told else first + second
    used = [lesson.id for lesson in lessons]
    return {"reasoning": f"{first}, {second}", "answer": answer, "experiences_used": used}


def questions(pairs) -> list[dspy.Example]:
    return [
        dspy.Example(question=f"What is {a} # {b} by the hash operation?", answer=a * b + 1).with_inputs("question")
        for a, b in pairs
    ]


TRAIN = questions((a, a + 3) for a in range(2, 14))
VAL = questions((a, a + 4) for a in range(20, 26))


def right(example, prediction, trace=None):
    return example.answer == prediction.answer


@pytest.fixture
def server(llm_server: LLMServer) -> LLMServer:
    llm_server.script = student
    lm = dspy.LM("openai/test", api_base=llm_server.url, api_key=KEY, cache=False, num_retries=0)
    dspy.configure(lm=lm)
    return llm_server


def actor() -> Actor:
    return Actor("question -> answer: int", ExperienceRetriever(views=["lexical"]))


def optimizer(path: Path | None = None, **settings) -> ForwardLearning:
    defaults = {
        "max_rounds": 2,
        "max_rollouts": 1,
        "window": 4,
        "concurrency": 4,
        "checkpoint_every": 4,
        "progress": False,
    }
    return ForwardLearning(right, library=path, **{**defaults, **settings})


def test_accuracy_rises_with_the_library(server, tmp_path):
    learning = optimizer(tmp_path / "library.json")
    learned = learning.compile(actor(), trainset=TRAIN, valset=VAL)
    accuracies = [record.metrics["accuracy"] for record in learning.versions]
    assert [record.step for record in learning.versions] == [0, 4, 8, 12]
    assert accuracies[0] == 0.0
    assert accuracies[-1] == 1.0
    assert learned(question="What is 6 # 7 by the hash operation?").answer == 43
    assert (tmp_path / "library.png").exists()

    library = ExperienceLibrary.load(tmp_path / "library.json")
    assert {zone for zone, count in library.sizes().items() if count} == set(ZONES)
    # Lessons of one zone were merged rather than repeated, and every example left its precedent.
    assert len(library) < len(TRAIN)
    problems = {precedent.problem for entry in library for precedent in entry.precedents}
    assert problems == {example.question for example in TRAIN}
    assert sum(entry.helped for entry in library) > 0

    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    for path in tmp_path.rglob("*"):
        assert KEY.encode() not in path.read_bytes()


def test_the_updaters_and_actors_prompts_do_not_grow(server):
    optimizer().compile(actor(), trainset=TRAIN)
    longest = {role: max(len(str(r.inputs)) for r in server.of(role)) for role in ("updater", "actor")}
    server.requests.clear()
    optimizer(epochs=2).compile(actor(), trainset=TRAIN)
    for role, length in longest.items():
        assert max(len(str(request.inputs)) for request in server.of(role)) < 2 * length + 1_000


def test_study_learns_from_the_answers_alone(server):
    learning = optimizer(study=True)
    learning.compile(actor(), trainset=TRAIN, valset=VAL)
    assert learning.versions[-1].metrics["accuracy"] == 1.0
    assert learning.versions[-1].sizes["golden"] == learning.versions[-1].entries
    assert not server.of("verifier")


def test_neither_the_format_nor_the_concurrency_changes_the_library(server):
    hashes = []
    for adapter, concurrency in ((dspy.ChatAdapter(), 1), (dspy.ChatAdapter(), 4), (dspy.JSONAdapter(), 4)):
        dspy.configure(adapter=adapter)
        learning = optimizer(concurrency=concurrency)
        learning.compile(actor(), trainset=TRAIN)
        hashes.append([record.hash for record in learning.versions])
    assert hashes[0] == hashes[1] == hashes[2]
    assert {request.as_json for request in server.requests} == {False, True}


def test_each_role_asks_its_own_model(server):
    learning = optimizer()
    program = actor()
    roles = {"actor": program, "verifier": learning.verifier, "critic": learning.critic, "updater": learning.updater}
    for role, module in roles.items():
        module.set_lm(dspy.settings.lm.copy(model=f"openai/{role}-model"))
    learning.compile(program, trainset=TRAIN)
    assert {(r.role, r.body["model"]) for r in server.requests} == {(role, f"{role}-model") for role in roles}


@pytest.mark.parametrize("valset", [None, VAL])
def test_a_wrong_key_stops_the_run_at_once(server, valset, tmp_path):
    server.script = lambda role, inputs, messages: Fault(401, "Incorrect API key provided")
    with pytest.raises(ModelError, match="Incorrect API key provided") as caught:
        optimizer(tmp_path / "library.json").compile(actor(), trainset=TRAIN, valset=valset)
    assert KEY not in str(caught.value)
    assert 1 <= len(server.requests) <= 4


def test_a_wrong_key_of_another_role_stops_the_run_too(server):
    server.script = lambda *call: Fault(401, "Incorrect API key provided") if call[0] == "critic" else student(*call)
    with pytest.raises(ModelError, match="Incorrect API key provided"):
        optimizer().compile(actor(), trainset=TRAIN)


def test_one_examples_failure_is_its_own(server):
    broken = {TRAIN[5].question, VAL[2].question}

    def script(role, inputs, messages):
        return Fault(500, "out of memory") if inputs.get("question") in broken else student(role, inputs, messages)

    server.script = script
    learning = optimizer()
    learned = learning.compile(actor(), trainset=TRAIN, valset=VAL)
    last = learning.versions[-1]
    assert last.step == len(TRAIN)
    assert last.metrics["accuracy"] == pytest.approx(5 / 6)
    assert last.metrics["errors"] == 1
    problems = {p.problem for entry in learned.retriever.library for p in entry.precedents}
    assert problems == {example.question for example in TRAIN} - broken


def test_a_busy_server_is_asked_again(server):
    first = set()

    def script(role, inputs, messages):
        if role == "actor" and inputs["question"] not in first:
            first.add(inputs["question"])
            return Fault(429, "slow down", retry_after=0)
        return student(role, inputs, messages)

    server.script = script
    dspy.settings.lm.num_retries = 1
    learning = optimizer()
    learning.compile(actor(), trainset=TRAIN, valset=VAL)
    assert learning.versions[-1].metrics["accuracy"] == 1.0
    assert learning.versions[-1].metrics["errors"] == 0


@pytest.mark.parametrize("fault", [Fault(500), Fault(0), "no format at all"])
def test_when_nothing_works_the_run_gives_up(server, fault):
    server.script = lambda role, inputs, messages: fault
    with pytest.raises(ModelError, match="first 10 examples all failed"):
        optimizer().compile(actor(), trainset=TRAIN)


def test_evaluation_records_every_example(server):
    result = evaluate(actor(), VAL, right, concurrency=2, progress=False)
    assert [record.problem for record in result.records] == [example.question for example in VAL]
    assert result.accuracy == 0.0
    learned = optimizer().compile(actor(), trainset=TRAIN)
    after = evaluate(learned, VAL, right, progress=False)
    assert after.accuracy == 1.0
    assert all(record.shown for record in after.records)
    assert evaluate(learned, VAL, right, library=ExperienceLibrary(), progress=False).accuracy == 0.0


# -- the command line --------------------------------------------------------------------------------------


@pytest.fixture
def command(server, tmp_path, monkeypatch):
    """Run ``flex-dspy`` on problems in two files, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("API_KEY", KEY)
    for name, examples in (("train", TRAIN[:6]), ("val", VAL)):
        lines = (json.dumps({"problem": example.question, "answer": example.answer}) for example in examples)
        Path(f"{name}.jsonl").write_text("\n".join(lines))

    def run(command: str, *options: str) -> int:
        models = ("--lm", "openai/test", "--api-base", server.url)
        return main([command, "math", *models, "--no-tracking", "--quiet", *options])

    return run


LEARN = ("--train", "train.jsonl", "--val", "val.jsonl", "--window", "2", "--checkpoint-every", "3", "--out", "run")


def test_learn_and_eval_from_the_command_line(command, capsys, server):
    assert command("learn", *LEARN) == 0
    said = capsys.readouterr().out
    assert "aime: learning from 6 examples with openai/test" in said
    assert "accuracy 0.0%" in said
    assert "accuracy 100.0%" in said
    library = ExperienceLibrary.load("run/library.json")
    assert (library.task, len(library) > 0) == ("aime", True)
    assert Path("run/library.png").exists()

    asked = len(server.requests)
    assert command("learn", *LEARN) == 0  # done already
    assert len(server.requests) == asked
    assert ExperienceLibrary.load("run/library.json").hash == library.hash

    capsys.readouterr()
    assert command("eval", "--val", "val.jsonl", "--library", "run/library.json", "--out", "measured") == 0
    table = capsys.readouterr().out
    assert re.search(r"with library +6 +100\.0%", table)
    assert re.search(r"no library +6 +0\.0%", table)
    for folder in ("with-library", "no-library"):
        records = Path(f"measured/{folder}/records.jsonl").read_text().splitlines()
        assert len(records) == 6
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert len(files) > 15
    for path in files:
        assert KEY.encode() not in path.read_bytes()


def test_feedback_from_the_command_line_holds_no_answer(command, server):
    def leaking(role, inputs, messages):
        if role == "verifier":
            return {"accepted": False, "feedback": f"It is {inputs['reference']}."}
        return student(role, inputs, messages)

    server.script = leaking
    assert command("learn", *LEARN) == 0
    earlier = [request.inputs["earlier_attempts"] for request in server.of("actor")]
    told = [line.strip() for text in earlier for line in text.splitlines() if "feedback:" in line]
    assert len(told) >= 2
    assert set(told) == {"feedback: It is [withheld]"}


def test_a_wrong_key_is_one_line_on_the_command_line(command, capsys, server):
    server.script = lambda role, inputs, messages: Fault(401, "Incorrect API key provided")
    for options in (("learn", *LEARN), ("eval", "--val", "val.jsonl", "--no-retrieve")):
        assert command(*options) == 1
        said = capsys.readouterr().err
        assert said.startswith("flex-dspy: ")
        assert "Incorrect API key provided" in said
        assert "Traceback" not in said
        assert KEY not in said
