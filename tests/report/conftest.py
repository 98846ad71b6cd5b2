"""The files of a made-up run, with real questions and images of the toy data."""

import io
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pebr.data.records import ANSWER_SCHEMA
from pebr.data.shards import ShardWriter
from pebr.report.findings import STEPS
from pebr.report.settings import Settings
from pebr.toy.world import questions

LEVEL = {"warmup": 0.47, "perception": 0.5, "reasoning": 0.68, "ablation": 0.67}


def write_run(folder: Path, ablation: bool = True, rows: int = 80) -> Settings:
    """Write the files of a run under `folder`; returns the settings of a report on them."""
    chance = random.Random(7)
    metrics: dict[str, dict[str, float]] = {
        step: {"started": 1.7e9, "seconds": chance.uniform(0.5, 90)} for step in STEPS
    }
    metrics["sft_filter"] |= {
        "read": 2100, "kept": 1980, "rejected/reflective": 60, "rejected/image missing": 20,
        "rejected/image too small": 25, "rejected/image cannot be read": 15,
    }  # fmt: skip
    metrics["sft"] |= {"refused_steps": 0}
    metrics["rl_filter"] |= {"read": 620, "kept": 600, "rejected/image missing": 20}
    counts = [168, 41, 38, 35, 36, 40, 47, 54, 141]
    metrics["split"] |= {f"correct/{k}": count for k, count in enumerate(counts)}
    metrics["split"] |= {"samples": 8, "easy": 141, "medium": 291, "hard": 168, "incomplete": 0}
    metrics["remeasured_split"] = metrics["split"] | {"correct/0": 155, "correct/1": 54, "medium": 304, "hard": 155}
    for step, of_step in metrics.items():
        (folder / f"{step}_metrics").write_text(json.dumps(of_step))
    (folder / "sft_history").write_text(
        "".join(
            json.dumps({"step": i, "loss": 6 * math.exp(-i / 20) + 0.3 + chance.gauss(0, 0.05)}) + "\n"
            for i in range(1, 121)
        )
    )
    for stage in ("perception", "reasoning", "ablation"):
        (folder / f"{stage}_history").write_text("".join(json.dumps(row) + "\n" for row in history(stage, chance)))
    for model in LEVEL:
        write_evaluation(folder / f"{model}_evaluation", model, rows)
    given = {
        name: str(folder / name)
        for name in Settings.__annotations__
        if name.endswith(("_metrics", "_history", "_evaluation"))
    }
    return Settings(**given, output=str(folder / "report.html"), ablation=ablation)


def history(stage: str, chance: random.Random) -> Iterator[dict]:
    rewards = {"clip": (0.62, 0.2), "keyword": (0.55, 0.3), "format": (0.97, 0.02), "length": (0.99, 0.0)}
    if stage != "perception":
        rewards = {"accuracy": (0.48, 0.25), "format": (0.97, 0.02)}
    for i in range(1, 51):
        done = 1 - math.exp(-i / 20)
        row = {f"reward/{k}": min(1.0, a + b * done + chance.gauss(0, 0.025)) for k, (a, b) in rewards.items()}
        row |= {
            f"{kind}/{name}": 0.1 * i / 50
            for kind in ("reward_at_0", "reward_at_1", "reward_spread")
            for name in rewards
        }
        if "clip" in rewards:
            row["clip_cut_off_share"] = 0.125
        yield {
            "step": i,
            "reward": 0.5,
            **row,
            "kl": 0.03 * done + abs(chance.gauss(0, 0.002)),
            "response_tokens": 46 + 4 * done + chance.gauss(0, 1),
        }


def write_evaluation(folder: Path, model: str, rows: int) -> None:
    """Write the scores.json and the answers of an evaluation."""
    chance = random.Random(model)
    correct: dict[str, list[float]] = {}
    with ShardWriter(folder / "answers" / "toy", ANSWER_SCHEMA, "answers") as writer:
        for question in questions(seed=3, rows=rows, split="test"):
            right = chance.random() < LEVEL[model]
            correct.setdefault(question.kind, []).append(float(right))
            image_file = io.BytesIO()
            question.image.save(image_file, "PNG")
            writer.write(
                {
                    "benchmark": "toy", "qid": question.qid, "question": question.problem, "answer": question.answer,
                    "category": question.kind, "response": question.response,
                    "given": question.answer if right else "7",
                    "finish_reason": "stop", "response_tokens": 45, "correct": float(right), "format": 1.0,
                    "clip": 0.6, "keyword": 0.7, "images": [{"bytes": image_file.getvalue(), "path": ""}],
                }
            )  # fmt: skip
    everything = [value for values in correct.values() for value in values]
    by = {kind: {"rows": len(v), "accuracy": sum(v) / len(v)} for kind, v in sorted(correct.items())}
    scores = {
        "accuracy": sum(everything) / len(everything), "format": 0.99, "clip": 0.6 + LEVEL[model] / 5,
        "keyword": 0.5 + LEVEL[model] / 3, "no_answer": 0.01, "response_tokens": 46.2, "too_long": 0.0,
    }  # fmt: skip
    of_benchmark = {"rows": rows, **scores, "by": {"category": by}, "set_aside": {}}
    (folder / "scores.json").write_text(json.dumps({"benchmarks": {"toy": of_benchmark}, **scores}))


@pytest.fixture
def made_up(tmp_path: Path) -> Settings:
    return write_run(tmp_path)
