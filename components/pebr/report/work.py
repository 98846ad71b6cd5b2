"""The report's page: what was found, as numbers, charts and examples, in one HTML file."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from pebr.errors import InputError
from pebr.files import atomic_file
from pebr.report import charts, dag
from pebr.report.charts import Series
from pebr.report.examples import choose
from pebr.report.findings import Findings, Model, Stage, gather
from pebr.report.settings import Settings
from pebr.telemetry.logs import duration

log = logging.getLogger("pebr")

HERE = Path(__file__).parent
WINDOW = 5  # steps of a running mean
REWARDS = {"accuracy": "s1", "clip": "s2", "keyword": "s3", "format": "s4", "length": "s5"}
CUSTOM_REWARD = "s6"
MEASURES = {  # of the evaluation: what it is called, and how it is written
    "accuracy": ("Accuracy", "share"),
    "clip": ("CLIP reward", "number"),
    "keyword": ("Keyword reward", "number"),
    "format": ("Right format", "share"),
    "no_answer": ("No answer found", "share"),
    "too_long": ("Prompt too long to ask", "share"),
    "response_tokens": ("Tokens an answer", "count"),
}

BETTER_HIGH = ("accuracy", "clip", "keyword", "format")


def work(settings: Settings) -> dict[str, float]:
    """Write the page; returns its size and the number of examples.

    Raises:
        InputError: when something that a step before has written is missing or broken.
    """
    if settings.examples < 0:
        raise InputError(f"--examples {settings.examples}: give 0 or more")
    findings = gather(settings)
    examples = choose(findings.models, settings.examples, settings.seed)
    page = render(findings, settings.title, examples)
    with atomic_file(Path(settings.output)) as path:
        path.write_text(page, encoding="utf-8")
    log.info("report: %d KB, %d examples", len(page) // 1000, len(examples))
    return {"bytes": len(page.encode()), "examples": len(examples)}


def render(findings: Findings, title: str, examples: Sequence[Any]) -> str:
    """The page's HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"share": share, "number": "{:.3f}".format, "count": "{:,.0f}".format}
    seconds = {step: metrics["seconds"] for step, metrics in findings.metrics.items()}
    return environment.get_template("page.html.jinja").render(
        title=title,
        style=(HERE / "page.css").read_text(),
        findings=findings,
        examples=examples,
        total=duration(sum(seconds.values())),
        dag=dag.picture(seconds),
        heroes=list(_heroes(findings.models)),
        filters=[
            _filtered("SFT data", findings.metrics["sft_filter"]),
            _filtered("RL data", findings.metrics["rl_filter"]),
        ],
        split=_split(findings.metrics["split"]),
        loss=charts.line_chart(
            [Series("loss", _points(findings.sft, "loss"), "s1")],
            "Loss of the warm-up by optimizer step", window=WINDOW, width=1000,
        ),
        refused=int(findings.metrics["sft"]["refused_steps"]),
        stages=list(_stage_charts(findings.stages)),
        measures=list(_measures(findings.models)),
        benchmarks=list(_benchmarks(findings.models)),
    )  # fmt: skip


def share(value: float) -> str:
    """A share as a percentage.

    >>> share(0.6149)
    '61.5 %'
    """
    return f"{100 * value:.1f} %"


def _heroes(models: Sequence[Model]) -> Iterator[dict[str, str]]:
    """The charts at the top: what each stage is for, over the models."""
    for measure, number in (("accuracy", share), ("clip", "{:.3f}".format), ("keyword", "{:.3f}".format)):
        values = [model.scores.get(measure) for model in models]
        name = MEASURES[measure][0]
        chart = charts.slope_chart([model.name for model in models], values, f"{name} of each model", number)
        if chart:
            yield {"name": name, "chart": chart}


def _filtered(name: str, metrics: Mapping[str, float]) -> dict[str, Any]:
    """What a filter kept, and what it set aside by reason, the most frequent first."""
    reasons = {key.removeprefix("rejected/"): value for key, value in metrics.items() if key.startswith("rejected/")}
    return {
        "name": name,
        "read": metrics["read"],
        "kept": metrics["kept"],
        "reasons": sorted(reasons.items(), key=lambda item: (-item[1], item[0])),
        "most": max(reasons.values(), default=1),
    }


