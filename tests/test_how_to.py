"""The three programs of the how-to page: its code is that of the scripts in ``how_to``, and they do what they say."""

import re
import runpy
from pathlib import Path

import pytest

from flex_dspy.libraries.library import ExperienceLibrary

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "pipelines.md"
SCRIPTS = sorted((ROOT / "tests" / "how_to").glob("*.py"))


def section(title):
    """A section of the page, up to the next of its level."""
    return PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def marked(script):
    """The part of a script that the page shows."""
    return re.fullmatch(r'""".*"""\n\n# -- begin\n(.*)# -- end\n', script.read_text(encoding="utf-8"), re.DOTALL)[1]


def test_the_page_shows_the_scripts_and_nothing_else():
    shown = re.findall(r"^```python\n(.*?)^```$", section("Three complete programs"), re.DOTALL | re.MULTILINE)
    assert sorted(shown) == sorted(marked(script) for script in SCRIPTS)


# -- a model for them --------------------------------------------------------------------------------------

LESSONS = {
    "tax of 20%": ("What a thing costs", "The handbook's list price lacks the tax of 20%: add it to what it costs."),
    "WH-CLIP": ("How many pieces are left", "Ask in_stock with WH- and the article in capitals, singular: WH-CLIP."),
    "kitchen": ("Broken oven, stove or fridge", "A kitchen that cannot serve is urgent, however calm the message."),
}


def model(role, inputs, messages):
    """Errs in its own way until feedback tells it, and writes that down."""
    if role == "verifier":
        return {"accepted": False, "feedback": inputs["measured"].partition(". ")[2]}
    if role == "updater":
        entry = re.search(r"^## (\w+) \|", inputs["nearest"], re.MULTILINE)
        return {"decision": {"action": "merge" if entry else "insert", "target": entry[1] if entry else None}}
    if role == "critic":
        told = [lesson for mark, lesson in LESSONS.items() if mark in inputs["attempts"]]
        when, what = told[0] if told else ("Nothing went wrong", "Go on like this.")
        return {"lesson": {"category": "custom", "method": f"{when}: {what}", "rules": [{"text": what}]}}
    known = inputs.get("experiences", "") + inputs.get("earlier_attempts", "")
    return {"reasoning": "so", **_answer(inputs, known)}


def _answer(inputs, known):
    if "message" in inputs:
        broken = re.search("oven|stove|fridge|dishwasher", inputs["message"])
        level = "low" if "LOVE" in inputs["message"] else "normal"
        return {"level": "urgent" if broken and "kitchen" in known else level}
    article = re.search(r"(Mini|Grinder|Kettle|Barista|clip|pen|tape)", inputs["question"])[1]
    if article[0].islower():
        return _step(inputs, f"WH-{article.upper()}" if "WH-" in known else article)
    price = re.search(rf"{article} .*?price is (\d+)", inputs.get("passages", ""))
    factor = (1.2 if "tax of 20%" in known else 1.0) * (2 if "two" in inputs["question"] else 1)
    return {"query": inputs["question"], "price": round(float(price[1]) * factor, 2) if price else 0}


def _step(inputs, code):
    """The next tool of the agent, and its answer from what the last one said."""
    done = sum(name.startswith("tool_name") for name in inputs)
    name, arguments = [("recall", {"query": "pieces left"}), ("in_stock", {"code": code}), ("finish", {})][min(done, 2)]
    found = inputs.get("observation_1", "")
    pieces = int(found) if found.isdigit() else 0
    return {"next_thought": "hm", "next_tool_name": name, "next_tool_args": arguments, "pieces": pieces}


# -- what they do ------------------------------------------------------------------------------------------


def run(name, capsys):
    """What a script prints, save the lines on versions, and its names."""
    names = runpy.run_path(str(ROOT / "tests" / "how_to" / name), run_name="__main__")
    return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("version ")], names


@pytest.fixture
def served(llm_server, monkeypatch, tmp_path):
    """A script's own model name leads to the test's server, and its files to the test's folder."""
    monkeypatch.setenv("BASE_URL", llm_server.url)
    monkeypatch.setenv("API_KEY", "test-key")
    monkeypatch.chdir(tmp_path)
    llm_server.script = model
    return llm_server


def test_rag(served, capsys):
    assert run("rag.py", capsys)[0] == ["360.0", "720.0"]
    assert "tax of 20%" in next(iter(ExperienceLibrary.load("prices.json"))).method
    query, answer = (request.inputs for request in served.of("actor")[-2:])
    assert "experiences" not in query
    assert "tax of 20%" in answer["experiences"]


def test_agent(served, capsys):
    assert run("agent.py", capsys)[0] == ["7", "['recall', 'in_stock', 'finish']"]
    observed = served.requests[-1].inputs
    assert "WH-CLIP" in observed["observation_0"]
    assert "WH-CLIP" in observed["experiences"]


def test_classifier(served, capsys):
    assert run("classifier.py", capsys)[0] == ["mean score 0.83 on 3 messages", "mean score 1.00 on 3 messages"]
