"""Recipes: the method's numbers, and clear refusals."""

from pathlib import Path

import pytest

from pebr.errors import InputError
from pipelines import recipes
from pipelines.compile import COMPILED
from pipelines.ir.reader import Pipeline

INPUTS = Pipeline(COMPILED / "pebr_r1.yaml").inputs
SOURCES = [f"{name}_source=/data" for name in ("sft", "rl", "benchmarks", "clip")]
# method.md, sections SFT, Rollout, Rewards, GRPO
METHOD = {
    "sft_learning_rate": 1e-5, "sft_warmup_ratio": 0.1, "sft_epochs": 2, "sft_max_tokens": 4096, "zero_stage": 3,
    "rollout_samples": 8, "rollout_temperature": 1.2, "rollout_top_p": 0.99, "max_prompt_tokens": 2048,
    "max_response_tokens": 2048, "min_pixels": 576, "max_pixels": 802816, "min_side": 28, "clip_weight": 0.4,
    "keyword_weight": 0.4, "format_weight": 0.1, "length_weight": 0.1, "accuracy_weight": 0.9, "reward_mode": "paper",
    "learning_rate": 1e-6, "weight_decay": 1e-2, "kl_weight": 0.01, "clip_low": 0.2, "clip_high": 0.3, "clip_dual": 3.0,
    "samples": 8, "temperature": 1.2, "perception_questions_per_step": 560, "perception_questions_per_update": 112,
    "perception_epochs": 1, "reasoning_questions_per_step": 512, "reasoning_questions_per_update": 128,
    "reasoning_epochs": 2, "dtype": "bf16", "easy_at_least": 1.0, "hard_at_most": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("recipe", ["3b", "7b"])
def test_the_paper_recipes_have_the_methods_numbers(recipe: str) -> None:
    values = recipes.load(recipe, SOURCES, INPUTS)
    assert {name: values[name] for name in METHOD} == METHOD


def test_updates_a_step_are_the_methods() -> None:
    values = recipes.load("7b", SOURCES, INPUTS)
    assert values["perception_questions_per_step"] / values["perception_questions_per_update"] == 5
    assert values["reasoning_questions_per_step"] / values["reasoning_questions_per_update"] == 4


def test_the_toy_recipe_needs_nothing_from_outside() -> None:
    values = recipes.load("toy", [], INPUTS)
    assert all(value.startswith("toy://") for name, value in values.items() if name.endswith("_source"))


def test_a_value_has_its_declared_type() -> None:
    values = recipes.load("toy", ["kl_weight=1e-2", "seed=7", "ablation=True", "reward_mode=released"], INPUTS)
    assert (values["kl_weight"], values["seed"], values["ablation"]) == (0.01, 7, True)
    assert all(isinstance(values[k], int) for k, v in INPUTS.items() if v["parameterType"] == "NUMBER_INTEGER")
    assert all(isinstance(values[k], float) for k, v in INPUTS.items() if v["parameterType"] == "NUMBER_DOUBLE")


@pytest.mark.parametrize(
    ("recipe", "changes", "told"),
    [
        ("huge", [], "no recipe huge"),
        ("7b", [], "no value for benchmarks_source, clip_source, rl_source, sft_source"),
        ("toy", ["sead=1"], "did you mean seed?"),
        ("toy", ["xyzzy=1"], "lists them all"),
        ("toy", ["seed=1.5"], "give a whole number"),
        ("toy", ["ablation=maybe"], "give true or false"),
        ("toy", ["learning_rate=fast"], "give a number"),
        ("toy", ["seed"], "name=value"),
    ],
)
def test_a_wrong_recipe_or_value_is_told_in_one_line(recipe: str, changes: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        recipes.load(recipe, changes, INPUTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["parameters: [", "- a", "parameters: 3", "", "parameters: {seed: 1, sead: 2}"])
def test_a_broken_recipe_file_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml") as caught:
        recipes.load(str(path), [], INPUTS)
    assert "\n" not in str(caught.value)
