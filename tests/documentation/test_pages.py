"""Links of the README, figures, and the list of pages."""

import re
import runpy

from tests.documentation.pages import DOCS, PAGES, ROOT, name_of


def test_the_links_of_the_readme_lead_somewhere():
    """The site's own links are checked when it is built."""
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith("https://")]
    assert len(local) > 20
    assert [target for target in local if not (ROOT / target).exists()] == []


def test_every_page_is_in_the_navigation():
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [name_of(page) for page in PAGES[1:] if page.relative_to(DOCS).as_posix() not in listed] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160


def test_the_figure_of_the_loop_is_the_one_that_is_drawn():
    drawn = runpy.run_path(str(DOCS / "figures" / "draw_loop.py"))["drawing"]()
    assert (DOCS / "figures" / "loop.svg").read_text(encoding="utf-8") == drawn