def _split(metrics: Mapping[str, float]) -> dict[str, Any]:
    """How many questions have how many right answers, in the colours of hard, medium and easy."""
    samples = int(metrics["samples"])
    counts = [int(metrics[f"correct/{k}"]) for k in range(samples + 1)]
    # Thresholds are the recipe's; the counts tell which bars belong to which: hard from the left, easy from the right.
    hard, styles = int(metrics["hard"]), []
    for k in range(samples + 1):
        before = sum(counts[: k + 1])
        level = "hard" if before <= hard else "medium" if before <= hard + int(metrics["medium"]) else "easy"
        styles.append(level)
    return {
        "chart": charts.histogram(counts, styles, f"Questions by right answers out of {samples}"),
        "samples": samples,
        "total": sum(counts),
        "levels": [(level, int(metrics[level])) for level in ("easy", "medium", "hard")],
        "incomplete": int(metrics["incomplete"]),
    }


def _stage_charts(stages: Sequence[Stage]) -> Iterator[dict[str, str]]:
    """A row of charts for each stage of RL; all stages have the same vertical range of KL and of length."""
    highest_kl = max((kl for stage in stages for _, kl in _points(stage.rows, "kl")), default=0.0)
    longest = max((length for stage in stages for _, length in _points(stage.rows, "response_tokens")), default=1.0)
    for stage in stages:
        names = [
            key.removeprefix("reward/") for key in (stage.rows[0] if stage.rows else {}) if key.startswith("reward/")
        ]
        lines = [
            Series(name, _points(stage.rows, f"reward/{name}"), REWARDS.get(name, CUSTOM_REWARD)) for name in names
        ]
        label = f"{stage.name}: mean rewards by step"
        yield {
            "name": stage.name,
            "rewards": charts.line_chart(lines, label, y_range=(0.0, 1.0), window=WINDOW, height=360),
            "kl": charts.line_chart(
                [Series("KL", _points(stage.rows, "kl"), "s1")],
                f"{stage.name}: KL to the initial model by step",
                y_range=(0.0, 1.05 * highest_kl or 1.0),
                number="{:.3f}".format,
                width=390,
                height=150,
            ),
            "length": charts.line_chart(
                [Series("tokens", _points(stage.rows, "response_tokens"), "s5")],
                f"{stage.name}: tokens an answer by step",
                y_range=(0.0, 1.1 * longest),
                number="{:.0f}".format,
                width=390,
                height=150,
            ),
        }


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """(step, value) of the rows that have a value: a step that was refused has none."""
    return [(row["step"], row[key]) for row in rows if row.get(key) is not None and math.isfinite(row[key])]


def _measures(models: Sequence[Model]) -> Iterator[dict[str, Any]]:
    """A row for each measure that the models have, the best value marked where more is better."""
    for key, (name, kind) in MEASURES.items():
        values = [model.scores.get(key) for model in models]
        known = [value for value in values if value is not None]
        if known and (key != "too_long" or any(known)):
            best = max(known) if key in BETTER_HIGH and max(known) > min(known) else None
            yield {"name": name, "kind": kind, "cells": [(value, value == best) for value in values]}


def _benchmarks(models: Sequence[Model]) -> Iterator[dict[str, Any]]:
    """A table for each benchmark: accuracy by the first of its groupings."""
    for name, scores in models[0].scores["benchmarks"].items():
        of_models = [model.scores["benchmarks"][name] for model in models]
        column, groups = next(iter(scores["by"].items()), ("", {}))
        rows = [_accuracies(models, "all", scores["rows"], [s["accuracy"] for s in of_models])]
        rows += [
            _accuracies(models, group, told["rows"], [s["by"][column][group]["accuracy"] for s in of_models])
            for group, told in groups.items()
        ]
        yield {
            "name": name,
            "column": column,
            "rows": rows,
            "note": scores.get("note", ""),
            "set_aside": list(scores["set_aside"].items()),
        }


def _accuracies(models: Sequence[Model], group: str, rows: int, values: Sequence[float]) -> dict[str, Any]:
    label = ", ".join(f"{model.name} {share(value)}" for model, value in zip(models, values, strict=True))
    return {
        "group": group,
        "rows": rows,
        "values": values,
        "change": 100 * (values[2] - values[0]),
        "dots": charts.dots(values, [model.style for model in models], label),
    }
