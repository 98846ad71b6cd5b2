"""A small dataset of questions, and the command to train on it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pebr.data.records import RL_SCHEMA
from pebr.data.shards import ShardWriter
from pebr.telemetry.history import read_history
from pebr.toy.formats import png
from pebr.toy.world import questions

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def question_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 questions of the tiny world, as a dataset."""
    directory = tmp_path_factory.mktemp("questions")
    with ShardWriter(directory, RL_SCHEMA, "rl") as writer:
        for question in questions(0, 24, "rl"):
            images = [{"bytes": png(question.image.resize((56, 56))), "path": None}]
            writer.write(
                {
                    "qid": question.qid,
                    "problem": question.problem,
                    "answer": question.answer,
                    "key_words": list(question.key_words),
                    "images": images,
                    "extra": "",
                }
            )
    return directory


Command = Callable[..., list[str]]


@pytest.fixture(scope="session")
def command(tiny_models: dict[str, Path], question_rows: Path) -> Command:
    """`command(folder, learning_rate=1e-3, ...)`: the command line of a run that writes to a folder."""

    def build(folder: Path, **changes: object) -> list[str]:
        settings = {
            "model": tiny_models["qwen2_5_vl"],
            "dataset": question_rows,
            "output": folder / "weights",
            "history": folder / "history.jsonl",
            "rollouts": folder / "rollouts",
            "metrics": folder / "metrics.json",
            "reward": "tests.grpo.rewards:vowels=1",
            "accuracy_weight": 0,
            "format_weight": 0,
            "questions_per_step": 8,
            "questions_per_update": 4,
            "samples": 4,
            "max_steps": 3,
            "max_response_tokens": 16,
            "learning_rate": 1e-3,
            "kl_weight": 0.01,
            "ratio_cap": 0,  # it applies only to the sampler's probabilities, not to recomputed ones
            "sampling": "transformers",
            "dtype": "fp32",
            "zero_stage": 0,
            "processes": 1,
            "gradient_checkpointing": "false",
            "save_every": 1,
            **changes,
        }
        flags = [str(part) for name, value in settings.items() for part in ("--" + name.replace("_", "-"), value)]
        return [sys.executable, "-m", "pebr.grpo", *flags]

    return build


def environment() -> dict[str, str]:
    """One thread per process, so that sums have the same order and processes do not compete for cores."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'components'}{os.pathsep}{ROOT}"}


def finish(arguments: list[str]) -> None:
    """Run a command and check that it succeeds."""
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr


def history(folder: Path) -> list[dict[str, float]]:
    """The history of a run without seconds."""
    return [
        {name: value for name, value in row.items() if not name.startswith("seconds")}
        for row in read_history(folder / "history.jsonl")
    ]
