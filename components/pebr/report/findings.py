"""Read the files of a run for the report: times, counts, histories, scores."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from pebr.data.shards import iter_rows
from pebr.errors import InputError
from pebr.report.curves import HistoryRow, Stage
from pebr.report.settings import Settings
from pebr.telemetry.history import read_history

STEPS = [field.name.removesuffix("_metrics") for field in fields(Settings) if field.name.endswith("_metrics")]
AnswerRow = Mapping[str, Any]  # a `pebr.data.records.AnswerRow`, or some of its columns


class GroupScores(TypedDict):
    """The scores of a group of questions."""

    rows: int
    accuracy: float


class BenchmarkScores(GroupScores):
    """The scores of a benchmark."""

    by: dict[str, dict[str, GroupScores]]  # column -> value of the column -> scores
    set_aside: dict[str, int]  # reason -> rejected rows
    note: NotRequired[str]


@dataclass(frozen=True)
class Model:
    """An evaluated model."""

    name: str  # on the page
    style: str  # CSS class of its colour
    measures: dict[str, float]  # name -> mean over all benchmarks
    benchmarks: dict[str, BenchmarkScores]  # name -> scores
    answers: Path  # folder with one dataset of answers per benchmark

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[AnswerRow]:
        """Its answers to all benchmarks; `columns` limits the columns that are read."""
        for benchmark in self.benchmarks:
            yield from iter_rows(self.answers / benchmark, columns)


@dataclass(frozen=True)
class Findings:
    """Everything that the report shows."""

    metrics: dict[str, dict[str, float]]  # step -> its metrics; `STEPS` has the names of the steps
    sft: Sequence[HistoryRow]  # history of the warm-up, one row per optimizer update
    stages: list[Stage]  # the ablation is last
    models: list[Model]  # warm-up, stage 1, stage 2, and the ablation if it ran


def gather(settings: Settings) -> Findings:
    """Read all files.

    Raises:
        InputError: if a file is missing or broken.
    """
    skipped = [
        prefix for prefix, ran in (("ablation", settings.ablation), ("remeasured", settings.remeasure)) if not ran
    ]
    steps = [step for step in STEPS if step.split("_")[0] not in skipped]
    stages = [
        Stage("Stage 1: perception", read_history(settings.perception_history)),
        Stage("Stage 2: reasoning", read_history(settings.reasoning_history)),
    ]
    models = [
        _model("warm-up", "s5", settings.warmup_evaluation),
        _model("stage 1", "s2", settings.perception_evaluation),
        _model("stage 2", "s1", settings.reasoning_evaluation),
    ]
    if settings.ablation:
        stages.append(Stage("Ablation: reasoning only", read_history(settings.ablation_history)))
        models.append(_model("ablation", "s4", settings.ablation_evaluation))
    return Findings(
        metrics={step: _json(getattr(settings, f"{step}_metrics")) for step in steps},
        sft=read_history(settings.sft_history),
        stages=stages,
        models=models,
    )


def _model(name: str, style: str, evaluation: str) -> Model:
    scores = _json(Path(evaluation) / "scores.json")
    benchmarks = scores.pop("benchmarks")
    return Model(name, style, scores, benchmarks, Path(evaluation) / "answers")


def _json(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: give the file that the earlier step wrote") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}): rerun the step that writes it") from None
