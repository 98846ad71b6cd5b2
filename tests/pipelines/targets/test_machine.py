"""Runs on this machine: found again by name, followed, told of when they fail."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from pipelines import submit
from pipelines.ir.plan import Output
from pipelines.targets import FAILED, RUNNING, SUCCEEDED
from pipelines.targets.machine import Machine


@pytest.fixture
def send(runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Submit a pipeline of one shell script."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEBR_REVISION", "4cb250a1c0ffee")

    @dsl.pipeline(name="single")
    def pipeline(script: str):
        runner.shell(script=script).set_display_name("Only")

    path = runner.compile(pipeline)
    command = ["--to", "local", "--pipeline", str(path), "--recipe", str(runner.recipe), "--poll", "0.05", "--wait"]
    return lambda script, *more: submit.main([*command, "--set", f"script={script}", *more])


def test_a_run_is_done_once_and_its_steps_are_kept_for_other_runs(send: Callable[..., int], tmp_path: Path) -> None:
    script = f"echo ran >> {tmp_path}/trace; echo made > $1"
    assert [send(script), send(script)] == [0, 0]
    assert (tmp_path / "trace").read_text() == "ran\n"
    assert send(script, "--occasion", "monday", "--summary", "page.md") == 0  # another run, the same step
    assert (tmp_path / "trace").read_text() == "ran\n"
    assert "| only | kept |" in (tmp_path / "page.md").read_text()
    assert len(list((tmp_path / "runs").glob("single-plain-*"))) == 2


def test_a_failed_run_is_told_of_and_started_anew(send: Callable[..., int], tmp_path: Path) -> None:
    script = f"echo '12:00:00 ERROR no luck'; test -f {tmp_path}/luck && echo made > $1"
    assert send(script, "--summary", "page.md") == 1
    page = (tmp_path / "page.md").read_text()
    assert "**only** failed (exit code 1): no luck" in page
    assert "only.log" in page
    (tmp_path / "luck").touch()
    assert send(script) == 0


def test_a_run_that_goes_on_is_found_by_another_process(runner: Any, tmp_path: Path) -> None:
    @dsl.pipeline(name="slow")
    def pipeline():
        runner.shell(script=f"until test -f {tmp_path}/go; do sleep 0.05; done; echo made > $1").set_display_name(
            "Only"
        )

    path = runner.compile(pipeline)
    first, second = (Machine(path, str(tmp_path / "store"), tmp_path / "runs") for _ in range(2))
    first.submit("name", {})
    while not first.progress().steps:
        time.sleep(0.05)
    second.submit("name", {})
    assert second.process is None
    assert second.progress().state == RUNNING
    (tmp_path / "go").touch()
    while second.progress().state == RUNNING:
        time.sleep(0.05)
    assert second.progress().state == SUCCEEDED
    assert Path(second.location(Output("only", "output"))).read_text() == "made\n"
    assert first.process
    first.process.wait()


def test_a_run_that_was_killed_has_failed(runner: Any, tmp_path: Path) -> None:
    @dsl.pipeline(name="slow")
    def pipeline():
        runner.shell(script="sleep 60").set_display_name("Only")

    made = Machine(runner.compile(pipeline), str(tmp_path / "store"), tmp_path / "runs")
    made.submit("name", {})
    while not made.progress().steps:
        time.sleep(0.05)
    assert made.process
    made.process.kill()
    made.process.wait()
    assert made.progress().state == FAILED
