"""The Python blocks of the pages run, one after the other, as a reader would run them."""

import ast
import importlib

import dspy
import pytest

from flex_dspy import language_model
from flex_dspy.models.lm import close
from tests.documentation import assumed
from tests.documentation.pages import PAGES, blocks, name_of
from tests.flex_dspy.tracking.test_loadable import SIX_LINES
from tests.test_how_to import SCRIPTS, marked

WEEKLY = ("docs/quickstart.md",)  # the README's code runs on each submission
SLOW = ("README.md", "docs/quickstart.md", "docs/how-to/cluster.md")  # an offline expert learns, workers start
ADAPTERS = ("langgraph", "openai-agents", "pydantic-ai", "syntheseus")  # pages that tests/flex_dspy/integrations runs
SHOWN = {SIX_LINES, *(marked(script) for script in SCRIPTS)}  # these have a test of their own
OTHERS = [path for path in PAGES if path.stem not in ADAPTERS]
WITH_CODE = [path for path in OTHERS if {block.text for block in blocks(path, "python")} - SHOWN]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            p,
            id=name_of(p),
            marks=[pytest.mark.slow] * (name_of(p) in SLOW) + [pytest.mark.weekly] * (name_of(p) in WEEKLY),
        )
        for p in WITH_CODE
    ],
)
def test_the_code_of_a_page_runs(path, llm_server, monkeypatch, tmp_path):
    monkeypatch.setenv("BASE_URL", llm_server.url)
    monkeypatch.setenv("API_KEY", "test-key")
    monkeypatch.chdir(tmp_path)
    assumed.write_files(tmp_path)
    llm_server.script = assumed.model
    names = {"__name__": "page"}
    for number, block in enumerate(blocks(path, "python")):
        if block.text in SHOWN:
            continue
        code = compile(block.text, f"{name_of(path)}, block {number + 1}", "exec")
        if block.excuse:
            _check_imports(block.text)
            continue
        names |= assumed.names()  # the reader's own: an example before may use these names for something else
        dspy.configure(lm=language_model("openai/gpt-4o"))
        try:
            exec(code, names)
        finally:
            close(dspy.settings.lm)


def _check_imports(text):
    """All that a block imports is there, though it is not run."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for each in node.names:
                assert hasattr(module, each.name), f"{node.module}.{each.name}"


def test_blocks_that_are_not_run_say_why():
    excuses = [block.excuse for path in PAGES for block in blocks(path, "python") if block.excuse]
    assert set(excuses) == {"not run: needs a key"}
