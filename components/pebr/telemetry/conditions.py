"""Conditions of a training run that a person should look at, from the rows of its history.

The live report and the terminal show them in words. Each looks at the last `RECENT` training steps, so that one
unusual step is no alarm, and none holds in a healthy run. docs/watching.md lists them with their thresholds. Where
Prometheus has an alert for the same (k8s/monitoring/alerts.yaml), it has the same threshold.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

Rows = Sequence[Mapping[str, Any]]  # of a history, see `pebr.telemetry.history`

RECENT = 5  # training steps
DRIFT = 0.03  # nats per token between sampler and trainer; a stage stops at `drift_limit`, 0.1
KL = 1.0  # nats per token to the stage's initial model
ENTROPY_FACTOR = 3.0  # of the entropy of the first training steps, above or below
NO_ADVANTAGE = 0.9  # share of questions whose answers have equal rewards
CUT_OFF = 0.3  # share of answers at the token limit
WORSE = 0.1  # share by which validations are worse than the best
LOSS_FACTOR = 2.0  # of the lowest mean loss of `RECENT` training steps
STALLED_SECONDS, STALLED_FACTOR = 1800.0, 10.0  # without a training step, and in median training steps


class Condition(NamedTuple):
    """A condition that holds: its name, and a sentence with the numbers and what to do."""

    name: str
    text: str


def conditions(rows: Rows, age: float | None = None) -> list[Condition]:
    """The conditions that hold after the last row of a history.

    Args:
        rows: of the history of an SFT warm-up or a GRPO stage.
        age: seconds since the last row, while the step is running; None if it is not.

    >>> healthy = {"reward": 0.5, "truncated_share": 0.0, "zero_advantage_share": 0.3, "kl": 0.01, "refused_updates": 0}
    >>> conditions([healthy] * 5)
    []
    >>> [condition.name for condition in conditions([healthy | {"truncated_share": 0.5, "refused_updates": 1}] * 5)]
    ['answers_cut_off', 'updates_refused']
    """
    found = [
        Condition(name, text)
        for name, holds in CONDITIONS.items()
        if (text := next(holds(rows, rows[-RECENT:]), "")) and len(rows) >= RECENT
    ]
    return found + ([Condition("stalled", text)] if (text := _stalled(rows, age)) else [])


def _drift(_: Rows, recent: Rows) -> Iterator[str]:
    if (value := _mean(recent, "drift/kl", 0.0)) > DRIFT:
        yield (
            f"sampler and trainer differ by {value:.3f} nats per token: look for weights that were not synced or number"
            " formats that differ"
        )


def _kl(_: Rows, recent: Rows) -> Iterator[str]:
    if (value := _mean(recent, "kl", 0.0)) > KL:
        yield (f"KL to the initial model is {value:.2f} nats per token: lower the learning rate, or raise kl_weight")


def _entropy(rows: Rows, recent: Rows) -> Iterator[str]:
    first, last = _mean(rows[:RECENT], "entropy"), _mean(recent, "entropy")
    if len(rows) < 2 * RECENT or first is None or last is None or first <= 0:
        return
    if last > ENTROPY_FACTOR * first or last * ENTROPY_FACTOR < first:
        way = "answers become noise: lower the learning rate"
        if last < first:
            way = "answers become all the same: lower the learning rate, or raise clip_high"
        yield f"entropy went from {first:.3f} to {last:.3f} nats per token: {way}"


def _advantages(_: Rows, recent: Rows) -> Iterator[str]:
    if (value := _mean(recent, "zero_advantage_share", 0.0)) >= NO_ADVANTAGE:
        yield (
            f"{value:.0%} of the questions teach nothing, because their answers have equal rewards (mean reward"
            f" {_mean(recent, 'reward', 0.0):.2f}): the stage has learned what it can, or the reward is always the same"
        )


def _cut_off(_: Rows, recent: Rows) -> Iterator[str]:
    if (value := _mean(recent, "truncated_share", 0.0)) >= CUT_OFF:
        yield f"{value:.0%} of the answers are cut off: raise max_response_tokens, or warm the model up longer"


def _refused(_: Rows, recent: Rows) -> Iterator[str]:
    count = sum(int(row.get("refused_updates", row.get("loss", 0.0) is None)) for row in recent)
    if count:
        yield f"{count} updates were refused, because a number was not finite: lower the learning rate"


def _reward_at_zero(_: Rows, recent: Rows) -> Iterator[str]:
    names = [key.removeprefix("reward_at_0/") for key in recent[-1] if key.startswith("reward_at_0/")] if recent else []
    stuck = [name for name in names if all(row.get(f"reward_at_0/{name}") == 1 for row in recent)]
    if stuck:
        yield f"every answer has 0 for {', '.join(stuck)}: check the reward and its data"


def _validation(rows: Rows, _: Rows) -> Iterator[str]:
    for key, sign in (("validation/reward", 1), ("validation/loss", -1)):
        scores = [sign * row[key] for row in rows if row.get(key) is not None]
        if len(scores) > 2 and max(scores[-2:]) < max(scores) - WORSE * abs(max(scores)):
            name = key.removeprefix("validation/")
            yield (
                f"the last two validations are worse than the best: {name} {sign * scores[-1]:.3f} after"
                f" {sign * max(scores):.3f}: stop the run (stop_patience), and take the best weights"
            )


def _loss(rows: Rows, recent: Rows) -> Iterator[str]:
    if "reward" in (rows[-1] if rows else {}):  # the loss of GRPO is no measure
        return
    means = [_mean(rows[i : i + RECENT], "loss") for i in range(0, len(rows), RECENT)]
    lowest, last = min((mean for mean in means if mean is not None), default=None), _mean(recent, "loss")
    if lowest is not None and last is not None and last > LOSS_FACTOR * lowest + 0.5:
        yield f"the loss rose from {lowest:.2f} to {last:.2f}: lower the learning rate"


CONDITIONS: dict[str, Callable[[Rows, Rows], Iterator[str]]] = {
    "drift_rising": _drift,
    "kl_running_away": _kl,
    "entropy_running_away": _entropy,
    "advantages_gone": _advantages,
    "answers_cut_off": _cut_off,
    "updates_refused": _refused,
    "reward_at_zero": _reward_at_zero,
    "validation_falling": _validation,
    "loss_rising": _loss,
}


def seconds_of(row: Mapping[str, Any]) -> float:
    """Seconds of a training step, validation included: `seconds_step` if it is measured, else the sum of the parts.

    >>> seconds_of({"seconds_sampling": 2.0, "seconds_rewards": 1.0, "seconds_reward/clip": 1.0})
    3.0
    >>> seconds_of({"seconds_step": 2.5, "seconds_sampling": 2.0, "seconds_rewards": 1.0, "seconds_validation": 1.0})
    3.5
    """
    if row.get("seconds_step"):
        return float(row["seconds_step"] + (row.get("seconds_validation") or 0.0))
    parts = [row[key] for key in row if key.startswith("seconds") and not key.startswith("seconds_reward/")]
    return float(sum(part or 0.0 for part in parts))


def _stalled(rows: Rows, age: float | None) -> str:
    usual = median(map(seconds_of, rows[-20:])) if rows else 0.0
    if age is None or age <= max(STALLED_SECONDS, STALLED_FACTOR * usual):
        return ""
    usually = f", usually one takes {usual:.0f} s" if rows else ""
    return f"no training step for {age / 60:.0f} minutes{usually}: look at the log and at the GPUs"


def _mean(rows: Rows, key: str, default: Any = None) -> Any:
    values = [row[key] for row in rows if row.get(key) is not None]
    return fmean(values) if values else default
