"""Makes files outside ``docs/`` part of the site, so that a link to them works on GitHub and on the site.

A page links to such a file as on GitHub (``../exps/aime.png``, ``../SECURITY.md``). The site holds a copy of the file
at its path in the repository, and the link is shortened by the step that leaves ``docs/``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
_FOLDERS = ("exps", "notebooks")
_LINK = re.compile(r"(?P<start>\]\(|src=\"|href=\")(?P<steps>(?:\.\./)*)(?P<path>[\w./-]+)")


def on_files(files: Files, *, config: MkDocsConfig, **_: Any) -> Files:
    """Add the pages of the top level and the figures of ``exps/``."""
    for path in (*(ROOT / name for name in PAGES), *sorted((ROOT / "exps").glob("*.png"))):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Adapt the links of a page to where the files are on the site."""
    depth = page.file.src_uri.count("/")
    is_outside = page.file.src_uri in PAGES

    def adapt(match: re.Match[str]) -> str:
        start, steps, path = match.group("start", "steps", "path")
        if is_outside:
            return start + steps + path.removeprefix("docs/")
        leaves_docs = steps.count("../") == depth + 1 and path.split("/")[0] in (*_FOLDERS, *PAGES)
        return start + (steps.removeprefix("../") if leaves_docs else steps) + _page_name(path)

    return _LINK.sub(adapt, markdown)


def _page_name(path: str) -> str:
    """A notebook's page on the site; any other path as it is."""
    return re.sub(r"^(notebooks/\w+)\.ipynb$", r"\1.md", path)
