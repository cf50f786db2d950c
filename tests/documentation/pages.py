"""The pages of the documentation, and the code blocks in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
_BLOCK = re.compile(r"(?:^<!-- (not run: [^\n]*) -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and why it is not run ("" where it is)."""

    language: str
    text: str
    excuse: str = ""


def blocks(path: Path, language: str) -> list[Block]:
    """The blocks of a page in this language."""
    found = _BLOCK.findall(path.read_text(encoding="utf-8"))
    return [Block(name, text, excuse) for excuse, name, text in found if name == language]


def name_of(path: Path) -> str:
    """The page's path in the repository."""
    return path.relative_to(ROOT).as_posix()
