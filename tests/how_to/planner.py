"""A multi-step planner around the uspto50k task's actor: routes from a stock of building blocks, without a key."""

# -- begin
import heapq
from itertools import count

import dspy

from flex_dspy import ForwardLearning, equip, get_task, language_model
from flex_dspy.data.building_blocks import BLOCKS
from flex_dspy.metrics.molecules import canonical_smiles


class Planner(dspy.Module):
    """Best-first search: the route with the fewest steps, and the most trusted ones, is tried first."""

    def __init__(self, step, stock, calls=40, width=5):
        super().__init__()
        self.step, self.calls, self.width = step, calls, width
        self.stock = {canonical_smiles(block) for block in stock}

    def forward(self, target):
        number, known = count(), {}
        queue = [(0, next(number), (canonical_smiles(target),), ())]  # cost, tie, what is to be made, steps
        while queue:
            cost, _, wanted, route = heapq.heappop(queue)
            if not wanted:
                return dspy.Prediction(route=list(route), calls=len(known))
            product, *others = wanted
            if product not in known:
                if len(known) == self.calls:
                    break
                known[product] = self.step(product=product)
            answer, made = known[product], {step[0] for step in route}
            for rank, reactants in enumerate([answer.reactants, *answer.alternatives][: self.width]):
                parts = {canonical_smiles(part) for part in reactants.split(".")}
                if None not in parts and not parts & {product, *made}:
                    todo = (*sorted(parts - self.stock), *others)
                    heapq.heappush(queue, (cost + 1 + rank, next(number), todo, (*route, (product, reactants))))
        return dspy.Prediction(route=[], calls=len(known))


def show(route):
    for product, reactants in route:
        print(f"{product}  <=  {reactants}")


dspy.configure(lm=language_model("offline", expert="chemist"))  # or language_model("openai/gpt-4o")
task = get_task("uspto50k")
planner = Planner(task.actor(), stock=BLOCKS)
moclobemide = "O=C(NCCN1CCOCC1)c1ccc(Cl)cc1"
show(equip(planner, "exps/uspto50k.json")(target=moclobemide).route)

# Or learn: the planner's single step is an actor like any other.
examples = task.load("train", limit=60).examples
planner.step = ForwardLearning(task.metric, study=True).compile(planner.step, trainset=examples)
show(planner(target="CCOC(=O)COc1ccc(C(C)O)cc1").route)
# -- end
