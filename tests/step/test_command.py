"""The outer shape of a step: exit codes, whole outputs, metrics for the UI."""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from pebr.errors import InputError, Preempted
from pebr.files import atomic_directory, atomic_file
from pebr.step.command import main, parse
from pebr.step.settings import StepSettings


@dataclass(frozen=True, kw_only=True)
class Settings(StepSettings):
    """A step."""

    output: Annotated[str, "Where to write."] = ""
    fast: Annotated[bool, "Whether to hurry."] = False


def exit_code(work, arguments=()) -> int:
    with pytest.raises(SystemExit) as stop:
        main(Settings, work, list(arguments))
    return stop.value.code


@pytest.mark.parametrize("word", ["true", "True", "TRUE"])
def test_booleans_are_read_as_yaml_and_as_python_write_them(word: str) -> None:
    assert parse(Settings, ["--fast", word]).fast is True


def test_a_wrong_input_ends_in_one_line_and_code_2(caplog: pytest.LogCaptureFixture) -> None:
    def work(_: Settings) -> dict[str, float]:
        raise InputError("data.json: no such file: give --dataset an existing one")

    caplog.set_level(logging.INFO, "pebr")
    assert exit_code(work) == 2


def test_a_preempted_step_asks_to_be_tried_again() -> None:
    def work(_: Settings) -> dict[str, float]:
        raise Preempted("stopped after step 7")

    assert exit_code(work) == 75


def test_metrics_reach_the_file_and_kubeflow(tmp_path: Path) -> None:
    description = {
        "outputs": {
            "artifacts": {"metrics": {"artifacts": [{"name": "m", "uri": "s3://b/m", "metadata": {}}]}},
            "outputFile": str(tmp_path / "executor_output.json"),
        }
    }
    arguments = ["--metrics", str(tmp_path / "metrics.json"), "--executor-input", json.dumps(description)]
    assert exit_code(lambda _: {"accuracy": 0.5}, arguments) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["accuracy"] == 0.5
    assert metrics["seconds"] >= 0
    output = json.loads((tmp_path / "executor_output.json").read_text())
    assert output["artifacts"]["metrics"]["artifacts"][0]["metadata"]["accuracy"] == 0.5


def test_a_scalar_that_json_cannot_hold_is_left_out(tmp_path: Path) -> None:
    work = {"loss": math.nan, "reward": math.inf, "steps": 3}
    assert exit_code(lambda _: work, ["--metrics", str(tmp_path / "metrics.json")]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics) == {"steps", "started", "seconds"}


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def fail() -> None:
        with atomic_directory(target) as path:
            (path / "half").write_text("x")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with atomic_directory(target) as path:
        (path / "a").write_text("1")
    with atomic_directory(target) as path:
        (path / "b").write_text("2")
    assert [p.name for p in target.iterdir()] == ["b"]


def test_what_a_kill_left_beside_a_target_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "old").write_text("x")
    with atomic_directory(tmp_path / "out") as path:
        (path / "new").write_text("y")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["new"]


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    with atomic_file(tmp_path / "f") as path:
        path.write_text("new")
        assert (tmp_path / "f").read_text() == "old"
    assert (tmp_path / "f").read_text() == "new"
