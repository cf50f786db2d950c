"""Objects are represented by what packages above register for them."""

import subprocess
import sys

import pytest

from flex_dspy.core import representations
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.representations import Representable, register


class Note(Representable):
    pass


class LongNote(Note):
    pass


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    representations._load_registrations()  # it loads once: what it registers must outlive the copy
    monkeypatch.setattr(representations, "_REGISTRY", dict(representations._REGISTRY))


def test_a_registered_type_and_its_subclasses_are_shown():
    register("html", Note, lambda note: f"<b>{type(note).__name__}</b>")
    assert Note()._repr_html_() == "<b>Note</b>"
    assert LongNote()._repr_html_() == "<b>LongNote</b>"


def test_the_nearest_type_wins():
    register("html", Note, lambda note: "a note")
    register("html", LongNote, lambda note: "a long note")
    assert representations.html(LongNote()) == "a long note"


def test_a_page_takes_a_title_and_a_limit():
    register("page", Note, lambda note, title, limit: f"{title} {limit}")
    assert representations.page(Note(), title="Mine", limit=3) == "Mine 3"


def test_a_type_without_a_representation_is_an_error_that_says_so():
    with pytest.raises(ConfigurationError, match="no package registers 'frame' for Note"):
        representations.frame(Note())


def test_display_is_not_loaded_before_something_is_shown():
    code = (
        "import sys; from flex_dspy.libraries.library import ExperienceLibrary; library = ExperienceLibrary();"
        "before = 'flex_dspy.display' in sys.modules; page = library._repr_html_();"
        "print(before, 'flex_dspy.display' in sys.modules, page.startswith('<style>'))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "True", "True"]
