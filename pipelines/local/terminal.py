"""Terminal output of a run: its steps while they run, and a table of the results at the end.

In a terminal, the steps are a table that is updated in place: for each running step its bar, the time left, its newest
reward and validation score, or its last log line; below, the conditions that hold (`pebr.telemetry.conditions`).
Elsewhere (a pod's log, a file), each change of state, and each condition that begins or ends, is one line.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.ir.kinds import EVALUATE, SPLIT
from pipelines.ir.plan import Step
from pipelines.local.artifacts import Status
from pipelines.local.progress import Histories, last_lines, newest, progress_of

View = Callable[[Mapping[str, Status]], None]
STYLES = {"running": "bold cyan", "done": "green", "kept": "dim green", "failed": "bold red", "stopped": "yellow"}
BAR = 16  # characters
MEASURES = ("accuracy", "clip", "keyword", "format")
FURTHER = ("oracle", "described")  # shown if an evaluation has them


@contextmanager
def watching(steps: Sequence[Step], log: Callable[[str], Path], histories: Histories) -> Iterator[View]:
    """Show a run; yields the function to call with its statuses. `log` returns the log file of a step id."""
    if not sys.stdout.isatty():
        yield _lines(histories)
        return
    with Live(auto_refresh=False) as live:
        yield lambda statuses: live.update(_table(steps, statuses, log, histories), refresh=True)


def results(steps: Sequence[Step], output: Callable[[str, str], Path]) -> Table | None:
    """The results table of a run: the scores of each evaluation, and the number of questions per difficulty.

    `output` returns the path of an output, by step id and name.
    """
    table = Table(title="Held-out questions", title_justify="left", title_style="bold", caption_justify="left")
    found = [(step, json.loads(output(step.id, "metrics").read_text())) for step in steps if step.module == EVALUATE]
    measures = MEASURES + tuple(name for name in FURTHER if any(name in scores for _, scores in found))
    table.add_column("evaluation")
    for measure in measures:
        table.add_column(measure, justify="right")
    for step, scores in found:
        table.add_row(step.title, *(_share(scores.get(measure)) for measure in measures))
    for step in steps:
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


def _lines(histories: Histories) -> View:
    """A view that prints one line per change of state, and per condition that begins or ends."""
    shown: dict[str, str] = {}
    held: dict[str, set[str]] = {}

    def tell(step: str, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {step}: {text}", flush=True)

    def view(statuses: Mapping[str, Status]) -> None:
        for step, status in statuses.items():
            if status.state != shown.get(step, "waiting"):
                shown[step] = status.state
                tell(step, status.state + (f" in {status.seconds:.1f} s" if status.state == "done" else ""))
            found = {condition.name: condition.text for condition in histories.conditions(status)}
            before = held.get(step, set())
            for name in sorted(found.keys() - before):
                tell(step, f"warning: {found[name]}")
            for name in sorted(before - found.keys() if status.state == "running" else ()):
                tell(step, f"{name} no longer holds")
            held[step] = set(found)

    return view


def _table(
    steps: Sequence[Step], statuses: Mapping[str, Status], log: Callable[[str], Path], histories: Histories
) -> RenderableType:
    """The current state of the steps, and the conditions that hold."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    table.add_column("step", no_wrap=True)
    table.add_column("state", no_wrap=True, min_width=8)
    table.add_column("time", justify="right", no_wrap=True, min_width=7)
    table.add_column("", no_wrap=True, width=BAR)
    table.add_column("", ratio=1, no_wrap=True, overflow="ellipsis", style="dim")
    warnings = []
    for step in steps:
        status = statuses[step.id]
        if status.state == "skipped":
            continue
        seconds = time.time() - status.started if status.state == "running" else status.seconds
        state = status.state if status.attempts < 2 or status.state != "running" else f"try {status.attempts}"
        bar, text = _progress(status, log(step.id), histories) if status.state == "running" else ("", "")
        table.add_row(
            step.title,
            Text(state, style=STYLES.get(status.state, "dim")),
            "" if status.state == "waiting" else f"{seconds:.0f} s",
            bar,
            Text(text),
        )
        warnings += [Text(f"! {step.title}: {c.text}", style="bold yellow") for c in histories.conditions(status)]
    return Group(table, *warnings)


def _progress(status: Status, log: Path, histories: Histories) -> tuple[RenderableType, str]:
    """The bar of a running step, and its speed, time left and newest numbers; without progress, its last log line."""
    lines = last_lines(log)
    rows = histories.rows(status)
    found = progress_of(lines)
    if found is None:
        return "", lines[-1] if lines else ""
    told = [f"{found.done} of {found.total}", f"{found.left} left", *(newest(rows) or [found.speed])]
    return ProgressBar(total=found.total, completed=found.done, width=BAR), ", ".join(told)
