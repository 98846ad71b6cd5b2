"""Parameters derive from the steps' settings; all settings can be reached, and wrong ones are refused at once."""

import re
from pathlib import Path
from typing import Any

import pytest

from pebr.errors import InputError
from pebr.step.settings import fields
from pipelines import recipes
from pipelines.compile import COMPILED
from pipelines.components import component
from pipelines.ir.reader import Pipeline
from pipelines.parameters import PARAMETERS, PREFIXED, TASKS, check, fields_of, settings_of

STEPS = sorted({task.step for task in TASKS.values()})


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(COMPILED / "pebr_r1.yaml")


@pytest.mark.parametrize("step", STEPS)
def test_a_component_has_the_fields_of_the_settings(step: str) -> None:
    spec: Any = component(step).component_spec
    interface = {**(spec.inputs or {}), **(spec.outputs or {})}
    settings = {s.name: s for s in fields(settings_of(step)) if s.name != "executor_input"}
    assert interface.keys() == settings.keys()
    words = spec.implementation.container.args
    for name, setting in settings.items():
        assert setting.flag in words
        if setting.role is None:
            assert interface[name].default is None  # the pipeline has the defaults


def test_every_field_of_every_step_can_be_set(pipeline: Pipeline) -> None:
    reached = {(TASKS[task].step, field.name) for task in TASKS for _, _, field in fields_of(task)}
    fixed = {(task.step, name) for task in TASKS.values() for name in task.fixed}
    for step in STEPS:
        for field in fields(settings_of(step)):
            if field.role is None and field.name != "executor_input":
                assert (step, field.name) in reached | fixed
    assert pipeline.inputs.keys() == PARAMETERS.keys()
    for name, made in PARAMETERS.items():
        assert " ".join(pipeline.inputs[name]["description"].split()) == made.help


def test_best_weights_need_validations(pipeline: Pipeline) -> None:
    values = recipes.load("toy", ["merged_weights=best"], pipeline.inputs)
    with pytest.raises(InputError, match="merged_weights best: validations find it, give validate_every"):
        check(pipeline, values)
    check(pipeline, values | {"validate_every": 5, "remeasure": True})


def test_the_compiled_pipeline_gives_every_parameter_to_its_steps(pipeline: Pipeline) -> None:
    values = {name: f"<{name}>" for name in pipeline.inputs}
    given = {
        (step.module, value)
        for step in pipeline.plan(values)
        for source in step.parameters.values()
        if isinstance(value := getattr(source, "value", None), str)
    }
    for task in TASKS:
        for name, _, _ in fields_of(task):
            assert (f"pebr.{TASKS[task].step}", f"<{name}>") in given


def test_a_prefix_names_only_fields_that_exist() -> None:
    for prefix, (_, names) in PREFIXED.items():
        known = {f.name for task in TASKS.values() if prefix in task.prefixes for f in fields(settings_of(task.step))}
        assert set(names.split()) <= known


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("samples=1", "samples 1: an advantage compares answers"),
        ("perception_questions_per_update=700", "perception_questions_per_update 700: give 1 to perception_quest"),
        ("reasoning_questions_per_step=200", "reasoning_questions_per_step 200: give a multiple of reasoning_quest"),
        ("temperature=0", "temperature 0.0: greedy answers"),
        ("tensor_parallel=0", "tensor_parallel 0: give at least 1"),
        ("learning_rate=nan", "learning_rate nan: give more than 0"),
        ("kl_estimator=k4", "kl_estimator is 'k4': give one of k1, k2, k3"),
        ("merged_dtype=int8", "merged_dtype is 'int8'"),
    ],
)
def test_what_a_step_refuses_is_refused_before_the_first_step(pipeline: Pipeline, change: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        check(pipeline, recipes.load("3b", [change, *sources()], pipeline.inputs))


@pytest.mark.parametrize("recipe", ["toy", "3b", "7b"])
def test_the_recipes_are_accepted(pipeline: Pipeline, recipe: str) -> None:
    check(pipeline, recipes.load(recipe, sources(), pipeline.inputs))


def test_a_recipe_overrides_its_base(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: base/small.yaml\nparameters: {samples: 3}\n")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "small.yaml").write_text("base: toy\nparameters: {samples: 2, seed: 7}\n")
    loaded = recipes.load(str(tmp_path / "mine.yaml"), [], pipeline.inputs)
    assert (loaded["samples"], loaded["seed"], loaded["sft_batch_size"]) == (3, 7, 12)


@pytest.mark.parametrize(
    ("text", "said"),
    [("base: mine.yaml\nparameters: {}\n", "based on"), ("base: none\nparameters: {}\n", "mine.yaml: base: no recipe")],
)
def test_a_wrong_base_is_named(pipeline: Pipeline, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=re.escape(said)):
        recipes.load(str(tmp_path / "mine.yaml"), [], pipeline.inputs)


def sources() -> list[str]:
    return [f"{name}_source=/data/{name}" for name in ("sft", "rl", "benchmarks", "clip")]
