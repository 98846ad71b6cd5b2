"""The evaluation step on a tiny model: every row is counted, and the scores match the written answers."""

import base64
import json
import logging
import os
import shutil
import signal
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from pebr.data.shards import iter_rows, read_manifest
from pebr.errors import InputError
from pebr.evaluate import shards
from pebr.evaluate.settings import QUESTIONS, Settings
from pebr.evaluate.work import work
from pebr.sampling import transformers_engine
from pebr.toy.formats import write_benchmarks
from pebr.vlm.reading import read_answer
from tests import clean_fork

SMALL = {"sampling": "transformers", "dtype": "fp32", "max_response_tokens": 12}


@pytest.fixture
def benchmarks(tmp_path: Path) -> Path:
    write_benchmarks(tmp_path / "benchmarks", seed=0, rows=6)
    return tmp_path / "benchmarks"


def evaluate(
    models: dict[str, Path], benchmarks: Path, output: str = "output", **settings: Any
) -> tuple[dict[str, Any], Path]:
    target = benchmarks.parent / output
    work(Settings(model=str(models["qwen2_5_vl"]), benchmarks=str(benchmarks), output=str(target), **SMALL | settings))
    return json.loads((target / "scores.json").read_text()), target


def spoil(benchmarks: Path, column: str, *values: str) -> None:
    """Replace the cells of a column in the first rows."""
    table = benchmarks / "toy.tsv"
    header, *lines = table.read_text().splitlines()
    for i, value in enumerate(values):
        cells = lines[i].split("\t")
        cells[header.split("\t").index(column)] = value
        lines[i] = "\t".join(cells)
    table.write_text("\n".join((header, *lines)) + "\n")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_scores_are_the_means_of_the_answers_kept(tiny_models: dict[str, Path], benchmarks: Path) -> None:
    scores, output = evaluate(tiny_models, benchmarks)
    answers = list(iter_rows(output / "answers" / "toy"))
    toy = scores["benchmarks"]["toy"]
    assert toy["rows"] == len(answers) == 6
    assert toy["accuracy"] == pytest.approx(sum(a["correct"] for a in answers) / 6)
    assert toy["response_tokens"] == pytest.approx(sum(a["response_tokens"] for a in answers) / 6)
    assert toy["no_answer"] == pytest.approx(sum(not a["given"] for a in answers) / 6)
    assert [a["given"] for a in answers] == [read_answer(a["response"]).text for a in answers]
    assert toy["read_leniently"] == pytest.approx(sum(not read_answer(a["response"]).strict for a in answers) / 6)
    assert sum(group["rows"] for group in toy["by"]["category"].values()) == 6
    assert scores["accuracy"] == toy["accuracy"]
    assert all(answer["images"][0]["bytes"] for answer in answers)
    assert "clip" not in toy  # no CLIP model was given


def test_the_scores_per_question_are_those_of_the_benchmark(tiny_models: dict[str, Path], benchmarks: Path) -> None:
    """Also of a question that is too long, which is wrong; not of one that cannot be asked."""
    spoil(benchmarks, "question", "Why? " * 300, "Q?", "", "Q?")
    spoil(benchmarks, "key_words", "", "", "", "")
    scores, output = evaluate(tiny_models, benchmarks, samples=2, temperature=1.0, max_prompt_tokens=256)
    rows = [json.loads(line) for line in (output / QUESTIONS).read_text().splitlines()]
    assert [(row["benchmark"], row["qid"]) for row in rows] == [("toy", i) for i in ("0", "1", "3", "4", "5")]
    for name in ("accuracy", "format", "keyword", "cut_off"):
        values = [row[name] for row in rows if name in row]
        assert scores["benchmarks"]["toy"][name] == pytest.approx(sum(values) / len(values)), name
    assert ["keyword" in row for row in rows] == [False, False, False, True, True]
    assert rows[0]["accuracy"] == 0
    assert len({row["digest"] for row in rows}) == 5  # equal words, other images


