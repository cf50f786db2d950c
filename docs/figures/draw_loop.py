"""Draws the learning loop: ``python docs/figures/draw_loop.py`` writes ``loop.svg`` beside this file."""

from __future__ import annotations

from pathlib import Path

WIDTH, HEIGHT = 840, 330
BOX_WIDTH, BOX_HEIGHT = 170, 78
COLUMNS, ROWS = (30, 335, 640), (45, 215)

# The name of a role, what it does, its column and its row.
ROLES = (
    ("actor", "attempts the problem", 0, 0),
    ("verifier", "accepts or explains", 1, 0),
    ("critic", "writes a lesson", 2, 0),
    ("updater", "inserts or merges it", 2, 1),
    ("library", "keeps all lessons", 1, 1),
    ("retriever", "finds lessons that fit", 0, 1),
)
# Start and end of an arrow, and its label with the place where the label begins or is centred.
ARROWS = (
    ((200, 70), (335, 70), "answer", (267, 62)),
    ((335, 100), (200, 100), "feedback", (267, 116)),
    ((505, 84), (640, 84), "trajectory", (572, 76)),
    ((725, 123), (725, 215), "experience", (777, 174)),
    ((640, 254), (505, 254), "edit", (572, 246)),
    ((335, 254), (200, 254), "snapshot", (267, 246)),
    ((115, 215), (115, 123), "experiences", (167, 174)),
)
STYLE = """
  text { font-family: Helvetica, Arial, sans-serif; text-anchor: middle; fill: #263238; font-size: 14px }
  .name { font-size: 19px; font-weight: bold }
  .label { fill: #00695c }
  .box { fill: #e0f2f1; stroke: #00796b; stroke-width: 2 }
  .arrow { stroke: #00796b; stroke-width: 2; marker-end: url(#head) }
"""
HEAD = (
    '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 L10 5 L0 10 z" fill="#00796b"/></marker>'
)


def drawing() -> str:
    """The figure as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>The learning loop of FLEX</title>",
        f"<style>{STYLE}</style>",
        f"<defs>{HEAD}</defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#ffffff"/>',
        *(_box(*role) for role in ROLES),
        *(_arrow(*arrow) for arrow in ARROWS),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _box(name: str, does: str, column: int, row: int) -> str:
    x, y = COLUMNS[column], ROWS[row]
    middle = x + BOX_WIDTH / 2
    return (
        f'<rect class="box" x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="10"/>'
        f'<text class="name" x="{middle:g}" y="{y + 34}">{name}</text>'
        f'<text x="{middle:g}" y="{y + 58}">{does}</text>'
    )


def _arrow(start: tuple[int, int], end: tuple[int, int], label: str, place: tuple[int, int]) -> str:
    return (
        f'<line class="arrow" x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"/>'
        f'<text class="label" x="{place[0]}" y="{place[1]}">{label}</text>'
    )


if __name__ == "__main__":
    Path(__file__).with_name("loop.svg").write_text(drawing(), encoding="utf-8")
