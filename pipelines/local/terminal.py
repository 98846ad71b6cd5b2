"""Terminal output of a run: its steps while they run, and a table of the results at the end.

In a terminal, the steps are a table that is updated in place, with the last log line of each running step. Elsewhere
(a pod's log, a file), each change of state is one line.
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

from pipelines.ir.kinds import EVALUATE, SPLIT
from pipelines.ir.plan import Step
from pipelines.local.artifacts import Status

View = Callable[[Mapping[str, Status]], None]
STYLES = {"running": "bold cyan", "done": "green", "kept": "dim green", "failed": "bold red", "stopped": "yellow"}
TAIL = 2000  # bytes at the end of a log that may hold its last line
MEASURES = ("accuracy", "clip", "keyword", "format")


@contextmanager
def watching(steps: Sequence[Step], log: Callable[[str], Path]) -> Iterator[View]:
    """Show a run; yields the function to call with its statuses. `log` returns the log file of a step id."""
    if not sys.stdout.isatty():
        yield _lines()
        return
    with Live(auto_refresh=False) as live:
        yield lambda statuses: live.update(_table(steps, statuses, log), refresh=True)


def results(steps: Sequence[Step], output: Callable[[str, str], Path]) -> Table | None:
    """The results table of a run: the scores of each evaluation, and the number of questions per difficulty.

    `output` returns the path of an output, by step id and name.
    """
    table = Table(title="Held-out questions", title_justify="left", title_style="bold", caption_justify="left")
    table.add_column("evaluation")
    for measure in MEASURES:
        table.add_column(measure, justify="right")
    for step in steps:
        if step.module == EVALUATE:
            scores = json.loads(output(step.id, "metrics").read_text())
            table.add_row(step.title, *(_share(scores.get(measure)) for measure in MEASURES))
        if step.module == SPLIT:
            sizes = json.loads(output(step.id, "metrics").read_text())
            table.caption = "questions: " + ", ".join(f"{sizes[k]:.0f} {k}" for k in ("easy", "medium", "hard"))
    return table if table.row_count else None


def show_end(lines: Sequence[str], table: Table | None) -> None:
    """Print the end of a run: the results table, then the lines."""
    console = Console(soft_wrap=True)
    if table:
        console.print(table)
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _lines() -> View:
    """A view that prints one line per change of state."""
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
    """The current state of the steps."""
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
        last = _last_line(log(step.id)) if status.state == "running" else ""
        table.add_row(
            step.title,
            Text(state, style=STYLES.get(status.state, "dim")),
            "" if status.state == "waiting" else f"{seconds:.0f} s",
            Text(last),
        )
    return table


def _last_line(log: Path) -> str:
    """The last line of a log that is not empty and not the start of an attempt."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - TAIL, 0))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("---")), "")
