"""HTML elements for pages and notebook cells. Every text that is not ``Markup`` is escaped when it is inserted.

A fragment contains its own style, uses the colours of the page around it (light or dark), and is readable in a viewer
that removes styles. It has no scripts, links or external resources.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from markupsafe import Markup, escape

from flex_dspy.core.terminal import visible
from flex_dspy.core.zones import ZONES

T = TypeVar("T")
MAX_TEXT = 6_000  # most characters shown of one text

_STYLE = Markup("""<style>
.flex-dspy{font-family:system-ui,-apple-system,"Segoe UI",sans-serif;font-size:14px;line-height:1.5;max-width:62rem;
 color:inherit;overflow-wrap:anywhere}
.flex-dspy .fx-title{font-size:1.25em;font-weight:650;margin:.2em 0}
.flex-dspy h3.fx-part{font-size:1.05em;font-weight:650;margin:1.1em 0 .3em}
.flex-dspy .fx-soft{opacity:.68}
.flex-dspy .fx-label{font-size:.78em;letter-spacing:.05em;text-transform:uppercase;opacity:.62;margin:.7em 0 .1em}
.flex-dspy .fx-text{white-space:pre-wrap;margin:.1em 0}
.flex-dspy code{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.88em;background:rgba(128,128,128,.14);
 color:inherit;padding:.05em .3em;border-radius:3px}
.flex-dspy .fx-badge{display:inline-block;font-size:.8em;font-weight:600;padding:0 .55em;border-radius:99px;
 border:1px solid currentColor;margin-right:.4em}
