"""Trained for it, a model describes what its answers need; killed and resumed, it ends with the same bytes."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import pytest

from pebr.data.shards import iter_rows
from tests.grpo.conftest import Command, finish, history
from tests.grpo.describing import warm_up, write_questions
from tests.training.resumed import run_with_kills

pytestmark = pytest.mark.slow

SETTINGS: dict[str, object] = {
    "reward": "",
    "stage": "perception",
    **{f"{name}_weight": 0 for name in ("clip", "keyword", "length")},
    "format_weight": 0.1,
    "sufficiency_weight": 1,
    "sufficiency_tokens": 40,
    "max_response_tokens": 64,
    "temperature": 1,
    "samples": 8,
    "questions_per_step": 12,
    "questions_per_update": 12,
    "epochs": 20,
    "learning_rate": 3e-4,
    "save_every": 0,
    "freeze_vision": "true",  # the little that it has learned to see does not survive large updates
    "separate_advantages": "true",
}


@pytest.fixture(scope="module")
def described(tiny_models: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, object]:
    """The settings of a run with a model that describes the left square in half of its answers."""
    folder = tmp_path_factory.mktemp("described")
    write_questions(folder / "questions", 60)
    return SETTINGS | {"model": warm_up(tiny_models["qwen2_5_vl"], folder / "warm"), "dataset": folder / "questions"}


def test_descriptions_come_to_say_what_the_question_needs(
    command: Command, described: Mapping[str, object], tmp_path: Path
) -> None:
    finish(command(tmp_path, **described | {"max_steps": 12}))
    rows = history(tmp_path)
    shares = [row["reward/sufficiency"] for row in rows]
    assert 0.3 < fmean(shares[:3]) < 0.7
    assert fmean(shares[-4:]) > fmean(shares[:3]) + 0.1  # of 384 and 288 answers: about three standard errors
    assert all(row["sufficiency_tokens"] > 0 for row in rows)
    assert max(row["drift/max"] for row in rows) < 1e-4
    named = {
        step: fmean("top-left" in response["text"].split("###")[1] for row in group for response in row["responses"])
        for step, group in ((n, [r for r in iter_rows(tmp_path / "rollouts") if r["step"] == n]) for n in (1, 12))
    }
    assert named[12] > named[1] + 0.1


def test_a_killed_run_ends_with_the_same_bytes(
    command: Command, described: Mapping[str, object], tmp_path: Path
) -> None:
    settings = described | {"max_steps": 3, "save_every": 1, "sufficiency_temperature": 1, "noise": 500}
    finish(command(tmp_path / "whole", **settings))
    run_with_kills("pebr.grpo.settings", "pebr.grpo.work", command(tmp_path / "killed", **settings)[3:], 3, 6.0)
    assert history(tmp_path / "killed") == history(tmp_path / "whole")
    found, expected = (
        {
            path.name: path.read_bytes()
            for part in ("weights", "rollouts")
            for path in (tmp_path / name / part).iterdir()
        }
        for name in ("killed", "whole")
    )
    assert found == expected
