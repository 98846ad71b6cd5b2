"""The committed compiled pipeline: fresh, the same each time, free of this machine, and fit for every reader."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines import recipes
from pipelines.compile import COMPILED
from pipelines.ir.plan import Output, Step
from pipelines.ir.reader import Pipeline
from pipelines.ir.values import Missing, holds, resolve

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compiled(tmp_path_factory.mktemp("fresh") / "pipeline.yaml", "1")


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(COMPILED / "pebr_r1.yaml")


def compiled(target: Path, hash_seed: str) -> bytes:
    """The pipeline compiled in a process of its own."""
    code = "import pathlib, sys; from pipelines.compile import compile_pipeline as c; c(pathlib.Path(sys.argv[1]))"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PEBR_")} | {"PYTHONHASHSEED": hash_seed}
    subprocess.run([sys.executable, "-c", code, str(target)], cwd=ROOT, env=environment, check=True)
    return target.read_bytes()


def test_two_compiles_give_the_same_bytes(fresh: bytes, tmp_path: Path) -> None:
    assert compiled(tmp_path / "again.yaml", "2") == fresh


def test_the_committed_file_is_the_sources(fresh: bytes) -> None:
    assert (COMPILED / "pebr_r1.yaml").read_bytes() == fresh, "run: make compile"


def test_nothing_of_this_machine_or_moment_is_in_it(fresh: bytes) -> None:
    text = fresh.decode()
    assert str(ROOT) not in text
    assert os.uname().nodename not in text
    assert str(Path.home()) + "/" not in text


def test_every_task_has_a_name_of_its_own_for_people(pipeline: Pipeline) -> None:
    steps = pipeline.plan({})
    titles = [step.title for step in steps if step.title != "Report"]
    assert len(set(titles)) == len(titles)
    assert all((title[0].isupper() and " " in title) or title == "Rollout" for title in titles)


def test_every_parameter_has_a_type_a_default_and_a_description(pipeline: Pipeline) -> None:
    for name, spec in pipeline.inputs.items():
        assert "defaultValue" in spec, name
        assert len(spec.get("description", "")) > 10, name
        assert name not in ("n", "y"), name


def flow(steps: list[Step]) -> set[tuple[str, str]]:
    """Which step's models and datasets go to which."""
    return {
        (source.step, step.id)
        for step in steps
        for source in step.artifacts.values()
        if isinstance(source, Output) and step.module != "pebr.report"
    }


def test_the_two_stages_follow_the_method(pipeline: Pipeline) -> None:
    steps = {step.id: step for step in pipeline.plan({})}
    perception, reasoning = steps["stage-1-perception"], steps["stage-2-reasoning"]
    assert perception.artifacts["model"] == Output("sft-warm-up", "output")
    assert perception.artifacts["dataset"] == Output("split-by-difficulty", "easy")
    assert reasoning.artifacts["model"] == Output("merge-stage-1", "output")
    assert reasoning.artifacts["dataset"] == Output("split-by-difficulty", "medium")
    assert steps["merge-stage-2"].artifacts["model"] == Output("merge-stage-1", "output")
    assert steps["rollout"].artifacts["model"] == Output("sft-warm-up", "output")
    assert {("sft-warm-up", "evaluate-warm-up"), ("merge-stage-1", "evaluate-stage-1")} <= flow(list(steps.values()))


def taken(pipeline: Pipeline, **values: object) -> dict[str, Step]:
    """The steps whose conditions on the pipeline's parameters are true."""
    steps = pipeline.plan(values)
    return {step.id: step for step in steps if all(holds(guard, lambda output: output) for guard in step.guards)}


def test_measured_again_stage_2_trains_on_what_is_medium_for_the_model_of_stage_1(pipeline: Pipeline) -> None:
    steps = taken(pipeline, remeasure=True, ablation=True)
    rollout, reasoning = steps["rollout-of-stage-1"], steps["stage-2-reasoning-remeasured"]
    assert rollout.artifacts["model"] == reasoning.artifacts["model"] == Output("merge-stage-1", "output")
    assert rollout.artifacts["dataset"] == steps["rollout"].artifacts["dataset"]
    assert steps["split-for-stage-2"].artifacts["rollouts"] == Output("rollout-of-stage-1", "output")
    assert reasoning.artifacts["dataset"] == Output("split-for-stage-2", "medium")
    assert steps["ablation-reasoning-only"].artifacts["dataset"] == Output("split-by-difficulty", "medium")
    assert "stage-2-reasoning" not in steps


def test_measured_once_the_pipeline_has_no_further_step(pipeline: Pipeline) -> None:
    once, again = taken(pipeline), taken(pipeline, remeasure=True)
    assert again.keys() - once.keys() == {"rollout-of-stage-1", "split-for-stage-2", "stage-2-reasoning-remeasured"}
    assert once.keys() - again.keys() == {"stage-2-reasoning"}
    plain, changed = once["stage-2-reasoning"], again["stage-2-reasoning-remeasured"]
    assert plain.parameters == changed.parameters
    assert plain.command == changed.command


def test_what_follows_stage_2_takes_the_one_that_ran(pipeline: Pipeline) -> None:
    merge = {step.id: step for step in pipeline.plan({})}["merge-stage-2"]
    for ran, skipped in (("", "-remeasured"), ("-remeasured", "")):

        def value_of(output: Output, skipped: str = skipped) -> Output:
            if output.step == f"stage-2-reasoning{skipped}":
                raise Missing(output.step)
            return output

        assert resolve(merge.artifacts["checkpoint"], value_of) == Output(f"stage-2-reasoning{ran}", "output")


def test_the_ablation_skips_perception(pipeline: Pipeline) -> None:
    steps = {step.id: step for step in pipeline.plan({"ablation": True})}
    ablation = steps["ablation-reasoning-only"]
    assert ablation.artifacts["model"] == Output("sft-warm-up", "output")
    assert ablation.artifacts["dataset"] == Output("split-by-difficulty", "medium")
    assert ablation.parameters["stage"].value == "reasoning"


def test_training_and_rollout_see_pictures_at_one_resolution(pipeline: Pipeline) -> None:
    steps = [s for s in pipeline.plan({"max_pixels": 123456, "min_pixels": 789}) if "max_pixels" in s.parameters]
    assert {s.module for s in steps} == {"pebr.sft", "pebr.rollout", "pebr.grpo", "pebr.evaluate"}
    assert {s.parameters["max_pixels"].value for s in steps} == {123456}
    assert {s.parameters["min_pixels"].value for s in steps} == {789}


def test_every_pipeline_parameter_reaches_a_step(pipeline: Pipeline) -> None:
    used = (COMPILED / "pebr_r1.yaml").read_text()
    for name in pipeline.inputs:
        assert f"componentInputParameter: {name}\n" in used or f"pipelinechannel--{name}\n" in used, name


@pytest.mark.parametrize("name", recipes.names())
def test_the_plan_of_a_recipe_has_no_hole(pipeline: Pipeline, name: str) -> None:
    missing = yaml.safe_load((recipes.FOLDER / "3b.yaml").read_text())["parameters"]  # the base of the other one
    changes = [f"{k}=/data/{k}" for k, v in missing.items() if v is None]
    steps = pipeline.plan(recipes.load(name, changes, pipeline.inputs))
    assert {s.module for s in steps} == {
        f"pebr.{step}"
        for step in ("ingest", "filter", "sft", "rollout", "split", "grpo", "merge", "evaluate", "report")
    }
