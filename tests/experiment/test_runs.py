"""A seed of the experiment on little of everything: it stops when its time is over, continues, and ends the same."""

import json
from pathlib import Path

import pytest

from benchmarks.experiment import arms as arms_of
from benchmarks.experiment.arms import Arm, Stage, arms, design, stage_names, values
from benchmarks.experiment.lab import Clock, Lab, OutOfTime
from benchmarks.experiment.runs import curve, path_of, read, run_seed

LITTLE = {
    "toy_rows": 16, "sft_max_steps": 2, "sft_batch_size": 4, "rollout_samples": 2, "samples": 2,
    "perception_questions_per_step": 2, "perception_questions_per_update": 2, "perception_max_steps": 2,
    "evaluate_samples": 1, "max_response_tokens": 12,
}  # fmt: skip


class Once(Clock):
    """Time for one step."""

    def __init__(self) -> None:
        self.asked = 0

    def check(self) -> None:
        self.asked += 1
        if self.asked > 1:
            raise OutOfTime


def test_a_finished_step_is_not_run_again(tmp_path: Path) -> None:
    lab = Lab(tmp_path, values() | LITTLE, Clock(0))
    made = lab.run("rl_data", "data")
    assert (made / "output").is_dir()
    assert lab.metrics("data")["files"] == 2
    (made / "output").rename(tmp_path / "elsewhere")
    assert lab.run("rl_data", "data") == made
    assert not (made / "output").exists()
    with pytest.raises(OutOfTime):
        Lab(tmp_path, values() | LITTLE, Clock(1e-9)).run("rl_data", "other")
    assert not lab.metrics("other")


def test_a_curve_has_the_measures_of_each_step(tmp_path: Path) -> None:
    name = "benchmarks.experiment.rewards:accuracy"
    others = {f"seconds_reward/{name}": 0.01, f"reward_at_0/{name}": 0.25, f"reward_spread/{name}": 0.125}
    rows = [{"step": step, "reward": step / 3, f"reward/{name}": 0.5, **others} for step in (1, 2)]
    (tmp_path / "history").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert curve(tmp_path / "history") == {"reward": [0.3333, 0.6667], "reward/accuracy": [0.5, 0.5]}


@pytest.mark.slow
def test_an_experiment_that_is_stopped_ends_as_one_that_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pebr.toy.board.clip import train_clip

    for taught in (arms_of.BASE, arms_of.WARM_UP):
        monkeypatch.setitem(taught, "toy_rows", 16)
        monkeypatch.setitem(taught, "sft_max_steps", 2)
    chosen = values() | LITTLE | {"clip_source": str(train_clip(tmp_path / "clip", 0, steps=1))}
    # A model that has learnt nothing finds all questions hard.
    wanted = [arms(chosen)[0], Arm("perceiving", "", (Stage("perception", "hard"),))]
    run_seed(3, tmp_path / "work", tmp_path / "whole", chosen, wanted, Clock(0))
    stops = 0
    while len(read(tmp_path / "parts", chosen).get(3, {})) < 2:
        stops += 1
        try:
            run_seed(3, tmp_path / "work-2", tmp_path / "parts", chosen, wanted, Once())
        except OutOfTime:
            assert stops < 40
    assert stops > 8
    for arm in wanted:
        whole, parts = (json.loads(path_of(tmp_path / name, 3, arm.name).read_text()) for name in ("whole", "parts"))
        assert whole.pop("seconds")
        assert parts.pop("seconds")
        assert whole == parts
        assert whole["design"] == design(chosen)
    [stage] = stage_names(wanted[1])
    assert len(whole["curves"][0]["reward"]) == 2
    assert (tmp_path / "work" / design(chosen) / "seed-3" / stage / "output").exists()
    assert read(tmp_path / "whole", chosen | {"learning_rate": 0.5}) == {}
