"""The runner on small pipelines: order, conditions, retries, resume, kills, failures."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from pipelines.local.runner import memory_bytes


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def diamond(parts: Any) -> Any:
    """Two makers, a join of both, a join of the join and the first."""

    @dsl.pipeline(name="diamond")
    def pipeline(left: str = "a", right: str = "b", sign: str = "+", seconds: float = 0.0):
        one = parts.make(text=left, seconds=seconds).set_display_name("One")
        two = parts.make(text=right, seconds=seconds).set_display_name("Two")
        both = parts.join(left=one.output, right=two.output, sign=sign).set_display_name("Both")
        parts.join(left=both.output, right=one.output, sign="-").set_display_name("Last")

    return pipeline


def single(parts: Any, script: str, retries: int = 0) -> Any:
    """One step, a shell script."""

    @dsl.pipeline(name="single")
    def pipeline():
        task = parts.shell(script=script).set_display_name("Only")
        if retries:
            task.set_retry(retries, backoff_duration="0s")

    return pipeline


def test_steps_run_in_the_order_of_their_needs(runner: Any) -> None:
    result = runner.run(runner.compile(diamond(runner)), "--parallel", "1")
    assert result.returncode == 0, result.stderr
    assert runner.text("last") == "a+b-a"
    ends = [line for line in runner.traced() if line.endswith("end")]
    assert sorted(ends[:2]) == ["a end", "b end"]
    assert ends[2:] == ["a+b end", "a+b-a end"]


@pytest.mark.parametrize(("parallel", "overlap"), [("2", True), ("1", False)])
def test_independent_steps_run_side_by_side_as_far_as_allowed(runner: Any, parallel: str, overlap: bool) -> None:
    result = runner.run(runner.compile(diamond(runner)), "--set", "seconds=0.5", "--parallel", parallel)
    assert result.returncode == 0, result.stderr
    first_two = runner.traced()[:2]
    assert all(line.endswith("start") for line in first_two) == overlap


def test_a_step_that_asks_for_more_than_there_is_runs_alone(runner: Any) -> None:
    @dsl.pipeline(name="greedy")
    def pipeline():
        for text in "abc":
            runner.make(text=text, seconds=0.3).set_memory_request("100000G")

    assert runner.run(runner.compile(pipeline)).returncode == 0
    trace = [line.split() for line in runner.traced()]
    assert [(trace[i][0], trace[i][1], trace[i + 1][1]) for i in (0, 2, 4)] == [
        (trace[i + 1][0], "start", "end") for i in (0, 2, 4)
    ]


@pytest.mark.parametrize(("size", "taken"), [(3, "small"), (30, "large")])
def test_a_condition_chooses_its_branch_and_what_follows_takes_it(runner: Any, size: int, taken: str) -> None:
    @dsl.pipeline(name="branches")
    def pipeline(size: int = 3):
        first = runner.make(text="x")
        with dsl.If(size < 10):
            small = runner.make(text="small")
        with dsl.Else():
            large = runner.make(text="large").set_display_name("Large")
        chosen = dsl.OneOf(small.outputs["output"], large.outputs["output"])
        runner.join(left=first.output, right=chosen).set_display_name("Joined")

    assert runner.run(runner.compile(pipeline), "--set", f"size={size}").returncode == 0
    assert runner.text("joined") == f"x+{taken}"
    assert sorted(runner.states().values()) == ["done", "done", "done", "skipped"]


def test_a_failed_step_is_tried_again_as_often_as_its_policy_says(runner: Any) -> None:
    script = 'echo again >> "$1.tries"; [ $(wc -l < "$1.tries") -ge 3 ] && echo fine > "$1"'
    result = runner.run(runner.compile(single(runner, script, retries=2)))
    assert result.returncode == 0, result.stderr
    assert runner.statuses()["only"]["attempts"] == 3
    assert runner.text("only") == "fine\n"


def test_a_failure_shows_the_end_of_the_log_the_code_and_the_place(runner: Any) -> None:
    result = runner.run(runner.compile(single(runner, "echo the disk is on fire; exit 7", retries=1)))
    assert result.returncode == 1
    assert "the disk is on fire" in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert "step only failed 2 times, exit code 7" in last
    assert Path(last.split()[-1]).read_text().count("the disk is on fire") == 2
    assert runner.states()["only"] == "failed"


def test_a_wrong_input_is_never_tried_again(runner: Any) -> None:
    result = runner.run(runner.compile(single(runner, "echo 12:00:00 ERROR fix x; echo after; exit 2", retries=5)))
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("step only: fix x; its log: ")
    assert runner.statuses()["only"]["attempts"] == 1


@pytest.mark.parametrize("code", [1, 2])
def test_a_failure_shows_nothing_of_earlier_runs(runner: Any, code: int) -> None:
    script = f'if [ -e "$1.old" ]; then echo now; exit {code}; fi; touch "$1.old"; echo 12:00:00 ERROR before; exit 1'
    path = runner.compile(single(runner, script))
    assert "before" in runner.run(path).stderr
    result = runner.run(path)
    assert result.returncode == code
    assert "now" in result.stderr
    assert "before" not in result.stderr


def test_a_run_that_cannot_write_its_state_does_not_wait_for_what_runs(runner: Any) -> None:
    script = (
        'work="$(dirname "$1")/../../.."; until rm -f "$work/run.json"; mkdir "$work/run.json"; do :; done; sleep 50'
    )
    began = time.monotonic()
    result = runner.run(runner.compile(single(runner, script)))
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert time.monotonic() - began < 25


def test_what_follows_a_failed_step_does_not_run(runner: Any) -> None:
    @dsl.pipeline(name="broken")
    def pipeline():
        bad = runner.shell(script="exit 1").set_display_name("Bad")
        good = runner.make(text="good").set_display_name("Good")
        runner.join(left=bad.output, right=good.output).set_display_name("After")

    assert runner.run(runner.compile(pipeline)).returncode == 1
    assert runner.states() == {"bad": "failed", "good": "done", "after": "waiting"}


def test_a_step_that_does_not_write_its_output_has_failed(runner: Any) -> None:
    result = runner.run(runner.compile(single(runner, "true")))
    assert result.returncode == 1
    assert "did not write its output output" in result.stderr


def test_a_second_run_runs_nothing_and_says_so(runner: Any) -> None:
    path = runner.compile(diamond(runner))
    runner.run(path)
    runner.traced()
    result = runner.run(path)
    assert result.returncode == 0
    assert runner.traced() == []
    assert "no step ran" in result.stdout
    assert set(runner.states().values()) == {"kept"}


def test_a_changed_parameter_runs_only_what_depends_on_it(runner: Any) -> None:
    path = runner.compile(diamond(runner))
    runner.run(path)
    runner.traced()
    assert runner.run(path, "--set", "sign=*").returncode == 0
    assert runner.states() == {"one": "kept", "two": "kept", "both": "done", "last": "done"}
    assert runner.text("last") == "a*b-a"


def test_a_step_that_makes_the_same_again_leaves_the_rest_alone(runner: Any) -> None:
    path = runner.compile(diamond(runner))
    runner.run(path)
    assert runner.run(path, "--set", "seconds=0.01").returncode == 0
    assert runner.states() == {"one": "done", "two": "done", "both": "kept", "last": "kept"}


def test_an_artifact_that_has_vanished_is_made_again(runner: Any) -> None:
    path = runner.compile(diamond(runner))
    runner.run(path)
    key = runner.statuses()["both"]["key"]
    (runner.folder / "work" / "artifacts" / "both" / key / "output").unlink()
    assert runner.run(path).returncode == 0
    assert runner.states() == {"one": "kept", "two": "kept", "both": "done", "last": "kept"}


def test_an_artifact_that_was_cut_off_is_made_again(runner: Any) -> None:
    path = runner.compile(diamond(runner))
    runner.run(path)
    key = runner.statuses()["both"]["key"]
    (runner.folder / "work" / "artifacts" / "both" / key / "output").write_text("a")
    assert runner.run(path).returncode == 0
    assert runner.states() == {"one": "kept", "two": "kept", "both": "done", "last": "kept"}
    assert runner.text("both") == "a+b"


def test_a_container_may_use_less_memory_than_its_machine_has(tmp_path: Path) -> None:
    whole = memory_bytes(tmp_path / "none")
    limit = tmp_path / "memory.max"
    limit.write_text("max\n")
    assert memory_bytes(limit) == whole
    limit.write_text(f"{2**30}\n")
    assert memory_bytes(limit) == 2**30


def test_a_killed_run_leaves_no_process_and_goes_on_with_the_steps_own_checkpoint(runner: Any) -> None:
    script = (
        'echo $$ >> "$1.pids"; if [ -e "$1.checkpoint" ]; then echo resumed > "$1"; '
        'else touch "$1.checkpoint"; sleep 60 & echo $! >> "$1.pids"; wait; fi'
    )
    path = runner.compile(single(runner, script))
    process = runner.start(path)
    until(lambda: any((runner.folder / "work" / "artifacts").glob("only/*/output.pids")))
    (pids_file,) = (runner.folder / "work" / "artifacts").glob("only/*/output.pids")
    until(lambda: len(pids_file.read_text().split()) == 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    pids = [int(pid) for pid in pids_file.read_text().split()]
    until(lambda: not any(alive(pid) for pid in pids), seconds=30)
    assert runner.run(path).returncode == 0
    assert runner.text("only") == "resumed\n"
    assert [p.name for p in pids_file.parent.iterdir() if p.name.startswith("output.")] == []


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended but is not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_told_to_stop_it_lets_steps_write_their_checkpoints(runner: Any, number: int, code: int) -> None:
    script = 'trap "echo saved > $1.checkpoint; exit 75" TERM; echo ready; while :; do sleep 0.05; done'
    process = runner.start(runner.compile(single(runner, script, retries=3)))
    log = runner.folder / "work" / "logs" / "only.log"
    until(lambda: log.exists() and "ready" in log.read_text())
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == code
    assert "continues from here" in error
    assert [p.read_text() for p in (runner.folder / "work" / "artifacts").glob("only/*/output.checkpoint")] == [
        "saved\n"
    ]
    assert runner.states()["only"] == "stopped"


def test_a_step_out_of_time_is_ended(runner: Any) -> None:
    from kfp import kubernetes

    @dsl.pipeline(name="slow")
    def pipeline():
        kubernetes.set_timeout(runner.shell(script="sleep 30").set_display_name("Slow"), 1)

    began = time.monotonic()
    result = runner.run(runner.compile(pipeline))
    assert result.returncode == 1
    assert "out of time (1 s)" in result.stderr
    assert time.monotonic() - began < 20


def test_two_runs_in_one_folder_do_not_mix(runner: Any) -> None:
    path = runner.compile(diamond(runner))
    first = runner.start(path, "--set", "seconds=15")
    until(runner.trace.exists)
    result = runner.run(path)
    assert result.returncode == 2
    assert "another run" in result.stderr
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()


def test_output_parameters_and_formatted_texts_reach_the_next_step(runner: Any) -> None:
    @dsl.container_component
    def count(number: dsl.OutputPath(int), upto: int):
        return dsl.ContainerSpec(
            image="none", command=["sh", "-c"], args=['echo $(($1 + 1)) > "$2"', "sh", upto, number]
        )

    @dsl.pipeline(name="numbers")
    def pipeline(upto: int = 41):
        number = count(upto=upto)
        runner.make(text=f"{number.output} of {upto}").set_display_name("Said")

    result = runner.run(runner.compile(pipeline))
    assert result.returncode == 0, result.stderr
    assert runner.text("said") == "42 of 41"


def test_a_local_path_is_looked_into_by_the_step_that_brings_it(runner: Any, tmp_path: Path) -> None:
    @dsl.pipeline(name="bring")
    def pipeline(source: str):
        runner.make(text=source).set_display_name("Bring")

    data = tmp_path / "data.txt"
    data.write_text("one")
    path = runner.compile(pipeline)
    states = []
    for text in ("one", "one", "other"):
        if data.read_text() != text:
            data.write_text(text)
        runner.run(path, "--set", f"source={data}")
        states.append(runner.states()["bring"])
    assert states == ["done", "kept", "done"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--recipe", "huge"], "no recipe huge: give one of 3b, 7b, board, toy"),
        (["--set", "sing=+"], "no parameter sing: did you mean sign?"),
        (["--set", "seconds=soon"], "seconds is soon: give a number"),
        (["--set", "seconds"], "write it as name=value"),
        (["--pipeline", "nowhere.yaml"], "nowhere.yaml: no such compiled pipeline"),
        (["--work", "/proc/none"], "/proc/none"),
    ],
)
def test_a_wrong_input_is_told_in_one_line(runner: Any, arguments: list[str], told: str) -> None:
    result = runner.run(runner.compile(diamond(runner)), *arguments)
    assert result.returncode == 2
    assert told in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_store_in_another_folder_serves_another_run(runner: Any, tmp_path: Path) -> None:
    path = runner.compile(diamond(runner))
    store = ["--store", str(tmp_path / "store")]
    runner.run(path, *store)
    runner.traced()
    assert runner.run(path, *store, "--work", str(tmp_path / "elsewhere")).returncode == 0
    assert runner.traced() == []


def test_a_plan_runs_nothing_and_says_what_would_run(runner: Any) -> None:
    pipeline = runner.compile(diamond(runner))
    first = runner.run(pipeline, "--plan")
    assert (first.returncode, runner.traced()) == (0, [])
    assert "4 steps run, 0 are cached, 0 skipped\nno earlier run is known here" in first.stdout
    assert runner.run(pipeline).returncode == 0
    runner.traced()
    result = runner.run(pipeline, "--plan", "--set", "sign=*")
    assert (result.returncode, runner.traced()) == (0, [])
    states = {line.split()[0]: line.split()[1] for line in result.stdout.splitlines()[1:5]}
    assert states == {"one": "cached", "two": "cached", "both": "runs", "last": "runs"}
    assert "cannot be estimated" not in result.stdout
    assert "bytes moved: 14 B" in result.stdout  # both: 1 + 1 + 3, last: 3 + 1 + 5
