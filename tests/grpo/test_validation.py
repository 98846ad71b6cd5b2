"""Validation of a GRPO stage: it changes no sample, finds the best checkpoint, and ends a run that got worse."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pebr.data.shards import iter_rows
from pebr.errors import InputError
from pebr.grpo.measures import exhausted
from pebr.grpo.settings import Settings
from pebr.merge.settings import Settings as MergeSettings
from pebr.merge.work import work as merge
from pebr.report.live import CheckpointPlace
from pebr.training.consolidate import consolidate
from tests.grpo.conftest import ROOT, Command, environment, finish, history
from tests.training.resumed import files

GOOD: dict[str, Any] = {"step": 7, "truncated_share": 0.5, "zero_advantage_share": 0.5, "entropy": 0.7, "reward": 0.25}
FLAT = GOOD | {"zero_advantage_share": 1.0}
CUT = FLAT | {"truncated_share": 1.0}
SETTINGS: dict[str, Any] = {"validation_questions": 6, "samples": 2, "epochs": 30}


def test_gone_advantages_end_a_stage_that_has_learned() -> None:
    assert "all advantages are zero" in exhausted([GOOD, FLAT, FLAT], 2)
    assert [exhausted(rows, 2) for rows in ([GOOD, FLAT], [FLAT, FLAT], [GOOD, CUT, CUT])] == ["", "", ""]
    assert exhausted([GOOD, FLAT, FLAT], 0) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"validation_samples": 2}, "--validation-samples 2: greedy answers are all the same"),
        ({"stop_at": 0.5}, "--stop-at 0.5: there is nothing to compare with"),
        ({"stop_patience": 3}, "--stop-patience 3: there is nothing"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Settings(model="m", dataset="d", output="o", history="h", rollouts="r", clip_model="c", **change)


def weights(folder: Path) -> dict[str, bytes]:
    """The files of sharded weights, without the folder of the best."""
    return files(folder, ["best", "best.json"])


@pytest.mark.slow
def test_a_validation_changes_neither_samples_nor_weights(
    command: Command, tmp_path: Path, question_rows: Path
) -> None:
    for name, every in (("rarely", 3), ("always", 1)):
        finish(command(tmp_path / name, **SETTINGS, validate_every=every, validation_temperature=0.7))
    seldom, often = history(tmp_path / "rarely"), history(tmp_path / "always")
    assert [{k: v for k, v in row.items() if not k.startswith("validation/")} for row in often] == [
        {k: v for k, v in row.items() if not k.startswith("validation/")} for row in seldom
    ]
    assert [row.get("validation/updates") for row in (*seldom, *often)] == [None, None, 6, 2, 4, 6]
    assert seldom[2] == often[2]
    assert files(tmp_path / "rarely" / "rollouts") == files(tmp_path / "always" / "rollouts")
    assert weights(tmp_path / "rarely" / "weights") == weights(tmp_path / "always" / "weights")
    asked = {row["qid"] for row in iter_rows(tmp_path / "always" / "rollouts", ["qid"])}
    assert len(asked) < len({row["qid"] for row in iter_rows(question_rows, ["qid"])})
    [live] = CheckpointPlace(str(tmp_path / "always" / "weights.checkpoints")).read().trainings
    assert (live.running, live.shown["steps"], len(live.rows)) == (False, 3, 3)
    assert live.shown["sampled"] == "to held-out questions in step 3"
    assert live.shown["sample"][0]["image"].startswith("data:image/png;base64,")
    held = {row["problem"] for row in iter_rows(question_rows, ["qid", "problem"]) if row["qid"] not in asked}
    assert {question["question"] for question in live.shown["sample"]} <= held


def broken(arguments: list[str]) -> str:
    """Run a command whose learning rate rises without end; returns its log."""
    arguments = [sys.executable, "-m", "tests.grpo.faulty", *arguments[3:]]
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment() | {"FAULT": "rising"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@pytest.mark.slow
def test_the_best_checkpoint_is_the_one_before_training_broke(
    command: Command, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    rising = SETTINGS | {"validate_every": 1, "learning_rate": 2e-4, "questions_per_update": 8, "drift_limit": 0}
    rising |= {"max_steps": 40, "keep_checkpoints": 1, "stop_patience": 3, "max_grad_norm": 0}
    log = broken(command(tmp_path / "run", **rising))
    rows = history(tmp_path / "run")
    scores = [row["validation/reward"] for row in rows]
    best = scores.index(max(scores))
    assert 3 < best + 1 == len(rows) - 3 < 37  # three worse validations ended the run
    assert scores[best] > 2 * scores[0]
    assert scores[best] > 1.2 * scores[-1]
    assert rows[-1]["stopped"].startswith("3 validations in a row without a better validation/reward than")
    assert f"stopped early, after step {len(rows)} of 40: 3 validations" in log
    assert json.loads((tmp_path / "run/weights/best.json").read_text())["step"] == best + 1

    broken(command(tmp_path / "until", **rising | {"max_steps": best + 1}))  # the same run, ended before it broke
    expected = weights(tmp_path / "until" / "weights")
    assert weights(tmp_path / "run" / "weights" / "best") == expected != weights(tmp_path / "run" / "weights")
    given = {"checkpoint": str(tmp_path / "run" / "weights"), "model": str(tiny_models["qwen2_5_vl"])}
    merge(MergeSettings(**given, output=str(tmp_path / "merged"), weights="best"))
    consolidate(tmp_path / "until" / "weights", tiny_models["qwen2_5_vl"], tmp_path / "expected")
    assert files(tmp_path / "merged") == files(tmp_path / "expected")
