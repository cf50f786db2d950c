"""A two-stage program that looks things up: it learns what the documents do not say."""

# -- begin
import dspy

from flex_dspy import ForwardLearning, equip, language_model

HANDBOOK = [
    "The Mini brews two cups. Its list price is 100.",
    "The Grinder has forty steps. Its list price is 80.",
    "The Kettle keeps its temperature for an hour. Its list price is 50.",
    "The Barista steams milk. Its list price is 300.",
]


def search(query, k=2):
    words = set(query.lower().replace("?", "").split())
    return sorted(HANDBOOK, key=lambda passage: -len(words & set(passage.lower().split())))[:k]


class Rag(dspy.Module):
    def __init__(self):
        super().__init__()
        self.write_query = dspy.ChainOfThought("question -> query")
        self.answer = dspy.ChainOfThought("passages: list[str], question -> price: float")

    def forward(self, question):
        passages = search(self.write_query(question=question).query)
        return self.answer(passages=passages, question=question)


def metric(example, prediction, trace=None):
    right = abs(prediction.price - example.price) < 0.01
    return dspy.Prediction(score=float(right), feedback="" if right else "List prices are without the tax of 20%.")


dspy.configure(lm=language_model("openai/gpt-4o"))
costs = {"Mini": 120.0, "Grinder": 96.0, "Kettle": 60.0}
train = [dspy.Example(question=f"What does the {n} cost?", price=c).with_inputs("question") for n, c in costs.items()]
learned = ForwardLearning(metric, library="prices.json").compile(Rag(), trainset=train)
print(learned(question="What does the Barista cost?").price)

# Anywhere else: the file is enough. Here the second stage alone has experience.
rag = equip(Rag(), "prices.json", predictors=["answer.predict"])
print(rag(question="What do two of the Barista cost?").price)
# -- end
