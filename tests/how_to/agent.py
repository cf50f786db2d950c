"""A ReAct agent with tools: it learns how its tools want to be called."""

# -- begin
import dspy

from flex_dspy import ForwardLearning, equip, language_model

SHELVES = {"WH-CLIP": 40, "WH-PEN": 12, "WH-TAPE": 7}


def in_stock(code: str) -> str:
    """How many pieces of an article are in stock."""
    return str(SHELVES[code]) if code in SHELVES else f"there is no article {code}"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def metric(example, prediction, trace=None):
    right = prediction.pieces == example.pieces
    return dspy.Prediction(score=float(right), feedback="" if right else "Codes are like WH-CLIP: WH-, then capitals.")


dspy.configure(lm=language_model("openai/gpt-4o"))
agent = dspy.ReAct("question -> pieces: int", tools=[in_stock, add], max_iters=6)
asked = {"How many clips are left?": 40, "How many pens are left?": 12}
train = [dspy.Example(question=question, pieces=n).with_inputs("question") for question, n in asked.items()]

# The agent is told what fits before it begins, and searches for more by a tool of its own, `recall`.
student = equip(agent, access="both")
learned = ForwardLearning(metric, library="warehouse.json").compile(student, trainset=train)
answer = learned(question="How many rolls of tape are left?")
print(answer.pieces)
print([call for name, call in answer.trajectory.items() if name.startswith("tool_name")])
# -- end
