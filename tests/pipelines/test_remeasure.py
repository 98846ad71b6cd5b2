"""A small toy pipeline whose difficulty is measured again before stage 2, by its command."""

from pathlib import Path

import pytest

from pebr.data.shards import iter_rows
from pebr.toy.clip import train_clip
from tests.pipelines.small_run import output_of, run, states

AGAIN = {"rollout-of-stage-1", "split-for-stage-2", "stage-2-reasoning-remeasured"}


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_stage_2_trains_on_what_is_medium_for_the_model_of_stage_1(tmp_path: Path) -> None:
    work = tmp_path / "run"
    run(work, train_clip(tmp_path / "clip", seed=0, steps=2), remeasure=True)
    assert states(work, "skipped") >= {"stage-2-reasoning"}
    assert states(work, "done") >= {*AGAIN, "merge-stage-2", "evaluate-stage-2", "report"}
    right = {
        row["qid"]: [answer["accuracy"] for answer in row["responses"]]
        for row in iter_rows(output_of(work, "rollout-of-stage-1", "output"))
    }
    medium = {row["qid"] for row in iter_rows(output_of(work, "split-for-stage-2", "medium"))}
    assert medium == {qid for qid, found in right.items() if 0 < sum(found) < 2}  # easy_at_least is half of 4
    asked = {row["qid"] for row in iter_rows(output_of(work, "stage-2-reasoning-remeasured", "rollouts"))}
    assert asked
    assert asked <= medium
    assert "Difficulty for stage 2" in output_of(work, "report", "output").read_text()
