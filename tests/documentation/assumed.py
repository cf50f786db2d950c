"""What the pages assume of their reader: a program, a metric, examples, files, and a model that answers."""

import json
from pathlib import Path

import dspy

from flex_dspy import ExperienceLibrary
from flex_dspy.libraries.experience import Experience, Rule
from tests.documentation.pages import ROOT

PRICES = {"Mini": 120, "Grinder": 96, "Kettle": 60, "Barista": 360}


class MyAgent(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.answer(question=question)


def metric(example, prediction, trace=None):
    right = str(prediction.answer) == str(example.answer)
    return dspy.Prediction(score=float(right), feedback="" if right else "The tax of 20% is missing.")


def examples(names):
    return [dspy.Example(question=f"What does the {n} cost?", answer=PRICES[n]).with_inputs("question") for n in names]


def names():
    """The names that a page's code may use."""
    return {
        "MyAgent": MyAgent,
        "metric": metric,
        "train": examples(["Mini", "Grinder"]),
        "val": examples(["Kettle", "Barista"]),
    }


def write_files(folder: Path) -> None:
    """The files that a page's code may read."""
    (folder / "exps").symlink_to(ROOT / "exps")
    (folder / "reviews.csv").write_text("text,label\nIt works.,good\nIt broke.,bad\n", encoding="utf-8")
    rated = "input,output,score,feedback\nWhat does the Mini cost?,100,0,The tax of 20% is missing.\n"
    (folder / "ratings.csv").write_text(rated, encoding="utf-8")
    lesson = Experience("golden", "Add the tax.", rules=(Rule("Add 20%."),))
    ExperienceLibrary([lesson]).export(folder / "release.json")
    rows = [{"question": example.question, "answer": example.answer} for example in examples(PRICES)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def agent(messages):
    """The same model, asked by an agent outside DSPy."""
    said = " ".join(str(message["content"]) for message in messages)
    price = next((price for name, price in PRICES.items() if name in str(messages[-1]["content"])), 0)
    return f"It costs {price if 'tax' in said else round(price / 1.2)}."


def model(role, inputs, messages):
    """Forgets the tax until a lesson or feedback mentions it."""
    if not inputs:
        return agent(messages)
    if role == "verifier":
        return {"accepted": False, "feedback": inputs.get("measured", "").partition(". ")[2] or "No."}
    if role == "updater":
        return {"decision": {"action": "insert", "target": None}}
    if role == "critic":
        lesson = "Add the tax of 20% to what it costs."
        return {"lesson": {"category": "custom", "method": f"Prices: {lesson}", "rules": [{"text": lesson}]}}
    known = inputs.get("experiences", "") + inputs.get("earlier_attempts", "")
    price = next((price for name, price in PRICES.items() if name in inputs.get("question", "")), 0)
    return {"reasoning": "so", "answer": price if "tax" in known else round(price / 1.2)}
