"""The evaluation step on a tiny model: every row is accounted for, and the scores are those of the kept answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from pebr.data.shards import iter_rows, read_manifest
from pebr.evaluate.evaluation import run
from pebr.evaluate.settings import Settings
from pebr.step import InputError
from pebr.toy.formats import write_benchmarks

SMALL = {"sampling": "transformers", "dtype": "fp32", "max_response_tokens": 12}


@pytest.fixture
def benchmarks(tmp_path: Path) -> Path:
    write_benchmarks(tmp_path / "benchmarks", seed=0, rows=6)
    return tmp_path / "benchmarks"


def evaluate(models: dict[str, Path], benchmarks: Path, **settings: Any) -> tuple[dict[str, Any], Path]:
    output = benchmarks.parent / "output"
    run(Settings(model=str(models["qwen2_5_vl"]), benchmarks=str(benchmarks), output=str(output), **SMALL | settings))
    return json.loads((output / "scores.json").read_text()), output


def test_scores_are_the_means_of_the_answers_kept(tiny_models: dict[str, Path], benchmarks: Path) -> None:
    scores, output = evaluate(tiny_models, benchmarks)
    answers = list(iter_rows(output / "answers"))
    toy = scores["benchmarks"]["toy"]
    assert toy["rows"] == len(answers) == 6
    assert toy["accuracy"] == pytest.approx(sum(a["correct"] for a in answers) / 6)
    assert toy["response_tokens"] == pytest.approx(sum(a["response_tokens"] for a in answers) / 6)
    assert toy["no_answer"] == pytest.approx(sum(not a["given"] for a in answers) / 6)
    assert sum(group["rows"] for group in toy["by"]["category"].values()) == 6
    assert scores["accuracy"] == toy["accuracy"]
    assert all(answer["images"][0]["bytes"] for answer in answers)


def test_a_question_that_cannot_be_asked_counts_as_wrong_and_is_kept_aside(
    tiny_models: dict[str, Path], benchmarks: Path
) -> None:
    table = benchmarks / "toy.tsv"
    header, first, *others = table.read_text().splitlines()
    cells = first.split("\t")
    cells[header.split("\t").index("question")] = ""
    table.write_text("\n".join((header, "\t".join(cells), *others)) + "\n")
    scores, output = evaluate(tiny_models, benchmarks)
    assert scores["benchmarks"]["toy"]["rows"] == 6
    assert scores["benchmarks"]["toy"]["refused"] == 1
    assert read_manifest(output / "answers").rejected == {"the question is empty": 1}
    assert sum(1 for _ in iter_rows(output / "answers")) == 5


def test_several_samples_of_a_row_are_averaged(tiny_models: dict[str, Path], benchmarks: Path) -> None:
    scores, output = evaluate(tiny_models, benchmarks, samples=3, temperature=1.0)
    assert scores["benchmarks"]["toy"]["rows"] == 6
    assert sum(1 for _ in iter_rows(output / "answers")) == 18


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"only": "MMStar"}, r"no MMStar\.tsv"), ({"judge_url": "ftp://x"}, "not an http address")],
)
def test_wrong_settings_are_said_before_a_model_is_loaded(
    benchmarks: Path, settings: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        evaluate({"qwen2_5_vl": Path("/no/such/model")}, benchmarks, **settings)


@pytest.mark.parametrize(
    ("table", "said"),
    [("index\tanswer\n1\t2\n", "no column 'question'"), ("index\tquestion\tanswer\n", "no rows")],
)
def test_a_benchmark_without_questions_is_said_and_nothing_is_written(benchmarks: Path, table: str, said: str) -> None:
    (benchmarks / "toy.tsv").write_text(table)
    with pytest.raises(InputError, match=said):
        evaluate({"qwen2_5_vl": Path("/no/such/model")}, benchmarks)
    assert sorted(p.name for p in benchmarks.parent.iterdir()) == ["benchmarks"]
