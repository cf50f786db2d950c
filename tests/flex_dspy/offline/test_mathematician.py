"""The offline mathematician's four roles, as a prompt calls them, and what it learns."""

import asyncio
import time
from pathlib import Path

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.trajectory import Round, Trajectory
from flex_dspy.data import aime as aime_data
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule
from flex_dspy.libraries.hits import Hit
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.metrics.aime import aime
from flex_dspy.models.lm import close, language_model
from flex_dspy.offline import experts, mathematician
from flex_dspy.offline.engine import AsyncOfflineEngine, OfflineEngine
from flex_dspy.programs import Actor, Critic, Updater, Verifier
from flex_dspy.search.rendering import NONE, render
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.tasks.aime import SolveCompetitionProblem

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "aime" / "aime_2024.jsonl"
PATHS = "In how many ways can one walk {} blocks east and {} blocks north?"
PROBLEM, ANSWER = PATHS.format(6, 3), 84
RIGHT = "binomial(add(a, b), a)"


def distilled(problem: str, reference: object, attempts: str = "") -> dict:
    inputs = {"problem": problem, "reference": str(reference), "attempts": attempts}
    return mathematician.answer(inputs, ["lesson"])["lesson"]


def experience(lesson: dict, zone: str = "golden", **fields) -> Experience:
    rules = tuple(Rule(rule["text"], tuple(rule["examples"])) for rule in lesson["rules"])
    return Experience(zone=zone, method=lesson["method"], category=lesson["category"], rules=rules, **fields)


def block(*entries: Experience) -> str:
    return render([Hit(entry, 1.0) for entry in entries], 100_000)


def act(experiences: str, earlier: str = "none", problem: str = PROBLEM) -> dict:
    inputs = {"problem": problem, "experiences": experiences, "earlier_attempts": earlier}
    return mathematician.answer(inputs, ["reasoning", "answer", "experiences_used"])


def attempt(procedure: str, value: int, verdict: str, told: str = "") -> str:
    reasoning = f"1 lessons on this pattern teach `{procedure}`.{told}"
    return f"Attempt 1:\n  reasoning: {reasoning}\n  answer: {value}\n  verdict: {verdict}\n  feedback: So."


def taught(pattern: str, *rules: str, examples: tuple[str, ...] = (), zone: str = "golden") -> Experience:
    where = Rule(f"Where the problem reads `{pattern}`, call its numbers a, b", examples)
    return Experience(zone, "m", rules=(where, *map(Rule, rules)))


PATTERN = "in how many ways can one walk N blocks east and N blocks north"
LEARNED = experience(distilled(PATHS.format(3, 4), 35, attempt(RIGHT, 35, "accepted")))


# -- actor -----------------------------------------------------------------------------------------------------


def test_without_a_lesson_it_guesses_and_says_so():
    answer = act(NONE)
    assert answer["experiences_used"] == []
    assert "guess" in answer["reasoning"]
    assert 0 <= int(answer["answer"]) <= 999
    assert act(NONE) == answer
    assert act(NONE, problem=PATHS.format(6, 4))["answer"] != answer["answer"]


def test_a_lesson_from_other_numbers_is_applied():
    answer = act(block(LEARNED))
    assert answer["answer"] == str(ANSWER)
    assert answer["experiences_used"] == [LEARNED.id]
    assert f"`{RIGHT}`" in answer["reasoning"]


def test_a_lesson_about_another_wording_is_not():
    assert act(block(LEARNED), problem="How many primes lie between 6 and 3?")["experiences_used"] == []


def test_a_wording_that_differs_in_a_word_is_recognized():
    assert act(block(LEARNED), problem=PROBLEM.replace("blocks east", "streets east"))["answer"] == str(ANSWER)


def test_names_are_no_part_of_the_wording():
    lesson = experience(distilled("Now Inga has 3 boxes of 4 pens. How many pens?", 12))
    answer = act(block(lesson), problem="Now Omar has 7 boxes of 9 pens. How many pens?")
    assert answer["answer"] == "63"


