"""The audit of dependencies: what it calls an error, and that trouble with the index is none."""

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def audit() -> ModuleType:
    found = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def reporting(package: str, fixes: list[str]):
    told = {"name": package, "version": "1.0", "vulns": [{"id": "X-1", "aliases": ["Y-2"], "fix_versions": fixes}]}
    return lambda command, seconds: json.dumps({"dependencies": [told, {"name": "z", "skip_reason": "none"}]})


@pytest.mark.parametrize(
    ("package", "fixes", "code"),
    [
        ("numpy", ["2.9"], 1),
        ("Rpds_Py", ["99"], 1),
        ("numpy", [], 0),  # there is nothing to be done yet
        ("numpy", ["3.1"], 0),  # outside of the range that we have tried
        ("somebody-else", ["2.9"], 0),  # it comes with another package, whose range decides
    ],
)
def test_only_what_we_can_mend_is_an_error(audit, package, fixes, code, monkeypatch, capsys) -> None:
    monkeypatch.setattr(audit, "_run", reporting(package, fixes))
    assert audit.main(["uv"]) == code
    said = capsys.readouterr().out
    assert "X-1, Y-2" in said
    assert ("MENDABLE" in said) == bool(code)


@pytest.mark.parametrize(
    "trouble",
    [
        FileNotFoundError("uv"),
        subprocess.TimeoutExpired("uv", 60),
        json.JSONDecodeError("no JSON", "", 0),
    ],
)
def test_trouble_with_the_index_is_no_error(audit, trouble, monkeypatch, capsys) -> None:
    def fail(command: list[str], seconds: float) -> str:
        raise trouble

    monkeypatch.setattr(audit, "_run", fail)
    assert audit.main(["uv"]) == 0
    assert "SKIPPED" in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["", '{"dependencies": [{"name": "numpy", "skip_reason": "not found"}]}'])
def test_an_index_without_an_answer_is_skipped_and_not_clean(audit, answer, monkeypatch, capsys) -> None:
    monkeypatch.setattr(audit, "_run", lambda command, seconds: answer)
    assert audit.main(["uv"]) == 0
    said = capsys.readouterr().out
    assert "SKIPPED, nothing was checked" in said
    assert "vulnerabilities" not in said


def test_every_dependency_of_ours_is_known(audit) -> None:
    assert {"dspy", "mlflow", "numpy", "rpds-py", "mcp"} <= set(audit.own_requirements())
