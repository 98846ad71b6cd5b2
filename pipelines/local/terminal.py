"""What a run shows: its steps while they run, and its results in one table at the end.

In a terminal the steps are a table that changes in place, with the last line that each running step has said; elsewhere
(a pod's log, a file) each change of state is a line.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.ir.plan import Step
from pipelines.local.artifacts import Status

View = Callable[[Mapping[str, Status]], None]
STYLES = {"running": "bold cyan", "done": "green", "kept": "dim green", "failed": "bold red", "stopped": "yellow"}
TAIL = 2000  # bytes of a log that its last line is looked for in
MEASURES = ("accuracy", "clip", "keyword", "format")


@contextmanager
def watching(steps: Sequence[Step], log: Callable[[str], Path]) -> Iterator[View]:
    """A view of a run, for as long as it lasts.

    Args:
        steps: the run's plan.
        log: the log file of a step.
    """
    if not sys.stdout.isatty():
        yield _lines()
        return
    with Live(auto_refresh=False) as live:
        yield lambda statuses: live.update(_table(steps, statuses, log), refresh=True)


def results(steps: Sequence[Step], statuses: Mapping[str, Status], output: Callable[[str, str], Path]) -> Table | None:
    """The table of a finished run: each evaluated model's scores, and how the questions were split.

    Args:
        steps: the run's plan.
        statuses: their states.
        output: where an output of a step lies: (step id, output name) -> path.
    """
    table = Table(title="Held-out questions", title_justify="left", title_style="bold", caption_justify="left")
    table.add_column("model")
    for measure in MEASURES:
        table.add_column(measure, justify="right")
    for step in steps:
        if statuses[step.id].state not in ("done", "kept"):
            continue
        if step.module == "pebr.evaluate":
            scores = json.loads(output(step.id, "metrics").read_text())
            name = step.title.removeprefix("Evaluate ")
            table.add_row(name, *(_share(scores.get(measure)) for measure in MEASURES))
        if step.module == "pebr.split":
            sizes = json.loads(output(step.id, "metrics").read_text())
            table.caption = "questions: " + ", ".join(f"{sizes[k]:.0f} {k}" for k in ("easy", "medium", "hard"))
    return table if table.row_count else None


def show_end(lines: Sequence[str], table: Table | None) -> None:
    """Print a run's end: the table, and lines about where things lie."""
    console = Console(soft_wrap=True)
    if table:
        console.print(table)
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _lines() -> View:
    """A view that prints a line for each change."""
    shown: dict[str, str] = {}

    def view(statuses: Mapping[str, Status]) -> None:
        for step, status in statuses.items():
            if status.state == shown.get(step, "waiting"):
                continue
            shown[step] = status.state
            took = f" in {status.seconds:.1f} s" if status.state == "done" else ""
            print(f"{time.strftime('%H:%M:%S')} {step}: {status.state}{took}", flush=True)

    return view


def _table(steps: Sequence[Step], statuses: Mapping[str, Status], log: Callable[[str], Path]) -> Table:
    """The steps as they are now."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    table.add_column("step", no_wrap=True)
    table.add_column("state", no_wrap=True, min_width=8)
    table.add_column("time", justify="right", no_wrap=True, min_width=7)
    table.add_column("", ratio=1, no_wrap=True, overflow="ellipsis", style="dim")
    for step in steps:
        status = statuses[step.id]
        if status.state == "skipped":
            continue
        seconds = time.time() - status.started if status.state == "running" else status.seconds
        state = status.state if status.attempts < 2 or status.state != "running" else f"try {status.attempts}"
        said = _last_line(log(step.id)) if status.state == "running" else ""
        table.add_row(
            step.title,
            Text(state, style=STYLES.get(status.state, "dim")),
            "" if status.state == "waiting" else f"{seconds:.0f} s",
            Text(said),
        )
    return table


def _last_line(log: Path) -> str:
    """The last line of a log that says something."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - TAIL, 0))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("---")), "")
