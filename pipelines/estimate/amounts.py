"""How much a step has to do, now and in an earlier run, in a unit of its own.

| step | unit | how it is known before the run |
|---|---|---|
| ingest | bytes | the source's bytes; the same text as earlier has the same bytes |
| filter, split | rows | grow as the bytes of their source |
| sft | rows trained on | rows, epochs, batch size, largest number of training steps |
| rollout | answers | questions and samples |
| grpo | answers | questions, epochs, questions per step, samples, largest number of training steps |
| merge | bytes | as the base model |
| evaluate | answers | as the benchmarks' bytes, and samples |
| report | 1 | |

`growth` is the size of a step's data relative to the earlier run, or that of its model. With a model of another size,
the time of the steps that use it is not known.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.estimate.past import SOURCE_BYTES, Past, PastStep, settings_of
from pipelines.ir.kinds import EVALUATE, FILTER, INGEST, MERGE, SFT, SPLIT
from pipelines.ir.plan import Output, Step

ROLLOUT, GRPO = "pebr.rollout", "pebr.grpo"
DATA = ("source", "dataset", "rollouts", "benchmarks", "checkpoint")  # the inputs that a step's work grows with
MODELS = (SFT, GRPO, MERGE)  # steps whose output is a model, which does not grow with data
UNITS = {INGEST: "bytes", FILTER: "rows", SPLIT: "rows", SFT: "rows", MERGE: "bytes"}
TOY_MODELS = ("toy://model", "toy://clip")  # their size does not depend on the number of rows
SAME = 0.1  # relative difference in bytes below which two models count as equally large
SizeOf = Callable[[str], int]  # bytes of a source; 0 if they are not known before it arrives


class Amounts:
    """The amounts of work of a planned run, relative to an earlier one."""

    def __init__(self, steps: Sequence[Step], past: Past, size_of: SizeOf) -> None:
        self.by_id, self.past, self.size_of = {step.id: step for step in steps}, past, size_of
        self._growth: dict[str, float | None] = {}

    def growth(self, step: Step) -> float | None:
        """The rows of a step's data or the size of its model, relative to the earlier run; None if not known."""
        if step.id not in self._growth:
            self._growth[step.id] = self._grown(step)
        return self._growth[step.id]

    def _grown(self, step: Step) -> float | None:
        before = self.past.get(step.id)
        if before is None:
            return None
        if step.module == INGEST:
            return self._source_growth(settings_of(step), before)
        inputs = [made for name in _growing(step) if isinstance(made := step.artifacts.get(name), Output)]
        if not inputs:
            return 1.0
        return self.growth(self.by_id[inputs[0].step])

    def bytes_growth(self, step: Step) -> float | None:
        """The bytes of a step's output, relative to the earlier run; None if that is not known."""
        grown, before = self.growth(step), self.past.get(step.id)
        return grown if grown is None or before is None else grown * _samples(step, before)

    def _source_growth(self, settings: Mapping[str, object], before: PastStep) -> float | None:
        source = str(settings.get("source", ""))
        if source.startswith("toy://") or source == before.settings.get("source"):
            rows, rows_before = float(str(settings.get("rows") or 0)), float(before.settings.get("rows") or 0)
            if source == before.settings.get("source") and (rows == rows_before or source in TOY_MODELS):
                return 1.0
            return rows / rows_before if rows and rows_before else None
        size, size_before = self.size_of(source), before.metrics.get(SOURCE_BYTES) or before.metrics.get("bytes", 0)
        return size / size_before if size and size_before else None

    def now(self, step: Step) -> float | None:
        """The amount of work of a planned step; None if it is not known."""
        before = self.past.get(step.id)
        if before is None:
            return None
        settings, grown = settings_of(step), self._data_growth(step)
        earlier = amount(step.module, before.settings, before.metrics)
        if earlier is None or not self._same_model(step):
            return None
        if step.module == SFT:
            rows = None if grown is None else before.metrics.get("rows", 0) * grown
            per = _whole(settings, "batch_size")
            steps = _steps(settings, None if rows is None else math.ceil(rows / per))
            return None if steps is None else float(steps * per)
        if step.module == GRPO:
            questions = None if grown is None else before.metrics.get("questions", 0) * grown
            per = _whole(settings, "questions_per_step")
            steps = _steps(settings, None if questions is None else max(1, int(questions) // per))
            return None if steps is None else float(steps * per * _whole(settings, "samples"))
        return None if grown is None else earlier * grown * _samples(step, before)

    def _same_model(self, step: Step) -> bool:
        """Whether the model that a step uses is as large as in the earlier run; a merge only copies it."""
        made = step.artifacts.get("model")
        if not isinstance(made, Output) or step.module == MERGE:
            return True
        grown = self.growth(self.by_id[made.step])
        return grown is not None and abs(grown - 1) < SAME

    def _data_growth(self, step: Step) -> float | None:
        """How much a step's data have grown; of an ingest step, its source."""
        if step.module == INGEST:
            return self.growth(step)
        inputs = [made for name in DATA if isinstance(made := step.artifacts.get(name), Output)]
        return self.growth(self.by_id[inputs[0].step]) if inputs else 1.0


AMOUNTS: dict[str, Callable[[Mapping[str, Any], Mapping[str, float]], float]] = {  # of settings and metrics
    INGEST: lambda _, metrics: metrics["bytes"],
    FILTER: lambda _, metrics: metrics["read"],
    SPLIT: lambda _, metrics: metrics["easy"] + metrics["medium"] + metrics["hard"],
    SFT: lambda settings, metrics: metrics["steps"] * settings["batch_size"],
    ROLLOUT: lambda settings, metrics: metrics["questions"] * settings["samples"],
    GRPO: lambda settings, metrics: metrics["steps"] * settings["questions_per_step"] * settings["samples"],
    MERGE: lambda _, metrics: metrics["bytes"],
    EVALUATE: lambda settings, _: settings["samples"],
}


def amount(module: str, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> float | None:
    """The work that an earlier step has done, in the unit of its kind; None if its numbers do not tell."""
    try:
        return float(AMOUNTS[module](settings, metrics)) if module in AMOUNTS else 1.0
    except (KeyError, TypeError):
        return None


def unit(module: str) -> str:
    """The unit of a kind of step, for a table; "" if its amount is relative."""
    return UNITS.get(module, "answers" if module in (ROLLOUT, GRPO) else "")


def _growing(step: Step) -> tuple[str, ...]:
    """The inputs whose growth is that of the step's output."""
    return ("model",) if step.module in MODELS else DATA


def _samples(step: Step, before: PastStep) -> float:
    """The answers per question, relative to the earlier run; 1 for steps that ask none."""
    now, then = settings_of(step).get("samples"), before.settings.get("samples")
    return float(str(now)) / float(then) if now and then and step.module in (ROLLOUT, EVALUATE) else 1.0


def _steps(settings: Mapping[str, object], per_epoch: int | None) -> int | None:
    """Training steps, of epochs and at most `max_steps`; None if the data are not known and nothing limits them."""
    most = _whole(settings, "max_steps")
    if per_epoch is None:
        return most or None
    steps = per_epoch * (_whole(settings, "epochs") or 1)
    return min(steps, most) if most else steps


def _whole(settings: Mapping[str, object], name: str) -> int:
    """A whole number among the settings; the compiled pipeline writes its constants as 4.0. 0 if it is not there."""
    return int(float(str(settings.get(name) or 0)))