.flex-dspy .fx-golden{color:#b07d10}.flex-dspy .fx-warning{color:#dc5a52}.flex-dspy .fx-mixed{color:#8a6fdf}
.flex-dspy .fx-good{color:#2c9a66}.flex-dspy .fx-bad{color:#dc5a52}
.flex-dspy .fx-bar{display:flex;height:8px;border-radius:4px;overflow:hidden;margin:.5em 0;
 background:rgba(128,128,128,.18)}
.flex-dspy .fx-bar span{background:currentColor}
.flex-dspy .fx-entry{border:1px solid rgba(128,128,128,.3);border-left:4px solid rgba(128,128,128,.5);border-radius:5px;
 padding:.35em .8em;margin:.4em 0}
.flex-dspy .fx-entry.fx-in-golden{border-left-color:#c9940f}
.flex-dspy .fx-entry.fx-in-warning{border-left-color:#dc5a52}
.flex-dspy .fx-entry.fx-in-mixed{border-left-color:#8a6fdf}
.flex-dspy summary{cursor:pointer}
.flex-dspy .fx-brief{display:block;font-size:.92em;opacity:.68;margin-left:1.1em;white-space:nowrap;overflow:hidden;
 text-overflow:ellipsis}
.flex-dspy details[open]>summary>.fx-brief{display:none}
.flex-dspy .fx-id{float:right;opacity:.68;margin-left:.6em}
.flex-dspy .fx-facts>span{white-space:nowrap;margin-right:.9em}
.flex-dspy summary .fx-facts{margin-left:.6em}
.flex-dspy .fx-example{opacity:.72}
.flex-dspy ul.fx-list{margin:.1em 0;padding-left:1.3em}
.flex-dspy .fx-row{display:inline-flex;flex-wrap:wrap;align-items:center;gap:.3em .6em;vertical-align:middle}
.flex-dspy .fx-arrow{font-size:1.3em;opacity:.75}
.flex-dspy .fx-mol{max-width:100%;height:auto;vertical-align:middle}
.flex-dspy .fx-drawn{margin:.25em 0;overflow-x:auto}
.flex-dspy .fx-wide{overflow-x:auto}
.flex-dspy table.fx-table{border-collapse:collapse;table-layout:auto;margin:.4em 0;font-size:.94em;color:inherit;
 border:none}
.flex-dspy table.fx-table th,.flex-dspy table.fx-table td{text-align:left;vertical-align:top;padding:.25em .8em .25em 0;
 border:none;border-bottom:1px solid rgba(128,128,128,.25);background:none;color:inherit;white-space:normal}
.flex-dspy table.fx-table th{font-weight:600;opacity:.75;white-space:nowrap}
.flex-dspy table.fx-table code,.flex-dspy .fx-line{white-space:nowrap}
.flex-dspy table.fx-table .fx-number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.flex-dspy ins{text-decoration:none;background:rgba(46,160,67,.25);border-radius:2px}
.flex-dspy del{background:rgba(248,81,73,.22);border-radius:2px}
</style>""")

_PAGE = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}</title>
<style>:root{{color-scheme:light dark}}
body{{margin:1.5rem auto;padding:0 1rem;max-width:62rem;background:#fff;color:#1f2328}}
@media(prefers-color-scheme:dark){{body{{background:#14171a;color:#dfe3e8}}}}</style></head>
<body>{body}</body></html>
""")


def fragment(*parts: Markup) -> str:
    """Join parts into HTML for a notebook's cell."""
    body = _STYLE + Markup('<div class="flex-dspy">') + join(parts) + Markup("</div>")
    # ``visible`` disables characters that reverse the direction of text. Half a surrogate pair cannot be encoded.
    return visible(body.encode("utf-8", "replace").decode())


def page(title: str, *parts: Markup) -> str:
    """Join parts into a complete HTML document. Its security policy stops a browser from loading other resources."""
    whole = _PAGE.format(title=title, body=Markup(fragment(*parts)))  # noqa: S704
    return visible(whole.encode("utf-8", "replace").decode())


def join(parts: Iterable[Markup | str]) -> Markup:
    """Join parts in order."""
    return Markup("").join(parts)


def title(text: str) -> Markup:
    """Title of a page."""
    return Markup('<div class="fx-title">{}</div>').format(text)


def heading(text: str) -> Markup:
    """Heading of a section of a page."""
    return Markup('<h3 class="fx-part">{}</h3>').format(text)


def label(text: str) -> Markup:
    """Label of the following element."""
    return Markup('<div class="fx-label">{}</div>').format(text)


def soft(text: str | Markup) -> Markup:
    """Remark in a muted colour."""
    return Markup('<div class="fx-soft">{}</div>').format(text)


def code(text: str) -> Markup:
    """Literal text in a code element, such as an id."""
    return Markup('<code class="tex2jax_ignore mathjax_ignore">{}</code>').format(text)


def badge(text: str, kind: str) -> Markup:
    """Small coloured mark. ``kind`` is a zone, ``good`` or ``bad``."""
    return Markup('<span class="fx-badge fx-{}">{}</span>').format(kind, text)


def facts(*texts: str | Markup) -> Markup:
    """Short remarks on one line; empty ones are left out."""
    items = (Markup("<span>{}</span>").format(text) for text in texts if text)
    return Markup('<span class="fx-facts fx-soft">{}</span>').format(join(items))


def count(number: int, thing: str, plural: str = "") -> str:
    """Text with a number and its noun in singular or plural."""
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"


def short(text: str, most: int) -> str:
    """Text on one line, shortened at the end of a word."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else line[:most].rsplit(" ", 1)[0] + " …"


_CODE = re.compile(r"(`[^`\n]+`)")
_BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*")


def prose(text: str, most: int = MAX_TEXT, before: str = "") -> Markup:
    """HTML of an entry's text. It keeps line ends, formats `` `code` `` and ``**bold**``, and shortens a long text.

    Args:
        text: The text.
        most: Most characters.
        before: Text to put before it on the first line.
    """
    parts = _CODE.split(text[:most])
    body = join(code(part[1:-1]) if index % 2 else _bold(part) for index, part in enumerate(parts))
    cut = soft(f"… {len(text) - most:,} more characters") if len(text) > most else ""
    return Markup('<div class="fx-text">{}{}</div>{}').format(before, body, cut)


def _bold(text: str) -> Markup:
    return Markup(_BOLD.sub(r"<b>\1</b>", str(escape(text))))  # noqa: S704 (escaped before)


def listing(items: Iterable[Markup]) -> Markup:
    """A list with a mark before each item."""
    return Markup('<ul class="fx-list">{}</ul>').format(join(Markup("<li>{}</li>").format(item) for item in items))


def value(text: str) -> Markup:
    """HTML of a field's text: a single word, such as a SMILES, as code, other text as prose."""
    return prose(text) if any(mark.isspace() for mark in text) else code(short(text, MAX_TEXT))


def drawings(drawings: Iterable[Markup | None]) -> Markup:
    """Drawings below each other."""
    return join(Markup('<div class="fx-drawn">{}</div>').format(each) for each in drawings if each is not None)


def fold(summary: Markup, body: Markup, kind: str = "", *, is_open: bool = False) -> Markup:
    """Block that opens with a click. ``kind`` is a zone, or empty."""
    start = Markup('<details class="fx-entry fx-in-{}"{}><summary>{}</summary>{}</details>')
    return start.format(kind or "none", Markup(" open") if is_open else "", summary, body)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """HTML table. Numbers are aligned to the right."""
    lines = [join(Markup("<th>{}</th>").format(name) for name in head)]
    lines += [join(_cell(value) for value in row) for row in rows]
    body = join(Markup("<tr>{}</tr>").format(line) for line in lines)
    return Markup('<div class="fx-wide"><table class="fx-table">{}</table></div>').format(body)


def _cell(value: Any) -> Markup:
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
        return Markup('<td class="fx-number">{}</td>').format(text)
    return Markup("<td>{}</td>").format("" if value is None else value)


def bar(shares: Iterable[tuple[str, float]]) -> Markup:
    """A bar of coloured parts.

    Args:
        shares: The kind of each part, as in ``badge``, and its share of the whole. Shares are limited to [0, 1].
    """
    widths = ((kind, 100 * min(max(share, 0.0), 1.0)) for kind, share in shares)
    parts = (Markup('<span class="fx-{}" style="width:{:.2f}%"></span>').format(kind, width) for kind, width in widths)
    return Markup('<div class="fx-bar">{}</div>').format(join(parts))


def zone_bar(sizes: dict[str, int]) -> Markup:
    """Bar with the share of each zone in a library, and the number of entries of each zone."""
    total = sum(sizes.values()) or 1
    names = [badge(f"{sizes.get(zone, 0):,} {zone}", zone) for zone in ZONES if sizes.get(zone)]
    return bar((zone, sizes.get(zone, 0) / total) for zone in ZONES) + join(names)


def some(items: Sequence[T], limit: int) -> tuple[Sequence[T], Markup]:
    """First ``limit`` items, and a remark if there are more."""
    left = len(items) - limit
    return items[:limit], soft(f"… and {left:,} more") if left > 0 else Markup("")
