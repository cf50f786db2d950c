"""Which program gave which answer: what is left of an optimizer that is stopped on its way."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from flex_dspy.core.examples import problem_of, problem_text
from flex_dspy.core.scoring import Metric
from flex_dspy.evaluation.intervals import wilson
from tests.benchmarks.language_model.program import Program

State = dict[str, Any]


class Candidates(BaseCallback):
    """Remembers every program that an optimizer tries, by its prompts, and how its answers were judged.

    DSPy's optimizers keep their candidates in local variables, and lose them where they are stopped. This callback sees
    each answer of a program, and the metric that it wraps says how good the answer was. The best candidate has
    the highest lower end of its 95% interval: among programs that were measured on the same number of examples
    that is the one with most right answers, and one that was lucky on a few does not beat one that was measured on all.

    Args:
        examples: The examples that an optimizer measures candidates on; answers to others count for nothing.
    """

    def __init__(self, examples: Sequence[dspy.Example]) -> None:
        self._problems = {problem_of(example) for example in examples}
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Program, str]] = {}
        self._answers: dict[int, tuple[dspy.Prediction, Program]] = {}
        self._states: dict[str, State] = {}
        self._scores: defaultdict[str, list[float]] = defaultdict(list)

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Note who is asked."""
        if isinstance(instance, Program):
            self._running[call_id] = instance, problem_text(inputs.get("kwargs") or {})

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Note whose answer it is; an answer that could not be read is a wrong one."""
        program, problem = self._running.pop(call_id, (None, ""))
        if program is None:
            return
        answer = outputs[0] if isinstance(outputs, tuple) else outputs  # GEPA wants the trace of an answer, too
        if isinstance(answer, dspy.Prediction):
            self._answers[id(answer)] = answer, program
        elif answer is not None or isinstance(exception, Exception):
            self._count(program, problem, 0.0)

    def judging(self, metric: Metric) -> Callable[..., dspy.Prediction]:
        """The metric, which tells how it judged."""

        def judge(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
            if pred is None:  # SIMBA asks for the score of a program that failed
                return dspy.Prediction(score=0.0, feedback="There is no answer that could be read.")
            verdict = metric(gold, pred)
            _, program = self._answers.pop(id(pred), (None, None))
            if program is not None:
                self._count(program, problem_of(gold), float(verdict.score))
            return verdict

        return judge

    def scoring(self, metric: Metric) -> Callable[..., float]:
        """The same for optimizers that want a number: to them ``dspy.Prediction(score=0)`` is true."""
        judge = self.judging(metric)

        def score(gold: Any, pred: Any, trace: Any = None) -> float:
            return float(judge(gold, pred).score)

        return score

    def best(self) -> State | None:
        """The state of the best candidate; None where none was measured."""
        ranked = sorted(self._scores, key=lambda key: -wilson(sum(self._scores[key]), len(self._scores[key]))[0])
        return self._states[ranked[0]] if ranked else None

    def summary(self) -> list[dict[str, float]]:
        """How the candidates did, in the order of their appearance."""
        return [{"answers": len(scores), "right": sum(scores)} for scores in self._scores.values()]

    def _count(self, program: Program, problem: str, score: float) -> None:
        if problem not in self._problems:
            return
        state = plain_state(program)
        key = json.dumps(state, sort_keys=True, default=str)
        with self._lock:
            self._states.setdefault(key, state)
            self._scores[key].append(score)


def plain_state(program: dspy.Module) -> State:
    """A program's instructions and demonstrations, without the model that it was tried with."""
    return _without_model(program.dump_state())


def _without_model(state: State) -> State:
    plain = {name: _without_model(value) if isinstance(value, dict) else value for name, value in state.items()}
    return {**plain, "lm": None} if "lm" in plain else plain
