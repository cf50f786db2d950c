"""Experiences to look at, kind and hostile."""

from __future__ import annotations

import pytest

from flex_dspy.libraries.experience import Experience, Precedent, Rule, Source
from flex_dspy.libraries.library import ExperienceLibrary

TEMPLATE = "[C:1]-[N;H1;D2;+0:2]-;!@[C;H0;D3;+0:3]=[O:4]>>[C:1]-[N:2].[C:3](=[O:4])-[Cl]"
HOSTILE = "<script>alert(1)</script> <img src=x onerror=alert(1)> \" ' & </details> `<b>x</b>` **<i>y</i>** {0}"


@pytest.fixture
def amide() -> Experience:
    """What a chemist learned."""
    return Experience(
        zone="mixed",
        method="Amide formation: cut the amide bond.",
        rules=(Rule(f"Use `{TEMPLATE}`", ("acetanilide",)),),
        trajectory="It was tried the other way round first.",
        category="amide formation",
        precedents=(Precedent("one", "CC(=O)NC", "CC(=O)Cl.CN"), Precedent("two", "CCC(=O)NC", "CCC(=O)Cl.CN")),
        shown=40,
        helped=9,
        hurt=2,
        pinned=True,
    )


@pytest.fixture
def hostile() -> Experience:
    """Markup in every text."""
    return Experience(
        id=HOSTILE,
        zone="warning",
        method=HOSTILE,
        rules=(Rule(HOSTILE, (HOSTILE,)),),
        trajectory=HOSTILE,
        category=HOSTILE,
        precedents=(Precedent(HOSTILE, HOSTILE, HOSTILE), Precedent("two", "CC(=O)NC", HOSTILE)),
        sources=(Source(HOSTILE, HOSTILE),),
    )


@pytest.fixture
def library(amide: Experience) -> ExperienceLibrary:
    """Three entries, of which the chemist's is used most."""
    count = Experience(zone="golden", method="Count the complement.", category="probability", shown=3, helped=1)
    return ExperienceLibrary([count, Experience(zone="warning", method="Never guess."), amide], task="mixed bag")
