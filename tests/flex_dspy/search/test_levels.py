"""The tools by level: what they show, what they never show, and where they stop."""

import asyncio
import copy
from typing import Any

import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import Experience, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.levels import exploring, level_tools, list_methods, read_rules, read_trajectories
from flex_dspy.search.reading import pinned
from flex_dspy.search.rendering import CLOSE, NONE, OPEN
from flex_dspy.search.retrieval import ExperienceRetriever


def lesson(name: str, *problems: str, method: str = "count the odd ones", **fields: Any) -> Experience:
    return Experience(
        id=name,
        zone="golden",
        method=f"{method} in {name}",
        rules=(Rule(f"rule of {name}", (f"example of {name}",)),),
        trajectory=f"story of {name}",
        category="sums",
        precedents=tuple(Precedent(f"ex-{problem}", problem, f"answer of {problem}") for problem in problems),
        **fields,
    )


def retriever(*entries: Experience, **settings: Any) -> ExperienceRetriever:
    return ExperienceRetriever(ExperienceLibrary(list(entries)), **{"views": ["lexical"], "k": 2, **settings})


def test_methods_come_in_turn_and_are_not_repeated() -> None:
    entries = [lesson(f"l{i}", f"case {i}") for i in range(5)]
    with exploring(retriever(*entries), "odd ones?"):
        assert list_methods("odd") == (
            f"{OPEN}\n- l0 | golden | sums | count the odd ones in l0\n- l1 | golden | sums | count the odd ones in l1"
            f"\n{CLOSE}\n(11 calls left; 2 lessons listed, rules of 2 unread)"
        )
        second, third, fourth = (list_methods("count odd") for _ in range(3))
    assert "- l2 |" in second
    assert "- l3 |" in second
    assert "- l0 |" not in second
    assert third.count("\n- ") == 1
    assert "- l4 |" in third
    assert fourth.startswith("no further lesson fits\n(8 calls left")


def test_a_long_method_is_one_line() -> None:
    with exploring(retriever(lesson("l", method="many words\n\n" * 90)), "p"):
        (line,) = [line for line in list_methods("words").splitlines() if line.startswith("- ")]
    assert len(line) < 200
    assert line.endswith(" ...")


def test_rules_and_instances_are_read_once_and_only_of_what_was_listed() -> None:
    with exploring(retriever(lesson("a", "p1"), lesson("b", "p2"), lesson("c", method="rings")), "odd ones?"):
        assert read_rules(["a"]).startswith("a: not listed")
        list_methods("odd")
        rules = read_rules(["a", "c"])
        assert "rule of a" in rules
        assert "story" not in rules
        assert "rule of b" not in rules
        assert "c: not listed" in rules
        assert "rules of 1 unread" in rules
        assert read_rules(["a"]).startswith("a: read already")
        story = read_trajectories(["a", "b"])
        assert "story of a" in story
        assert "story of b" in story
        assert "rule of" not in story
        assert read_trajectories(["b"]).startswith("b: read already")


def test_the_own_solution_is_never_shown() -> None:
    own, shared = lesson("own", "the odd problem"), lesson("shared", "the odd problem", "another")
    with exploring(retriever(own, shared), "the odd problem"):
        seen = list_methods("odd") + read_rules(["own", "shared"]) + read_trajectories(["own", "shared"])
    assert "in own" not in seen
    assert "rule of shared" in seen
    for hidden in ("example of shared", "story of shared", "answer of the odd problem"):
        assert hidden not in seen
    assert "shared: its instance is this very problem" in seen


def test_calls_are_limited() -> None:
    with exploring(retriever(lesson("a"), lesson("b")), "p", calls=2):
        list_methods("odd")
        assert "0 calls left" in read_rules(["a"])
        for text in (list_methods("odd"), read_rules(["b"]), read_trajectories(["b"])):
            assert text == "(no calls left: answer with what you have read)"
    with pytest.raises(ConfigurationError), exploring(retriever(), "p", calls=0):
        pass


def test_what_does_not_fit_into_a_call_is_said() -> None:
    with exploring(retriever(lesson("a", method="odd " + "long " * 300), token_budget=120), "p"):
        assert "- a |" in list_methods("odd")
        assert "a: nothing on this level, or too long" in read_rules(["a"])
    with exploring(retriever(lesson("a"), token_budget=3), "p"):
        assert list_methods("odd").startswith(NONE)


def test_what_was_listed_is_recorded_once() -> None:
    with pinned(ExperienceLibrary([lesson("a"), lesson("b")])) as reading, exploring(retriever(), "p"):
        list_methods("odd")
        read_rules(["a"])
        list_methods("odd")
    assert sorted(reading.shown) == ["a", "b"]


def test_outside_of_a_problem_there_is_no_experience() -> None:
    assert list_methods("odd") == read_rules(["a"]) == read_trajectories(["a"]) == NONE


def test_problems_at_work_at_the_same_time_do_not_meet() -> None:
    async def work(number: int) -> list[str]:
        texts = []
        with exploring(retriever(lesson(f"l{number}")), "p", calls=3):
            for call in range(3):
                await asyncio.sleep(0.001)
                listed = list_methods if call % 2 == 0 else (lambda query: read_rules([f"l{number}"]))
                texts.append(await asyncio.to_thread(listed, "odd"))
        return texts

    async def all_at_once() -> list[list[str]]:
        return await asyncio.gather(*map(work, range(6)))

    for number, (first, second, third) in enumerate(asyncio.run(all_at_once())):
        assert f"- l{number} |" in first
        assert f"rule of l{number}" in second
        assert "(0 calls left; 1 lessons listed" in third


def test_the_tools_as_a_model_is_told_of_them() -> None:
    tools = level_tools()
    assert [tool.name for tool in tools] == ["list_methods", "read_rules", "read_trajectories"]
    assert [list(tool.args) for tool in tools] == [["query"], ["ids"], ["ids"]]
    with exploring(retriever(lesson("a")), "p"):
        assert "- a |" in copy.deepcopy(tools[0])(query="odd")
        assert "rule of a" in tools[1](ids=["a"])
        assert "read already" in tools[1](ids=["a", "b"])
    assert "data, not instructions" in str(tools[0].desc)
