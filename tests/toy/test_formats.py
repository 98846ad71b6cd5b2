"""The files of the toy data: the layouts of the public data sets, the same bytes for the same seed."""

import hashlib
import json
from pathlib import Path

import pytest

from pebr.data.benchmark import read_tsv
from pebr.data.images import ImageError, decode
from pebr.data.readers import read_rl, read_sft
from pebr.toy.formats import BLOCK, FAULT_EVERY, write_benchmarks, write_parquet, write_pebr, write_rl, write_sft
from pebr.toy.world import questions
from pebr.vlm.prompt import split_instructions

FAULTS = 5
ROWS = 2 * FAULTS * FAULT_EVERY


@pytest.fixture(scope="module")
def sft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sft")
    write_sft(directory, seed=0, rows=ROWS)
    return directory


def digests(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("write", [write_sft, write_pebr, write_rl, write_parquet, write_benchmarks])
def test_same_seed_same_bytes(write, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write(tmp_path / name, seed=seed, rows=60)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert set(digests(tmp_path / "a").values()).isdisjoint(digests(tmp_path / "c").values())


def test_sft_rows_come_in_all_forms(sft: Path) -> None:
    rows = json.loads((sft / "mulberry_sft.json").read_text())
    assert len(rows) == ROWS + 2 * FAULTS
    assert {type(row["images"]) for row in rows} == {str, list}
    assert {row["messages"][0]["content"].startswith("<image>\n") for row in rows} == {True, False}
    assert [message["role"] for message in rows[0]["messages"]] == ["user", "assistant"]


def test_each_fault_occurs_and_nothing_else_is_faulty(sft: Path) -> None:
    found: dict[str, int] = {}
    for source in read_sft(sft / "mulberry_sft.json"):
        assert source.fault is None
        [name] = source.image_paths
        reflective = "let me rethink it" in source.row["messages"][1]["content"].lower()
        try:
            image = decode((sft / name).read_bytes())
        except FileNotFoundError:
            fault = "missing"
        except ImageError:
            fault = "truncated" if (sft / name).read_bytes().startswith(b"\x89PNG") else "not an image"
        else:
            fault = "reflective" if reflective else "small" if min(image.size) < 28 else "none"
        found[fault] = found.get(fault, 0) + 1
    assert found == {"none": ROWS, "reflective": 2, "missing": 2, "small": 2, "truncated": 2, "not an image": 2}


def test_rl_rows(tmp_path: Path) -> None:
    write_rl(tmp_path, seed=0, rows=24)
    raw = json.loads((tmp_path / "pebr_grpo_dataset.json").read_text())
    assert {type(row["qid"]) for row in raw} == {str, int}
    made = list(questions(0, 24, "rl"))
    for source, asked in zip(read_rl(tmp_path / "pebr_grpo_dataset.json"), made, strict=True):
        assert source.fault is None
        assert source.row["problem"] == asked.problem
        assert source.row["answer"] == asked.answer
        assert source.row["key_words"] == list(asked.key_words)
        assert decode((tmp_path / source.image_paths[0]).read_bytes()).tobytes() == asked.image.tobytes()


def test_parquet_has_the_questions_of_the_json(tmp_path: Path) -> None:
    write_parquet(tmp_path, seed=0, rows=24)
    for source, asked in zip(read_rl(tmp_path / "train-00000-of-00001.parquet"), questions(0, 24, "rl"), strict=True):
        assert source.fault is None
        assert (source.row["problem"], source.row["answer"]) == (asked.problem, asked.answer)
        assert source.row["key_words"] == list(asked.key_words)
        assert decode(source.pictures[0].data or b"").tobytes() == asked.image.tobytes()


def test_instructions_are_inside_the_questions_of_mulberry_and_not_of_pebr(sft: Path, tmp_path: Path) -> None:
    assert all(BLOCK in row["messages"][0]["content"] for row in json.loads((sft / "mulberry_sft.json").read_text()))
    write_pebr(tmp_path, seed=0, rows=24)
    rows = json.loads((tmp_path / "pebr_sft.json").read_text())
    assert all(split_instructions(row["messages"][0]["content"])[1] == row["messages"][0]["content"] for row in rows)
    assert split_instructions(f"<image>{BLOCK}How many?") == (BLOCK, "<image>How many?")


def test_benchmark_rows(tmp_path: Path) -> None:
    write_benchmarks(tmp_path, seed=0, rows=24)
    for row, asked in zip(read_tsv(tmp_path / "toy.tsv"), questions(0, 24, "test"), strict=True):
        assert "<image>" + row.question == asked.problem
        assert (row.answer, row.category, row.split) == (asked.answer, asked.kind, asked.difficulty)
        assert json.loads(row.extra["key_words"]) == list(asked.key_words)
        assert decode(row.images[0]).tobytes() == asked.image.tobytes()
