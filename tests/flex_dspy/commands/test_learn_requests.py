"""``flex-dspy learn --requests`` and ``--traces``: a library of what was answered in the past."""

from __future__ import annotations

from pathlib import Path

import pytest

from flex_dspy.cli import call
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.library import ExperienceLibrary
from tests.llm_server import LLMServer


def model(role, inputs, messages):
    if role == "critic":
        rule = {"text": f"When {inputs['problem']}, be exact."}
        return {"lesson": {"category": "c", "method": f"About {inputs['problem']}.", "rules": [rule]}}
    return {"decision": {"action": "insert", "target": None}}


@pytest.fixture
def ratings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, llm_server: LLMServer) -> Path:
    llm_server.script = model
    monkeypatch.setenv("BASE_URL", llm_server.url)
    monkeypatch.setenv("API_KEY", "test-key")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "ratings.csv"
    file.write_text("input,output,score,feedback\nred,1,1,\nblue,2,5,right\n")
    return file


def test_a_file_of_ratings_is_learned_from_without_a_task(ratings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["learn", "--requests", str(ratings), "--lm", "openai/test", "--scale", "1,5", "--no-tracking", "--quiet"]
    call([*command, "--out", "run"])
    said = capsys.readouterr().out
    assert "learned from 2 requests; 2 entries" in said
    library = ExperienceLibrary.load("run/library.json")
    assert {entry.zone for entry in library} == {"golden", "warning"}
    assert library.task == "ratings.csv"
    with ratings.open("a") as file:
        file.write("green,3,5,\n")
    call([*command, "--out", "run"])
    assert "learned from 1 requests; 3 entries" in capsys.readouterr().out
    call(["learn", "--config", "run/run.toml"])
    assert "learned from 0 requests; 3 entries" in capsys.readouterr().out
    call(["library", "show", "run/library.json", "--limit", "1"])
    assert "trace file:ratings.csv#" in capsys.readouterr().out


def test_with_review_the_lessons_wait(ratings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["learn", "--requests", str(ratings), "--lm", "openai/test", "--scale", "1,5", "--no-tracking", "--quiet"]
    call([*command, "--library", "support.json", "--out", "run", "--review"])
    assert "waiting for approval: 2 (flex-dspy library review support.json)" in capsys.readouterr().out
    assert len(ExperienceLibrary.load("support.json")) == 0
    call(["library", "approve", "support.json", "--all"])
    assert len(ExperienceLibrary.load("support.json")) == 2


@pytest.mark.slow  # two worker processes start
def test_on_a_cluster_the_library_is_the_same(ratings: Path, llm_server: LLMServer) -> None:
    pytest.importorskip("distributed")
    command = ["learn", "--requests", str(ratings), "--lm", "openai/test", "--scale", "1,5", "--no-tracking", "--quiet"]
    call([*command, "--out", "here"])
    asked = len(llm_server.requests)
    assert asked
    call([*command, "--out", "there", "--cluster", "local:2"])
    assert len(llm_server.requests) == 2 * asked  # the workers keep no answers of this process
    here, there = (ExperienceLibrary.load(f"{name}/library.json") for name in ("here", "there"))
    assert here.hash == there.hash


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--requests", "a.csv", "--traces", "bot"], "exclude each other"),
        (["--requests", "a.csv", "--study"], "--study belongs to learning from examples"),
        (["--requests", "none.csv"], "cannot be read"),
        (["--requests", "a.parquet"], ".csv or .jsonl"),
    ],
)
def test_what_makes_no_sense_is_refused(ratings: Path, options: list[str], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        call(["learn", *options, "--lm", "openai/test"])
