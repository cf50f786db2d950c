"""The updater: from a decision to an edit, rule by rule."""

import dspy
import pytest

from flex_dspy.core.tokens import tokens
from flex_dspy.libraries.experience import (
    MAX_CASE_RULES,
    Discard,
    Experience,
    Insert,
    Merge,
    Precedent,
    Revision,
    Rule,
)
from flex_dspy.programs import Updater
from tests.llm_server import Fault, LLMServer

TOO_LONG = Fault(400, "too many words", code="context_length_exceeded")
ENTRY = Experience("golden", "Recall the table.", rules=(Rule("old one"), Rule("old two")))
OTHER = Experience("golden", "Draw a picture.", rules=(Rule("old one"), Rule("pencil")))
LESSON = Experience("golden", "Use the table.", rules=(Rule("new 0", ("x",)), Rule("new 1"), Rule("new 2")))


@pytest.fixture
def server(llm_server: LLMServer, lm: dspy.LM) -> LLMServer:
    return llm_server


def decides(server: LLMServer, **decision) -> None:
    server.script = lambda role, inputs, messages: {"decision": {"reason": "because", **decision}}


def test_where_nothing_is_near_no_model_is_asked(server, ask):
    edit = ask(Updater(), lesson=LESSON, nearest=[]).edit
    assert isinstance(edit, Insert)
    assert edit.experience == LESSON
    assert server.requests == []


def test_it_sees_the_lesson_and_the_nearest(server, ask, adapter):
    decides(server, action="insert")
    assert ask(Updater(), lesson=LESSON, nearest=[ENTRY, OTHER]).edit == Insert(LESSON, "because")
    (request,) = server.requests
    assert request.role == "updater"
    assert LESSON.method in request.inputs["new_lesson"]
    assert "new 2" in request.inputs["new_lesson"]
    for text in (ENTRY.id, "old two", OTHER.id, "pencil"):
        assert text in request.inputs["nearest"]


def test_discard(server, ask):
    decides(server, action="discard")
    assert ask(Updater(), lesson=LESSON, nearest=[ENTRY]).edit == Discard(LESSON.id, "because")


def test_merge_rule_by_rule(server, ask, adapter):
    rules = [
        {"rule": 0, "action": "add"},
        {"rule": 1, "action": "replace", "replaces": "old two"},
        {"rule": 2, "action": "skip"},
    ]
    decides(server, action="merge", target=ENTRY.id, rules=rules, method="Know the table.")
    edit = ask(Updater(), lesson=LESSON, nearest=[OTHER, ENTRY]).edit
    assert edit == Merge(
        ENTRY.id,
        LESSON,
        (Rule("new 0", ("x",)),),
        (Revision("old two", Rule("new 1")),),
        "Know the table.",
        "because",
    )


def test_rules_without_a_decision_are_added_and_the_method_is_kept(server):
    decides(server, action="merge", target=ENTRY.id, rules=[{"rule": 1, "action": "skip"}])
    edit = Updater()(lesson=LESSON, nearest=[ENTRY]).edit
    assert [rule.text for rule in edit.add_rules] == ["new 0", "new 2"]
    assert edit.method is None


def test_a_rule_that_would_replace_what_is_not_there_is_added(server):
    gone = [{"rule": n, "action": "replace", "replaces": text} for n, text in enumerate(["pencil", "old  two", ""])]
    decides(server, action="merge", target=ENTRY.id, rules=gone)
    edit = Updater()(lesson=LESSON, nearest=[ENTRY, OTHER]).edit
    assert edit.add_rules == LESSON.rules
    assert edit.revise_rules == ()


def test_decisions_on_rules_that_do_not_exist_are_passed_over(server):
    decides(server, action="merge", target=ENTRY.id, rules=[{"rule": 99, "action": "skip"}])
    assert Updater()(lesson=LESSON, nearest=[ENTRY]).edit.add_rules == LESSON.rules


@pytest.mark.parametrize("target", ["", "deadbeef", LESSON.id])
def test_a_merge_into_what_was_not_shown_is_an_insert(server, ask, target):
    decides(server, action="merge", target=target, rules=[{"rule": 0, "action": "skip"}])
    assert ask(Updater(), lesson=LESSON, nearest=[ENTRY]).edit == Insert(LESSON, "because")


def test_its_prompt_has_a_budget(server):
    decides(server, action="insert")
    long = [Experience("golden", f"{n} " + "word " * 500, rules=(Rule("r" * 1_000),)) for n in range(50)]
    Updater(token_budget=1_000)(lesson=LESSON, nearest=long)
    assert tokens(server.requests[0].inputs["nearest"]) <= 1_000


