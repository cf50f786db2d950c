"""The pages: what they say, that they are bounded, and that no text of an entry becomes markup."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flex_dspy.core.trajectory import Round, Trajectory
from flex_dspy.display import diff_html, library_html
from flex_dspy.display.html import MAX_TEXT, prose
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.records import Record
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.experience import Experience, Precedent, Rule
from flex_dspy.libraries.hits import Hit, Hits
from flex_dspy.libraries.library import ExperienceLibrary

EXPS = Path(__file__).parents[3] / "exps"
VOID = {"meta", "br"}
ALLOWED = {*VOID, "html", "head", "title", "style", "body", "div", "span", "b", "h3", "code", "details", "summary"}
ALLOWED |= {"ul", "li", "table", "tr", "th", "td", "ins", "del"}
DRAWINGS = {"svg", "path", "text"}
ATTRIBUTES = {"class", "open", "style", "lang", "charset", "http-equiv", "name", "content"}
OF_DRAWINGS = {"class", "width", "height", "viewbox", "role", "d", "fill", "stroke", "stroke-width", "stroke-dasharray"}
OF_DRAWINGS |= {"x", "y", "font-size", "font-family"}


class Page(HTMLParser):
    """A page's texts, and that its markup is ours and nests."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED | DRAWINGS
        names = {name for name, _ in attrs}
        assert names <= (OF_DRAWINGS if tag in DRAWINGS else ATTRIBUTES), (tag, names)
        assert all("url(" not in (value or "") and "://" not in (value or "") for _, value in attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            assert "@import" not in data
            assert "url(" not in data
        else:
            self.words += data


def hostile_record(text: str) -> Record:
    """A record in which every text is this one."""
    outputs = {text: text, "several": [text, text]}
    return Record(text, text, text, outputs, 0.5, text, {text: 0.5}, (text,), error=text)


def test_no_text_of_an_entry_becomes_markup(hostile: Experience) -> None:
    library = ExperienceLibrary([hostile], task=hostile.method)
    named = replace(hostile, id="same", origin={})
    before, after = (
        ExperienceLibrary([named]),
        ExperienceLibrary([replace(named, method="x y", category="c", rules=())]),
    )
    hit = Hit(hostile, 0.5, ((hostile.precedents[0], 0.5),), {hostile.method: 1})
    rounds = (Round({hostile.method: hostile.method}, 0.0, False, hostile.method),)
    pages = [
        library_html(library, title=hostile.method),
        library._repr_html_(),
        hostile._repr_html_(),
        hit._repr_html_(),
        Hits([hit])._repr_html_(),
        diff_html(library.diff(before), title=hostile.method),
        before.diff(after)._repr_html_(),
        after.diff(before)._repr_html_(),
        Trajectory(rounds, hostile.method)._repr_html_(),
        Evaluation((hostile_record(hostile.method),))._repr_html_(),
        VersionLog(None, "run").add(1, library, {})._repr_html_(),
    ]
    for text in pages:
        page = Page(text)
        assert "img" not in page.tags
    for text in pages[:-1]:
        assert "<script>alert(1)</script> <img src=x onerror=alert(1)>" in Page(text).words


def test_half_a_surrogate_pair_can_be_sent_to_a_browser() -> None:
    assert "a?b" in Trajectory((), "a\ud800b")._repr_html_()


def test_a_document_stands_alone_and_may_load_nothing(library: ExperienceLibrary) -> None:
    text = library_html(library, title="Mine")
    assert text.startswith("<!doctype html>")
    assert "default-src 'none'" in text
    assert "<title>Mine</title>" in text
    assert "prefers-color-scheme:dark" in text
    assert "Experience library: mixed bag" in Page(library_html(library)).words


def test_an_entry_says_all_that_it_holds(amide: Experience) -> None:
    page = Page(amide._repr_html_())
    told = [
        "amide formation",
        amide.id,
        amide.method,
        "acetanilide",
        amide.trajectory,
        "helped 9",
        "hurt 2",
        "shown 40",
    ]
    for text in [*told, "pinned", "2 solved cases", "CCC(=O)NC"]:
        assert text in page.words
    assert page.tags.count("svg") == 3 + 3  # the rule's template and the first case
    assert "fx-in-mixed" in amide._repr_html_()


def test_an_overlong_text_is_cut_and_says_so() -> None:
    page = Page(Experience("golden", "a" * (MAX_TEXT + 1_234))._repr_html_())
    assert "1,234 more characters" in page.words
    assert page.words.count("a" * MAX_TEXT) == 1


def test_code_and_bold_are_shown_as_such() -> None:
    assert str(prose("**Look** at `a**b**`")) == (
        '<div class="fx-text"><b>Look</b> at <code class="tex2jax_ignore mathjax_ignore">a**b**</code></div>'
    )


def test_the_most_used_entries_come_first_and_the_rest_is_counted(library: ExperienceLibrary) -> None:
    text = library_html(library, limit=2)
    assert "The 2 most used of 3 entries" in text
    assert text.index("amide formation") < text.index("probability")
    assert "Never guess" not in text
    assert "most used" not in library_html(library, limit=3)
    assert "Never guess" in library_html(library, limit=3)


def test_a_cell_does_not_grow_with_the_library() -> None:
    def cell(size: int) -> int:
        entries = [Experience("golden", f"method {n:06}", (Rule("r"),), category="c") for n in range(size)]
        return len(ExperienceLibrary(entries)._repr_html_())

    assert cell(3_000) - cell(30) < 100


def test_an_entry_does_not_grow_with_its_solved_cases(amide: Experience) -> None:
    many = tuple(Precedent(f"id {n}", "CC(=O)NC", "CC(=O)Cl.CN") for n in range(1_000))
    page = Page(replace(amide, precedents=many)._repr_html_())
    assert "… and 992 more" in page.words
    assert page.tags.count("svg") == 3 + 3


def test_an_empty_library_has_a_page() -> None:
    assert "0 entries" in Page(library_html(ExperienceLibrary())).words
    assert "0 entries" in Page(ExperienceLibrary()._repr_html_()).words


def test_a_hit_says_why_and_does_not_repeat_its_case(amide: Experience) -> None:
    hit = Hit(
        amide, 0.0315, ((amide.precedents[0], 0.75),), {"structural": 1, "lexical": 6}, scores={"structural": 0.75}
    )
    page = Page(hit._repr_html_())
    assert hit.why() in page.words
    assert "0.750" in page.words
    assert "1 other solved case" in page.words
    assert page.words.count("⇒ CC(=O)Cl.CN") == 1
    assert "1 experience retrieved" in Page(Hits([hit])._repr_html_()).words


def test_what_a_search_gives_shows_its_reasons(library: ExperienceLibrary) -> None:
    hits = library.search("CC(=O)NCC", k=2)
    assert "structural rank 1" in Page(hits._repr_html_()).words


def test_a_difference_names_what_came_went_and_changed(library: ExperienceLibrary, amide: Experience) -> None:
    gone = next(entry for entry in library if entry.zone == "warning")
    revised = library.veto(gone.id).revise(amide.id, method="Amide formation: cut the C-N bond.", priority=5)
    text = revised.diff(library)._repr_html_()
    page = Page(text)
    assert "1 removed" in page.words
    assert "Never guess." in page.words
    assert "<del>amide</del><ins>C-N</ins> bond" in text.replace("</ins><ins>", "")
    assert "<del>3</del> → <ins>5</ins>" in text
    assert "Added" not in page.words
    back = Page(diff_html(library.diff(revised)))
    assert "1 added" in back.words


def test_a_difference_is_bounded() -> None:
    entries = [Experience("golden", f"method {n:04}") for n in range(500)]
    page = Page(diff_html(ExperienceLibrary(entries).diff(ExperienceLibrary()), limit=20))
    assert "… and 480 more" in page.words
    assert page.words.count("method 0") < 60


def test_versions_are_a_table(library: ExperienceLibrary) -> None:
    log = VersionLog(None, "run")
    log.add(0, ExperienceLibrary(), {})
    log.add(50, library, {"accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75, "n": 8.0})
    log.add(60, library, {"accuracy": 12.5})
    text = log.records._repr_html_()
    page = Page(text)
    assert page.tags.count("tr") == 4
    assert "50.0% (25.0% to 75.0%) on 8" in page.words
    assert "12.5" in page.words
    assert "width:50.00%" in text
    assert "width:100.00%" in text
    assert library.hash[:12] in page.words


def test_a_rollout_shows_its_rounds() -> None:
    rounds = (
        Round({"reactants": "CC(=O)Cl.CN", "n": 3, "none": None}, 0.0, False, "Wrong.", redacted=True),
        Round({"reactants": "CC(=O)O.CN"}, None, True, "Right."),
    )
    page = Page(Trajectory(rounds)._repr_html_())
    assert page.tags.count("svg") == 4
    for text in (
        "Round 1",
        "rejected",
        "Wrong.",
        "taken out",
        "Round 2",
        "accepted",
        "judged by the verifier",
        "solved",
    ):
        assert text in page.words
    assert "none" not in page.words
    assert "broken off by" in Page(Trajectory((), "it hung")._repr_html_()).words


def test_an_evaluation_shows_its_numbers_and_first_records() -> None:
    records = tuple(
        Record(f"id {n}", "CC(=O)NC", "CC(=O)Cl.CN", {"reactants": "CCO"}, float(n < 6), measures={"top_5": 1.0})
        for n in range(12)
    )
    page = Page(Evaluation(records)._repr_html_())
    assert "Accuracy 50.0% (25.4% to 74.6%) on 12 examples" in page.words
    assert "top_5" in page.words
    assert "id 9" in page.words
    assert "id 10" not in page.words
    assert "… and 2 more" in page.words


@pytest.mark.parametrize("name", ["aime", "uspto50k"])
def test_a_shipped_library_has_a_page(name: str) -> None:
    library = ExperienceLibrary.load(EXPS / f"{name}.json")
    page = Page(library_html(library, limit=40))
    assert page.tags.count("details") == min(40, len(library))
    assert ("svg" in page.tags) == (name == "uspto50k")


@pytest.mark.parametrize("score", [-3.5, 0.25, 12.5])
def test_graded_scores_have_a_page(score: float) -> None:
    records = (Record("a", "p", "r", {}, score), Record("b", "p", "r", {}, 0.5))
    Page(Evaluation(records)._repr_html_())


def test_an_overlong_entry_of_another_format_is_bounded() -> None:
    rules = tuple(Rule(f"rule number {n}", tuple(f"example {n}-{i}" for i in range(50))) for n in range(300))
    page = Page(Experience("golden", "m", rules)._repr_html_())
    assert "… and 288 more" in page.words
    assert "rule number 11" in page.words
    assert "rule number 12" not in page.words
    assert "example 0-4" not in page.words
