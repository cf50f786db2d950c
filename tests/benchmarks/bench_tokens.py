"""Tokens of a prompt against the size of the library: ``python -m tests.benchmarks.bench_tokens``.

``actor`` is the prompt of an attempt, ``updater`` that of a decision on one lesson: all messages, instructions
included, mean over the problems (where a lesson has none like it, no model is asked). Beside them the same prompts with
everything in them: the whole library, or the whole zone, which is what the FLEX release's updater is shown. Entries are
of 400 to 1,500 characters: common phrases, and names from a vocabulary of 2,000, as frequent as words are (Zipf).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
from dspy.utils import DummyLM

from flex_dspy.core.tokens import tokens
from flex_dspy.core.zones import ZONES
from flex_dspy.libraries.experience import Experience, Precedent, Rule
from flex_dspy.libraries.hits import Hit
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs import Actor, Updater
from flex_dspy.programs.lesson_writer import NEAREST
from flex_dspy.search.nearest import nearest_lessons
from flex_dspy.search.reading import pinned
from flex_dspy.search.rendering import render
from flex_dspy.search.retrieval import ExperienceRetriever

SIZES = (10, 100, 1_000, 10_000)
WHOLE = 10**9  # tokens: everything fits

OBJECTS = (
    "a polynomial with integer coefficients", "a sequence given by a recurrence",
    "a triangle with an inscribed circle", "a sum over the divisors of n", "a count of lattice paths",
    "a product of consecutive terms", "a cyclic quadrilateral", "a last digit of a power",
    "an expected number of throws", "a system of symmetric equations", "a tiling of a strip", "a functional equation",
    "a sphere inside a pyramid", "a partition into distinct parts", "a floor function", "a random walk on a graph",
    "a logarithm with an unknown base", "a complex root of unity", "a binomial coefficient", "a tournament schedule",
    "an arithmetic progression of primes", "a set without consecutive members",
)  # fmt: skip
ACTIONS = (
    "work modulo the smallest prime that does not divide the answer",
    "write the generating function and compare terms", "draw the angle bisectors and use equal tangents",
    "count the complement", "pair the first term with the last one",
    "substitute the sum and the product of the unknowns", "look at the parity of both sides",
    "condition on the first step", "set up coordinates at the right angle",
    "telescope after splitting into partial fractions", "bound it from both sides",
    "try the three smallest cases and guess the pattern", "use the law of cosines twice",
    "colour the board like a chessboard", "take the logarithm and solve the linear equation",
    "multiply by the conjugate", "apply inclusion and exclusion", "reflect the point and measure a straight line",
    "sort by the largest member", "replace the variable by its reciprocal",
)  # fmt: skip
CHECKS = (
    "test the result on n = 3 before you answer", "check that no solution was lost when you divided",
    "mind the case zero", "remember that order does not matter here", "see whether the bound is reached",
    "verify that the triangle exists", "count the boundary only once", "make sure that the root lies in the interval",
    "reduce the fraction before you add", "ask whether rotations count as different",
    "compare with the answer for the symmetric case", "keep the sign of the square root",
)  # fmt: skip

_SYLLABLES = ("bar", "cor", "din", "fel", "gon", "hul", "jas", "kem", "lov", "mur", "nax", "pel", "quin")
NAMES = [a + b + c for a in _SYLLABLES for b in _SYLLABLES for c in _SYLLABLES][:2_000]
FREQUENCIES = [1 / rank for rank in range(20, 2_020)]  # without the first few: those are like "the" and "of"


def lesson(number: int) -> Experience:
    """One entry of a library, or a new lesson; no two are the same."""
    chance = random.Random(number)

    def sentence() -> str:
        first, second = chance.choices(NAMES, FREQUENCIES, k=2)
        when = f"When the problem asks for {chance.choice(OBJECTS)} of {first} kind, or the {second} of one"
        return f"{when}, {chance.choice(ACTIONS)}, then {chance.choice(ACTIONS)}; {chance.choice(CHECKS)}."

    rules = (
        Rule(sentence(), (f"{chance.randint(2, 99)} and {chance.randint(2, 99)}",)) for _ in range(chance.randint(1, 3))
    )
    return Experience(
        zone=chance.choice(ZONES),
        category=chance.choice(OBJECTS).removeprefix("a "),
        method=" ".join(sentence() for _ in range(chance.randint(1, 3))),
        rules=tuple(rules),
        precedents=(Precedent(f"ex-{number}", problem(number), str(chance.randint(0, 999))),),
    )


def problem(number: int) -> str:
    chance = random.Random(-number - 1)
    size = chance.randint(10, 999)
    first, second = chance.choices(NAMES, FREQUENCIES, k=2)
    return f"Consider {chance.choice(OBJECTS)} of {first} kind and of size {size}. How many have a {second}?"


def tokenizer() -> tuple[str, Callable[[str], int]]:
    """GPT-4o's tokenizer, of which litellm ships the vocabulary; without it, this project's own estimate."""
    litellm = importlib.util.find_spec("litellm")
    if importlib.util.find_spec("tiktoken") is None or litellm is None or litellm.origin is None:
        return "flex_dspy.core.tokens (an estimate on the safe side)", tokens
    import tiktoken

    os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers")
    encoding = tiktoken.get_encoding("o200k_base")
    return "tiktoken's o200k_base (GPT-4o)", lambda text: len(encoding.encode_ordinary(text))


def asked(lm: DummyLM, count: Callable[[str], int]) -> int:
    """Tokens of the last prompt; 0 where none was needed."""
    if not lm.history:
        return 0
    return sum(count(str(message["content"])) for message in lm.history[-1]["messages"])


def actor_tokens(library: ExperienceLibrary, query: str, count: Callable[[str], int]) -> int:
    lm = DummyLM([{"reasoning": "", "answer": "1", "experiences_used": "[]"}])
    actor = Actor("problem -> answer: int", ExperienceRetriever(library, views=["lexical"]))
    with dspy.context(lm=lm), pinned(library):
        actor(problem=query)
    return asked(lm, count)


def updater_tokens(new: Experience, shown: list[Experience], count: Callable[[str], int], **settings: Any) -> int:
    lm = DummyLM([{"decision": '{"action": "insert"}'}])
    with dspy.context(lm=lm):
        Updater(**settings)(lesson=new, nearest=shown)
    return asked(lm, count)


def measure(size: int, queries: int, count: Callable[[str], int]) -> dict[str, float]:
    library = ExperienceLibrary([lesson(number) for number in range(size)], task="bench")
    everything = render([Hit(entry, 0.0) for entry in library], WHOLE)
    texts, new = [problem(10**6 + i) for i in range(queries)], [lesson(10**6 + i) for i in range(queries)]
    zone = [entry for entry in library if entry.zone == new[0].zone]
    decisions = [updater_tokens(entry, nearest_lessons(library, entry, NEAREST), count) for entry in new]
    return {
        "actor": statistics.fmean(actor_tokens(library, text, count) for text in texts),
        "updater": statistics.fmean(filter(None, decisions)),
        "actor, whole library": actor_tokens(ExperienceLibrary(), texts[0], count) + count(everything),
        "updater, whole zone": updater_tokens(new[0], zone, count, token_budget=WHOLE),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of entries")
    parser.add_argument("--queries", type=int, default=50, help="problems, and new lessons, of which the mean is taken")
    parser.add_argument("--small", action="store_true", help="a quick check")
    arguments = parser.parse_args()
    sizes, queries = (SIZES[:3], 5) if arguments.small else (arguments.sizes, arguments.queries)
    name, count = tokenizer()
    lengths = [len(lesson(number).text()) for number in range(1_000)]
    print(f"tokens by {name}; entries of {min(lengths):,} to {max(lengths):,} characters\n")
    rows = {size: measure(size, queries, count) for size in sizes}
    print(f"{'entries':>8}" + "".join(f"{column:>22}" for column in rows[sizes[0]]))
    for size, row in rows.items():
        print(f"{size:>8,}" + "".join(f"{value:>22,.0f}" for value in row.values()))
    for column in rows[sizes[0]]:
        values = [row[column] for row in rows.values()]
        print(f"{column}: x{values[-1] / values[0]:,.2f} from {sizes[0]:,} to {sizes[-1]:,} entries")


if __name__ == "__main__":
    main()
