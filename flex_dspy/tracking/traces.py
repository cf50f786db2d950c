"""Reads traces in MLflow as rated requests: from DSPy (autolog), and from other frameworks through OpenTelemetry.

Example:
    >>> from flex_dspy.tracking.traces import traces
    >>> requests = traces("support-bot", filter="tags.team = 'refunds'", scale=(1, 5))  # doctest: +SKIP
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.rated_requests import MOST_AT_ONCE, RatedRequest, chosen, without_secrets
from flex_dspy.learning.verdicts import observation
from flex_dspy.tracking.assessments import check_scale, read_assessments
from flex_dspy.tracking.mlflow_store import check_sqlite, connect, pages, report_errors, resolve_uri
from flex_dspy.tracking.spans import request_fields, steps_of_trace

logger = logging.getLogger(__name__)

PREFIX = "mlflow:"
_PAGE = 200
_FINISHED = ("OK", "ERROR", "STATE_UNSPECIFIED")
_LATE_DAYS = 7.0


class TraceRequests:
    """The rated requests among the traces of an MLflow experiment.

    A trace without an assessment is skipped, and checked again by the next ``look``. The first ``look`` reads all
    traces, later ones read the traces of the last days.

    Args:
        experiment: Name of the experiment.
        filter: MLflow's filter of traces, such as ``tags.team = 'refunds'``; "" for all.
        assessment: Name of the feedback that counts; None for all: see ``flex_dspy.tracking.assessments``.
        scale: The lowest and the highest rating, such as ``(1, 5)``; None if they are 0 and 1.
        program: The program that made the traces; its predictors give the steps their names. None keeps the spans'
            names.
        late_days: Number of days for which a trace is checked again, because its rating may come late.
        tracking_uri: The tracking store; None for MLflow's own choice.
        clock: Function that returns the seconds since 1970.

    Attributes:
        name: The name of these requests, which holds the experiment's name.

    Raises:
        ConfigurationError: If the scale has no width.
    """

    def __init__(
        self,
        experiment: str,
        filter: str = "",
        *,
        assessment: str | None = None,
        scale: tuple[float, float] | None = None,
        program: dspy.Module | None = None,
        late_days: float = _LATE_DAYS,
        tracking_uri: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_scale(scale)
        self.experiment, self.filter = experiment, filter
        self.assessment, self.scale = assessment, scale
        self.program = program
        self.late_days = late_days
        self.tracking_uri = tracking_uri
        self.name = f"{PREFIX}{experiment}"
        self._clock = clock
        self._since: float | None = None  # start time of the next look, in seconds since 1970
        self._useless: set[str] = set()  # traces that hold no request
        self._client: Any = None
        self._uri = ""

    def look(self, known: Container[str]) -> Iterator[Sequence[RatedRequest]]:
        """See ``RatedRequests``.

        Raises:
            ConfigurationError: If the store cannot be read, or has no such experiment.
        """
        start = self._clock()
        some: list[RatedRequest] = []
        for info in self._infos(self._conditions()):
            request = None if self._trace_name(info) in known else self._read(info)
            if request is not None:
                some.append(request)
            if len(some) >= MOST_AT_ONCE:
                yield some
                some = []
        yield some
        self._since = start

    def fetch(self, traces: Sequence[str]) -> Iterator[RatedRequest]:
        """See ``RatedRequests``.

        Raises:
            ConfigurationError: If the store cannot be read.
        """
        for trace in traces:
            with self._errors():
                found = self._connect().get_trace(trace.rpartition("/")[2], display=False)
            request = None if found is None else self._request(found)
            if request is not None:
                yield request

    def by_example(self, inputs: Sequence[str] = ()) -> dict[str, str]:
        """The newest trace of each problem, by the example id of the problem, rated or not.

        Args:
            inputs: Names of the inputs that make the problem; empty for all.
        """
        found = {}
        for info in self._infos(self.filter):
            with self._errors():
                trace = self._connect().get_trace(info.trace_id, display=False)
            given, _ = request_fields(trace)
            if given:
                asked = observation(without_secrets(chosen(given, inputs)), {"answer": ""}, 0.0)
                found[asked.example_id] = self._trace_name(info)
        return found

    # -- the store -----------------------------------------------------------------------------------------

    def _infos(self, conditions: str) -> Iterator[Any]:
        """The traces that fit the conditions, oldest first, without their spans."""
        with self._errors():
            client = self._connect()
            experiment = client.get_experiment_by_name(self.experiment)
            if experiment is None:
                raise ConfigurationError(
                    f"MLflow has no experiment {self.experiment!r}: check --tracking-uri and the name"
                )
            found = pages(
                client.search_traces,
                locations=[experiment.experiment_id],
                filter_string=conditions or None,
                order_by=["timestamp ASC"],
                max_results=_PAGE,
                include_spans=False,
            )
            for trace in found:
                yield trace.info

    def _conditions(self) -> str:
        """The filter, together with the time of the oldest traces that may have been rated since the last look."""
        if self._since is None:
            return self.filter
        oldest = int((self._since - self.late_days * 86_400) * 1_000)
        recent = f"trace.timestamp_ms >= {oldest}"
        return f"{self.filter} AND {recent}" if self.filter else recent

    def _connect(self) -> Any:
        if self._client is None:
            self._uri = resolve_uri(self.tracking_uri)
            check_sqlite(self._uri, must_exist=True)
            self._client = connect(self._uri)
        return self._client

    def _errors(self) -> Any:
        return report_errors("read traces in", self._uri or self.tracking_uri or "", "Check the filter, or try again.")

    # -- one trace -----------------------------------------------------------------------------------------

    @staticmethod
    def _trace_name(info: Any) -> str:
        return f"{PREFIX}{info.experiment_id}/{info.trace_id}"

    def _read(self, info: Any) -> RatedRequest | None:
        """The request of a trace that is finished and rated; None for any other."""
        if info.trace_id in self._useless or str(getattr(info.state, "value", info.state)) not in _FINISHED:
            return None
        if not read_assessments(info.assessments, self.assessment, self.scale):
            return None
        with self._errors():
            trace = self._connect().get_trace(info.trace_id, display=False)
        request = self._request(trace)
        if request is None:
            self._useless.add(info.trace_id)
            logger.warning("trace %s is rated, and says no inputs or no outputs: it is passed over", info.trace_id)
        return request

    def _request(self, trace: Any) -> RatedRequest | None:
        inputs, outputs = request_fields(trace)
        said = read_assessments(trace.info.assessments, self.assessment, self.scale)
        if not (inputs and outputs and said):
            return None
        steps = steps_of_trace(trace, self.program)
        name = self._trace_name(trace.info)
        return RatedRequest(name, inputs, outputs, said.score, said.feedback, said.reference, steps)


def traces(experiment: str, filter: str = "", **options: Any) -> TraceRequests:
    """The rated requests among the traces of an MLflow experiment, for learning.

    Args:
        experiment: Name of the experiment.
        filter: MLflow's filter of traces; "" for all.
        **options: Further arguments of ``TraceRequests``.
    """
    return TraceRequests(experiment, filter, **options)


def trace_page(trace: str, address: str) -> str:
    """The address of a trace's page in MLflow; "" if the request is not a trace.

    Args:
        trace: The trace's name, as in a precedent.
        address: Address of the MLflow server.
    """
    if not trace.startswith(PREFIX):
        return ""
    experiment, _, trace_id = trace.removeprefix(PREFIX).partition("/")
    return f"{address.rstrip('/')}/#/experiments/{experiment}/traces?selectedEvaluationId={trace_id}"
