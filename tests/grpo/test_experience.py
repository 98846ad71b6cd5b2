"""One training step of the real stage: scored while it samples, and without an answer whose log-probability is NaN."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pebr.data.shards import iter_rows
from pebr.grpo import scoring
from pebr.grpo.advantages import group_advantages
from pebr.grpo.settings import Settings
from pebr.grpo.work import work
from pebr.rewards.stages import StageReward
from pebr.sampling import transformers_engine
from pebr.sampling.contract import Sample
from pebr.sampling.transformers_engine import TransformersSampler
from pebr.telemetry.history import read_history

QUESTIONS, SAMPLES = 8, 4


def test_a_step_with_one_nan_answer_in_which_rewards_overlap_sampling(
    tiny_models: dict[str, Path],
    question_rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scored = threading.Event()
    part, plain = StageReward.part, TransformersSampler.stream
    asked: list[str] = []

    def noted(self: StageReward, *arguments: Any) -> Any:
        scored.set()
        return part(self, *arguments)

    def stream(self: TransformersSampler, *arguments: Any) -> Iterator[tuple[str, list[Sample]]]:
        for number, (qid, samples) in enumerate(plain(self, *arguments)):
            asked.append(qid)
            if number == 0:
                samples[1] = samples[1]._replace(logprobs=[math.nan, *samples[1].logprobs[1:]])
            if number == QUESTIONS - 1:  # the last question is not answered before others are scored
                assert scored.wait(timeout=60)
            yield qid, samples

    monkeypatch.setattr(scoring, "TOGETHER", 2)
    monkeypatch.setattr(transformers_engine, "ROWS", 2 * SAMPLES)
    monkeypatch.setattr(StageReward, "part", noted)
    monkeypatch.setattr(TransformersSampler, "stream", stream)
    settings = Settings(
        model=str(tiny_models["qwen2_5_vl"]),
        dataset=str(question_rows),
        output=str(tmp_path / "weights"),
        history=str(tmp_path / "history.jsonl"),
        rollouts=str(tmp_path / "rollouts"),
        reward="tests.grpo.rewards:vowels=1",
        questions_per_step=QUESTIONS,
        questions_per_update=QUESTIONS // 2,
        samples=SAMPLES,
        max_steps=1,
        max_response_tokens=8,
        sampling="transformers",
        dtype="fp32",
        zero_stage=0,
        processes=1,
    )
    work(settings)
    (row,) = read_history(settings.history)
    assert row["answers_left_out"] == 1
    assert row["refused_updates"] == 0
    assert row["drift/max"] < 1e-4
    assert f"1 of 32 answers have log-probabilities that are NaN or infinite, to question {asked[0]};" in caplog.text
    answered = {question["qid"]: question["responses"] for question in iter_rows(settings.rollouts)}
    assert {qid: len(responses) for qid, responses in answered.items()} == {
        qid: SAMPLES - (qid == asked[0]) for qid in asked
    }
    left = answered[asked[0]]
    expected = group_advantages([[response["reward"] for response in left]], "std")[0]
    assert [response["advantage"] for response in left] == pytest.approx(expected.tolist(), rel=1e-3)
    seconds = {name: row[f"seconds_{name}"] for name in ("encode", "sampling", "rewards", "waiting", "step")}
    assert all(value > 0 for value in seconds.values())
    assert seconds["sampling"] < seconds["step"]
