"""The whole pipeline with vLLM as its sampler: it ends like with transformers."""

import json
from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from pebr.data.shards import iter_rows
from pebr.toy.clip import train_clip
from tests.pipelines.small_run import output_of, run, states

EVALUATIONS = ("evaluate-warm-up", "evaluate-stage-1", "evaluate-stage-2")
STAGES = ("stage-1-perception", "stage-2-reasoning")


def scores(work: Path) -> dict[str, dict[str, float]]:
    """Of every step that asks questions: the share of right answers to each."""
    rows = list(iter_rows(output_of(work, "rollout", "output")))
    found = {"rollout": {row["qid"]: fmean(r["accuracy"] for r in row["responses"]) for row in rows}}
    for step in EVALUATIONS:
        found[step] = {row["qid"]: row["correct"] for row in evaluated(work, step)}
    return found


def answers(work: Path, step: str) -> dict[str, str]:
    return {row["qid"]: row["response"] for row in evaluated(work, step)}


def evaluated(work: Path, step: str) -> Iterator[dict[str, Any]]:
    """An evaluation's answers, one a question."""
    (benchmark,) = (output_of(work, step, "output") / "answers").iterdir()
    return iter_rows(benchmark)


@pytest.mark.e2e
@pytest.mark.vllm
@pytest.mark.timeout(3600)
def test_with_vllm_the_pipeline_ends_like_with_transformers(tmp_path: Path) -> None:
    clip = train_clip(tmp_path / "clip", seed=0, steps=2)
    greedy = {"evaluate_samples": 1, "evaluate_temperature": 0.0}
    run(tmp_path, clip, sampling="transformers", **greedy)
    before, answers_before = scores(tmp_path), answers(tmp_path, "evaluate-warm-up")
    run(tmp_path, clip, sampling="vllm", **greedy)
    after, answers_after = scores(tmp_path), answers(tmp_path, "evaluate-warm-up")

    assert states(tmp_path, "done") >= {"rollout", "split-by-difficulty", *STAGES, *EVALUATIONS, "report"}
    assert "sft-warm-up" in states(tmp_path, "kept")
    for step, of_question in before.items():
        assert of_question.keys() == after[step].keys()
        differences = [after[step][qid] - score for qid, score in of_question.items()]
        assert len(differences) >= 100
        assert abs(fmean(differences)) <= 4 * stdev(differences) / sqrt(len(differences)), step
    unlike = [qid for qid, text in answers_before.items() if answers_after[qid] != text]
    assert len(unlike) <= 1, unlike  # of one model, by the likeliest tokens; one tie may fall either way
    for stage in STAGES:
        rows = [json.loads(line) for line in output_of(tmp_path, stage, "history").read_text().splitlines()]
        assert len(rows) == 4
        assert all(row["drift/max"] < 1e-3 for row in rows)
