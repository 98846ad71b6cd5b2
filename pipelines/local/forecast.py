"""What the last runs in a folder have taken, and the forecast of the next one (`pipelines.run --plan`)."""

import json
import time
from pathlib import Path

from pebr.files import atomic_file
from pebr.telemetry.history import read_history
from pipelines.estimate.forecast import KEPT, RUNS, SKIPPED, forecast
from pipelines.estimate.past import Past, facts, from_facts, past_of
from pipelines.estimate.sources import size_of
from pipelines.estimate.table import table
from pipelines.local.runner import Run

RUNS_KEPT = 10  # files in the folder
STATES = {"kept": KEPT, "runs": RUNS, "skipped": SKIPPED}


def keep_facts(run: Run) -> None:
    """Write what the steps of a run that is done have taken, if it has run any; the newest files are kept."""
    if not any(status.state == "done" for status in run.statuses.values()):
        return
    metrics, sizes, histories = {}, {}, {}
    for step in run.finished():
        status = run.statuses[step.id]
        own = json.loads(run.output(step.id, "metrics").read_text()) if "metrics" in status.artifacts else {}
        metrics[step.id] = own | {"seconds": status.seconds}  # of all attempts, with the start of Python
        sizes[step.id] = {name: made["bytes"] for name, made in status.artifacts.items()}
        if "history" in status.artifacts:
            histories[step.id] = read_history(run.output(step.id, "history"))
    folder = run.work / "past"
    with atomic_file(folder / f"{time.time_ns()}.json") as path:
        path.write_text(json.dumps(facts(past_of(run.steps, "", metrics, sizes, histories, size_of)), indent=1) + "\n")
    for old in sorted(folder.glob("*.json"))[:-RUNS_KEPT]:
        old.unlink()


def past_runs(work: Path) -> list[Past]:
    """The facts of the last runs in a folder, oldest first."""
    return [from_facts(json.loads(path.read_text())) for path in sorted((work / "past").glob("*.json"))]


def forecast_of(run: Run) -> str:
    """The forecast of a run that has not started."""
    states = {name: STATES[state] for name, state in run.preview().items()}
    pasts = past_runs(run.work)
    return table(forecast(run.steps, pasts, states, size_of), len(pasts))