@pytest.mark.parametrize("decision", [{"action": "burn"}, {"action": None}, {}])
def test_a_decision_that_cannot_be_read_loses_nothing(server, ask, decision):
    decides(server, **decision)
    edit = ask(Updater(), lesson=LESSON, nearest=[ENTRY]).edit
    assert edit == Insert(LESSON, "no decision of the updater could be read")
    assert len(server.requests) == 3


def test_a_copy_is_merged_where_no_decision_can_be_read(server, ask):
    decides(server, action="burn")
    warning = Experience("warning", "Recall the table.", rules=ENTRY.rules)
    copy = Experience("golden", "Recall it.", rules=(Rule("old two"),))
    edit = ask(Updater(), lesson=copy, nearest=[warning, ENTRY]).edit
    assert edit == Merge(ENTRY.id, copy, reason="the entry says the same, word for word")


def test_a_decision_that_makes_no_sense_is_left_out(server, ask, adapter):
    rules = [{"rule": -1, "action": "skip"}, {"rule": 0, "action": "keep"}, "skip all", {"rule": 1, "action": "skip"}]
    decides(server, action=" Merge", target=ENTRY.id, rules=rules, method=None)
    edit = ask(Updater(), lesson=LESSON, nearest=[ENTRY]).edit
    assert [rule.text for rule in edit.add_rules] == ["new 0", "new 2"]
    assert edit.method is None
    assert len(server.requests) == 1


def test_what_is_shown_shrinks_until_the_prompt_fits(server, ask):
    long = [Experience("golden", f"{n} " + "word " * 500, rules=(Rule("r" * 1_000),)) for n in range(50)]
    fits = {"decision": {"action": "insert", "reason": "because"}}
    server.script = lambda role, inputs, messages: fits if tokens(inputs["nearest"]) <= 1_000 else TOO_LONG
    assert ask(Updater(), lesson=LESSON, nearest=long).edit == Insert(LESSON, "because")
    sizes = [tokens(request.inputs["nearest"]) for request in server.requests]
    assert len(sizes) == 3
    assert 2_000 < sizes[0] <= 4_000
    assert 1_000 < sizes[1] <= 2_000
    assert len({request.inputs["new_lesson"] for request in server.requests}) == 1


def test_what_still_overflows_is_an_error(server, ask):
    server.script = lambda role, inputs, messages: TOO_LONG
    with pytest.raises(dspy.utils.exceptions.ContextWindowExceededError):
        ask(Updater(), lesson=LESSON, nearest=[ENTRY])
    shown = [request.inputs["nearest"] for request in server.requests]
    assert len(set(shown)) == len(shown) >= 2  # no form twice


def test_it_saves_and_loads_and_takes_a_model(server, tmp_path):
    decides(server, action="insert")
    updater = Updater()
    updater.decide.signature = updater.decide.signature.with_instructions("Decide.")
    updater.save(tmp_path / "updater.json")
    again = Updater()
    again.load(tmp_path / "updater.json")
    again = again.deepcopy()
    again.set_lm(dspy.settings.lm.copy(model="openai/updater"))
    again(lesson=LESSON, nearest=[ENTRY])
    assert [name for name, _ in again.named_predictors()] == ["decide"]
    assert server.requests[0].body["model"] == "updater"
    assert "Decide." in server.requests[0].messages[0]["content"]


def test_an_entry_may_gather_lessons_and_no_model_is_told_how(server):
    decides(server, action="merge", target=ENTRY.id, case_of="new 0")
    edit = Updater()(lesson=LESSON, nearest=[OTHER, ENTRY]).edit
    assert edit == Merge(ENTRY.id, LESSON, LESSON.rules, (), None, "because", "new 0")
    (request,) = server.requests
    assert "case_of" not in str(request.messages)


def test_a_full_entry_gathers_no_more(server):
    rules = tuple(Rule(f"rule {n}") for n in range(MAX_CASE_RULES))
    cases = tuple(Precedent(f"e{n}", "p", "a", rule=rule.key) for n, rule in enumerate(rules))
    full = Experience("golden", "Recall the table.", rules=rules, category="tables", precedents=cases)
    other = Experience("golden", "Recall the table.", rules=(Rule("z"),), category="tables")
    decides(server, action="merge", target=full.id, case_of="new 0")
    assert Updater()(lesson=LESSON, nearest=[full, other]).edit.target == other.id
    assert isinstance(Updater()(lesson=LESSON, nearest=[full]).edit, Insert)
