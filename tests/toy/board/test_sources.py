"""The sources of the board are in the public layouts, and the ingest step brings them."""

import csv
import json
from pathlib import Path

import pytest

from pebr.data.benchmark import read_tsv
from pebr.data.readers import read_rl, read_sft
from pebr.errors import InputError
from pebr.ingest.settings import Settings
from pebr.ingest.work import work
from pebr.toy.board.solver import measures
from pebr.toy.board.world import Difficulty, questions
from pebr.toy.formats import BENCHMARK_COLUMNS, write_benchmarks

HARD = "objects=10-12&hops=2&left_out=0.5"
ASKED = list(questions(2, 12, "test", difficulty=Difficulty.of(HARD)))


def test_the_benchmark_has_its_questions_as_data(tmp_path: Path) -> None:
    work(
        Settings(
            source=f"toy://board/benchmarks?{HARD}", output=str(tmp_path / "out"), kind="benchmarks", rows=12, seed=2
        )
    )
    rows = list(read_tsv(tmp_path / "out" / "toy.tsv"))
    assert [row.extra["board"] for row in rows] == [made.board for made in ASKED]
    assert [(row.answer, row.category) for row in rows] == [(made.answer, "2 hops") for made in ASKED]
    for row, made in zip(rows, ASKED, strict=True):
        assert measures(row.extra["board"], made.description)["oracle"] == 1.0


def test_the_other_world_has_no_such_column(tmp_path: Path) -> None:
    write_benchmarks(tmp_path, seed=0, rows=4)
    with (tmp_path / "toy.tsv").open() as file:
        assert tuple(next(csv.reader(file, delimiter="\t"))) == BENCHMARK_COLUMNS


def test_training_data_are_read_back(tmp_path: Path) -> None:
    for name in ("sft", "rl"):
        work(Settings(source=f"toy://board/{name}?{HARD}", output=str(tmp_path / name), rows=6, seed=2))
    sft = [source.row["messages"][1]["content"] for source in read_sft(tmp_path / "sft" / "pebr_sft.json")]
    rl = [source.row for source in read_rl(tmp_path / "rl" / "pebr_grpo_dataset.json")]
    first = 6000  # rows of the other SFT set of this layout
    made = list(questions(2, 6, "sft", first, Difficulty.of(HARD)))
    assert sft == [question.taught for question in made]
    assert [row["key_words"] for row in rl] == [
        list(question.key_words) for question in questions(2, 6, "rl", difficulty=Difficulty.of(HARD))
    ]
    assert json.loads((tmp_path / "sft" / "pebr_sft.json").read_text())[0]["images"][0].startswith(
        "images/board-sft-2-"
    )


@pytest.mark.parametrize(
    ("name", "told"), [("board/sftt", "board/sft"), ("board", "board/sft"), ("board/rl?hops=9", "hops from 1 to 3")]
)
def test_an_unknown_source_is_refused(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        work(Settings(source=f"toy://{name}", output=str(tmp_path / "out")))
