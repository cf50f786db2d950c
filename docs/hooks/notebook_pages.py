"""Makes a page of each notebook, with the outputs that are committed in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

FOLDER = Path(__file__).parents[2] / "notebooks"
_OPEN = "To run it: `uv run --extra notebooks jupyter lab notebooks/{name}` in a clone.\n\n"


def on_files(files: Files, *, config: MkDocsConfig, **_: Any) -> Files:
    """Add a page for each notebook."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page_text(path)))
    return files


def on_page_content(html: str, *, page: Page, **_: Any) -> str:
    """Put the HTML outputs in their places: Markdown must not read them."""
    if not page.file.src_uri.startswith("notebooks/"):
        return html
    for number, shown in enumerate(_html_outputs(FOLDER / f"{page.file.name}.ipynb")):
        html = html.replace(f"<p>{_mark(number)}</p>", f'<div class="notebook-output">{shown}</div>')
    return html


def page_text(path: Path) -> str:
    """A notebook as Markdown; a mark stands for each HTML output."""
    numbers = iter(range(10_000))
    parts = [part for cell in _cells(path) for part in _cell_parts(cell, numbers)]
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\n{_OPEN.format(name=path.name)}{rest}\n"


def _cell_parts(cell: dict[str, Any], numbers: Iterator[int]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        text = "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))
        if _html(output):
            yield _mark(next(numbers))
        elif text and output.get("name") != "stderr":
            yield f"```text\n{text.rstrip()}\n```"


def _html_outputs(path: Path) -> list[str]:
    outputs = [output for cell in _cells(path) for output in cell.get("outputs", ())]
    return [html for html in map(_html, outputs) if html]


def _html(output: dict[str, Any]) -> str:
    return "".join(output.get("data", {}).get("text/html", ""))


def _mark(number: int) -> str:
    return f"notebook-output-{number}"


def _cells(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text(encoding="utf-8"))["cells"])
