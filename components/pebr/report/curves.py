"""The curves of training, from the rows of a history: those of the report, and further ones of the live report."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pebr.report import charts
from pebr.report.charts import Series
from pebr.telemetry.history import validated_on

WINDOW = 5  # training steps per running mean
REWARD_STYLES = {
    "accuracy": "s1",
    "clip": "s2",
    "keyword": "s3",
    "format": "s4",
    "length": "s5",
    "reward": "s6",
}
OTHER_REWARD_STYLE = "s6"
HistoryRow = Mapping[str, Any]  # one training step, see `pebr.telemetry.history`


@dataclass(frozen=True)
class Stage:
    """An RL stage: its name on the page and its history, one row per training step."""

    name: str
    rows: Sequence[HistoryRow]


def share(value: float) -> str:
    """Format a share as a percentage.

    >>> share(0.6149)
    '61.5 %'
    """
    return f"{100 * value:.1f} %"


def loss_chart(rows: Sequence[HistoryRow], width: float) -> str:
    """The loss of the warm-up, and that of its validations if it has any."""
    validated = Series("validation", points(rows, "validation/loss"), "s2", smooth=False)
    lines = [Series("loss", points(rows, "loss"), "s1"), validated]
    return charts.line_chart(lines, "Loss of the warm-up, by optimizer update", window=WINDOW, width=width)


def validation_chart(rows: Sequence[HistoryRow]) -> str:
    """The scores of the validations; "" without any."""
    total, parts = "validation/reward", "validation/reward/"
    keys = dict.fromkeys(key for row in rows for key in row if key == total or key.startswith(parts))
    lines = [
        Series(name, points(rows, key), REWARD_STYLES.get(name, OTHER_REWARD_STYLE))
        for key in keys
        for name in (key.rpartition("/")[2],)
    ]
    return small_chart(lines, f"Scores of the validations on {validated_on(rows)}", _range_of_rewards(lines))


def _range_of_rewards(lines: Sequence[Series]) -> tuple[float, float]:
    """The vertical range of rewards: 0 to 1, or more if there are penalties, or weights that add up to more."""
    values = [value for line in lines for _, value in line.points]
    return min([0.0, *values]), max([1.0, *values])


def stage_charts(stages: Sequence[Stage]) -> Iterator[dict[str, object]]:
    """The charts of each RL stage. All stages share the vertical ranges of KL and of length."""
    highest_kl = max((kl for stage in stages for _, kl in points(stage.rows, "kl")), default=0.0)
    longest = max((length for stage in stages for _, length in points(stage.rows, "response_tokens")), default=1.0)
    for stage in stages:
        names = [key.removeprefix("reward/") for row in stage.rows[:1] for key in row if key.startswith("reward/")]
        lines = [
            Series(name, points(stage.rows, f"reward/{name}"), REWARD_STYLES.get(name, OTHER_REWARD_STYLE))
            for name in names
        ]
        label = f"{stage.name}: mean rewards, by training step"
        kl = Series("KL", points(stage.rows, "kl"), "s1")
        tokens = Series("tokens", points(stage.rows, "response_tokens"), "s5")
        kl_label = f"{stage.name}: KL to the stage's initial model, by training step"
        tokens_label = f"{stage.name}: tokens per answer, by training step"
        yield {
            "name": stage.name,
            "rewards": charts.line_chart(lines, label, y_range=_range_of_rewards(lines), window=WINDOW, height=360),
            "kl": small_chart([kl], kl_label, (0.0, 1.05 * highest_kl or 1.0)),
            "length": small_chart([tokens], tokens_label, (0.0, 1.1 * longest), "{:.0f}".format),
            "components": [_component(stage.rows, name) for name in names],
            "validation": validation_chart(stage.rows),
            "validated_on": validated_on(stage.rows),
            "stopped": next((row["stopped"] for row in reversed(stage.rows) if row.get("stopped")), ""),
            "cut_off": last_of(stage.rows, "clip_cut_off_share"),
        }


def _component(rows: Sequence[HistoryRow], name: str) -> dict[str, object]:
    """A reward component at the end of a stage: its mean, its shares at 0 and 1, its spread within groups."""
    keys = {"mean": "reward", "at_0": "reward_at_0", "at_1": "reward_at_1", "spread": "reward_spread"}
    return {"name": name} | {column: last_of(rows, f"{key}/{name}") for column, key in keys.items()}


def last_of(rows: Sequence[HistoryRow], key: str) -> float | None:
    """The mean of a measure over the last tenth of the training steps; None if they have none."""
    values = [value for _, value in points(rows[-max(len(rows) // 10, 1) :], key)]
    return sum(values) / len(values) if values else None


def small_chart(
    lines: Sequence[Series],
    label: str,
    y_range: tuple[float, float] | None = None,
    number: charts.Format = "{:.3f}".format,
    window: int = 1,
) -> str:
    """A chart of the narrow column."""
    return charts.line_chart(lines, label, y_range=y_range, number=number, window=window, width=390, height=150)


def points(rows: Sequence[HistoryRow], key: str) -> list[tuple[float, float]]:
    """(step, value) of the rows with a finite value; the row of a refused update has none."""
    points = [(row["step"], row.get(key)) for row in rows]
    return [(step, value) for step, value in points if step is not None and value is not None and math.isfinite(value)]
