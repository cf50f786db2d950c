"""The page of MLflow that ``flex-dspy ui`` opens, asked of a scripted server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flex_dspy.commands.actions.comparison_page import EXPERIMENTS, find_page


@contextmanager
def serving(answers: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server with an answer for each path, and the bodies that it was sent."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = answers.get(self.path)
            self.send_response(200 if answer is not None else 500)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


EXPERIMENT_SEARCH = "/api/2.0/mlflow/experiments/search"
RUN_SEARCH = "/api/2.0/mlflow/runs/search"
TWO = {"experiments": [{"experiment_id": "1"}, {"experiment_id": "2"}]}


def test_it_is_the_versions_of_the_newest_learning_run() -> None:
    runs = {"runs": [{"info": {"experiment_id": "2"}}]}
    with serving({EXPERIMENT_SEARCH: TWO, RUN_SEARCH: runs}) as (address, asked):
        page = find_page(address)
    assert page.startswith("#/experiments/2/models?")
    assert "viewMode=CHART" in page
    assert asked[1]["experiment_ids"] == ["1", "2"]
    assert asked[1]["order_by"] == ["attributes.start_time DESC"]


def test_without_a_learning_run_it_is_the_list_of_experiments() -> None:
    with serving({EXPERIMENT_SEARCH: TWO, RUN_SEARCH: {}}) as (address, _):
        assert find_page(address) == EXPERIMENTS
    with serving({EXPERIMENT_SEARCH: {}}) as (address, asked):
        assert find_page(address) == EXPERIMENTS
    assert len(asked) == 1


def test_a_server_that_does_not_know_it_is_no_error() -> None:
    with serving({}) as (address, _):
        assert find_page(address) == EXPERIMENTS
