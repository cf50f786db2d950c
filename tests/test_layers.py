"""Where modules import: at the top, but for what costs start-up time, and DSPy's private names in one module only.

Which package may import which is checked by import-linter; see pyproject.toml and .ci/run.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("flex_dspy", "signatures", "programs", "metrics", "data")

# Libraries that may be imported inside functions, and why.
LATE_LIBRARIES = {
    "datasets": "start-up cost: 2 s",
    "dspy": "start-up cost: parts that `import dspy` does not load (core/dspy_internals.py alone)",
    "json_repair": "start-up cost, for the rare answer that is no JSON",
    "litellm": "start-up cost: 5 s",
    "matplotlib": "start-up cost: 1 s",
    "mlflow": "start-up cost: 3 to 7 s",
    "pandas": "start-up cost: 1 s",
    "pyarrow": "start-up cost: 0.5 s",
    "rdkit": "start-up cost: 1 s",
    "scipy": "start-up cost: 1 s",
    "uvicorn": "an optional dependency",
}

# Modules of the project that may import others of it inside functions: importer, imported, reason.
RDKIT = "start-up cost: RDKit"
COMMANDS = ["compare", "doctor", "evaluate", "learn", "rescore", "serve", "ui", "versions"]
COMMANDS += [
    f"library.{name}" for name in ("audit", "diff", "edit", "export", "fit", "import_library", "log", "merge", "prune")
]
COMMANDS += [f"library.{name}" for name in ("pull", "push")]
COMMANDS += [f"library.{name}" for name in ("search", "show", "stats", "value", "versions")]
COMMANDS += [f"library.{name}" for name in ("add", "approve", "reject", "review")]
COMMANDS += [f"runs.{name}" for name in ("delete", "list_runs", "show")]
LATE_MODULES = {
    **{(f"commands.{name}", "commands.actions"): "start-up cost: the work of a command" for name in COMMANDS},
    ("commands.actions.clusters", "cluster.executor"): "an optional dependency: distributed",
    ("commands.paths", "tracking.registry"): "start-up cost: of the checks, only some libraries need it",
    ("commands.actions.serve", "serving.call_limits"): "an optional dependency: mcp",
    ("commands.actions.serve", "serving.library_tools"): "an optional dependency: mcp",
    ("commands.actions.serve", "serving.mcp_server"): "an optional dependency: mcp",
    ("commands.actions.serve", "serving.tokens"): "an optional dependency: mcp",
    ("offline.disconnections", "offline.reactions"): RDKIT,
    ("offline.disconnections", "offline.worker_process"): RDKIT,
    ("offline.engine", "offline.ranking"): RDKIT,
    ("commands.actions.rankings", "offline.ranking"): RDKIT,
}

# Attributes and settings of DSPy that its documentation does not name.
PRIVATE = {
    "_async_engine_spec",
    "_engine_spec",
    "_flatten_usage_entry",
    "_make_json_adapter_fallback",
    "deno_process",
    "disk_cache",
    "memory_cache",
    "send_stream",
    "stage",
    "usage_data",
    "usage_tracker",
}
# Modules of DSPy that are documented by their own names.
PUBLIC = {"lm15", "teleprompt"}


@cache
def modules() -> list[tuple[str, ast.Module]]:
    return list(parse_modules())


def parse_modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removeprefix("flex_dspy.").removesuffix(".__init__"), ast.parse(path.read_text())


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def late_imports() -> set[tuple[str, str]]:
    functions = (
        (name, function)
        for name, tree in modules()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return {(name, module) for name, function in functions for node in ast.walk(function) for module in imported(node)}


def test_imports_inside_functions_are_listed_with_a_reason():
    own = {(name, module.removeprefix("flex_dspy.")) for name, module in late_imports() if module.startswith("flex_d")}
    assert own == LATE_MODULES.keys()
    others = {module.partition(".")[0] for _, module in late_imports() if not module.startswith("flex_dspy")}
    assert not others - LATE_LIBRARIES.keys()


def test_only_one_module_imports_parts_of_dspy():
    found = {
        (name, module)
        for name, tree in modules()
        for node in ast.walk(tree)
        for module in imported(node)
        if module.startswith("dspy.") and module.split(".")[1] not in PUBLIC
    }
    assert {name for name, _ in found} <= {"core.dspy_internals"}, found


def test_only_one_module_uses_private_names_of_dspy():
    found = {
        (name, node.attr)
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in PRIVATE
    }
    assert {name for name, _ in found} <= {"core.dspy_internals"}, found


def test_no_module_keeps_ambient_values_of_its_own():
    found = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute | ast.alias)
        if "ContextVar" in (getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", ""))
    }
    assert not found, "use flex_dspy.core.ambient, or better a parameter"
