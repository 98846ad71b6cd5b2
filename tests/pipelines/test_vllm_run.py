"""The whole pipeline with vLLM as its sampler: it ends like with transformers."""

import json
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from pebr.data.shards import iter_rows
from pebr.toy.clip import train_clip
from tests.pipelines.small_run import run, statuses


def made(work: Path, step: str, name: str) -> Path:
    return work / "artifacts" / step / statuses(work)[step]["key"] / name


def told(work: Path) -> dict[str, Any]:
    """Metrics of every step that has run."""
    done = [step for step, status in statuses(work).items() if status["state"] in ("done", "kept")]
    return {step: json.loads(made(work, step, "metrics").read_text()) for step in done}


@pytest.mark.e2e
@pytest.mark.vllm
@pytest.mark.timeout(3600)
def test_with_vllm_the_pipeline_ends_like_with_transformers(tmp_path: Path) -> None:
    clip = train_clip(tmp_path / "clip", seed=0, steps=2)
    run(tmp_path, clip, sampling="transformers")
    before = told(tmp_path)
    run(tmp_path, clip, sampling="vllm")
    after = told(tmp_path)

    assert after.keys() == before.keys()
    sampled = {step for step, status in statuses(tmp_path).items() if status["state"] == "done"}
    assert {"rollout", "stage-1-perception", "stage-2-reasoning", "evaluate-stage-2"} <= sampled
    assert "sft-warm-up" not in sampled
    for step in ("rollout", *(step for step in after if step.startswith("evaluate"))):
        questions = after[step]["questions"]
        assert questions == before[step]["questions"] > 0
        error = sqrt(2 * 0.25 / questions)  # of the difference, were all answers to a question the same
        assert abs(after[step]["accuracy"] - before[step]["accuracy"]) < 3 * error, step
    for stage in ("stage-1-perception", "stage-2-reasoning"):
        rows = [json.loads(line) for line in made(tmp_path, stage, "history").read_text().splitlines()]
        assert len(rows) == 4
        assert all(row["drift/max"] < 1e-3 for row in rows)
    answers = [r for row in iter_rows(made(tmp_path, "rollout", "output")) for r in row["responses"]]
    assert len(answers) == 4 * after["rollout"]["questions"]