def test_a_rejected_answer_is_not_given_again():
    earlier = f"Attempt 1:\n  reasoning: so\n  answer: {ANSWER}\n  verdict: rejected\n  feedback: No."
    second = act(block(LEARNED), earlier)
    assert second["answer"] != str(ANSWER)
    assert "guess" in second["reasoning"]
    earlier += f"\nAttempt 2:\n  answer: {second['answer']}\n  verdict: rejected\n  feedback: No."
    assert act(block(LEARNED), earlier)["answer"] not in (str(ANSWER), second["answer"])


def test_more_lessons_win_and_then_the_simpler_procedure():
    plus, times = "Answer `add(a, b)`", "Answer `multiply(a, add(b, 1))`"
    assert act(block(taught(PATTERN, times, plus)))["answer"] == "9"
    two = block(taught(PATTERN, plus), taught(PATTERN, times), taught(PATTERN, times, zone="mixed"))
    assert act(two)["answer"] == "24"


def test_what_an_instance_contradicts_comes_last():
    told = taught(PATTERN, "Answer `add(a, b)`", "Answer `multiply(a, b)`", examples=("(2, 5) gives 10",))
    answer = act(block(told))
    assert answer["answer"] == "18"
    assert "(2, 5) gives 10." in answer["reasoning"]


def test_what_a_lesson_warns_of_is_avoided():
    warned = taught(PATTERN, "Avoid: `add(b, a)` gave a wrong answer", zone="warning")
    answer = act(block(taught(PATTERN, "Answer `add(a, b)`"), warned))
    assert answer["experiences_used"] == []


@pytest.mark.parametrize("rule", ["Answer `power(a, 999)`", "Answer `subtract(b, a)`", "Answer `x`", "Answer 7", "`"])
def test_what_gives_no_answer_in_range_is_passed_over(rule):
    assert act(block(taught(PATTERN, rule)))["experiences_used"] == []


@pytest.mark.parametrize("problem", ["", "no numbers", "9" * 50_000, f"{10**30} and {10**11}"])
def test_any_text_gets_an_answer_soon(problem):
    begun = time.perf_counter()
    assert 0 <= int(act(block(LEARNED), problem=problem)["answer"]) <= 999
    assert time.perf_counter() - begun < 1


# -- critic ----------------------------------------------------------------------------------------------------


def procedures(lesson: dict, start: str) -> list[str]:
    return [rule["text"].split("`")[1] for rule in lesson["rules"] if rule["text"].startswith(start)]


def test_the_lesson_of_a_worked_answer():
    lesson = distilled(PROBLEM, ANSWER)
    assert lesson["rules"][0]["text"] == f"Where the problem reads `{PATTERN}`, call its numbers a, b"
    assert lesson["rules"][0]["examples"] == ["(6, 3) gives 84"]
    assert 1 <= len(procedures(lesson, "Answer")) <= 6
    assert PATTERN in lesson["method"]
    assert "6, 3" in lesson["trajectory"]


def test_a_success_confirms_its_procedure_alone():
    lesson = distilled(PROBLEM, ANSWER, attempt(RIGHT, ANSWER, "accepted"))
    assert procedures(lesson, "Answer") == [RIGHT]


def test_the_lesson_of_a_failure_names_the_mistake_and_the_way():
    told = " (3, 4) gives 35. (5, 2) gives 21."
    lesson = distilled(PROBLEM, ANSWER, attempt("add(a, b)", 9, "rejected", told))
    assert procedures(lesson, "Instead: answer")[0] == RIGHT  # no other explains all three
    assert procedures(lesson, "Avoid:") == ["add(a, b)"]


def test_an_instance_that_contradicts_the_reference_is_dropped():
    lesson = distilled(PROBLEM, ANSWER, attempt("add(a, b)", 9, "rejected", " (6, 3) gives 85."))
    assert procedures(lesson, "Instead: answer")


