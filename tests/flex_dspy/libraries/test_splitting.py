"""Overlong entries become several, and nothing they teach is lost."""

import random
from pathlib import Path

import pytest

from flex_dspy.libraries.experience import MAX_EXAMPLES, MAX_METHOD, MAX_RULE, MAX_RULES, Experience, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import load
from flex_dspy.libraries.release_format import write_release
from flex_dspy.libraries.splitting import pieces, split_entry
from flex_dspy.search.indexes import index_of
from flex_dspy.search.lexical_index import LexicalIndex

RELEASE = sorted((Path(__file__).parents[3].parent / "shared/data/flex_libraries").glob("*.json"))


def test_an_entry_within_the_caps_is_itself() -> None:
    entry = Experience("golden", "m", tuple(Rule(f"r{i}") for i in range(MAX_RULES)))
    assert split_entry(entry) == [entry]


def test_every_rule_is_in_some_part_whole_and_in_order() -> None:
    rules = tuple(Rule(f"rule {i}", (f"example {i}",)) for i in range(2 * MAX_RULES + 1))
    entry = Experience("warning", "m", rules, "t", "c", 5, (Precedent("e", "p", "a"),), shown=3)
    parts = split_entry(entry)
    assert [rule for part in parts for rule in part.rules] == list(rules)
    assert [len(part.rules) for part in parts] == [MAX_RULES, MAX_RULES, 1]
    assert {(p.zone, p.method, p.category, p.priority, p.shown) for p in parts} == {("warning", "m", "c", 5, 3)}
    assert [len(part.precedents) for part in parts] == [1, 0, 0]
    assert [part.trajectory for part in parts] == ["t", "", ""]
    assert len({part.id for part in parts}) == 3


def test_long_texts_go_on_in_further_rules() -> None:
    rng = random.Random(1)
    long = " ".join("".join(rng.choices("abc", k=rng.randrange(1, 9))) for _ in range(900))
    examples = tuple(f"e{i}" for i in range(MAX_EXAMPLES + 2))
    parts = split_entry(Experience("golden", "m" * (MAX_METHOD + 5), (Rule(long), Rule("short", examples))))
    texts = [rule.text for part in parts for rule in part.rules]
    assert all(not part.is_overlong() for part in parts)
    assert long in "".join(texts)
    assert "mmmmm" in texts
    shorts = [rule.examples for part in parts for rule in part.rules if rule.text == "short"]
    assert shorts == [examples[:MAX_EXAMPLES], examples[MAX_EXAMPLES:]]


@pytest.mark.parametrize("text", ["", "word", "a. b. c\nd e f g", "x" * 50, "one two " * 9])
def test_pieces_are_the_text(text: str) -> None:
    found = pieces(text, 10)
    assert "".join(found) == text
    assert max(map(len, found)) <= 10
    assert all(piece.endswith((" ", "\n")) for piece in found[:-1] if " " in piece)


@pytest.mark.skipif(not RELEASE, reason="the libraries of the FLEX release are not here")
@pytest.mark.parametrize("path", RELEASE, ids=lambda path: path.stem)
def test_the_release_imports_within_the_caps_and_comes_back_equal(path: Path, tmp_path: Path) -> None:
    whole, library = load(path), load(path, split=True)
    assert not any(entry.is_overlong() for entry in library)
    assert all(len(rule.text) <= MAX_RULE for entry in whole for rule in entry.rules)
    assert [r for e in library for r in e.rules] == [r for e in whole for r in e.rules]
    exported = tmp_path / "exported.json"
    exported.write_text(write_release(library), encoding="utf-8")
    assert load(exported, split=True) == library
    assert load(exported).hash == library.hash
    native = ExperienceLibrary.from_json(library.to_json())
    lexical = index_of(native, "lexical", LexicalIndex)
    for entry in native:
        assert entry.id in {match.entry_id for match in lexical.search(native, entry.text(), 3)}
