"""The report: one HTML file with the numbers, charts and example answers of a run."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import jinja2

from pebr.files import atomic_file
from pebr.report import charts, dag
from pebr.report.curves import loss_chart, share, stage_charts
from pebr.report.examples import Example, choose
from pebr.report.findings import Findings, Model, gather
from pebr.report.settings import Settings
from pebr.telemetry.logs import duration

log = logging.getLogger("pebr")

HERE = Path(__file__).parent
MEASURES = {  # of an evaluation: title and number format
    "accuracy": ("Accuracy", "share"),
    "clip": ("CLIP reward", "number"),
    "keyword": ("Keyword reward", "number"),
    "oracle": ("Answerable from the description", "share"),
    "described": ("Objects described", "share"),
    "stated_right": ("Stated facts that are right", "share"),
    "format": ("Well-formed", "share"),
    "no_answer": ("No answer found", "share"),
    "too_long": ("Prompt too long", "share"),
    "response_tokens": ("Tokens per answer", "count"),
}
HIGHER_IS_BETTER = ("accuracy", "clip", "keyword", "oracle", "described", "stated_right", "format")


def work(settings: Settings) -> dict[str, float]:
    """Write the page; returns its size in bytes and the number of examples.

    Raises:
        InputError: if a file of an earlier step is missing or broken.
    """
    findings = gather(settings)
    examples = choose(findings.models, settings.examples, settings.seed)
    page = render(findings, settings.title, examples)
    with atomic_file(Path(settings.output)) as path:
        path.write_text(page, encoding="utf-8")
    log.info("report: %d KB, %d examples", len(page) // 1000, len(examples))
    return {"bytes": len(page.encode()), "examples": len(examples)}


def render(findings: Findings, title: str, examples: Sequence[Example]) -> str:
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
        dag=dag.draw(seconds),
        heroes=list(_heroes(findings.models)),
        filters=[
            _filtered("SFT data", findings.metrics["sft_filter"]),
            _filtered("RL data", findings.metrics["rl_filter"]),
        ],
        splits=[_split(findings.metrics[step]) for step in ("split", "remeasured_split") if step in findings.metrics],
        loss=loss_chart(findings.sft, width=1000),
        refused=int(findings.metrics["sft"]["refused_steps"]),
        stages=list(stage_charts(findings.stages)),
        measures=list(_measures(findings.models)),
        benchmarks=list(_benchmarks(findings.models)),
    )  # fmt: skip


def _heroes(models: Sequence[Model]) -> Iterator[dict[str, str]]:
    """The charts at the top of the page: one measure each, for all models."""
    for measure, number in (("accuracy", share), ("clip", "{:.3f}".format), ("keyword", "{:.3f}".format)):
        values = [model.measures.get(measure) for model in models]
        name = MEASURES[measure][0]
        chart = charts.slope_chart([model.name for model in models], values, f"{name} of each model", number)
        if chart:
            yield {"name": name, "chart": chart}


def _filtered(name: str, metrics: Mapping[str, float]) -> dict[str, object]:
    """The rows that a filter kept, and the rows that it rejected, by reason, most frequent reason first."""
    reasons = {key.removeprefix("rejected/"): value for key, value in metrics.items() if key.startswith("rejected/")}
    return {
        "name": name,
        "read": metrics["read"],
        "kept": metrics["kept"],
        "reasons": sorted(reasons.items(), key=lambda item: (-item[1], item[0])),
        "most": max(reasons.values(), default=1),
    }


def _split(metrics: Mapping[str, float]) -> dict[str, object]:
    """Questions by number of right answers, in the colours of hard, medium and easy."""
    samples = int(metrics["samples"])
    counts = [int(metrics[f"correct/{k}"]) for k in range(samples + 1)]
    # The metrics have no thresholds, so the sizes of the levels decide the level of each bar, from the left.
    hard = int(metrics["hard"])
    medium = hard + int(metrics["medium"])
    totals = accumulate(counts)
    styles = ["hard" if total <= hard else "medium" if total <= medium else "easy" for total in totals]
    return {
        "chart": charts.histogram(counts, styles, f"Questions by right answers out of {samples}"),
        "samples": samples,
        "total": sum(counts),
        "levels": [(level, int(metrics[level])) for level in ("easy", "medium", "hard")],
        "incomplete": int(metrics["incomplete"]),
    }


def _measures(models: Sequence[Model]) -> Iterator[dict[str, object]]:
    """One row per measure of the models. The best value is marked if higher is better."""
    for key, (name, kind) in MEASURES.items():
        values = [model.measures.get(key) for model in models]
        known = [value for value in values if value is not None]
        if known and (key != "too_long" or any(known)):
            best = max(known) if key in HIGHER_IS_BETTER and max(known) > min(known) else None
            yield {"name": name, "kind": kind, "cells": [(value, value == best) for value in values]}


def _benchmarks(models: Sequence[Model]) -> Iterator[dict[str, object]]:
    """One table per benchmark: accuracy by the first column that it is grouped by."""
    for name, scores in models[0].benchmarks.items():
        of_models = [model.benchmarks[name] for model in models]
        column = next(iter(scores["by"]), "")
        groups = scores["by"].get(column, {})
        rows = [_accuracies(models, "all", scores["rows"], [s["accuracy"] for s in of_models])]
        rows += [
            _accuracies(models, group, of_group["rows"], [s["by"][column][group]["accuracy"] for s in of_models])
            for group, of_group in groups.items()
        ]
        yield {
            "name": name,
            "column": column,
            "rows": rows,
            "note": scores.get("note", ""),
            "rejected": list(scores["set_aside"].items()),
        }


def _accuracies(models: Sequence[Model], group: str, rows: int, values: Sequence[float]) -> dict[str, object]:
    label = ", ".join(f"{model.name} {share(value)}" for model, value in zip(models, values, strict=True))
    return {
        "group": group,
        "rows": rows,
        "values": values,
        "change": 100 * (values[2] - values[0]),
        "dots": charts.dots(values, [model.style for model in models], label),
    }
