"""Looks the installed packages up among known vulnerabilities, with pip-audit.

All that is found is said. It is an error (exit code 1) only where we can mend it: the package is one of our own
dependencies, and a fixed version lies within the range that pyproject.toml allows. A package index that cannot be
reached, or does not answer within a minute, is said and skips the check: it says nothing about the code.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SECONDS = 60.0
ROOT = Path(__file__).parents[1]
EXPORT = ["export", "--quiet", "--frozen", "--no-hashes", "--no-emit-project", "--all-extras", "--all-groups"]
AUDIT = ["tool", "run", "--quiet", "pip-audit", "--format", "json", "--no-deps", "--disable-pip", "--timeout", "10"]


def main(uv: list[str]) -> int:
    """Run the audit; ``uv`` is the command by which uv is called."""
    try:
        packages = audited(uv)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return skip(type(error).__name__)
    known = [package for package in packages if "vulns" in package]
    if not known:
        return skip(f"it knows none of {len(packages)} packages")
    found = findings(known)
    ours = own_requirements()
    mendable = [line for name, line, fixes in found if is_mendable(ours.get(name, []), fixes)]
    for name, line, fixes in found:
        print(f"audit: {line}{' (MENDABLE)' if is_mendable(ours.get(name, []), fixes) else ''}")
    print(f"audit: {len(found)} vulnerabilities in {len(known)} packages, {len(mendable)} of them mendable here")
    if len(known) < len(packages):
        print(f"audit: of {len(packages) - len(known)} more packages the index knows nothing")
    return 1 if mendable else 0


def skip(why: str) -> int:
    """Say that nothing was looked up."""
    print(f"audit: SKIPPED, nothing was checked: the package index gave no answer ({why})")
    return 0


def audited(uv: list[str]) -> list[dict[str, Any]]:
    """What pip-audit says of each installed package; of those that the index does not know, a reason instead."""
    deadline = time.monotonic() + SECONDS
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.txt"
        listed.write_text(_run([*uv, *EXPORT], SECONDS), encoding="utf-8")
        audit = json.loads(_run([*uv, *AUDIT, "--requirement", str(listed)], deadline - time.monotonic()))
    return list(audit["dependencies"])


def findings(packages: list[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """Package, a line about the vulnerability, and the versions in which it is mended."""
    return [
        (canonicalize_name(package["name"]), _line(package, each), each["fix_versions"])
        for package in packages
        for each in package["vulns"]
    ]


def _run(command: list[str], seconds: float) -> str:
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=seconds)  # noqa: S603
    return done.stdout  # pip-audit's exit code says whether there are findings, and so does what it writes


def _line(package: dict[str, Any], found: dict[str, Any]) -> str:
    fixed = f"fixed in {', '.join(found['fix_versions'])}" if found["fix_versions"] else "no fix yet"
    return f"{package['name']} {package['version']}: {', '.join([found['id'], *found.get('aliases', [])])}; {fixed}"


def own_requirements() -> dict[str, list[Requirement]]:
    """What pyproject.toml asks for, by package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for some in project["optional-dependencies"].values() for line in some)]
    asked: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, lines):
        asked.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return asked


def is_mendable(requirements: list[Requirement], fixes: list[str]) -> bool:
    """Whether a fixed version may be installed under our own requirements."""
    return bool(requirements) and any(all(each.specifier.contains(fix) for each in requirements) for fix in fixes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["uv"]))