@pytest.mark.parametrize(
    ("problem", "reference"),
    [(PROBLEM, "1000"), (PROBLEM, "no number"), (PROBLEM, ""), ("No number is in here.", 7), ("", 7)],
)
def test_no_lesson_is_made_up(problem, reference):
    lesson = distilled(problem, reference)
    assert (lesson["rules"], lesson["category"]) == ([], "unexplained")


def test_hostile_attempts_do_not_hold_it_up():
    begun = time.process_time()
    distilled(PROBLEM, ANSWER, attempt("add(a, b)", 9, "rejected", f" ({'9' * 9999}, {'1, ' * 999}1) gives 5." * 20))
    distilled(PROBLEM, ANSWER, "".join(f" ({n}, {n}) gives {n}." for n in range(999)))
    assert time.process_time() - begun < 2


# -- updater ---------------------------------------------------------------------------------------------------


def decide(lesson: Experience, *nearest: Experience) -> dict:
    inputs = {"new_lesson": block(lesson), "nearest": block(*nearest)}
    return mathematician.answer(inputs, ["decision"])["decision"]


def merged(lesson: Experience, entry: Experience) -> Experience:
    """The entry after the mathematician, as updater, has merged the lesson into it."""
    with dspy.context(lm=language_model("offline/mathematician")):
        edit = Updater()(lesson=lesson, nearest=[entry]).edit
    assert (edit.action, edit.target) == ("merge", entry.id)
    library = ExperienceLibrary([entry]).apply(Commit("run", 1, (edit,)))
    return next(iter(library))


def test_a_lesson_on_the_same_pattern_is_merged_and_gathers_instances():
    again = merged(experience(distilled(PROBLEM, ANSWER, attempt(RIGHT, ANSWER, "accepted"))), LEARNED)
    assert [rule.text for rule in again.rules] == [rule.text for rule in LEARNED.rules]
    assert again.rules[0].examples == ("(3, 4) gives 35", "(6, 3) gives 84")


def test_what_the_new_instance_refutes_makes_way():
    first = experience(distilled(PATHS.format(3, 4), 35))
    assert len(first.rules) > 3
    entry, numbers = first, [(6, 3, 84), (5, 2, 21), (4, 4, 70), (7, 3, 120)]
    for a, b, value in numbers:
        entry = merged(experience(distilled(PATHS.format(a, b), value, attempt(RIGHT, value, "accepted"))), entry)
    assert f"Answer `{RIGHT}`" in [rule.text for rule in entry.rules]
    assert len(entry.rules) < len(first.rules)


def test_another_pattern_or_another_zone_is_an_entry_of_its_own():
    other = experience(distilled("What is the sum of 3 and 4?", 7))
    assert decide(other, LEARNED)["action"] == "insert"
    assert decide(taught(PATTERN, "Answer `a`", zone="warning"), LEARNED)["action"] == "insert"


def test_a_lesson_without_a_procedure_is_discarded():
    assert decide(experience(distilled("No number", 7)), LEARNED)["action"] == "discard"


# -- verifier --------------------------------------------------------------------------------------------------


def verify(attempted: str, measured: str = "") -> dict:
    inputs = {"problem": PROBLEM, "attempt": attempted, "measured": measured, "reference": ""}
    return mathematician.answer(inputs, ["accepted", "feedback"])


def test_the_exact_check_is_passed_on():
    assert verify("answer: 9", "rejected (score 0). 9 is wrong.") == {"accepted": False, "feedback": "9 is wrong."}


@pytest.mark.parametrize(
    ("given", "accepted"), [("reasoning: so\nanswer: 0", True), ("answer: 999", True), ("answer: 1000", False)]
)
def test_without_a_check_any_possible_answer_is_accepted(given, accepted):
    assert verify(given)["accepted"] is accepted


# -- as a model ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [[], ["reactants"], ["reasoning", "experiences_used"]])
def test_it_has_no_other_role(outputs):
    with pytest.raises(ValueError, match="no role"):
        mathematician.answer({"problem": PROBLEM}, outputs)


