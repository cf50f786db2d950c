"""Learning within a scope: what the critic and the updater are shown, and where the lesson goes."""

import asyncio
from pathlib import Path

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.online import OnlineLearner
from flex_dspy.libraries.experience import Commit, Experience, Insert, Merge, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.spending import Ledger
from flex_dspy.programs import Actor
from flex_dspy.programs.equip import equip
from flex_dspy.programs.lesson_writer import LessonWriter
from flex_dspy.search.retrieval import ExperienceRetriever, retrievers
from tests.flex_dspy.learning.scripted_roles import FamilyCritic, FamilyUpdater, study

RULE = (Rule("case 3"),)
ENTRIES = [
    Experience("golden", f"family3 of {scope or 'all'}", RULE, category="family 3", scope=scope)
    for scope in ("", "a", "b")
]
LIBRARY = ExperienceLibrary(ENTRIES)
CASE = Precedent("3", "Case 3", "3")


class Watching(FamilyUpdater):
    """Keeps what it is shown, and merges into the first of it."""

    def __init__(self) -> None:
        super().__init__()
        self.nearest: list[Experience] = []

    async def aforward(self, lesson, nearest):
        self.nearest += nearest
        return dspy.Prediction(edit=Merge(nearest[0].id, lesson) if nearest else Insert(lesson))


class WatchingCritic(FamilyCritic):
    """Keeps what it is shown, and says that it corrects an entry of b."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Experience] = []

    async def aforward(self, precedent, trajectory=None, *, shown=()):
        self.shown += shown
        found = await super().aforward(precedent, trajectory)
        return dspy.Prediction(experience=found.experience, corrects=ENTRIES[2].id)


def propose(scope: str):
    critic, updater = WatchingCritic(), Watching()
    writer = LessonWriter(critic, updater, Ledger(), dspy.Predict("problem -> answer"))
    proposal = asyncio.run(writer.propose(CASE, None, LIBRARY, [e.id for e in ENTRIES], scope))
    return writer, critic, updater, proposal


@pytest.mark.parametrize(("scope", "read"), [("", {""}), ("a", {"", "a"}), ("c", {""})])
def test_critic_and_updater_are_shown_nothing_of_another_scope(scope: str, read: set[str]) -> None:
    _, critic, updater, proposal = propose(scope)
    assert {entry.scope for entry in critic.shown} == read
    assert {entry.scope for entry in updater.nearest} == read & {scope}
    assert proposal.lesson.scope == scope


def test_a_lesson_written_meanwhile_in_another_scope_is_no_rival() -> None:
    writer, _, updater, proposal = propose("c")
    assert isinstance(proposal.edit, Insert)
    newest = LIBRARY.apply(Commit("r", 1, (Insert(proposal.lesson.of_scope("b")),)))
    updater.nearest.clear()
    assert asyncio.run(writer.settle([proposal], newest, LIBRARY)) == (proposal.edit,)
    assert not updater.nearest
    again = newest.apply(Commit("r", 2, (Insert(proposal.lesson),)))
    assert isinstance(asyncio.run(writer.settle([proposal], again, newest))[0], Merge)


def test_a_training_run_learns_into_its_scope(tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    LIBRARY.save(path)
    optimizer = study(12, scope="a", library=path)
    learned = ExperienceLibrary.load(path)
    assert sum(len(entry.precedents) for entry in learned.scoped("a", shared=False)) == 12
    assert learned.scoped("b") == LIBRARY.scoped("b")
    with pytest.raises(ConfigurationError, match="does not read the scope 'a'"):
        optimizer.compile(equip(dspy.Predict("problem -> answer"), LIBRARY), trainset=[dspy.Example(problem="p")])
    student = dspy.Predict("problem -> answer")
    assert study(5).run_id(equip(student), []) != study(5, scope="a").run_id(equip(student), [])


def test_observations_of_many_scopes_are_learned_apart(tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    LIBRARY.save(path)
    with OnlineLearner(
        dspy.Predict("problem -> answer"), library=path, critic=FamilyCritic(), updater=FamilyUpdater(), scope="a"
    ) as learner:
        for number in range(9):
            scope = (None, "b", "")[number % 3]
            verdict, ids = True, [entry.id for entry in ENTRIES]
            learner.observe({"problem": f"Case {number}"}, {"answer": "1"}, verdict, shown=ids, id="same", scope=scope)
            learner.observe(
                {"problem": f"Case {number}"}, {"answer": "1"}, verdict, shown=ids, id=f"{number}", scope=scope
            )
        with pytest.raises(ConfigurationError, match="a scope is"):
            learner.observe({"problem": "p"}, {"answer": "1"}, True, scope="no scope")
        learner.flush(30)
        assert retrievers(learner.program)[0].scopes == ["a"]
        library = learner.library
    for scope, numbers in {"a": [0, 0, 3, 6], "b": [1, 1, 4, 7], "": [2, 2, 5, 8]}.items():
        cases = [p.problem for entry in library.scoped(scope, shared=not scope) for p in entry.precedents]
        assert set(cases) == {f"Case {number}" for number in numbers}
    assert [library[entry.id].shown for entry in ENTRIES] == [4, 4, 4]


def test_a_saved_program_holds_its_scopes_alone() -> None:
    retriever = ExperienceRetriever(LIBRARY, views=["lexical"], scopes=("a",), embed=True)
    state = retriever.dump_state()
    assert "of b" not in str(state["library"])
    assert state["scopes"] == ["a"]
    fresh = ExperienceRetriever(views=["lexical"])
    fresh.load_state(state)
    assert {hit.experience.scope for hit in fresh("family3").hits} == {"", "a"}
    retriever = ExperienceRetriever(LIBRARY, views=["lexical"], scopes=("a",))
    again = ExperienceRetriever(LIBRARY, views=["lexical"])
    again.load_state(retriever.dump_state())  # by its hash: that of the view
    assert again.source is LIBRARY
    assert {hit.experience.scope for hit in again("family3").hits} == {"", "a"}


def test_an_actor_reads_the_scopes_that_it_is_equipped_with() -> None:
    actor = equip(Actor("problem -> answer"), LIBRARY, scopes=("a",))
    assert [retriever.scopes for retriever in retrievers(actor)] == [["a"]]
    assert retrievers(equip(actor, LIBRARY))[0].scopes == ["a"]
