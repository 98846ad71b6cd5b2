"""Measures of descriptions exist only where the table tells what its images show."""

import json
from pathlib import Path

import pytest

from pebr.data.benchmark import BenchmarkRow
from pebr.data.shards import iter_rows
from pebr.evaluate.described import NAMES, described
from pebr.evaluate.settings import Settings
from pebr.evaluate.work import work
from pebr.toy.board.solver import measures
from pebr.toy.board.world import questions
from pebr.toy.formats import write_benchmarks
from pebr.vlm.response import parse

SMALL = {"sampling": "transformers", "dtype": "fp32", "max_response_tokens": 12, "samples": 2, "temperature": 1.0}
MADE = next(questions(0, 1, "test"))


def test_a_row_without_the_column_has_no_measures() -> None:
    row = BenchmarkRow(index="0", question="", answer="")
    assert described(row, MADE.description) == {}
    full = described(BenchmarkRow(index="0", question="", answer="", extra={"board": MADE.board}), MADE.description)
    assert full == dict.fromkeys(NAMES, 1.0)


@pytest.mark.parametrize("cell", ["yes", "3", "[]", "{}"])
def test_a_column_of_this_name_in_another_table_is_no_error(cell: str) -> None:
    assert described(BenchmarkRow(index="0", question="", answer="", extra={"board": cell}), MADE.description) == {}


def test_an_evaluation_reports_them_beside_accuracy(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    write_benchmarks(tmp_path / "tables", 0, 4, questions)
    output = tmp_path / "output"
    found = work(
        Settings(model=str(tiny_models["qwen2_5_vl"]), benchmarks=str(tmp_path / "tables"), output=str(output), **SMALL)
    )
    scores = json.loads((output / "scores.json").read_text())
    boards = {str(place): made.board for place, made in enumerate(questions(0, 4, "test"))}
    by_answer = [
        measures(boards[row["qid"]], parse(row["response"]).description)
        for row in iter_rows(output / "answers" / "toy")
    ]
    assert len(by_answer) == 8
    for name in ("oracle", "described"):
        mean = sum(made[name] for made in by_answer) / 8
        assert found[name] == scores[name] == scores["benchmarks"]["toy"][name] == pytest.approx(mean)


def test_another_table_has_no_such_scores(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    write_benchmarks(tmp_path / "tables", 0, 2)
    found = work(
        Settings(
            model=str(tiny_models["qwen2_5_vl"]),
            benchmarks=str(tmp_path / "tables"),
            output=str(tmp_path / "out"),
            **SMALL,
        )
    )
    assert not set(NAMES) & set(found)
    assert not set(NAMES) & set(json.loads((tmp_path / "out" / "scores.json").read_text())["benchmarks"]["toy"])
