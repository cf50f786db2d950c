"""A classifier with a graded metric: near misses count half, and the metric says why."""

# -- begin
from typing import Literal

import dspy

from flex_dspy import ForwardLearning, evaluate, language_model

LEVELS = ["low", "normal", "urgent"]


class Triage(dspy.Signature):
    """How soon a message from a customer must be answered."""

    message: str = dspy.InputField()
    level: Literal["low", "normal", "urgent"] = dspy.OutputField()


def metric(example, prediction, trace=None):
    distance = abs(LEVELS.index(example.level) - LEVELS.index(prediction.level))
    feedback = f"It was {example.level}. What stops a kitchen from serving is urgent, however calm the tone."
    return dspy.Prediction(score=1 - distance / 2, feedback=feedback if distance else "")


MESSAGES = [
    ("The oven has gone cold. No hurry, we have sandwiches.", "urgent"),
    ("Could you send last month's invoice again?", "normal"),
    ("Our fridge is a bit warm since Monday, just so you know.", "urgent"),
    ("I LOVE the new menu cards!!!", "low"),
    ("The dishwasher leaks, but we wash by hand for now.", "urgent"),
    ("When do you deliver on Friday?", "normal"),
    ("Our stove went out this morning; cold plates will do.", "urgent"),
    ("Please change our address to 5 Mill Lane.", "normal"),
]
examples = [dspy.Example(message=text, level=level).with_inputs("message") for text, level in MESSAGES]
train, val = examples[:5], examples[5:]

dspy.configure(lm=language_model("openai/gpt-4o"))
triage = dspy.ChainOfThought(Triage)
learned = ForwardLearning(metric, threshold=1.0).compile(triage, trainset=train, valset=val)

for program in (triage, learned):
    result = evaluate(program, val, metric)
    print(f"mean score {result.accuracy:.2f} on {result.n} messages")
# -- end
