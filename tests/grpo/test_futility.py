"""Training that teaches nothing says so, and ends; a faulty sampler is named as that."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pebr.grpo.measures import HistoryRow, futile_steps, futility
from pebr.sampling.contract import Sample, SampleError, check_not_finite, is_finite
from tests.grpo.conftest import ROOT, Command, environment, history

GOOD: HistoryRow = {"truncated_share": 0.5, "zero_advantage_share": 0.5, "entropy": 0.7, "reward": 0.25}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"truncated_share": 0.999}, ""),
        ({"zero_advantage_share": 0.999}, ""),
        ({"entropy": None}, ""),  # the update was refused
        ({"truncated_share": 1.0}, "all answers are cut off"),
        ({"zero_advantage_share": 1.0}, r"all advantages are zero: .* equal rewards \(mean 0.25\)"),
        ({"entropy": 2e-6}, "the entropy is 2e-06 nats per token"),
        (
            {"truncated_share": 1.0, "zero_advantage_share": 1.0, "entropy": 0.0},
            "all .* cut off: .*; all advantages are zero",
        ),
    ],
)
def test_a_step_that_teaches_nothing_is_known_by_its_row(change: HistoryRow, said: str) -> None:
    assert re.search(f"^{said}" if said else "^$", futility(GOOD | change))


def test_only_the_last_steps_in_a_row_count() -> None:
    bad = GOOD | {"truncated_share": 1.0}
    assert [futile_steps(rows) for rows in ([], [GOOD], [bad], [bad, GOOD], [bad, GOOD, bad, bad])] == [0, 0, 1, 0, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_answer_with_a_log_probability_that_is_not_finite_is_known(value: float) -> None:
    assert is_finite(Sample([1, 1], [-1.0, -2.0], "stop"))
    assert not is_finite(Sample([1, 1], [-1.0, value], "stop"))


def test_few_such_answers_are_a_warning_that_names_cause_and_remedy_and_many_stop_the_run() -> None:
    assert check_not_finite({"a": 0}, 100) == ""
    warning = check_not_finite({"a": 0, "b": 2, "c": 3}, 100)
    assert warning.startswith(
        "sampler: 5 of 100 answers have log-probabilities that are NaN or infinite, to question b, c; they are left out"
    )
    assert """CUDA graphs at large capture sizes (give --vllm-args '{"max_cudagraph_capture_size": 128}'""" in warning
    with pytest.raises(SampleError, match=r"6 of 100 answers .* more than 5%: .*--learning-rate"):
        check_not_finite({"a": 6}, 100)


def run(command: Command, folder: Path, fault: str, **changes: object) -> subprocess.CompletedProcess[str]:
    arguments = command(folder, drift_limit=0, samples=2, questions_per_step=4, **changes)
    arguments = [sys.executable, "-m", "tests.grpo.faulty", *arguments[3:]]
    return subprocess.run(
        arguments, cwd=ROOT, env=environment() | {"FAULT": fault}, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_sampler_with_nan_is_named(command: Command, tmp_path: Path) -> None:
    done = run(command, tmp_path, "nan")
    assert done.returncode == 1
    assert "SampleError: sampler: 1 of 8 answers have log-probabilities that are NaN" in done.stderr.splitlines()[-1]
    assert "synced" not in done.stderr


@pytest.mark.slow
def test_steps_that_teach_nothing_are_warned_of_and_end_the_run(command: Command, tmp_path: Path) -> None:
    done = run(command, tmp_path, "spoiled", reward="tests.grpo.rewards:nothing=1", max_steps=5, futile_steps=3)
    assert done.returncode == 2, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line and "taught nothing" in line]
    assert ["1 training steps" in warnings[0], "2 training steps" in warnings[1], len(warnings)] == [True, True, 2]
    (error,) = [line for line in done.stderr.splitlines() if " ERROR " in line]
    assert "3 training steps in a row, up to step 3, taught nothing: all answers are cut off" in error
    assert "all advantages are zero" in error
    assert len(history(tmp_path)) == 3
    assert len(list((tmp_path / "weights.checkpoints").glob("*/step-00000003/index.json"))) == 1
