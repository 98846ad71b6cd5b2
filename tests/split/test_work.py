"""Questions are split by their share of correct answers; the order of the rows does not matter."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pebr.data.records import ROLLOUT_SCHEMA
from pebr.data.shards import ShardWriter, iter_rows, read_manifest
from pebr.errors import InputError
from pebr.split.settings import Settings
from pebr.split.work import work


def question(qid: str, correct: int, samples: int) -> dict[str, Any]:
    response = {"text": "t", "token_count": 1, "finish_reason": "stop", "logprob": -1.0}
    responses = [response | {"accuracy": float(i < correct)} for i in range(samples)]
    row = {"qid": qid, "problem": "p", "answer": "a", "key_words": ["k"], "images": [], "extra": "{}"}
    return row | {"responses": responses}


def split(tmp_path: Path, rows: list[dict[str, Any]], **settings: float) -> tuple[dict[str, Path], dict[str, float]]:
    with ShardWriter(tmp_path / "rollouts", ROLLOUT_SCHEMA, "rollouts", 7) as writer:
        for row in rows:
            writer.write(row)
    outputs = {level: tmp_path / level for level in ("easy", "medium", "hard")}
    metrics = work(Settings(rollouts=str(tmp_path / "rollouts"), **{k: str(v) for k, v in outputs.items()}, **settings))
    return outputs, dict(metrics)


def ids(directory: Path) -> list[str]:
    return [row["qid"] for row in iter_rows(directory)]


@pytest.mark.parametrize("samples", [4, 8])  # n comes from the data
def test_all_right_is_easy_and_none_right_is_hard(tmp_path: Path, samples: int) -> None:
    outputs, metrics = split(tmp_path, [question(f"q{k}", k, samples) for k in range(samples + 1)])
    assert ids(outputs["easy"]) == [f"q{samples}"]
    assert ids(outputs["hard"]) == ["q0"]
    assert ids(outputs["medium"]) == [f"q{k}" for k in range(1, samples)]
    assert metrics["samples"] == samples
    assert all(metrics[f"correct/{k}"] == 1 for k in range(samples + 1))


def test_thresholds_are_shares(tmp_path: Path) -> None:
    rows = [question(f"q{k}", k, 8) for k in range(9)]
    outputs, _ = split(tmp_path, rows, easy_at_least=0.75, hard_at_most=0.25)
    assert ids(outputs["easy"]) == ["q6", "q7", "q8"]
    assert ids(outputs["hard"]) == ["q0", "q1", "q2"]


def test_incomplete_questions_are_set_aside(tmp_path: Path) -> None:
    outputs, metrics = split(tmp_path, [question("a", 8, 8), question("b", 3, 5), question("c", 0, 0)])
    assert metrics["incomplete"] == 2
    assert read_manifest(outputs["hard"]).rejected == {"incomplete": 2}
    reasons = pq.read_table(outputs["hard"] / "rejected")["reason"].to_pylist()
    assert reasons[0].startswith("5 of 8 answers")


def test_the_order_of_the_rows_changes_nothing(tmp_path: Path) -> None:
    rows = [question(f"q{i:03d}", i % 9, 8) for i in range(60)]
    first, _ = split(tmp_path / "1", rows)
    random.Random(0).shuffle(rows)
    second, _ = split(tmp_path / "2", rows)
    for level, directory in first.items():
        for path in directory.glob("*"):
            assert path.read_bytes() == (second[level] / path.name).read_bytes()


def test_difficulty_is_a_column_and_the_histogram_a_fact(tmp_path: Path) -> None:
    outputs, _ = split(tmp_path, [question("a", 3, 8), question("b", 3, 8)])
    assert [(row["difficulty"], row["correct"], row["samples"]) for row in iter_rows(outputs["medium"])] == [
        ("medium", 3, 8)
    ] * 2
    assert read_manifest(outputs["easy"]).extra["histogram"]["3"] == 2


def test_wrong_inputs_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="first below the second"):
        split(tmp_path / "1", [question("a", 1, 2)], easy_at_least=0.2, hard_at_most=0.5)
    with pytest.raises(InputError, match="occurs twice"):
        split(tmp_path / "2", [question("a", 1, 2), question("a", 2, 2)])
    with pytest.raises(InputError, match="no question has an answer"):
        split(tmp_path / "3", [question("a", 0, 0)])


def test_as_a_command(tmp_path: Path) -> None:
    split(tmp_path, [question(f"q{k}", k, 4) for k in range(5)])
    outputs = [word for level in ("easy", "medium", "hard") for word in (f"--{level}", str(tmp_path / "again" / level))]
    command = [sys.executable, "-m", "pebr.split", "--rollouts", str(tmp_path / "rollouts"), *outputs]
    done = subprocess.run([*command, "--metrics", str(tmp_path / "metrics.json")], check=True)
    assert done.returncode == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {level: metrics[level] for level in ("easy", "medium", "hard")} == {"easy": 1, "medium": 3, "hard": 1}
    assert [metrics[f"correct/{k}"] for k in range(5)] == [1] * 5

    (tmp_path / "rollouts" / "part-00000.parquet").write_bytes(b"PAR1")
    wrong = subprocess.run(command, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    (line,) = wrong.stderr.strip().splitlines()
    assert "damaged shard" in line
