"""The forecast of a run: what each step would take, by a simple model of what it has taken in earlier runs.

    seconds = start + amount x seconds per amount

From one earlier run, the seconds per amount are those of its history, and the rest of its seconds is the start; a step
without a history is proportional. From several runs with different amounts, both are fitted by least squares, neither
below 0. GPU-seconds stay the same if the number of GPUs changes. Where no earlier run tells, there is no number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.estimate.amounts import Amounts, SizeOf, amount
from pipelines.estimate.past import Past, PastStep, gpus_of
from pipelines.ir.kinds import INGEST, left_out
from pipelines.ir.plan import FirstOf, Output, Source, Step

RUNS, KEPT, SKIPPED = "runs", "cached", "skipped"


@dataclass(frozen=True)
class Forecast:
    """What a planned step would take; None for what cannot be estimated."""

    step: Step
    state: str  # runs, cached or skipped
    amount: float | None = None
    seconds: float | None = None
    gpus: int = 0
    read: float | None = None  # bytes of its inputs
    written: float | None = None  # bytes of its outputs
    runs: int = 0  # earlier runs that the seconds are from

    @property
    def gpu_hours(self) -> float | None:
        """Hours of all its GPUs."""
        return None if self.seconds is None else self.seconds * self.gpus / 3600


def forecast(
    steps: Sequence[Step], pasts: Sequence[Past], states: Mapping[str, str], size_of: SizeOf
) -> list[Forecast]:
    """The forecast of each step of a run.

    Args:
        steps: of the plan.
        pasts: earlier runs, oldest first; the amounts are relative to the newest that has a step.
        states: runs, cached or skipped, of each step; steps that conditions leave out are skipped anyway.
        size_of: bytes of a source, 0 if unknown.
    """
    newest: dict[str, PastStep] = {name: step for past in pasts for name, step in past.items()}
    amounts = Amounts(steps, newest, size_of)
    by_id = {step.id: step for step in steps}
    return [_of_step(step, by_id, amounts, pasts, newest, states) for step in steps]


def _of_step(
    step: Step,
    by_id: Mapping[str, Step],
    amounts: Amounts,
    pasts: Sequence[Past],
    newest: Past,
    states: Mapping[str, str],
) -> Forecast:
    if left_out(step) or states.get(step.id) == SKIPPED:
        return Forecast(step, SKIPPED, seconds=0.0, read=0.0, written=0.0)
    if states.get(step.id) == KEPT:
        return Forecast(step, KEPT, seconds=0.0, read=0.0, written=0.0)
    known = [past[step.id] for past in pasts if step.id in past]
    wanted, gpus = amounts.now(step), gpus_of(step)
    points = [(done, made) for made in known if (done := amount(step.module, made.settings, made.metrics))]
    seconds = None
    if wanted is not None and points and all(bool(made.gpus) == bool(gpus) for _, made in points):
        seconds = predict([(done, made.seconds * max(made.gpus, 1), made.trained * max(made.gpus, 1))
                           for done, made in points], wanted) / max(gpus, 1)  # fmt: skip
    inputs = [one for source in step.artifacts.values() if (one := _existing(source, by_id))]
    read = [_bytes(by_id[made.step], made.name, newest, amounts) for made in inputs]
    if step.module == INGEST:
        read = [wanted]
    written = [_bytes(step, name, newest, amounts) for name in step.artifact_outputs]
    return Forecast(step, RUNS, wanted, seconds, gpus, _sum(read), _sum(written), len(points))


def _existing(source: Source, by_id: Mapping[str, Step]) -> Output | None:
    """The output that an artifact comes from: of the branches of a condition, that of the step that is not left out."""
    ones = source.sources if isinstance(source, FirstOf) else (source,)
    return next((one for one in ones if isinstance(one, Output) and not left_out(by_id[one.step])), None)


def predict(points: Sequence[tuple[float, float, float]], wanted: float) -> float:
    """The seconds of an amount of work.

    Args:
        points: of earlier runs, oldest first: amount, seconds, seconds of training steps (0 if unknown).
        wanted: amount.

    >>> predict([(10, 30.0, 20.0)], 20)  # 10 s to start, 2 s per unit
    50.0
    >>> predict([(10, 30.0, 0.0)], 20)
    60.0
    >>> predict([(10, 30.0, 0.0), (20, 50.0, 0.0)], 40)
    90.0
    """
    done, _, trained = points[-1]
    if len({point[0] for point in points}) == 1:
        mean = sum(point[1] for point in points) / len(points)
        if trained:
            return max(mean - trained, 0.0) + trained / done * wanted
        return mean / done * wanted
    mean_x = sum(point[0] for point in points) / len(points)
    mean_y = sum(point[1] for point in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y, _ in points) / spread
    start = mean_y - slope * mean_x
    if slope < 0:
        return mean_y
    if start < 0:
        return sum(x * y for x, y, _ in points) / sum(x * x for x, _, _ in points) * wanted
    return start + slope * wanted


def _bytes(step: Step, output: str, newest: Past, amounts: Amounts) -> float | None:
    """The bytes of an output; those of metrics and the like do not grow."""
    before = newest.get(step.id)
    if before is None or output not in before.bytes:
        return None
    grown = amounts.bytes_growth(step) if output not in ("metrics", "history") else 1.0
    return None if grown is None else before.bytes[output] * grown


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def critical_path(forecasts: Sequence[Forecast]) -> float | None:
    """Seconds from the start to the end if every step starts as soon as its inputs exist; None if one is unknown."""
    ends: dict[str, float] = {}
    for made in forecasts:  # a plan is sorted: inputs come first
        if made.seconds is None:
            return None
        ends[made.step.id] = made.seconds + max((ends.get(need, 0.0) for need in made.step.after), default=0.0)
    return max(ends.values(), default=0.0)


def cached(steps: Sequence[Step], signed: Mapping[str, str], pasts: Sequence[Past], never: set[str]) -> dict[str, str]:
    """The states of steps where a platform keeps results by what they are made from, such as Kubeflow.

    Args:
        steps: of the plan.
        signed: their signatures.
        pasts: earlier runs.
        never: ids of the steps whose results are not taken from earlier runs.
    """
    known = {made.signature for past in pasts for made in past.values()}
    return {s.id: KEPT if signed[s.id] in known and s.id not in never else RUNS for s in steps}
