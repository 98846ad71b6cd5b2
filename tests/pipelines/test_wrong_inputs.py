"""What a person may get wrong, through the real pipeline and steps: one line, exit code 2, nothing half-written."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pebr.toy.clip import train_clip
from pebr.toy.formats import write_benchmarks, write_rl, write_sft

ROOT = Path(__file__).parents[2]


slow = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Path:
    """Small data and models of the tiny world."""
    folder = tmp_path_factory.mktemp("world")
    for name, write in (("sft", write_sft), ("rl", write_rl), ("benchmarks", write_benchmarks)):
        (folder / name).mkdir()
        write(folder / name, 0, 12)
    shutil.copytree(tiny_models["qwen2_5_vl"], folder / "model")
    train_clip(folder / "clip", seed=0, steps=2)
    return folder


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "world"))


def start(world: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.run", "--recipe", "toy", "--work", str(world.parent / "work")]
    names = {"sft": "sft", "rl": "rl", "benchmarks": "benchmarks", "model": "model", "clip": "clip"}
    command += [f"--set={name}_source={world / folder}" for name, folder in names.items()]
    return subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, check=False)


def leave(name: str) -> Callable[[Path], None]:
    return lambda world: shutil.rmtree(world / name)


def cut_off(name: str) -> Callable[[Path], None]:
    def cut(world: Path) -> None:
        path = world / name
        path.write_bytes(path.read_bytes()[:-40])

    return cut


def without_questions(world: Path) -> None:
    for path in (world / "benchmarks").glob("*.tsv"):
        path.write_text(path.read_text().replace("\tquestion\t", "\tquery\t", 1))


def nothing(world: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "settings", "said"),
    [
        (leave("sft"), [], ["step ingest-sft-data: ", "no such file or folder", "check the path"]),
        pytest.param(cut_off("sft/mulberry_sft.json"), [], ["step filter-sft-data: ", "mulberry_sft.json"], marks=slow),
        pytest.param(
            cut_off("rl/pebr_grpo_dataset.json"), [], ["step filter-rl-data: ", "pebr_grpo_dataset.json"], marks=slow
        ),
        pytest.param(nothing, ["sft_image_root=nowhere"], ["step filter-sft-data: ", "nowhere"], marks=slow),
        (without_questions, [], ["step ingest-benchmarks: ", "no column 'question'", "VLMEvalKit"]),
        pytest.param(leave("clip"), [], ["step ingest-clip-model: ", "no such file or folder"], marks=slow),
        (nothing, ["sampling=foo"], ["sampling is 'foo'", "give one of vllm, transformers"]),
        (nothing, ["merged_dtype=int8"], ["dtype is 'int8'", "keep, float32"]),
        (nothing, ["seed=many"], ["seed is many", "a whole number"]),
        (nothing, ["sft_batch_size=0"], ["step sft-warm-up: sft_batch_size 0: give at least 1"]),
    ],
)
def test_a_wrong_input_ends_in_one_line_with_nothing_half_written(
    world: Path, spoil: Callable[[Path], None], settings: list[str], said: list[str]
) -> None:
    spoil(world)
    result = start(world, *(f"--set={setting}" for setting in settings))
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.strip().splitlines()
    assert all(part in line for part in said), line
    work = world.parent / "work"
    assert not list(work.rglob("*.partial"))
    if (work / "run.json").exists():
        told = json.loads((work / "run.json").read_text())
        assert told["state"] == "failed"
        for step in told["steps"]:
            if step["state"] == "failed":
                assert not list((work / "artifacts" / step["step"] / step["key"]).iterdir())


def test_an_unknown_recipe_is_told_in_one_line(world: Path) -> None:
    result = start(world, "--recipe", "huge")
    assert result.returncode == 2
    assert result.stderr == "error: no recipe huge: give one of 3b, 7b, board, toy, or the path of a YAML file\n"


@pytest.mark.slow
def test_a_row_without_an_answer_is_set_aside_and_counted(world: Path) -> None:
    path = world / "rl" / "pebr_grpo_dataset.json"
    rows = json.loads(path.read_text())
    del rows[0]["answer"]
    path.write_text(json.dumps(rows))
    result = start(world, "--set=sft_max_tokens=1")  # so that it ends before anything is trained
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("step sft-warm-up: ")
    assert "raise --max-tokens" in line
    work = world.parent / "work"
    (step,) = [s for s in json.loads((work / "run.json").read_text())["steps"] if s["step"] == "filter-rl-data"]
    folder = work / "artifacts" / step["step"] / step["key"]
    metrics = json.loads((folder / "metrics").read_text())
    assert metrics["read"] == len(rows)
    assert [name for name, count in metrics.items() if "answer" in name and count == 1]


@pytest.mark.parametrize(
    ("options", "said"), [("remount,ro", "Read-only file system"), ("remount,size=16k", "No space")]
)
def test_a_store_that_is_full_or_read_only_is_told_in_one_line(
    world: Path, small_disk: Path, options: str, said: str
) -> None:
    subprocess.run(["mount", "-o", options, str(small_disk)], check=True)
    result = start(world, "--store", str(small_disk))
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert said in line
    assert str(small_disk) in line
    assert not list(small_disk.rglob("status.json"))
    assert not list(small_disk.rglob("*.partial"))
