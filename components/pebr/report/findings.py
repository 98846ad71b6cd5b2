"""What a run has left, read for the report: times, counts, histories, scores."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebr.data.shards import iter_rows
from pebr.errors import InputError
from pebr.report.settings import Settings
from pebr.telemetry.history import read_history

STEPS = (
    *("sft_data", "rl_data", "benchmarks", "base_model", "clip_model", "sft_filter", "rl_filter", "sft", "rollout"),
    *("split", "perception", "perception_merge", "reasoning", "reasoning_merge"),
    *("warmup_evaluation", "perception_evaluation", "reasoning_evaluation"),
)
ABLATION_STEPS = ("ablation", "ablation_merge", "ablation_evaluation")


@dataclass(frozen=True)
class Model:
    """An evaluated model.

    Attributes:
        name: for people.
        style: CSS class of its colour.
        scores: what its evaluation wrote to scores.json.
        answers: folder with a dataset of its answers for each benchmark.
    """

    name: str
    style: str
    scores: dict[str, Any]
    answers: Path

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Its answers to all benchmarks; only some columns of them where `columns` says so."""
        for benchmark in self.scores["benchmarks"]:
            yield from iter_rows(self.answers / benchmark, columns)


@dataclass(frozen=True)
class Stage:
    """A stage of RL: its name for people and its history, a row a step."""

    name: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Findings:
    """All that the report shows.

    Attributes:
        metrics: of each step, by the name that STEPS has for it.
        sft: history of the warm-up, a row an optimizer step.
        stages: of RL, the ablation's last.
        models: warm-up, stage 1, stage 2, and the ablation's where it ran.
    """

    metrics: dict[str, dict[str, float]]
    sft: list[dict[str, Any]]
    stages: list[Stage]
    models: list[Model]


def gather(settings: Settings) -> Findings:
    """Read everything.

    Raises:
        InputError: when a file is missing or not what its step writes.
    """
    steps = STEPS + (ABLATION_STEPS if settings.ablation else ())
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
    return Model(name, style, _json(Path(evaluation) / "scores.json"), Path(evaluation) / "answers")


def _json(path: str | Path) -> dict[str, Any]:
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: give the file that the step before wrote") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}): run the step that wrote it again") from None
