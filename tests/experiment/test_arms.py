"""The arms: what they have in common is trained once, and equal budgets are equal."""

from pathlib import Path

import pytest

from benchmarks.experiment import arms as module
from benchmarks.experiment.arms import STARTS, Arm, arms, design, source_digest, stage_names, values
from pipelines.parameters import PARAMETERS

VALUES = values()
ARMS = {arm.name: arm for arm in arms(VALUES)}


def budget(arm: Arm) -> tuple[int, int]:
    """Training steps and sampled questions."""
    steps, questions = 0, 0
    for stage in arm.stages:
        given = VALUES | dict(stage.changes)
        steps += given[f"{stage.task}_max_steps"]
        questions += given[f"{stage.task}_max_steps"] * given[f"{stage.task}_questions_per_step"]
    return steps, questions


def test_equal_budgets_are_equal_and_the_two_differ() -> None:
    two = budget(ARMS["two_stages"])
    assert budget(ARMS["reasoning_steps"])[0] == budget(ARMS["mixed"])[0] == two[0]
    assert budget(ARMS["reasoning_answers"])[1] == two[1]
    assert budget(ARMS["reasoning_steps"])[1] < two[1]
    assert budget(ARMS["two_stages_seeing"]) == two


def test_equal_beginnings_have_one_folder() -> None:
    names = {name: stage_names(arm) for name, arm in ARMS.items()}
    assert names["two_stages"][0] == names["stage_1"][0] == names["two_stages_seeing"][0]
    last = [stages[-1] for stages in names.values() if stages]
    assert len(set(last)) == len(last)
    assert names["warm_up"] == []


def test_changes_name_parameters_of_the_pipeline() -> None:
    assert {name for arm in ARMS.values() for stage in arm.stages for name in stage.changes} <= set(PARAMETERS)


def test_the_design_follows_the_recipe_and_not_the_seed_or_new_settings() -> None:
    assert design(VALUES) == design(values())
    assert design(VALUES | {"learning_rate": 1e-3}) != design(VALUES)
    assert design(VALUES | {"reasoning_max_steps": 7}) != design(VALUES)
    assert len({design(VALUES, start) for start in STARTS.values()}) == len(STARTS)


def test_the_design_follows_the_source_of_the_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = design(VALUES)
    (tmp_path / "part").mkdir()
    source = tmp_path / "part" / "rule.py"
    source.write_text("RULE = 1\n")
    first = source_digest(tmp_path)
    (tmp_path / "part" / "rule.pyc").write_bytes(b"compiled")
    assert source_digest(tmp_path) == first
    source.write_text("RULE = 2\n")
    assert source_digest(tmp_path) != first
    source.rename(tmp_path / "rule.py")
    (tmp_path / "rule.py").write_text("RULE = 1\n")
    assert source_digest(tmp_path) != first
    monkeypatch.setattr(module.toy, "__path__", [str(tmp_path)])
    assert design(VALUES) != now