def test_a_measure_without_its_data_is_no_zero(tiny_models: dict[str, Path], benchmarks: Path) -> None:
    spoil(benchmarks, "key_words", *[""] * 6)
    scores, _ = evaluate(tiny_models, benchmarks)
    assert "keyword" not in scores
    assert "keyword" not in scores["benchmarks"]["toy"]


def test_bad_rows_are_set_aside_with_their_reason_and_the_others_are_scored(
    tiny_models: dict[str, Path], benchmarks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    not_an_image = base64.b64encode(b"<!doctype html>" * 9).decode()
    spoil(benchmarks, "image", "!" * 100, "99", not_an_image)
    spoil(benchmarks, "question", *[f"Q{i}?" for i in range(4)], "")
    scores, output = evaluate(tiny_models, benchmarks)
    kinds = ["image cannot be used", "image is not base64", "image is that of a row without one", "no question"]
    toy = scores["benchmarks"]["toy"]
    assert toy["set_aside"] == dict.fromkeys(kinds, 1)
    assert toy["rows"] == 2
    assert toy["accuracy_all_rows"] == scores["accuracy_all_rows"] == pytest.approx(toy["accuracy"] * 2 / 6)
    assert "toy: 4 of 6 rows are not in the accuracy (1 " in caplog.text
    assert read_manifest(output / "answers" / "toy").rejected == dict.fromkeys(kinds, 1)
    assert [row["qid"] for row in iter_rows(output / "answers" / "toy")] == ["3", "5"]


def test_a_prompt_that_is_too_long_counts_as_wrong_and_is_kept_aside(
    tiny_models: dict[str, Path], benchmarks: Path
) -> None:
    spoil(benchmarks, "question", "Why? " * 300)
    scores, output = evaluate(tiny_models, benchmarks, max_prompt_tokens=256)
    assert scores["benchmarks"]["toy"]["rows"] == 6
    assert scores["too_long"] == pytest.approx(1 / 6)
    assert read_manifest(output / "answers" / "toy").rejected == {"prompt too long": 1}
    assert sum(1 for _ in iter_rows(output / "answers" / "toy")) == 5


def test_where_no_prompt_can_be_asked_there_is_no_accuracy(tiny_models: dict[str, Path], benchmarks: Path) -> None:
    with pytest.raises(InputError, match="toy: not one of 6 rows can be asked; prompt too long") as error:
        evaluate(tiny_models, benchmarks, max_prompt_tokens=8)
    assert "\n" not in str(error.value)
    assert not (benchmarks.parent / "output").exists()


def test_several_samples_of_a_row_are_averaged(tiny_models: dict[str, Path], benchmarks: Path) -> None:
    scores, output = evaluate(tiny_models, benchmarks, samples=3, temperature=1.0)
    assert scores["benchmarks"]["toy"]["rows"] == 6
    assert sum(1 for _ in iter_rows(output / "answers" / "toy")) == 18


def test_the_output_does_not_depend_on_where_things_lie(
    tiny_models: dict[str, Path], benchmarks: Path, tmp_path: Path
) -> None:
    _, here = evaluate(tiny_models, benchmarks)
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(tiny_models["qwen2_5_vl"], tmp_path / "elsewhere" / "model")
    _, there = evaluate({"qwen2_5_vl": tmp_path / "elsewhere" / "model"}, benchmarks, output="there")
    assert files_of(here) == files_of(there)


def test_a_run_that_broke_off_goes_on_with_the_benchmarks_that_are_missing(
    tiny_models: dict[str, Path], benchmarks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (benchmarks / "later.tsv").write_text((benchmarks / "toy.tsv").read_text())
    _, undisturbed = evaluate(tiny_models, benchmarks, output="undisturbed")
    whole = (benchmarks / "toy.tsv").read_text()
    spoil(benchmarks, "question", *["Why? " * 300] * 6)  # the second one breaks the run
    with pytest.raises(InputError, match="toy: not one"):
        evaluate(tiny_models, benchmarks, max_prompt_tokens=256)
    (benchmarks / "toy.tsv").write_text(whole)
    caplog.set_level(logging.INFO, "pebr")
    _, output = evaluate(tiny_models, benchmarks, max_prompt_tokens=256)
    assert "1 of 2 benchmarks to ask" in caplog.text
    assert files_of(output) == files_of(undisturbed)
    assert not (benchmarks.parent / "output.checkpoints").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"only": "MMStar"}, r"no MMStar\.tsv"),
        ({"judge_url": "ftp://x"}, "not an http address"),
        ({"samples": 0}, "--samples 0: give at least 1"),
        ({"top_p": 0.0}, "--top-p 0.0: give more than 0"),
    ],
)
def test_wrong_settings_are_said_before_a_model_is_loaded(
    benchmarks: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        evaluate({"qwen2_5_vl": Path("/no/such/model")}, benchmarks, **settings)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("index\tanswer\n1\t2\n", "no column 'question'"),
        ("index\tquestion\tanswer\n", "no rows"),
        ("index\tquestion\tanswer\n1\t\t2\n", r"none of 1 rows can be used \(the first: no question\)"),
    ],
)
def test_a_benchmark_without_questions_is_said_and_nothing_is_written(benchmarks: Path, table: str, said: str) -> None:
    (benchmarks / "toy.tsv").write_text(table)
    with pytest.raises(InputError, match=said):
        evaluate({"qwen2_5_vl": Path("/no/such/model")}, benchmarks)
    assert sorted(p.name for p in benchmarks.parent.iterdir()) == ["benchmarks"]


