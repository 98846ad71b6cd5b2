"""What metrics and trackers cost a training step: the time of all records of a step, of the step's time.

    make bench NAME=metrics_cost

A tiny GRPO stage gives real rows and the time of its training steps. Then everything that a training step records is
recorded again and again, with a scrape per training step. The ratio is 1 % of a training step's time over this cost.
A step of a large model has more answers but takes minutes, so its share is smaller.

The same stage is run with an MLflow server that is not there, one that answers after 30 seconds, and one that answers
500: the bytes of its weights must be the same, and what was not sent is counted. Their seconds are in the result.
"""

import http.server
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import fmean, median
from typing import Any

from prometheus_client import generate_latest

from benchmarks.result import finish, seconds
from pebr.telemetry import metrics
from pebr.telemetry.history import read_history
from tests.monitoring.tiny_run import TinyRun

GOAL = 1.0
ROUNDS = 300
ANSWERS = 16  # per training step of the tiny stage
STALLED = 30.0  # seconds of the slow server


def main() -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as folder:
        run = TinyRun(Path(folder))
        for step in ("filter", "sft"):
            run.run(step)
        outcomes = {"no tracker": stage(run, "plain", "")}
        outcomes["server not there"] = stage(run, "gone", "http://127.0.0.1:9")
        with server(0.0) as address:
            outcomes["server answers 500"] = stage(run, "failing", address)
        with server(STALLED) as address:
            outcomes["server answers after 30 s"] = stage(run, "slow", address)
        rows = read_history(run.folder / "plain" / "history.jsonl")
    taken = [sum(value for name, value in row.items() if name in PARTS) for row in rows[1:]]
    cost = recording(rows)
    assert len({outcome["weights"] for outcome in outcomes.values()}) == 1, outcomes
    assert all(outcome["not sent"] > 0 for name, outcome in outcomes.items() if name != "no tracker"), outcomes
    numbers = {
        "milliseconds_per_training_step": round(1000 * cost, 3),
        "seconds_per_training_step": round(median(taken), 4),
        "share": round(cost / median(taken), 5),
        "trackers": outcomes,
    }
    finish("metrics_cost", 0.01 * median(taken) / cost, GOAL, numbers)


PARTS = ("seconds_sampling", "seconds_rewards", "seconds_training")


def stage(run: TinyRun, name: str, tracker: str) -> dict[str, Any]:
    """Run the stage with this MLflow address, or none: its seconds, a digest of its weights, what was not sent."""
    variables = {"MLFLOW_TRACKING_URI": tracker} if tracker else {}
    taken, _ = seconds(lambda: run.run("grpo", name, variables))
    weights = sorted((run.folder / name / "weights").glob("*.safetensors"))
    log = (run.folder / f"{name}.log").read_text()
    lost = re.search(r"mlflow: (\d+) of the step's rows and results could not be sent", log)
    digest = sha256(b"".join(path.read_bytes() for path in weights)).hexdigest()
    return {"seconds": round(taken, 2), "weights": digest[:16], "not sent": int(lost[1]) if lost else 0}


def recording(rows: list[dict[str, Any]]) -> float:
    """Seconds to record one training step, with its answers and a scrape."""
    os.environ["PEBR_METRICS_PORT"] = "0"
    metrics.identify("grpo", "perception")
    exporter = metrics._exporter()
    assert exporter

    def record(row: dict[str, Any]) -> None:
        metrics.publish(row)
        for _ in range(ANSWERS):
            metrics.record_answer(100, "stop")
        generate_latest(exporter.registry)

    record(rows[-1])
    return fmean(seconds(partial(record, rows[turn % len(rows)]))[0] for turn in range(ROUNDS))


@contextmanager
def server(delay: float) -> Iterator[str]:
    """An HTTP server that answers every request with 500, after so many seconds; yields its address."""

    class Failing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(delay)
            self.send_error(500)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Do nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Failing) as running:
        running.daemon_threads, running.block_on_close = True, False
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


if __name__ == "__main__":
    main()
