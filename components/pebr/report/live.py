"""The live report: a page about a run that has not ended yet, from the histories and samples that its steps write.

Two places hold these: the folder of a run on this machine (`pipelines.run --work`), and the place of the checkpoints
(the parameter `checkpoints`), for a run on a cluster.
"""

import fcntl
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from pebr.errors import InputError
from pebr.report.charts import Series
from pebr.report.curves import (
    REWARD_STYLES,
    WINDOW,
    HistoryRow,
    Stage,
    loss_chart,
    points,
    share,
    small_chart,
    stage_charts,
)
from pebr.store.opening import open_store
from pebr.telemetry.conditions import Condition, conditions, seconds_of
from pebr.telemetry.logs import duration
from pebr.telemetry.tail import Tail
from pebr.training.live import HISTORY, STATE, SUFFIX, State, beside

HERE = Path(__file__).parent
REFRESH_SECONDS = 15
SHOWN_RUNS = 6  # of a place of checkpoints, which has those of all runs
STAGE_CHARTS = (  # caption, and the keys of the history by their names on the chart
    ("questions of equal rewards, answers cut off", {"equal": "zero_advantage_share", "cut off": "truncated_share"}),
    ("entropy", {"entropy": "entropy"}),
    ("KL of sampler and trainer", {"drift": "drift/kl"}),
    ("loss", {"loss": "loss"}),
    ("gradient norm", {"norm": "grad_norm"}),
    (
        "seconds per step",
        {"sampling": "seconds_sampling", "rewards": "seconds_rewards", "training": "seconds_training"},
    ),
)
SFT_CHARTS = (
    ("gradient norm", {"norm": "grad_norm"}),
    ("seconds per step", {"step": "seconds"}),
    ("learning rate", {"rate": "learning_rate"}),
)
STATES = {  # in words
    "running": "The run is running",
    "done": "The run is done",
    "failed": "The run has failed: the log of the failed step says why",
    "stopped": "The run was stopped: the same command continues it",
    "killed": "The run was killed: the same command continues it",
    "silent": "The run has given no sign for long: it has failed, was stopped or waits; its pods say which",
    "": "No step is running",
}
OTHER_STYLES = ("s1", "s2", "s3", "s4", "s5", "s6")


@dataclass(frozen=True)
class Training:
    """A step that trains, or has trained."""

    title: str
    rows: Sequence[HistoryRow]
    running: bool
    age: float = 0.0  # seconds since the last row
    shown: Mapping[str, Any] = field(default_factory=dict)  # a `State`; {} if the step has not written one

    @property
    def conditions(self) -> list[Condition]:
        """The conditions that hold now; none after the end."""
        return conditions(self.rows, self.age) if self.running else []

    @property
    def is_silent(self) -> bool:
        """Whether its last sign is older than a running step's can be."""
        return any(condition.name == "stalled" for condition in self.conditions)

    @property
    def is_stage(self) -> bool:
        """Whether it is a stage of GRPO, and not the warm-up."""
        return bool(self.rows) and "reward" in self.rows[-1]


@dataclass(frozen=True)
class LiveRun:
    """What the page shows."""

    title: str
    state: str  # of the run: running, done, failed, stopped, killed, silent; "" if it is not known
    steps: Sequence[Mapping[str, Any]]  # title, state, started and seconds of each; [] if they are not known
    trainings: Sequence[Training]  # the newest first


class RunFolder:
    """Reads the folder of a run on this machine, again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tails: dict[Path, Tail] = {}

    def read(self) -> LiveRun:
        """The run as it is now.

        Raises:
            InputError: it is no folder of a run.
        """
        path = self.folder / "run.json"
        if not path.is_file():
            raise InputError(f"{self.folder}: no run.json: give the --work folder of a run, or its checkpoints")
        document = json.loads(path.read_text())
        if document["state"] == "running" and self._is_abandoned():
            document["state"] = "killed"
            for step in document["steps"]:
                step["state"] = "killed" if step["state"] == "running" else step["state"]
        steps = [step for step in document["steps"] if step["state"] != "skipped"]
        root = Path(document["artifacts"])
        trained = [
            t for step in steps if step["key"] and (t := self._training(step, root / step["step"] / step["key"]))
        ]
        trained.reverse()
        trained.sort(key=lambda training: not training.running)
        return LiveRun(f"{document['pipeline']}: {self.folder.name}", document["state"], steps, trained)

    def _is_abandoned(self) -> bool:
        """Whether the runner and its steps have ended without saying so: nobody holds the lock of the folder."""
        try:
            with (self.folder / "lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # it is held; or there is none
            return False
        return True

    def _training(self, step: Mapping[str, Any], folder: Path) -> Training | None:
        """The training of a step that writes a history."""
        tail = self._tails.setdefault(folder, Tail(folder / "history"))
        if not (rows := tail.rows()):
            return None
        running = step["state"] == "running"
        shown = _newest_state(tail.path)
        return Training(step["title"], list(rows), running, time.time() - tail.changed, shown)


def _newest_state(history: Path) -> Mapping[str, Any]:
    """The `State` beside a history; {} without any, as when the step has ended: the runner removes it."""
    try:
        return json.loads(beside(history).read_text())  # type: ignore[no-any-return]
    except FileNotFoundError:
        return {}


class CheckpointPlace:
    """Reads the place of the checkpoints of runs, a folder or `s3://` prefix, again and again."""

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/")

    def read(self) -> LiveRun:
        """The newest runs as they are now.

        Raises:
            InputError: no run has written there.
        """
        store = open_store(self.location)
        folder = Path(self.location.removeprefix("file://"))
        if folder.is_dir():  # not a listing of all that lies there
            keys = [f"{path.parent.name}/{STATE}" for path in folder.glob(f"*{SUFFIX}/{STATE}")]
        else:
            keys = [key for key in store.list("") if key.endswith(f"{SUFFIX}/{STATE}")]
        if not keys:
            raise InputError(
                f"{self.location}: neither run.json nor *{SUFFIX}/{STATE} is here: give the --work folder of a run, or"
                " the value of the parameter `checkpoints`"
            )
        found: list[tuple[State, str]] = []
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "file"
            for key in keys:
                store.get(key, path)
                found.append((json.loads(path.read_text()), key))
            found = sorted(found, key=lambda pair: -pair[0]["updated"])[:SHOWN_RUNS]
            trainings = []
            for state, key in found:
                store.get(key.removesuffix(STATE) + HISTORY, path)
                title = f"{state['title']} ({key.removesuffix(f'{SUFFIX}/{STATE}')})"
                age = time.time() - state["updated"]
                trainings.append(Training(title, Tail(path).rows(), not state["done"], age, state))
        running = [training for training in trainings if training.running]
        said = "running" if running else ""
        if running and all(training.is_silent for training in running):  # a killed pod writes no last state
            said = "silent"
        return LiveRun(self.location, said, [], trainings)


@cache
def _template() -> jinja2.Template:
    """The page's template, read once: new sources must not meet the old code of a runner that has run for days."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"share": share, "duration": duration}
    return environment.get_template("live.html.jinja")