def test_the_size_of_shards_changes_nothing(
    tiny_models: dict[str, Path], benchmarks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(benchmarks, "question", "", "Why? " * 300)
    settings = {"samples": 2, "temperature": 1.0, "max_prompt_tokens": 256}
    _, whole = evaluate(tiny_models, benchmarks, **settings)
    monkeypatch.setattr(shards, "ROWS", 2)
    _, parted = evaluate(tiny_models, benchmarks, output="parted", **settings)
    assert files_of(parted) == files_of(whole)


@pytest.mark.slow
def test_two_workers_score_what_one_scores(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """Runs the command, because workers are processes; each has one of two shards."""
    folder = tmp_path / "benchmarks"
    write_benchmarks(folder, seed=0, rows=shards.ROWS + 2)
    _, one = evaluate(tiny_models, folder, output="one", processes=1)
    settings = SMALL | {"model": tiny_models["qwen2_5_vl"], "benchmarks": folder, "output": tmp_path / "two"}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in (settings | {"processes": 2}).items()]
    command = [sys.executable, "-m", "pebr.evaluate", *flags]
    assert os.spawnve(os.P_WAIT, sys.executable, command, os.environ | {"OMP_NUM_THREADS": "1"}) == 0
    assert files_of(tmp_path / "two") == files_of(one)


def evaluate_in_small_parts(settings: Settings) -> None:
    shards.ROWS = 1  # row of a shard
    transformers_engine.ROWS = 2  # samples at a time, so that shards are finished one by one
    work(settings)


@pytest.mark.slow
def test_a_killed_evaluation_ends_with_the_same_bytes(tiny_models: dict[str, Path], benchmarks: Path) -> None:
    model, given = str(tiny_models["qwen2_5_vl"]), str(benchmarks)

    def run(output: str) -> ForkServerProcess:
        target = str(benchmarks.parent / output)
        settings = Settings(model=model, benchmarks=given, output=target, samples=2, temperature=1.0, **SMALL)
        return clean_fork.start(evaluate_in_small_parts, settings)

    def finished() -> int:
        return len(list(benchmarks.parent.glob("killed.checkpoints/*/shard-*.json")))

    done: list[int] = []  # finished shards at each kill
    while len(done) < 3:
        before, child = finished(), run("killed")
        while finished() == before and child.is_alive():
            time.sleep(0.001)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        done.append(finished())
    assert 0 < done[0] < 6
    for output in ("killed", "whole"):
        child = run(output)
        child.join()
        assert child.exitcode == 0
    assert files_of(benchmarks.parent / "killed") == files_of(benchmarks.parent / "whole")