def test_the_experts_are_those_that_can_be_named():
    for name in experts.EXPERTS:
        assert language_model(f"offline/{name}").model == f"offline/{name}"
    assert experts.expert_named("mathematician") is mathematician
    with pytest.raises(ConfigurationError, match="no offline expert 'os'"):
        OfflineEngine("os")


def test_an_engine_keeps_its_expert():
    assert OfflineEngine.load_state(OfflineEngine("mathematician").dump_state()).expert == "mathematician"
    loaded = AsyncOfflineEngine.load_state(AsyncOfflineEngine(3, "mathematician").dump_state())
    assert (loaded.workers, loaded.expert) == (3, "mathematician")


def actor(library: ExperienceLibrary | None = None) -> Actor:
    retriever = ExperienceRetriever(library, views=["lexical"], k=300, depth=300, token_budget=200_000)
    return Actor(SolveCompetitionProblem, retriever)


@pytest.fixture
def model():
    """The mathematician, configured, with one worker."""
    engine = AsyncOfflineEngine(1, "mathematician")
    lm = dspy.LM("offline/mathematician", engine=OfflineEngine("mathematician"), async_engine=engine, cache=False)
    dspy.configure(lm=lm)
    yield engine
    engine.close()


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter, dspy.JSONAdapter])
def test_every_role_through_a_real_prompt(model, adapter):
    dspy.configure(adapter=adapter())
    case = Precedent("e1", PATHS.format(3, 4), "35")
    outputs = {"reasoning": f"1 lessons on this pattern teach `{RIGHT}`.", "answer": 35}
    lesson = Critic()(precedent=case, trajectory=Trajectory((Round(outputs, 1.0, True, "Right."),))).experience
    assert lesson.rules == LEARNED.rules
    assert asyncio.run(Critic().acall(precedent=case)).experience == Critic()(precedent=case).experience
    assert len(model._pool) == 1
    solver = actor(ExperienceLibrary().apply(Commit("run", 1, (Insert(lesson),))))
    answer = solver(problem=PROBLEM)
    assert (answer.answer, answer.experiences_used) == (ANSWER, [lesson.id])
    assert Updater()(lesson=lesson, nearest=[lesson]).edit.action == "merge"
    assert Verifier()(problem=PROBLEM, attempt="answer: 84").accepted is True


def test_a_prompt_of_no_role_is_a_clear_error(model):
    with pytest.raises(dspy.utils.exceptions.LMInvalidRequestError, match="the offline mathematician cannot answer"):
        dspy.Predict("smiles -> reactants")(smiles="CCO")


@pytest.fixture(scope="module")
def learning():
    """What came of learning from some of the shipped problems."""
    train, val = (aime_data.load(split).examples for split in ("train", "val"))
    optimizer = ForwardLearning(aime, max_rounds=2, max_rollouts=1, checkpoint_every=30, progress=False)
    lm = language_model("offline/mathematician")
    with dspy.context(lm=lm):
        learned = optimizer.compile(actor(), trainset=train[:60], valset=val[:25])
    close(lm)
    return optimizer.versions, learned.retriever.library


def test_accuracy_rises_with_the_problems_learned_from(learning):
    versions, library = learning
    zero, half, whole = (version.metrics["accuracy"] for version in versions)
    assert zero <= 0.04
    assert half >= zero + 0.1
    assert whole >= half + 0.1
    assert library.sizes()["golden"] > 0
    assert all(entry.rules[0].examples for entry in library)


@pytest.mark.skipif(not REAL.exists(), reason="the real data is not here")
def test_it_cannot_solve_what_it_has_no_lesson_for(learning, model):
    solver = actor(learning[1])
    right = [solver(problem=example.problem).answer == example.answer for example in aime_data.load(REAL).examples]
    assert len(right) == 30
    assert sum(right) <= 1