def render_live(run: LiveRun, refresh: int = REFRESH_SECONDS) -> str:
    """The page's HTML; it loads itself again every `refresh` seconds."""
    return _template().render(
        run=run,
        said=STATES[run.state],
        refresh=refresh,
        style=(HERE / "page.css").read_text(),
        now=time.strftime("%Y-%m-%d %H:%M:%S"),
        clock=time.time(),
        trainings=[_shown(training) for training in run.trainings],
        warnings=[(training.title, condition) for training in run.trainings for condition in training.conditions],
    )


def _shown(training: Training) -> dict[str, object]:
    """What the page shows of a training."""
    rows = training.rows
    last = rows[-1] if rows else {}
    total = training.shown.get("steps", 0)
    recent = [seconds_of(row) for row in rows[-20:]]
    per_step = sum(recent) / max(len(recent), 1)
    return {
        "title": training.title,
        "running": training.running,
        "done": last.get("step", 0),
        "total": total,
        "per_step": per_step,
        "left": duration(per_step * (total - last.get("step", 0))) if total and training.running else "",
        "age": duration(training.age),
        "stopped": last.get("stopped", ""),
        "numbers": list(_numbers(rows, training.shown.get("best_by") or "validation/reward")),
        "stage": next(stage_charts([Stage(training.title, rows)])) if training.is_stage else None,
        "loss": "" if training.is_stage else loss_chart(rows, width=1000),
        "charts": [(caption, chart) for caption, chart in _charts(training) if chart],
        "sampled": training.shown.get("sampled", ""),
        "sample": [_sampled(question) for question in training.shown.get("sample", [])],
    }


def _numbers(rows: Sequence[HistoryRow], best_by: str) -> Iterator[tuple[str, str]]:
    """The newest values at the top of a training, and the best ones."""
    for name, key, number in (
        ("reward", "reward", "{:.3f}"),
        ("loss", "loss", "{:.3f}"),
        ("validation reward", "validation/reward", "{:.3f}"),
        ("validation accuracy", "validation/reward/accuracy", "{:.3f}"),
        ("validation loss", "validation/loss", "{:.3f}"),
    ):
        values = points(rows, key)
        if values and not (key == "loss" and "reward" in rows[-1]):
            yield name, number.format(values[-1][1])
    for name, key, best in (
        (f"best {best_by.rpartition('/')[2]}", best_by, max),
        ("lowest loss", "validation/loss", min),
    ):
        if values := points(rows, key):
            step, value = best(values, key=lambda point: point[1])
            yield f"{name}, step {step:.0f}", f"{value:.3f}"


def _charts(training: Training) -> Iterator[tuple[str, str]]:
    """Caption and chart of the further measures of a training."""
    if training.is_stage:
        yield "spread of rewards in groups", _small(training, "spread of rewards", _spreads(training.rows[-1]))
    for caption, keys in STAGE_CHARTS if training.is_stage else SFT_CHARTS:
        yield caption, _small(training, caption, keys)


def _small(training: Training, caption: str, keys: Mapping[str, str]) -> str:
    """A small chart of measures, by their names on the chart."""
    styles = [REWARD_STYLES.get(name, style) for name, style in zip(keys, OTHER_STYLES, strict=False)]
    lines = [
        Series(name, points(training.rows, key), style)
        for (name, key), style in zip(keys.items(), styles, strict=False)
    ]
    return small_chart(lines, f"{training.title}: {caption}", number="{:.3g}".format, window=WINDOW)


def _spreads(row: HistoryRow) -> dict[str, str]:
    return {key.removeprefix("reward_spread/"): key for key in row if key.startswith("reward_spread/")}


def _sampled(question: Mapping[str, Any]) -> dict[str, object]:
    """A question of the sample; its answers with rewards in words."""
    answers = [
        {
            "reward": f"{answer['reward']:.3f}",
            "parts": ", ".join(f"{name} {value:.2f}" for name, value in answer["components"].items()),
            "text": answer["text"],
        }
        for answer in question["answers"]
        if math.isfinite(answer["reward"])
    ]
    return {**question, "question": question["question"].replace("<image>", "").strip(), "answers": answers}
