"""The package as users import it."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import flex_dspy

ROOT = Path(__file__).parents[1]
MAPPED = ("signatures", "programs", "metrics", "data")


def test_exported_names():
    assert set(flex_dspy.__all__) == {name for names in flex_dspy._EXPORTS.values() for name in names}
    assert set(flex_dspy.__all__) <= set(dir(flex_dspy))
    for name in flex_dspy.__all__:
        assert getattr(flex_dspy, name) is not None


def test_type_checkers_see_the_exported_names():
    tree = ast.parse((ROOT / "flex_dspy" / "__init__.py").read_text())
    imports = next(node.body for node in tree.body if isinstance(node, ast.If))
    found = {(node.module, name.name) for node in imports for name in node.names}
    table = flex_dspy._EXPORTS.items()
    assert found == {(f"flex_dspy.{module}", name) for module, names in table for name in names}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Flex"):
        _ = flex_dspy.Flex


@pytest.mark.parametrize("folder", MAPPED)
def test_the_folders_of_the_top_level_install_under_one_name(folder):
    module = importlib.import_module(f"flex_dspy.{folder}")
    assert Path(module.__file__) == ROOT / folder / "__init__.py"


@pytest.mark.parametrize("folder", MAPPED)
def test_no_generic_name_is_importable_elsewhere(folder, tmp_path):
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({folder!r}) is not None)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


def test_every_package_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = [ROOT / "flex_dspy", *(ROOT / name for name in MAPPED)]
    found = {path.parent for folder in folders for path in folder.rglob("__init__.py")}
    names = {".".join(path.relative_to(ROOT).parts) for path in found}
    expected = {name if name.startswith("flex_dspy") else f"flex_dspy.{name}" for name in names}
    assert set(listed) == expected


def test_type_checkers_see_every_file():
    links = {path.name: path.resolve() for path in (ROOT / "typings" / "flex_dspy").iterdir()}
    files = {path.name: path for path in (ROOT / "flex_dspy").iterdir() if path.name != "__pycache__"}
    assert links == files | {name: ROOT / name for name in MAPPED}


@pytest.mark.parametrize("command", ["", "learn", "library", "library prune", "runs"])
def test_help_needs_nothing_heavy(command):
    code = (
        "import sys, flex_dspy.cli as cli; cli.main([*sys.argv[1:], '--help']); "
        "print({'dspy', 'mlflow', 'litellm', 'rdkit', 'numpy', 'datasets'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code, *command.split()], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith(" ".join(f"Usage: flex-dspy {command}".split()))
    assert shown.stdout.splitlines()[-1] == "set()"
