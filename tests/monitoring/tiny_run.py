"""The steps of a tiny run, as commands: real data with faults, a model that has learned the format, five steps."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pebr.data.records import RL_SCHEMA
from pebr.data.shards import ShardWriter
from pebr.toy.clip import train_clip
from pebr.toy.formats import png, write_benchmarks, write_sft
from pebr.toy.vlm import build_model
from pebr.toy.world import questions

ROOT = Path(__file__).parents[2]
STEPS = ("filter", "sft", "rollout", "grpo", "evaluate")
MODEL = {"sampling": "transformers", "dtype": "fp32"}
TRAINING = {"dtype": "fp32", "zero_stage": 0, "processes": 1, "gradient_checkpointing": "false"}


class TinyRun:
    """A folder with inputs, and the commands of the steps, which write into it.

    Args:
        folder: for all files.
        seed: of everything random.
        questions_asked: of the RL set.
    """

    def __init__(self, folder: Path, seed: int = 0, questions_asked: int = 12) -> None:
        self.folder, self.seed = folder, seed
        write_sft(folder / "raw", seed, 150)
        write_benchmarks(folder / "benchmarks", seed, 12)
        build_model(folder / "base", seed, "qwen2_5_vl", width=64, layers=2, vision_width=64)
        train_clip(folder / "clip", seed, steps=1)
        with ShardWriter(folder / "rl", RL_SCHEMA, "rl") as writer:
            for question in questions(seed, questions_asked, "rl"):
                images = [{"bytes": png(question.image), "path": None}]
                told = {"qid": question.qid, "problem": question.problem, "answer": question.answer, "extra": ""}
                writer.write({**told, "key_words": list(question.key_words), "images": images})

    def command(self, step: str, name: str = "", **changes: object) -> list[str]:
        """The command line of a step, which writes to a folder of this name, by default that of the step."""
        out = self.folder / (name or step)
        settings: dict[str, object] = {
            "filter": {"source": self.folder / "raw", "kind": "sft", "output": out},
            "sft": {
                **TRAINING,
                **{"model": self.folder / "base", "dataset": self.folder / "filter", "output": out / "model"},
                **{"history": out / "history.jsonl", "epochs": 100, "max_steps": 60, "batch_size": 12},
                **{"learning_rate": 3e-3, "seed": self.seed},
            },
            "rollout": {
                **MODEL,
                **{"model": self.trained, "dataset": self.folder / "rl", "output": out, "seed": self.seed},
                **{"samples": 4, "max_response_tokens": 128, "rows_per_shard": 4, "checkpoints": out / "shards"},
            },
            "grpo": {
                **TRAINING,
                **MODEL,
                **{"model": self.trained, "dataset": self.folder / "rl", "clip_model": self.folder / "clip"},
                **{"output": out / "weights", "history": out / "history.jsonl", "rollouts": out / "rollouts"},
                **{"stage": "perception", "questions_per_step": 4, "questions_per_update": 4, "samples": 4},
                **{"epochs": 1000, "max_steps": 14, "max_response_tokens": 128, "learning_rate": 1e-4},
                **{"temperature": 1, "save_every": 10, "seed": self.seed},
            },
            "merge": {"model": self.trained, "output": out},
            "evaluate": {
                **MODEL,
                **{"model": self.trained, "benchmarks": self.folder / "benchmarks", "output": out, "seed": self.seed},
                **{"max_response_tokens": 128},
            },
        }[step]  # type: ignore[assignment]
        out.mkdir(exist_ok=True)
        settings |= {"metrics": self.folder / f"{out.name}.json", **changes}
        flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        return [sys.executable, "-m", f"pebr.{step}", *flags]

    @property
    def trained(self) -> Path:
        """The model that SFT makes."""
        return self.folder / "sft" / "model"

    def start(
        self, step: str, name: str = "", variables: Mapping[str, str] = {}, **changes: object
    ) -> "subprocess.Popen[bytes]":
        """Start a step with these environment variables; its log is beside its folder."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}
        with (self.folder / f"{name or step}.log").open("w") as log:
            return subprocess.Popen(
                self.command(step, name, **changes), stdout=log, stderr=log, env=environment, cwd=ROOT
            )

    def run(self, step: str, name: str = "", variables: Mapping[str, str] = {}, **changes: object) -> None:
        """Run a step to its end, which is expected to be good."""
        process = self.start(step, name, variables, **changes)
        assert process.wait(600) == 0, (self.folder / f"{name or step}.log").read_text()
