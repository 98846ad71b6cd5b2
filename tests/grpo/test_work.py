"""The name of a run, and its summary."""

import dataclasses
from pathlib import Path

import pytest

from pebr.grpo.measures import overview
from pebr.grpo.settings import Settings
from pebr.grpo.work import run_facts


def test_steps_without_a_value_are_left_out() -> None:
    row = {"reward": 0.5, "kl": 0.1, "entropy": 2.0, "response_tokens": 8.0, "zero_advantage_share": 0.0}
    row |= {"seconds_sampling": 1.0, "seconds_rewards": 1.0, "seconds_training": 1.0}
    refused = row | {"kl": None, "entropy": None}
    assert overview([row] * 10 + [refused] + [row] * 9 + [refused, row | {"kl": 0.3}])["kl"] == pytest.approx(0.3)
    assert "kl" not in overview([refused])


def test_another_clip_model_is_another_run_of_the_stage_that_it_rewards(tmp_path: Path) -> None:
    for name in ("model", "dataset", "clip", "other_clip"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(name)
    paths = {name: str(tmp_path / name) for name in ("model", "dataset", "output", "history", "rollouts")}
    settings = Settings(**paths, stage="perception", clip_model=str(tmp_path / "clip"))
    other = dataclasses.replace(settings, clip_model=str(tmp_path / "other_clip"))
    assert run_facts(settings) != run_facts(other)
    assert run_facts(dataclasses.replace(settings, stage="reasoning")) == run_facts(
        dataclasses.replace(other, stage="reasoning")
    )
    assert run_facts(settings) == run_facts(dataclasses.replace(settings, drift_limit=0.5, memory_share=0.3))
