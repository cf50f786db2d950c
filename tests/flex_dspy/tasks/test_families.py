"""The families of this project: each a module that is found as a third party's would be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from flex_dspy.core.entry_points import find_points, is_own
from flex_dspy.tasks.names import GROUP
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.uspto50k import check_molecule

FAMILIES = ("uspto50k", "aime", "gsm8k", "proteingym")


def modules_after(code: str) -> set[str]:
    """The modules that are loaded once a fresh process has run this."""
    program = f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_every_family_is_an_entry_point_under_its_name_and_each_of_its_aliases():
    names = {name for name, points in find_points(GROUP).items() if is_own(points[0])}
    tasks = [get_task(family) for family in FAMILIES]
    assert names == {name for task in tasks for name in (task.name, *task.aliases)}


@pytest.mark.parametrize("family", ["aime", "proteingym"])
def test_a_family_loads_without_the_others_and_without_chemistry(family):
    loaded = modules_after(f"from flex_dspy import get_task; assert get_task({family!r}).name == {family!r}")
    assert f"flex_dspy.tasks.{family}" in loaded
    assert {f"flex_dspy.tasks.{other}" for other in FAMILIES if other != family}.isdisjoint(loaded)
    assert not any(name.split(".")[0] == "rdkit" for name in loaded)


def test_names_are_listed_without_loading_a_family():
    loaded = modules_after("from flex_dspy.tasks.names import task_names; assert 'retro' in task_names()")
    assert {"dspy", "numpy", "pydantic"}.isdisjoint(loaded)
    assert not any(name.startswith("flex_dspy.tasks.") for name in loaded - {"flex_dspy.tasks.names"})


CHEMISTRY = {"flex_dspy/tasks", "flex_dspy/offline", "flex_dspy/display/molecules.py", "metrics", "data"}


def test_chemistry_is_imported_where_it_belongs_and_nowhere_else():
    root = Path(__file__).parents[3]
    strangers = []
    for folder in ("flex_dspy", "signatures", "programs", "metrics", "data"):
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if not name.startswith(tuple(CHEMISTRY)) and "rdkit" in imports(path) | imports_of_molecules(path):
                strangers.append(name)
    assert strangers == []


def imports(path: Path) -> set[str]:
    """The libraries that a module imports, also inside its functions."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def imports_of_molecules(path: Path) -> set[str]:
    return {"rdkit"} if "flex_dspy.metrics.molecules import" in path.read_text(encoding="utf-8") else set()


def test_molecules():
    assert check_molecule("OC(C)=O.[CH3:1]CN") == "valid; canonical: CC(=O)O.CCN; formula: C2H4O2, C2H7N"
    assert check_molecule("c1ccccc").startswith("not valid: ")
    assert check_molecule("C(C)(C)(C)(C)C").startswith("not valid: ")
    assert check_molecule(" ") == "not valid: the text is empty"
