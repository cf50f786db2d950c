"""A library with planted entries, and a scripted model that they make better or worse.

The model reads the experiences in its prompt. Without any it is right half of the time; each helpful one raises that
chance, each harmful one lowers it, and neutral ones do nothing. Whether it is right is drawn from a hash of the prompt:
as irregular as chance, and the same each time.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from typing import Any

import dspy
from dspy import lm15

from flex_dspy.libraries.experience import Experience, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs import Actor
from flex_dspy.search.rendering import parse
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.llm_server import formatted, read_prompt

SHOWN = 8


def planted(harmful: int = 20, helpful: int = 20, neutral: int = 20) -> ExperienceLibrary:
    """A library with so many entries of each kind, each under a word of its own; the kind is the category."""
    kinds = ["harmful"] * harmful + ["helpful"] * helpful + ["neutral"] * neutral
    return ExperienceLibrary(
        [
            Experience(zone="golden", method=f"About {word(n)}.", rules=(Rule(f"Note {word(n)}."),), category=kind)
            for n, kind in enumerate(kinds)
        ]
    )


def word(number: int) -> str:
    """The word that one entry is found by."""
    return "".join("bcdfghjklm"[int(digit)] + "aeiouaeiou"[int(digit)] for digit in f"{number:03}")


def problems(count: int, library: ExperienceLibrary, seed: int = 0, shown: int = SHOWN) -> list[dspy.Example]:
    """Problems that each bring up so many random entries."""
    draw = random.Random(seed)
    return [
        dspy.Example(
            question=f"{seed}/{n}: {' '.join(map(word, draw.sample(range(len(library)), shown)))}", answer=str(n)
        ).with_inputs("question")
        for n in range(count)
    ]


def right(example: dspy.Example, prediction: dspy.Prediction) -> bool:
    """Whether an answer is right."""
    return bool(example.answer == prediction.answer)


def answer(question: str, experiences: str, effect: float) -> str:
    """What the model says.

    Args:
        question: A problem.
        experiences: The block of experiences.
        effect: How much one entry changes the chance of a right answer.
    """
    entries = parse(experiences)
    kinds = [entry.category for entry in entries]
    chance = 0.5 + effect * (kinds.count("helpful") - kinds.count("harmful"))
    key = json.dumps([question, sorted(entry.id for entry in entries)])
    draw = int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48
    number = re.search(r"/(\d+):", question)
    return number[1] if number and draw < min(max(chance, 0.05), 0.95) else "unsure"


class Quick(dspy.Module):
    """The model as a program of its own, a few times as fast."""

    def __init__(self, library: ExperienceLibrary, effect: float = 0.15) -> None:
        super().__init__()
        self.retriever = ExperienceRetriever(library, views=["lexical"], k=SHOWN)
        self.effect = effect

    async def aforward(self, question: str) -> dspy.Prediction:
        """Answer."""
        return dspy.Prediction(answer=answer(question, self.retriever(question).experiences, self.effect))


class PlantedEngine:
    """The model as an engine."""

    def __init__(self, effect: float) -> None:
        self.effect = effect
        self.calls = 0

    def complete(self, request: lm15.Request) -> lm15.Response:
        self.calls += 1
        inputs, _, as_json = read_prompt(request.messages[-1].text or "")
        said = answer(inputs["question"], inputs["experiences"], self.effect)
        fields: dict[str, Any] = {"answer": said, "experiences_used": []}
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(formatted(fields, as_json)),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=100, output_tokens=10),
        )

    def dump_state(self) -> dict[str, Any]:
        return {"effect": self.effect}

    def __deepcopy__(self, memo: dict[int, Any]) -> PlantedEngine:
        return self


class AsyncPlantedEngine:
    """The same, asynchronously."""

    def __init__(self, engine: PlantedEngine) -> None:
        self.engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        return self.engine.complete(request)

    def dump_state(self) -> dict[str, Any]:
        return self.engine.dump_state()

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncPlantedEngine:
        return self


def model(effect: float) -> dspy.LM:
    """The model as DSPy takes it."""
    engine = PlantedEngine(effect)
    return dspy.LM(f"planted/{effect}", engine=engine, async_engine=AsyncPlantedEngine(engine), cache=False)


def program(library: ExperienceLibrary, effect: float = 0.15) -> Actor:
    """An actor with the model and the library."""
    actor = Actor("question -> answer", ExperienceRetriever(library, views=["lexical"], k=SHOWN), strategy="direct")
    actor.set_lm(model(effect))
    return actor
