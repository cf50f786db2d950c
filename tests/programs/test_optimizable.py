"""Each role tuned by each of DSPy's optimizers: it does better, and is the same again after saving and loading."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dspy
import pytest

from flex_dspy import ForwardLearning
from flex_dspy.evaluation.teaching import EditMetric, LessonMetric, VerdictMetric
from flex_dspy.evaluation.teaching_sets import critic_examples, updater_examples, verifier_examples
from flex_dspy.libraries.experience import Experience, Insert, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs import Actor, Critic, Updater, Verifier
from flex_dspy.programs.equip import equip
from flex_dspy.programs.instructions import instruct
from flex_dspy.search.retrieval import retrievers
from tests.coached import COACHED, DULL, EASY, LESSON, LIBRARY, exact, model, problems, right
from tests.llm_server import LLMServer

LESSON_ENTRY = Experience("golden", LESSON, rules=(Rule(LESSON),))
TRAIN, VAL, TEST = (1, 2, 3, 4), (11, 12), (5, 7)


@pytest.fixture(scope="module")
def running() -> Iterator[LLMServer]:
    with LLMServer(model) as server:
        yield server


@pytest.fixture
def server(running: LLMServer) -> LLMServer:
    running.script = model
    running.requests.clear()
    dspy.configure(lm=dspy.LM("openai/test", api_base=running.url, api_key="test-key", cache=False, num_retries=0))
    return running


@dataclass
class Case:
    """A role, what it is tuned on, and by which metric."""

    role: Callable[[], dspy.Module]
    metric: Any
    examples: Callable[[tuple[int, ...]], list[dspy.Example]]


def actor() -> Actor:
    return Actor("question -> answer")


def equipped(embed: bool = False) -> dspy.Module:
    return equip(dspy.ChainOfThought("question -> answer"), LIBRARY, embed=embed)


def rollouts(numbers: tuple[int, ...]) -> list[dspy.Example]:
    return critic_examples(actor(), problems(*numbers), right, max_rounds=1, max_rollouts=1, progress=False)


def lessons(numbers: tuple[int, ...]) -> list[dspy.Example]:
    """Lessons worth keeping."""
    critic = Critic()
    instruct(critic, COACHED)
    return updater_examples(rollouts(numbers), LIBRARY, critic)


def attempts(numbers: tuple[int, ...]) -> list[dspy.Example]:
    return verifier_examples(rollouts(numbers))


def case_of(role: str) -> Case:
    val = problems(*VAL)
    cases = {
        "equipped": lambda: Case(equipped, exact, lambda numbers: problems(*(EASY + n for n in numbers))),
        "actor": lambda: Case(actor, exact, lambda numbers: problems(*(EASY + n for n in numbers))),
        "critic": lambda: Case(Critic, LessonMetric(actor(), val, right), rollouts),
        "updater": lambda: Case(Updater, EditMetric(actor(), val, right, library=LIBRARY), lessons),
        "verifier": lambda: Case(Verifier, VerdictMetric(), attempts),
    }
    return cases[role]()


def by_bootstrap(program: dspy.Module, metric: Any, trainset: list[dspy.Example]) -> dspy.Module:
    # Labelled examples stay beside those that were bootstrapped.
    return dspy.BootstrapFewShot(metric, max_bootstrapped_demos=1, max_labeled_demos=3).compile(
        program, trainset=trainset
    )


def by_mipro(program: dspy.Module, metric: Any, trainset: list[dspy.Example]) -> dspy.Module:
    optimizer = dspy.MIPROv2(
        metric, auto=None, num_candidates=2, max_bootstrapped_demos=1, max_labeled_demos=0, num_threads=2
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*multivariate.*")  # of optuna's, of its own option
        return optimizer.compile(program, trainset=trainset, valset=trainset, num_trials=2, minibatch=False)


def by_simba(program: dspy.Module, metric: Any, trainset: list[dspy.Example]) -> dspy.Module:
    return dspy.SIMBA(metric=metric, bsize=3, num_candidates=2, max_steps=1, max_demos=1, num_threads=2).compile(
        program, trainset=trainset
    )


def by_gepa(program: dspy.Module, metric: Any, trainset: list[dspy.Example]) -> dspy.Module:
    optimizer = dspy.GEPA(
        metric,
        max_metric_calls=12,
        reflection_lm=dspy.settings.lm,
        reflection_minibatch_size=2,
        component_selector="all",
        num_threads=2,
    )
    return optimizer.compile(program, trainset=trainset, valset=trainset)


OPTIMIZERS = {"BootstrapFewShot": by_bootstrap, "MIPROv2": by_mipro, "SIMBA": by_simba, "GEPA": by_gepa}


def points(program: dspy.Module, metric: Any, examples: list[dspy.Example]) -> float:
    return sum(float(metric(example, program(**example.inputs()))) for example in examples) / len(examples)


def prompts(server: LLMServer, program: dspy.Module, example: dspy.Example) -> tuple[str, list[Any]]:
    """What a program predicts, and what it asks."""
    server.requests.clear()
    predicted = repr(program(**example.inputs()))
    return predicted, [request.messages for request in server.requests]


# The quick tests try every optimizer on the actor. The critic and the updater take ten times as long.
SLOW = [pytest.param(role, marks=pytest.mark.slow) for role in ("critic", "updater")]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("role", ["actor", "equipped", *SLOW, "verifier"])
def test_a_role_is_tuned_and_stays_so(server, tmp_path, role, optimizer):
    case = case_of(role)
    test = case.examples(TEST)
    assert test
    before = points(case.role(), case.metric, test)
    compiled = OPTIMIZERS[optimizer](case.role(), case.metric, case.examples(TRAIN))
    assert points(compiled, case.metric, test) > max(before, 0.5)
    compiled.save(tmp_path / "role.json")
    loaded = case.role()
    loaded.load(tmp_path / "role.json")
    assert prompts(server, loaded, test[0]) == prompts(server, compiled, test[0])
    assert prompts(server, loaded, test[0]) != prompts(server, case.role(), test[0])


def test_a_tuned_critic_teaches(server):
    def learned(critic: Critic) -> ExperienceLibrary:
        optimizer = ForwardLearning(exact, critic=critic, max_rounds=1, max_rollouts=1, progress=False)
        return optimizer.compile(actor(), trainset=problems(1, 3)).retriever.library

    metric = LessonMetric(actor(), problems(*VAL), right)
    compiled = by_bootstrap(Critic(), metric, rollouts(TRAIN))
    assert not any(LESSON in entry.method for entry in learned(Critic()))
    assert all(LESSON in entry.method for entry in learned(compiled))


def test_the_example_of_the_documentation(server):
    agent, metric, lm = actor(), right, dspy.settings.lm
    train, val, teaching = problems(2, 1, 3), problems(13, 15), problems(11, 12)

    rollouts = critic_examples(agent, train, metric, max_rounds=2, max_rollouts=1)
    optimizer = dspy.GEPA(
        LessonMetric(agent, teaching, metric), max_metric_calls=20, reflection_lm=lm, component_selector="all"
    )
    critic = optimizer.compile(Critic(), trainset=rollouts)
    learner = ForwardLearning(metric, critic=critic, max_rounds=2, max_rollouts=1)
    learned = learner.compile(agent, trainset=train, valset=val)

    assert COACHED in critic.warning.signature.instructions
    assert learner.versions[-1].metrics["accuracy"] == 1.0
    assert learned(question=val[0].question).answer == val[0].answer


@pytest.mark.parametrize("embed", [False, True])
def test_gepa_tunes_an_equipped_program_with_its_library_in_place(server, tmp_path, embed):
    program, test = equipped(embed), problems(5, 7)
    assert points(program, exact, test) == 0.0
    compiled = by_gepa(program, right, problems(1, 2, 3))
    assert points(compiled, exact, test) == 1.0
    asked = server.of("actor")
    actors = [request for request in asked if "question" in request.inputs]
    assert {COACHED in request.messages[0]["content"] for request in actors} == {False, True}
    assert all(DULL.method in request.inputs["experiences"] for request in actors)

    compiled.save(tmp_path / "program.json")
    loaded = equip(dspy.ChainOfThought("question -> answer"), None if embed else LIBRARY, embed=embed)
    loaded.load(tmp_path / "program.json")
    assert prompts(server, loaded, test[0]) == prompts(server, compiled, test[0])
    assert DULL.method in server.requests[0].inputs["experiences"]


def test_gepa_tunes_a_learned_actor(server, tmp_path):
    learned = ForwardLearning(exact, max_rounds=1, progress=False).compile(actor(), trainset=problems(1, 3))
    assert len(learned.retriever.library)
    compiled = by_gepa(learned, right, problems(5, 7))
    assert points(compiled, exact, problems(9)) == 1.0 > points(learned, exact, problems(9))
    compiled.save(tmp_path / "actor.json")
    loaded = Actor("question -> answer", retriever=learned.retriever)
    loaded.load(tmp_path / "actor.json")
    assert prompts(server, loaded, problems(9)[0]) == prompts(server, compiled, problems(9)[0])


@pytest.mark.parametrize("optimizer", ["BootstrapFewShot", "MIPROv2"])
def test_what_has_learned_can_be_tuned_on(server, optimizer):
    learned = ForwardLearning(exact, max_rounds=1, progress=False).compile(equipped(), trainset=problems(1))
    tuned = OPTIMIZERS[optimizer](learned, exact, problems(22, 23))
    assert points(tuned, exact, problems(25)) == 1.0
    assert len(retrievers(tuned)[0].library) == len(retrievers(learned)[0].library) > 0


def test_gepa_passes_over_predictors_that_no_rollout_reaches(server):
    optimizer = dspy.GEPA(
        LessonMetric(actor(), problems(*VAL), right),
        max_metric_calls=40,
        reflection_lm=dspy.settings.lm,
        reflection_minibatch_size=2,
        num_threads=2,
    )
    critic = optimizer.compile(Critic(), trainset=rollouts(TRAIN))  # one predictor at a time, and all are warnings
    assert COACHED in critic.warning.signature.instructions
    assert COACHED not in critic.golden.signature.instructions


@pytest.mark.parametrize("kind", [Actor, dspy.ChainOfThought])
def test_a_demonstration_does_not_bring_old_lessons(server, kind):
    program = equip(kind("question -> answer"), ExperienceLibrary([LESSON_ENTRY]))
    compiled = dspy.BootstrapFewShot(exact, max_labeled_demos=0).compile(program, trainset=problems(1))
    server.requests.clear()
    compiled(question="Case 5: what is 5 # 3?")
    *earlier, question = server.requests[0].messages
    assert LESSON in question["content"]
    assert not any(LESSON in message["content"] for message in earlier)
    assert any("Case 1" in message["content"] for message in earlier)


def test_raw_training_examples_are_not_saved(server, tmp_path):
    examples = rollouts((1, 3, 5))
    compiled = dspy.LabeledFewShot(k=3).compile(Critic(), trainset=examples)
    assert len(compiled.warning.demos) == 3
    assert compiled.dump_state()["warning"]["demos"] == []
    compiled.save(tmp_path / "critic.json")
    assert "Case" not in (tmp_path / "critic.json").read_text()


def test_an_updater_that_inserts_a_lesson_is_right_where_nothing_is_near(server):
    (example,) = rollouts((2,))
    lesson = Critic()(**example.inputs()).experience
    metric = EditMetric(actor(), problems(*VAL), right, library=ExperienceLibrary())
    verdict = metric(dspy.Example(lesson=lesson, nearest=[]), Updater()(lesson=lesson, nearest=[]))
    assert isinstance(Updater()(lesson=lesson, nearest=[]).edit, Insert)
    assert verdict
    assert verdict.score == 0.5
