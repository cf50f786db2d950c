"""Two teams learn apart and merge on a schedule, as docs/how-to/teams.md says."""

import random

from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule, Tally
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.merging import merge, new_conflicts
from flex_dspy.sharing.exchange import pull, push

ROUNDS, EXAMPLES = 6, 10


def learn(library: ExperienceLibrary, team: str, round_number: int, coins: random.Random) -> ExperienceLibrary:
    """The library after a run: some lessons are learned by both teams, and some entries are used."""
    run = f"{team}-{round_number}"
    for step in range(1, EXAMPLES + 1):
        name = f"common {coins.randrange(30)}" if coins.random() < 0.4 else f"{run} {step}"
        case = Precedent(f"{team} {round_number} {step}", f"problem {step}", "7")
        lesson = Experience("golden", f"Method {name}.", (Rule(f"Rule {name}."),), precedents=(case,))
        shown = tuple(entry.id for entry in library)[:2]
        library = library.apply(Commit(run, step, (Insert(lesson),), Tally(shown, shown[:1]), solved=True))
    return library


def test_two_teams_lose_nothing_and_agree_after_every_merge() -> None:
    coins = random.Random(0)
    shared = ExperienceLibrary(task="dice")
    rules, cases = set(), set()
    for round_number in range(ROUNDS):
        for team in ("a", "b"):
            library = learn(shared, team, round_number, coins)
            rules |= {rule.text for entry in library for rule in entry.rules}
            cases |= {case.example_id for entry in library for case in entry.precedents}
            push(library, f"memory://teams/{team}", overwrite=True)
        pulled = [pull(f"memory://teams/{team}").library for team in ("a", "b")]
        merged = merge(*pulled, names=["a", "b"]).library
        assert merge(*reversed(pulled), names=["b", "a"]).library.hash == merged.hash
        assert merge(merged, *pulled, names=["shared", "a", "b"]).library.hash == merged.hash
        assert {rule.text for entry in merged for rule in entry.rules} == rules
        assert {case.example_id for entry in merged for case in entry.precedents} == cases
        shared = merged
    assert len(cases) == 2 * ROUNDS * EXAMPLES
    assert len(shared) == len(rules) < len(cases)  # each lesson once


def test_a_conflict_is_new_once() -> None:
    rule = Rule("Use `plan(A)` first.")
    first = ExperienceLibrary([Experience("golden", "a", (rule,))], task="dice")
    second = ExperienceLibrary([Experience("warning", "b", (rule,))], task="dice")
    merged = merge(first, second)
    (conflict,) = new_conflicts(merged, [first, second])
    assert conflict.about == "use plan(A) first"
    again = merge(merged.library, first)
    assert again.conflicts == merged.conflicts
    assert new_conflicts(again, [merged.library, first]) == ()
