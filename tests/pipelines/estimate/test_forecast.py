"""The forecast of a run from earlier ones: amounts, seconds, GPU hours, bytes, and what is not known."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import recipes
from pipelines.estimate.forecast import KEPT, RUNS, Forecast, cached, critical_path, forecast, predict
from pipelines.estimate.past import PastStep, facts, from_facts, past_of, settings_of, signatures
from pipelines.estimate.sources import size_of
from pipelines.estimate.table import table
from pipelines.ir.plan import Step
from pipelines.ir.reader import Pipeline
from pipelines.submit import COMPILED, DEFAULT

# Metrics of a run of the recipe toy, as the steps wrote them (those that the estimates read).
METRICS = {
    "ingest-sft-data": {"bytes": 13165962, "seconds": 5.4},
    "ingest-rl-data": {"bytes": 438916, "seconds": 1.7},
    "ingest-benchmarks": {"bytes": 316240, "seconds": 0.3},
    "ingest-base-model": {"bytes": 14660489, "seconds": 13.0},
    "ingest-clip-model": {"bytes": 4839711, "seconds": 103.4},
    "filter-sft-data": {"read": 6840, "kept": 6600, "seconds": 8.2},
    "filter-rl-data": {"read": 1200, "kept": 1200, "seconds": 0.7},
    "sft-warm-up": {"rows": 6600, "steps": 1000, "seconds": 368.5},
    "rollout": {"questions": 1200, "seconds": 87.1},
    "split-by-difficulty": {"easy": 115, "medium": 939, "hard": 146, "seconds": 0.7},
    "stage-1-perception": {"questions": 115, "steps": 20, "seconds": 95.0},
    "stage-2-reasoning": {"questions": 939, "steps": 50, "seconds": 188.5},
    "merge-stage-1": {"bytes": 14622208, "seconds": 2.6},
    "merge-stage-2": {"bytes": 14622208, "seconds": 2.6},
    "evaluate-warm-up": {"accuracy": 0.38, "seconds": 43.6},
    "evaluate-stage-1": {"accuracy": 0.40, "seconds": 26.0},
    "evaluate-stage-2": {"accuracy": 0.51, "seconds": 21.8},
    "report": {"bytes": 86558, "seconds": 0.4},
}


def plan(*changes: str, pipeline: Path = DEFAULT) -> list[Step]:
    read = Pipeline(pipeline)
    return read.plan(recipes.load("toy", changes, read.inputs))


def past(steps: list[Step]) -> dict[str, PastStep]:
    sizes = {step.id: dict.fromkeys(step.artifact_outputs, 1000) for step in steps}
    return past_of(steps, "image", METRICS, sizes)


def by_id(made: list[Forecast]) -> dict[str, Forecast]:
    return {one.step.id: one for one in made}


def of(*changes: str, sizes: Callable[[str], int] = lambda _: 0) -> dict[str, Forecast]:
    return by_id(forecast(plan(*changes), [past(plan())], {}, sizes))


def test_the_same_run_takes_the_same(tmp_path: Path) -> None:
    made = of()
    for name, metrics in METRICS.items():
        assert made[name].seconds == pytest.approx(metrics["seconds"]), name
    assert made["sft-warm-up"].amount == 12000
    assert made["stage-2-reasoning"].amount == 50 * 32 * 8
    assert made["evaluate-ablation"].state == "skipped"
    assert made["merge-stage-1"].read == 2000  # checkpoint and model
    assert made["merge-stage-2"].read == 2000  # the checkpoint is that of one of two branches
    text = table(list(made.values()), 1)
    assert "cannot be estimated" not in text
    assert "GPU hours: 0.00" in text


@pytest.mark.parametrize(
    ("changes", "step", "factor"),
    [
        (
            ["toy_rows=2400"],
            "filter-rl-data",
            None,
        ),  # rows of the earlier run are the usual ones, which are not a number
        (["sft_max_steps=500"], "sft-warm-up", 0.5),
        (["sft_batch_size=24"], "sft-warm-up", 825 * 24 / 12000),  # three epochs of 275 steps, fewer than the most
        (["rollout_samples=16"], "rollout", 2.0),
        (["evaluate_samples=1"], "evaluate-stage-2", 0.25),
        (["reasoning_max_steps=100"], "stage-2-reasoning", 2.0),
        (["perception_epochs=2", "perception_max_steps=0"], "stage-1-perception", 6 / 20),  # 115 // 32 steps an epoch
        (["reasoning_questions_per_step=64"], "stage-2-reasoning", 2.0),
        (["samples=4"], "stage-2-reasoning", 0.5),
        (["model_source=hf://some/model"], "sft-warm-up", None),
    ],
)
def test_a_changed_setting_changes_the_work(changes: list[str], step: str, factor: float | None) -> None:
    made = of(*changes)[step]
    assert made.seconds == (None if factor is None else pytest.approx(METRICS[step]["seconds"] * factor))
    assert made.state == RUNS


def test_twice_the_data_are_twice_the_rows_where_nothing_limits_them() -> None:
    size = {"s3://d/rl": 2 * 438916, "s3://d/sft": 2 * 13165962}
    changes = ["rl_source=s3://d/rl", "sft_source=s3://d/sft", "sft_max_steps=0", "perception_max_steps=0"]
    made = of(*changes, sizes=lambda source: size.get(source, 0))
    assert made["filter-sft-data"].amount == 2 * 6840
    assert made["filter-sft-data"].written == pytest.approx(2000 + 1000)  # rows and metrics
    assert made["sft-warm-up"].amount == 3 * 1100 * 12
    assert made["rollout"].amount == 2400 * 8
    assert made["split-by-difficulty"].amount == 2400
    assert made["stage-1-perception"].amount == 100 * (230 // 32) * 32 * 8
    assert made["evaluate-stage-2"].amount == 4


def test_loose_pictures_are_compared_with_loose_pictures() -> None:
    """What `ingest` has written is larger: it packs them."""
    changes = ["sft_source=/new", "sft_max_steps=0"]
    known = past_of(plan("sft_source=/old"), "image", METRICS, {}, {}, lambda source: {"/old": 100}.get(source, 0))
    made = by_id(forecast(plan(*changes), [known], {}, lambda source: {"/new": 150}.get(source, 0)))
    assert made["filter-sft-data"].amount == 1.5 * 6840


def test_a_source_of_unknown_size_is_said_and_not_guessed() -> None:
    made = of("rl_source=hf://datasets/a/b")
    assert made["ingest-rl-data"].seconds is made["rollout"].seconds is None
    assert made["stage-2-reasoning"].seconds is not None  # its training steps are limited by a setting
    text = table(list(made.values()), 1)
    assert "cannot be estimated, no earlier run tells: ingest-rl-data, filter-rl-data, rollout, split-" in text


def test_where_no_run_is_known_there_is_no_number() -> None:
    text = table(forecast(plan(), [], {}, lambda _: 0), 0)
    assert "no earlier run is known here: time, GPU hours and bytes cannot be estimated" in text
    assert "GPU hours:" not in text
    assert text.count("?") == 4 * 18


def test_gpu_seconds_stay_and_a_cpu_tells_nothing_about_gpus() -> None:
    gpu = plan(pipeline=COMPILED / "gpu" / "pebr_r1.yaml")
    assert by_id(forecast(gpu, [past(plan())], {}, lambda _: 0))["sft-warm-up"].seconds is None
    half = {name: replace(step, gpus=step.gpus // 2) for name, step in past(gpu).items()}
    made = by_id(forecast(gpu, [half], {}, lambda _: 0))["sft-warm-up"]
    assert (made.gpus, made.seconds) == (8, pytest.approx(368.5 / 2))
    assert made.gpu_hours == pytest.approx(368.5 * 4 / 3600)


def test_what_is_cached_takes_nothing() -> None:
    steps = plan("learning_rate=1e-5")
    signed = signatures(steps, "image")
    states = cached(steps, signed, [past(plan())], {"evaluate-warm-up"})
    kept = {name for name, state in states.items() if state == KEPT}
    assert {"rollout", "split-by-difficulty", "sft-warm-up", "filter-rl-data"} < kept
    assert not kept & {"stage-1-perception", "merge-stage-1", "evaluate-warm-up", "report"}
    made = by_id(forecast(steps, [past(plan())], states, lambda _: 0))
    assert made["rollout"].seconds == made["rollout"].read == 0
    assert not set(signatures(steps, "other").values()) & set(signed.values())


def test_the_longest_path_is_that_of_steps_that_wait_for_each_other() -> None:
    made = of()
    path = ["ingest-sft-data", "filter-sft-data", "sft-warm-up", "rollout", "split-by-difficulty", "stage-1-perception",
            "merge-stage-1", "stage-2-reasoning", "merge-stage-2", "evaluate-stage-2", "report"]  # fmt: skip
    assert critical_path(list(made.values())) == pytest.approx(sum(METRICS[name]["seconds"] for name in path))


numbers = st.floats(0.1, 1000)


@given(st.lists(numbers, min_size=2, max_size=5, unique=True), st.floats(0, 100), st.floats(0, 10), numbers)
def test_points_on_a_line_are_continued(amounts: list[float], start: float, slope: float, wanted: float) -> None:
    points = [(x, start + slope * x, 0.0) for x in amounts]
    assert predict(points, wanted) == pytest.approx(start + slope * wanted, rel=1e-3, abs=1e-2)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=6, unique_by=lambda p: p[0]), numbers)
def test_no_other_start_and_slope_that_are_not_negative_fit_better(
    points: list[tuple[float, float]], scale: float
) -> None:
    rows = [(x, y, 0.0) for x, y in points]
    start = predict(rows, 0.0)
    slope = predict(rows, 1.0) - start
    assert start >= 0
    assert slope >= -1e-9

    def error(a: float, b: float) -> float:
        return sum((a + b * x - y) ** 2 for x, y in points)

    best = error(start, slope)
    for a in (0.0, start / 2, start * 1.1, start + scale / 100):
        for b in (0.0, slope / 2, slope * 1.1, slope + scale / 1e5):
            assert best <= error(a, b) + 1e-6 * (1 + error(a, b))


def test_a_history_divides_the_seconds_into_start_and_training() -> None:
    rows = {"sft-warm-up": [{"step": i, "seconds": 0.3} for i in range(1000)]}
    known = past_of(plan(), "image", METRICS, {}, rows)
    assert known["sft-warm-up"].trained == pytest.approx(300)
    made = by_id(forecast(plan("sft_max_steps=500"), [known], {}, lambda _: 0))["sft-warm-up"]
    assert made.seconds == pytest.approx(68.5 + 150)


def test_the_history_of_a_run_that_was_killed_counts_all_its_training_steps() -> None:
    rows = {"sft-warm-up": [{"seconds": 1.0}] * 1000}
    assert past_of(plan(), "image", METRICS, {}, rows)["sft-warm-up"].seconds == 1000


def test_facts_are_read_as_they_were_written() -> None:
    known = past(plan())
    written: dict[str, Any] = json.loads(json.dumps(facts(known)))
    assert from_facts(written) == known
    assert from_facts(written | {"sft-warm-up": {"form": "of another version"}}).keys() == known.keys() - {
        "sft-warm-up"
    }
    assert settings_of(plan()[0]) == known[plan()[0].id].settings


def test_the_bytes_of_sources(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"1" * 100)
    (tmp_path / "y").write_bytes(b"1" * 50)
    assert size_of(f"{tmp_path / 'a'}, {tmp_path / 'y'}*0.5") == 125
    assert size_of(f"{tmp_path / 'a'}, hf://a/b") == 0
    assert size_of(f"{tmp_path / 'a'}:10") == 0  # the first rows: their bytes are not known
    assert size_of(str(tmp_path / "none")) == 0
