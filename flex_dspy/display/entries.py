"""Experiences and retrieved experiences as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from flex_dspy.display import html
from flex_dspy.display.molecules import case, drawings_in
from flex_dspy.libraries.experience import MAX_EXAMPLES, MAX_RULES, Experience, Precedent, Rule
from flex_dspy.libraries.hits import Hit

DRAWN = 2  # most drawings of a rule or an instance; a precedent has one, which is the largest
SHOWN = 8  # most precedents that are listed


def entry(experience: Experience, *, is_open: bool = False) -> Markup:
    """HTML of one entry. Its head is always visible; a click opens its levels."""
    brief = Markup('<span class="fx-brief">{}</span>').format(html.short(experience.method, 150))
    return html.fold(_head(experience) + brief, _levels(experience), experience.zone, is_open=is_open)


def entry_cell(experience: Experience) -> str:
    """HTML of one entry for a notebook's cell, with open levels."""
    return html.fragment(entry(experience, is_open=True))


def _head(experience: Experience) -> Markup:
    return Markup("{}{}<b>{}</b> {}").format(
        Markup('<span class="fx-id">{}</span>').format(html.code(experience.id)),
        html.badge(experience.zone, experience.zone),
        (html.short(experience.category, 100) or "no category")
        + (f", scope {experience.scope}" if experience.scope else ""),
        record(experience),
    )


def record(experience: Experience) -> Markup:
    """Usage record of an entry, on one line."""
    return Markup('<span class="fx-facts">{}</span>').format(
        html.join(
            Markup('<span class="fx-{}">{}</span>').format(kind, text)
            for kind, text, there in (
                ("good", f"helped {experience.helped:,}", experience.helped),
                ("bad", f"hurt {experience.hurt:,}", experience.hurt),
                ("soft", f"shown {experience.shown:,}", experience.shown),
                ("good", "📌 pinned", experience.pinned),
            )
            if there
        )
    )


def _levels(experience: Experience, told: Sequence[Precedent] = ()) -> Markup:
    """Levels of an entry. ``told`` are precedents that are already shown above."""
    parts = [html.label("method"), html.prose(experience.method)]
    if experience.rules:
        rules, more = html.some(experience.rules, MAX_RULES)
        parts += [html.label("rules"), html.listing(map(_rule, rules)), more]
    if rest := [precedent for precedent in experience.precedents if precedent not in told]:
        total = html.count(len(rest), "other solved case" if told else "solved case")
        parts += [html.label(total), cases([(precedent, None) for precedent in rest])]
    if experience.trajectory:
        parts += [html.label("instance"), html.prose(experience.trajectory)]
        if not experience.precedents:  # the molecules of precedents are drawn already
            parts.append(html.drawings(drawings_in(experience.trajectory, DRAWN)))
    return html.join([*parts, _footer(experience)])


def _rule(rule: Rule) -> Markup:
    examples = [
        Markup('<div class="fx-example">{}</div>').format(html.prose(text, before="e.g. "))
        for text in rule.examples[:MAX_EXAMPLES]
    ]
    return html.join([html.prose(rule.text), html.drawings(drawings_in(rule.text, DRAWN)), *examples])


def cases(precedents: Sequence[tuple[Precedent, float | None]]) -> Markup:
    """HTML of precedents, each with its similarity to a query, if any. The first is drawn if it is a SMILES."""
    shown, more = html.some(precedents, SHOWN)
    items = [_case(precedent, similarity, index == 0) for index, (precedent, similarity) in enumerate(shown)]
    return html.listing(items) + more


def _case(precedent: Precedent, similarity: float | None, with_drawing: bool) -> Markup:
    alike = Markup("<b>{:.3f}</b> ").format(similarity) if similarity is not None else Markup("")
    line = html.short(precedent.problem, 600), html.short(precedent.answer, 300)
    drawing = case(precedent.problem, precedent.answer) if with_drawing else None
    if drawing is not None:
        line_html = Markup('{}<span class="fx-soft">{} ⇒ {}</span>').format(alike, *map(html.code, line))
        return line_html + html.drawings([drawing])
    problem = line[0] if " " in line[0] else html.code(line[0])
    trace = Markup(' <span class="fx-soft">{}</span>').format(precedent.trace) if precedent.trace else Markup("")
    return Markup("{}{} ⇒ {}{}").format(alike, problem, html.code(line[1]), trace)


def _footer(experience: Experience) -> Markup:
    made = f"made at example {experience.created_at:,}"
    changed = f"changed at {experience.updated_at:,}" if experience.updated_at != experience.created_at else ""
    merged = f"{html.count(experience.merged, 'lesson')} merged in" if experience.merged else ""
    author = f"written by {experience.author}" if experience.author else ""
    known = [source.name or source.id for source in experience.sources if not source.is_marker]
    sources = "from " + ", ".join(known[:5]) if known else ""
    return html.soft(html.facts(f"priority {experience.priority} of 5", author, made, changed, merged, sources))


# -- retrieval ---------------------------------------------------------------------------------------------


def hit(found: Hit, rank: int | None = None) -> Markup:
    """HTML of a retrieved entry, with the reasons for its retrieval."""
    lesson = found.experience
    reasons = [html.label("why this one"), _why(found)]
    if found.precedents:
        reasons += [html.label("solved cases like the query, with their similarity"), cases(found.precedents)]
    rest = _levels(lesson, [precedent for precedent, _ in found.precedents])
    place = Markup("<b>{}.</b> ").format(rank) if rank else Markup("")
    brief = Markup('<span class="fx-brief">{}<br>{}</span>').format(found.why(), html.short(lesson.method, 150))
    return html.fold(place + _head(lesson) + brief, html.join([*reasons, rest]), lesson.zone)


def _why(found: Hit) -> Markup:
    rows = [(view, place, found.scores.get(view)) for view, place in found.ranks.items()]
    views = html.table(["view", "rank", "score"], rows) if rows else Markup("")
    return html.prose(found.why()) + views


def hits_cell(hits: Sequence[Hit]) -> str:
    """HTML of retrieved entries for a notebook's cell, best first."""
    head = html.title(html.count(len(hits), "experience") + " retrieved")
    return html.fragment(head, *(hit(found, rank) for rank, found in enumerate(hits, start=1)))


def hit_cell(found: Hit) -> str:
    """HTML of one retrieved entry for a notebook's cell."""
    return html.fragment(hit(found))
