"""How often the chemist is right: by number of solved cases, by class, with ideas left out, and its errors.

    python -m tests.benchmarks.bench_chemist --library exps/RUN/library.json --val valid.csv.gz --sizes 50 500 5000

Prints Markdown tables with Wilson intervals, answers a second, and processor time for each answer. A new folder as
``DSPY_CACHEDIR`` measures from empty caches; the same folder again, without DSPy's answers in it, measures with the
environments of the solved cases at hand. The library is cut to so many solved cases for each size; ``--ablate``
measures on the whole of it with one idea taken out at a time; ``--errors`` says what kind of mistake the others are;
``--speed`` measures the processor time of the chemist alone, with and without the screening of templates.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dspy

from flex_dspy import ExperienceLibrary, evaluate, get_task, language_model
from flex_dspy.evaluation.intervals import wilson
from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.metrics.uspto50k import maxfrag, rank_of_reference
from flex_dspy.models.lm import close
from flex_dspy.offline import application, changes, chemist, evidence, general, reactions, screening
from flex_dspy.offline.mapping import MolGraph, map_atoms
from flex_dspy.offline.templates import reaction_centre
from flex_dspy.search import rendering
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.tasks.task import OFFLINE_RETRIEVAL
from tests.benchmarks.bench_learning import _cut

TASK = get_task("uspto50k")
_STEREO = str.maketrans("", "", "@/\\")
# An idea that is taken out: a term of the evidence, or a constant.
ABLATIONS: Mapping[str, tuple[str | None, dict[str, object]]] = {
    "all": (None, {}),
    **{f"without: {term}": (term, {}) for term in evidence.COEFFICIENTS},
    "without general forms": (None, {"_GENERALIZED": 0}),
}
# What a worker process keeps; the first are the answers.
CACHES = (
    chemist._candidates,
    chemist._templates,
    rendering._taught,
    screening.needs_of,
    screening.centre_needs_of,
    application.read_template,
    application.product_features,
    general.generalize,
    changes.change,
    changes._counts_of_one,
)


def main() -> None:
    """Print what is asked for."""
    arguments = _arguments()
    library = ExperienceLibrary.load(arguments.library)
    examples = TASK.load(arguments.val, limit=arguments.examples, seed=0).examples
    known = {TASK.key(precedent.problem) for entry in library for precedent in entry.precedents}
    examples = [example for example in examples if TASK.key(example.product) not in known]
    print(_head("solved cases"))
    for size in [*arguments.sizes, library.precedent_count]:
        places, fragments, speed = _measured(_cut(library, size), examples, arguments.ranking)
        print(_row(f"{size:,}", places, fragments), speed, flush=True)
    print("\n" + _head("class"))
    classes = [example.reaction_class or "?" for example in examples]
    for name in sorted(set(classes), key=lambda text: (len(text), text)):
        own = [n for n, other in enumerate(classes) if other == name]
        print(_row(name, [places[n] for n in own], [fragments[n] for n in own]))
    if arguments.errors:
        wrong = [example for example, place in zip(examples, places, strict=True) if place != 1]
        _errors(library, wrong[: arguments.errors], arguments.ranking)
    if arguments.ablate:
        _ablation(library, examples[: arguments.ablate])
    if arguments.speed:
        _speed(library, examples[: arguments.speed])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True, help="a learned library")
    parser.add_argument("--val", required=True, help="reactions to measure on")
    parser.add_argument("--ranking", default="", help="a file of library fit")
    parser.add_argument("--sizes", type=int, nargs="*", default=[])
    parser.add_argument("--examples", type=int, help="a random choice of so many")
    parser.add_argument("--errors", type=int, default=0, help="classify so many errors")
    parser.add_argument("--ablate", type=int, default=0, help="so many examples for each row")
    parser.add_argument("--speed", type=int, default=0, help="time so many examples")
    return parser.parse_args()


def _measured(
    library: ExperienceLibrary, examples: list[dspy.Example], ranking: str
) -> tuple[list[int], list[bool], str]:
    """The place of the reference among the answers (0 for none), MaxFrag, and the speed."""
    lm = language_model(f"offline/chemist:{ranking}" if ranking else "offline/chemist")
    with dspy.context(lm=lm):
        start = os.times()
        result = evaluate(TASK.actor(library), examples, TASK.metric, progress=False, allow_overlap=True)
    close(lm)
    speed = _speed_since(start, len(examples))
    answers = [[r.outputs.get("reactants", ""), *(r.outputs.get("alternatives") or [])] for r in result.records]
    pairs = list(zip(examples, answers, strict=True))
    places = [rank_of_reference(example, given) or 0 for example, given in pairs]
    fragments = [maxfrag(example, dspy.Prediction(reactants=given[0])).score == 1.0 for example, given in pairs]
    return places, fragments, speed


def _speed_since(start: os.times_result, answers: int) -> str:
    """Answers a second, and milliseconds of processor time for each, of this process and of the ended workers."""
    spent = [now - then for now, then in zip(os.times(), start, strict=True)]
    own, workers = (1000 * sum(spent[n : n + 2]) / answers for n in (0, 2))
    return f"{answers / spent[4]:.1f} a second, {own:.1f} ms here and {workers:.1f} ms in workers"


def _head(what: str) -> str:
    names = " | ".join([what, "n", "top-1 (95% interval)", *(f"top-{k}" for k in (3, 5, 10)), "MaxFrag"])
    return f"| {names} |\n|{'---|' * 7}"


def _row(name: str, places: Sequence[int], fragments: Sequence[bool]) -> str:
    n = len(places)
    right = [sum(0 < place <= k for place in places) for k in (1, 3, 5, 10)]
    low, high = wilson(right[0], n)
    others = " | ".join(f"{100 * count / n:.1f}" for count in (*right[1:], sum(fragments)))
    return f"| {name} | {n} | {100 * right[0] / n:.1f} ({100 * low:.1f} to {100 * high:.1f}) | {others} |"


def _ablation(library: ExperienceLibrary, examples: list[dspy.Example]) -> None:
    """The ranking alone, in this process, as its constants are changed."""
    print("\n" + _head("ablation"))
    retriever = ExperienceRetriever(library, **{"views": TASK.views, **OFFLINE_RETRIEVAL})
    for name, (term, constants) in ABLATIONS.items():
        with contextlib.ExitStack() as stack:
            if term is not None:
                for coefficients in (evidence.COEFFICIENTS_OF_FEW, evidence.COEFFICIENTS):
                    stack.enter_context(patch.dict(coefficients, {term: 0.0}))
            for constant, value in constants.items():
                stack.enter_context(patch.object(reactions, constant, value))
            chemist._candidates.cache_clear()
            ranked = [
                [found.reactants for found in chemist.candidates(e.product, retriever(e.product).experiences)[:10]]
                for e in examples
            ]
        pairs = list(zip(examples, ranked, strict=True))
        places = [rank_of_reference(example, answers) or 0 for example, answers in pairs]
        fragments = [maxfrag(e, dspy.Prediction(reactants="".join(given[:1]))).score == 1.0 for e, given in pairs]
        print(_row(name, places, fragments), flush=True)


def _speed(library: ExperienceLibrary, examples: list[dspy.Example]) -> None:
    """Processor time of the chemist alone. The baseline searches for every template, and must give equal answers."""
    retriever = ExperienceRetriever(library, **{"views": TASK.views, **OFFLINE_RETRIEVAL})
    prompts = [(example.product, retriever(example.product).experiences) for example in examples]
    needs = {name: getattr(reactions, name) for name in ("needs_of", "centre_needs_of")}
    no_needs = dict.fromkeys(needs, lambda smarts: frozenset[str]())
    print("\n| caches | products | every template, ms | screened, ms | ratio |\n|---|---|---|---|---|")
    for name, caches in (("empty", CACHES), ("full", CACHES[:1])):
        times, answers = [], []
        for patches in [no_needs, needs] * 3:  # in turns, so that a busy machine is busy for both
            with patch.multiple(reactions, **patches):
                spent, found = _answer(prompts, caches)
            times.append(1000 * spent / len(prompts))
            answers.append(found)
        if any(found != answers[0] for found in answers):
            raise AssertionError("the answers differ with and without screening")
        every, screened = min(times[::2]), min(times[1::2])
        print(f"| {name} | {len(prompts)} | {every:.1f} | {screened:.1f} | {every / screened:.2f} |", flush=True)


def _answer(
    prompts: Sequence[tuple[str, str]], caches: Sequence[Any]
) -> tuple[float, list[tuple[reactions.AnswerCandidate, ...]]]:
    """The processor time in seconds, and the answers; these caches are cleared before."""
    for cache in caches:
        cache.cache_clear()
    start = time.process_time()
    answers = [chemist.candidates(*prompt) for prompt in prompts]
    return time.process_time() - start, answers


def _errors(library: ExperienceLibrary, examples: list[dspy.Example], ranking: str) -> None:
    """What kind of mistake the first wrong answers are."""
    retriever = ExperienceRetriever(library, **{"views": TASK.views, **OFFLINE_RETRIEVAL})
    asked = ((example, retriever(example.product).experiences) for example in examples)
    kinds = Counter(_kind(example, chemist.candidates(example.product, block, ranking)) for example, block in asked)
    print("\n| kind of error | cases |\n|---|---|")
    for kind, count in kinds.most_common():
        print(f"| {kind} | {count} |")


def _kind(example: dspy.Example, ranked: Sequence[reactions.AnswerCandidate]) -> str:
    reference = canonical_smiles(example.reactants) or ""
    best = ranked[0].reactants if ranked else ""
    flat = [smiles.translate(_STEREO) for smiles in (best, reference)]
    if canonical_smiles(flat[0]) == canonical_smiles(flat[1]):
        return "only stereochemistry differs"
    places = [found for found in ranked if found.reactants == reference]
    if not places:
        return "no template at hand gives the reference"
    one, other = (_centre(example.product, reactants) for reactants in (best, reference))
    if one == other:
        return "the right place, with other reagents or leaving groups"
    return "a place beside the right one" if one & other else "another bond or group of the product"


def _centre(product: str, reactants: str) -> set[int]:
    """The product's atoms whose bonds, hydrogens or charge the reaction changes."""
    after, before = MolGraph.of(product), MolGraph.of(reactants)
    if after is None or before is None:
        return set()
    return reaction_centre(after, before, map_atoms(after, before)[0])


if __name__ == "__main__":
    main()
