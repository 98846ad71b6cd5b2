"""Steps by kind: the evaluations of a run, the final one and its model."""

from dataclasses import replace

import pytest

from pipelines.compile import COMPILED
from pipelines.ir.kinds import evaluations, final_evaluation, final_model
from pipelines.ir.plan import Output, Step
from pipelines.ir.reader import Pipeline


def plan(ablation: bool = False) -> list[Step]:
    return Pipeline(COMPILED / "pebr_r1.yaml").plan({"ablation": ablation})


@pytest.mark.parametrize(("ablation", "more"), [(False, []), (True, ["evaluate-ablation"])])
def test_evaluations_follow_the_conditions_on_parameters(ablation: bool, more: list[str]) -> None:
    known = [step.id for step in evaluations(plan(ablation))]
    assert known == ["evaluate-warm-up", "evaluate-stage-1", "evaluate-stage-2", *more]


@pytest.mark.parametrize("ablation", [False, True])
def test_the_final_model_is_that_of_stage_2_whatever_its_title(ablation: bool) -> None:
    steps = plan(ablation)
    assert final_model(steps) == Output("merge-stage-2", "output")
    assert final_model(steps[::-1]) == final_model(steps)
    renamed = [replace(step, title=f"Renamed {i}") for i, step in enumerate(steps)]
    final = final_evaluation(renamed)
    assert final
    assert final.task == "evaluate-3"


def test_a_pipeline_without_an_evaluation_has_no_final_model() -> None:
    assert final_model([step for step in plan() if step.module != "pebr.evaluate"]) is None
