"""The results table of a run has the measures that its evaluations have."""

import json
from pathlib import Path

import pytest

from pipelines.compile import COMPILED
from pipelines.ir.kinds import EVALUATE, SPLIT
from pipelines.ir.reader import Pipeline
from pipelines.local.terminal import results

PIPELINE = Pipeline(COMPILED / "pebr_r1.yaml")
STEPS = [
    step
    for step in PIPELINE.plan({name: spec.get("defaultValue") for name, spec in PIPELINE.inputs.items()})
    if step.module in (EVALUATE, SPLIT)
]


@pytest.mark.parametrize(
    ("further", "shown"), [({}, []), ({"oracle": 0.25, "described": 0.5}, ["oracle", "described"]), ({"loss": 1.0}, [])]
)
def test_measures_of_some_benchmarks_are_shown_where_they_exist(further, shown, tmp_path: Path) -> None:
    numbers = {"accuracy": 0.5, "clip": 0.1, "keyword": 0.2, "format": 1.0, "easy": 1, "medium": 2, "hard": 3}
    (tmp_path / "metrics").write_text(json.dumps({**numbers, **further}))
    table = results(STEPS, lambda _, name: tmp_path / name)
    assert table is not None
    assert [column.header for column in table.columns] == [
        "evaluation",
        "accuracy",
        "clip",
        "keyword",
        "format",
        *shown,
    ]
    assert table.row_count == sum(step.module == EVALUATE for step in STEPS) >= 3
    assert "1 easy, 2 medium, 3 hard" in str(table.caption)
    if shown:
        assert list(table.columns[-2].cells) == ["0.250"] * table.row_count
