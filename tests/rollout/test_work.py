"""The rollout phase: each question has its answers or a reason; the bytes are the same after a kill or with workers."""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pebr.data.shards import iter_rows, read_manifest
from pebr.errors import InputError
from pebr.rollout.settings import Settings
from pebr.rollout.shards import Finished
from pebr.rollout.work import work
from pebr.sampling import transformers_engine
from pebr.sampling.contract import Sample
from pebr.sampling.transformers_engine import TransformersSampler
from pebr.toy.formats import png
from tests import clean_fork


def settings(model: Path, dataset: Path, output: Path, **changes: Any) -> Settings:
    chosen: dict[str, Any] = {
        "samples": 3,
        "max_prompt_tokens": 200,
        "max_response_tokens": 8,
        "sampling": "transformers",
        "dtype": "fp32",
        "rows_per_shard": 6,
        "processes": 1,
        **changes,
    }
    return Settings(model=str(model), dataset=str(dataset), output=str(output), **chosen)


def content(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def reference(model: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("reference") / "rollouts"
    work(settings(model, dataset, output))
    return output


def test_every_question_has_its_answers_and_keeps_its_columns(reference: Path, dataset: Path) -> None:
    rows = list(iter_rows(reference))
    for row, source in zip(rows, iter_rows(dataset), strict=True):
        assert {name: row[name] for name in source} == source
        assert len(row["responses"]) == 3
        for response in row["responses"]:
            assert 1 <= response["token_count"] <= 8
            assert response["finish_reason"] in ("stop", "length")
            assert response["accuracy"] in (0.0, 1.0)
            assert response["logprob"] < 0
    manifest = read_manifest(reference)
    assert (manifest.rows, manifest.kind, manifest.extra["samples"]) == (20, "rollouts", 3)
    assert [shard.rows for shard in manifest.shards] == [6, 6, 6, 2]


def test_checkpoints_beside_the_output_are_removed_in_the_end(reference: Path) -> None:
    assert [path.name for path in reference.parent.iterdir()] == [reference.name]


def test_metrics_describe_the_answers(model: Path, dataset: Path, tmp_path: Path) -> None:
    metrics = work(settings(model, dataset, tmp_path / "out"))
    rows = list(iter_rows(tmp_path / "out"))
    tokens = [response["token_count"] for row in rows for response in row["responses"]]
    assert metrics["questions"] == 20
    assert metrics["rejected"] == 0
    assert metrics["response_tokens"] == pytest.approx(sum(tokens) / len(tokens))
    assert metrics["all_right"] <= metrics["accuracy"] <= 1 - metrics["none_right"]


def test_right_answers_are_scored_right(
    model: Path, make_rows: Any, write_dataset: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    rows = make_rows(4)
    said = "### Image Description: a\n### Rationales: b\n### Let's think step by step.\n### Step 1: c\n"
    answer = iter([rows[0]["answer"], "certainly not this", rows[0]["answer"]] * 4)
    monkeypatch.setattr(
        "pebr.vlm.encoding.Encoder.decode", lambda self, ids: f"{said}### The final answer is: {next(answer)}"
    )
    for row in rows:
        row["answer"] = rows[0]["answer"]
    metrics = work(settings(model, write_dataset(rows), tmp_path / "out"))
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert [r["accuracy"] for r in next(iter_rows(tmp_path / "out"))["responses"]] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("options", [{"A": "12", "B": "14"}, ["12", "14"]])
def test_the_datasets_own_options_are_known_as_in_training(
    options: Any, model: Path, make_rows: Any, write_dataset: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    [row] = make_rows(1)
    row |= {"answer": "B", "extra": json.dumps({"options": options})}
    said = iter(["14", "12", "B. 14"])
    monkeypatch.setattr("pebr.vlm.encoding.Encoder.decode", lambda self, ids: f"### The final answer is: {next(said)}")
    work(settings(model, write_dataset([row]), tmp_path / "out"))
    assert [r["accuracy"] for r in next(iter_rows(tmp_path / "out"))["responses"]] == [1.0, 0.0, 1.0]


def test_what_cannot_be_asked_is_rejected_with_the_reason(
    model: Path, make_rows: Any, write_dataset: Any, tmp_path: Path
) -> None:
    rows = make_rows(12)
    rows[1]["images"][0]["bytes"] = rows[1]["images"][0]["bytes"][:-200]  # truncated
    rows[2]["images"][0]["bytes"] = b"no image"
    rows[3]["problem"] = "<image>  "
    rows[4]["problem"] = "<image>" + "What colour? " * 200
    rows[6]["qid"] = rows[5]["qid"]
    rows[7]["problem"] = "<image><image>Which?"
    output = tmp_path / "out"
    metrics = work(settings(model, write_dataset(rows), output, rows_per_shard=5))
    manifest = read_manifest(output)
    assert (manifest.rows, sum(manifest.rejected.values())) == (6, 6) == (metrics["questions"], metrics["rejected"])
    assert manifest.rejected == {
        "image cannot be used": 2,
        "prompt too long": 1,
        "qid not unique": 1,
        "question cannot be asked": 2,
    }
    refused = [row for path in sorted((output / "rejected").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert [row["qid"] for row in refused] == [rows[i]["qid"] for i in (1, 2, 3, 4, 6, 7)]
    assert "at most 200 are asked" in refused[3]["reason"]
    assert {row["qid"] for row in iter_rows(output)} == {rows[i]["qid"] for i in (0, 5, 8, 9, 10, 11)}


def test_a_picture_too_long_for_the_model_is_rejected_and_a_very_long_one_asked_about(
    model: Path, make_rows: Any, write_dataset: Any, tmp_path: Path
) -> None:
    rows = make_rows(2)
    for row, size in zip(rows, [(28, 5601), (40, 7990)], strict=True):
        row["images"][0]["bytes"] = png(Image.new("RGB", size, "white"))
    output = tmp_path / "out"
    work(settings(model, write_dataset(rows), output, max_prompt_tokens=2000))
    assert read_manifest(output).rejected == {"question cannot be asked": 1}
    assert [row["qid"] for row in iter_rows(output)] == [rows[1]["qid"]]


def test_a_question_that_the_engine_gave_up_is_rejected_as_incomplete(
    model: Path, dataset: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    stream = TransformersSampler.stream

    def losing(self: TransformersSampler, *arguments: Any, **named: Any) -> Iterator[tuple[str, list[Sample]]]:
        for number, (question_id, samples) in enumerate(stream(self, *arguments, **named)):
            yield question_id, samples[1:] if number == 7 else samples

    monkeypatch.setattr(TransformersSampler, "stream", losing)
    work(settings(model, dataset, tmp_path / "out"))
    assert read_manifest(tmp_path / "out").rejected == {"incomplete": 1}
    [refused] = pq.read_table(tmp_path / "out" / "rejected").to_pylist()
    assert refused["reason"] == "2 of 3 answers: the engine gave up the others"
    assert len(list(iter_rows(tmp_path / "out"))) == 19


def test_a_shard_that_cannot_be_saved_ends_the_phase(
    model: Path, dataset: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    def full(self: Finished, shard: int, directory: Path) -> None:
        raise OSError(f"no space for shard {shard}")

    monkeypatch.setattr(Finished, "put", full)
    with pytest.raises(OSError, match="no space for shard 0"):
        work(settings(model, dataset, tmp_path / "out"))


def test_a_dataset_without_a_question_that_can_be_asked_ends_well(
    model: Path, make_rows: Any, write_dataset: Any, tmp_path: Path
) -> None:
    rows = make_rows(3)
    for row in rows:
        row["problem"] = ""
    work(settings(model, write_dataset(rows), tmp_path / "out"))
    assert list(iter_rows(tmp_path / "out")) == []
    assert read_manifest(tmp_path / "out").rejected == {"question cannot be asked": 3}


def test_answers_do_not_depend_on_the_shards(model: Path, dataset: Path, reference: Path, tmp_path: Path) -> None:
    work(settings(model, dataset, tmp_path / "out", rows_per_shard=3))
    assert list(iter_rows(tmp_path / "out")) == list(iter_rows(reference))


def test_rows_read_ahead_are_answered_the_same(
    model: Path, dataset: Path, reference: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("pebr.sampling.sharded.rows_ahead", lambda: 5)
    work(settings(model, dataset, tmp_path / "out"))
    assert content(tmp_path / "out") == content(reference)


def test_other_settings_do_not_take_up_finished_shards(model: Path, dataset: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "checkpoints")
    work(settings(model, dataset, tmp_path / "a", checkpoints=store))
    work(settings(model, dataset, tmp_path / "b", checkpoints=store, seed=1))
    work(settings(model, dataset, tmp_path / "c", checkpoints=store))
    assert content(tmp_path / "a") != content(tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "c")


def test_a_wrong_dataset_is_refused_before_anything_is_loaded(
    model: Path, make_rows: Any, write_dataset: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="kind sft"):
        work(settings(model, write_dataset(make_rows(2), kind="sft"), tmp_path / "out"))
    with pytest.raises(InputError, match="0 rows"):
        work(settings(model, write_dataset([]), tmp_path / "out"))
    with pytest.raises(InputError, match="no config"):
        work(settings(tmp_path, write_dataset(make_rows(2)), tmp_path / "out"))


def work_in_small_parts(run: Settings) -> None:
    transformers_engine.ROWS = 12  # four questions at a time, so that shards are finished one by one
    torch.set_num_threads(1)
    work(run)


@pytest.mark.slow
def test_killed_twenty_times_it_ends_with_the_same_bytes(
    model: Path, make_rows: Any, write_dataset: Any, tmp_path: Path
) -> None:
    rows = make_rows(60)
    rows[7]["problem"], rows[30]["images"][0]["bytes"], rows[50]["problem"] = "", b"no image", "<image>Why? " * 400
    source = write_dataset(rows)
    whole = settings(model, source, tmp_path / "whole", rows_per_shard=2)
    interrupted = settings(model, source, tmp_path / "interrupted", rows_per_shard=2)

    def shards() -> int:
        return len(list(tmp_path.glob("interrupted.checkpoints/*/shard-*/manifest.json")))

    chance = random.Random(0)
    done: list[int] = []  # finished shards at each kill
    while len(done) < 24:
        before, child = shards(), clean_fork.start(work_in_small_parts, interrupted)
        if chance.random() < 0.7:  # otherwise it dies while it starts, or before its first shard
            while shards() == before and child.is_alive():
                time.sleep(0.001)
        time.sleep(chance.choice([0.0, chance.uniform(0.0, 0.1)]))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        done.append(shards())
    assert len({count for count in done if 0 < count < 30}) >= 8, done  # kills happened between many different shards
    for run in (interrupted, whole):
        child = clean_fork.start(work_in_small_parts, run)
        child.join()
        assert child.exitcode == 0
    assert content(tmp_path / "interrupted") == content(tmp_path / "whole")
    kept = [row["qid"] for row in iter_rows(tmp_path / "interrupted")]
    assert len(kept) == len(set(kept)) == 57


@pytest.mark.slow
def test_several_workers_write_what_one_writes(model: Path, dataset: Path, reference: Path, tmp_path: Path) -> None:
    """Runs the command, because workers are processes."""
    run = settings(model, dataset, tmp_path / "out", processes=2)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in vars(run).items()]
    command = [sys.executable, "-m", "pebr.rollout", *flags]
    assert os.spawnve(os.P_WAIT, sys.executable, command, os.environ | {"OMP_NUM_THREADS": "1"}) == 0
    assert content(tmp_path / "out") == content(reference)
