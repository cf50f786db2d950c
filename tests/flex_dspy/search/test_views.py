"""Views that a package or a program brings: problems compared by fingerprints of their own."""

import subprocess
import sys

import numpy as np
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search import views
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.search.views import fingerprint_of, register_view, view_names

FINGERPRINT = '''
import numpy as np

def letters(problem):
    """A bit a letter, in two words; none for a text with a digit."""
    if any(mark.isdigit() for mark in problem):
        return None
    bits = np.zeros(128, np.uint8)
    bits[[ord(mark) for mark in problem]] = 1
    return np.packbits(bits).view(np.uint64)
'''

PROGRAM = """
import sys
sys.path.append({folder!r})
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.retrieval import ExperienceRetriever
lesson = Experience(zone="golden", category="c", method="m", precedents=(Precedent("1", "abc", "x"),))
retriever = ExperienceRetriever(ExperienceLibrary([lesson]), views=["letters"])
assert "made_up_letters" not in sys.modules
print(retriever("abd").hits[0].why())
print("rdkit" in sys.modules)
"""


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(views, "_FINGERPRINTS", {})


def letters():
    scope: dict = {}
    exec(FINGERPRINT, scope)
    return scope["letters"]


def test_an_installed_package_brings_a_view_and_no_other_view_is_imported(tmp_path):
    info = tmp_path / "made_up-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[flex_dspy.views]\nletters = made_up_letters:letters\n")
    (tmp_path / "made_up_letters.py").write_text(FINGERPRINT)
    code = PROGRAM.format(folder=str(tmp_path))
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0].startswith("letters rank 1 (0.500)")
    assert lines[1] == "False"


def test_a_registered_view_ranks_by_the_bits_that_two_problems_share():
    register_view("letters", letters())
    entries = [
        Experience(zone="golden", category="c", method=problem, precedents=(Precedent(problem, problem, "x"),))
        for problem in ("abc", "abcdef", "xyz", "abc1")
    ]
    hits = ExperienceRetriever(ExperienceLibrary(entries), views=["letters"])("abcd").hits
    assert [(hit.experience.method, round(hit.scores["letters"], 3)) for hit in hits] == [
        ("abc", 0.75),
        ("abcdef", 0.667),
    ]
    assert hits[0].precedents[0][0].problem == "abc"


def test_the_structural_view_comes_with_the_project():
    assert view_names() == ("structural", "lexical", "dense", "precedents")
    assert fingerprint_of("structural")("CCO").shape == (32,)
    assert fingerprint_of("structural")("CCO is ethanol") is None


def test_an_unknown_view_is_an_error_that_names_the_others():
    with pytest.raises(ConfigurationError, match="views must be some of 'structural', 'lexical', 'dense'"):
        ExperienceRetriever(views=["letters"])
    with pytest.raises(ConfigurationError, match="no view 'letters'; views are structural, lexical, dense"):
        fingerprint_of("letters")
    with pytest.raises(ConfigurationError, match="built in"):
        register_view("lexical", np.array)
