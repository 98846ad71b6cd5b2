"""The engine: updates do not depend on ZeRO stage, ranks or split; bad updates are refused; resuming is exact."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pebr.errors import InputError, Preempted
from pebr.step import launch
from pebr.training.checkpoints import Checkpoints
from pebr.training.engine import REFUSALS_IN_A_ROW, DivergedError, EngineSettings, TrainingEngine
from pebr.training.sharded import ShardedTensors

ROOT = Path(__file__).parents[2]


def run(out: Path, check: bool = True, **job: object) -> int:
    """Run a job. Returns its exit code."""
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.training.engine_worker", json.dumps({"out": str(out), **job})]
    result = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PEBR_LOG_LEVEL": "INFO"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not check or result.returncode == 0, result.stderr[-3000:]
    return result.returncode


def load(out: Path, stage: int) -> dict:
    return torch.load(out / f"stage-{stage}.pt", weights_only=False)


def difference(one: dict, other: dict) -> float:
    return max((one["parameters"][name] - other["parameters"][name]).abs().max().item() for name in one["parameters"])


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one-rank")
    run(out, processes=1, stages=[0, 1, 2, 3], steps=5)
    return out


def plain() -> dict:
    """The same training in a dozen lines of torch: whole batch, no engine."""
    from pebr.training.schedule import learning_rate
    from tests.training.engine_worker import Network, micro_batches

    torch.manual_seed(0)
    network = Network()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=0.1)
    reports = []
    for step in range(5):
        optimizer.param_groups[0]["lr"] = learning_rate("cosine", 1e-2, step, 10, 0.2)
        [(inputs, targets)] = micro_batches(step, [list(range(12))])
        loss = ((network(inputs) - targets) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        reports.append([loss.item(), norm.item(), optimizer.param_groups[0]["lr"], False])
    return {"parameters": dict(network.named_parameters()), "reports": reports}


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_step_is_that_of_plain_torch(one_rank: Path, stage: int) -> None:
    expected, found = plain(), load(one_rank, stage)
    assert difference(expected, found) < 1e-6
    for mine, theirs in zip(found["reports"], expected["reports"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_stages_give_the_same_parameters(one_rank: Path, stage: int) -> None:
    assert difference(load(one_rank, 0), load(one_rank, stage)) < 1e-6


def test_the_split_into_micro_batches_changes_nothing(one_rank: Path, tmp_path: Path) -> None:
    run(tmp_path, processes=1, stages=[0, 3], steps=5, whole=True)
    for stage in (0, 3):
        assert difference(load(one_rank, stage), load(tmp_path, stage)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_the_number_of_ranks_changes_nothing(one_rank: Path, tmp_path: Path, ranks: int) -> None:
    run(tmp_path, processes=ranks, stages=[0, 1, 2, 3], steps=5)
    for stage in range(4):
        expected, found = load(one_rank, stage), load(tmp_path, stage)
        assert difference(expected, found) < 1e-6
        for mine, theirs in zip(found["reports"], expected["reports"], strict=True):
            assert mine == pytest.approx(theirs, rel=1e-5)


def test_bf16_keeps_float32_weights_and_buffers(one_rank: Path, tmp_path: Path) -> None:
    run(tmp_path, processes=1, stages=[1, 2, 3], steps=5, dtype="bf16")
    exact = load(one_rank, 0)
    for stage in (1, 2, 3):
        found = load(tmp_path, stage)
        assert found["frequency"].dtype == torch.float32
        assert found["frequency"].item() == pytest.approx(0.1234567)
        assert found["parameters"]["second.weight"].dtype == torch.bfloat16
        assert all(value.dtype == torch.float32 for value in found["moments"].values())
        assert found["reports"][0][0] == pytest.approx(exact["reports"][0][0], rel=1e-2)


@pytest.mark.parametrize(("dtype", "stages"), [("fp32", [0, 1, 2, 3]), ("bf16", [1, 2, 3])])
def test_a_step_that_is_not_finite_is_refused_and_leaves_no_trace(tmp_path: Path, dtype: str, stages: list) -> None:
    """Step 2 has a NaN. Only the position in the schedule changes."""
    run(tmp_path, processes=1, stages=stages, steps=3, bad_step=2, dtype=dtype)
    run(tmp_path / "without", processes=1, stages=stages, steps=2, dtype=dtype)
    for stage in stages:
        bad, good = load(tmp_path, stage), load(tmp_path / "without", stage)
        assert [report[3] for report in bad["reports"]] == [False, False, True]
        assert difference(bad, good) == 0.0
        assert all(torch.equal(bad["moments"][key], good["moments"][key]) for key in good["moments"])


@pytest.mark.slow
def test_a_bad_step_of_one_rank_is_refused_by_all(tmp_path: Path) -> None:
    run(tmp_path, processes=2, stages=[0, 1, 2, 3], steps=4, bad_step=2)
    run(tmp_path / "one", processes=1, stages=[0], steps=4, bad_step=2)
    for stage in range(4):
        assert [report[3] for report in load(tmp_path, stage)["reports"]] == [False, False, True, False]
        assert difference(load(tmp_path, stage), load(tmp_path / "one", 0)) < 1e-6


@pytest.fixture
def place() -> launch.Place:
    return launch.join()  # and never leave: DeepSpeed supports only one process group per process


def test_a_run_that_diverges_ends_with_a_clear_error_and_a_good_checkpoint(place: launch.Place, tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 1)
    checkpoints = Checkpoints(str(tmp_path), 2, place)
    engine = TrainingEngine(network, EngineSettings(1e-3, total_steps=10), place, checkpoints=checkpoints)
    engine.update([torch.ones(1, 2)], lambda module, row: module(row).sum())
    before = network.weight.detach().clone()
    for _ in range(REFUSALS_IN_A_ROW):
        engine.checkpoint({}, due=False)
        assert engine.update([torch.ones(1, 2)], lambda module, row: module(row).sum() * math.inf).refused
    with pytest.raises(DivergedError, match=f"steps 2 to {REFUSALS_IN_A_ROW + 1}"):
        engine.checkpoint({}, due=False)
    saved = Checkpoints(str(tmp_path), 2, place).newest()
    assert saved is not None
    assert saved.index["step"] == REFUSALS_IN_A_ROW + 1
    assert torch.equal(saved.read("weight:weight", 0, 2).view(1, 2), before)


def test_a_checkpoint_is_of_its_step_whatever_the_caller_does_next(place: launch.Place, tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), 2, place)
    engine = TrainingEngine(torch.nn.Linear(2, 1), EngineSettings(1e-3, 10), place, checkpoints=checkpoints)
    engine.update([torch.ones(1, 2)], lambda module, row: module(row).sum())
    checkpoints._writer.submit(time.sleep, 0.3)  # delays the writing
    history = ["step 1"]
    engine.checkpoint({"history": history}, due=True)
    history.append("step 2")
    engine.finish()
    saved = Checkpoints(str(tmp_path), 2, place).newest()
    assert saved is not None
    assert saved.index["state"] == {"history": ["step 1"]}


def test_a_stopped_run_saves_only_what_is_new(place: launch.Place, tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), 2, place)
    engine = TrainingEngine(torch.nn.Linear(2, 1), EngineSettings(1e-3, 10), place, checkpoints=checkpoints)
    engine.update([torch.ones(1, 2)], lambda module, row: module(row).sum())
    engine.checkpoint({}, due=True)
    checkpoints.wait()
    [index] = tmp_path.glob("*/index.json")
    written = index.stat().st_mtime_ns
    engine._stop.received = True
    with pytest.raises(Preempted, match="after step 1"):
        engine.checkpoint({}, due=False)
    assert index.stat().st_mtime_ns == written


def test_sharded_weights_replace_those_of_more_ranks(place: launch.Place, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "rank-00001-of-00002.safetensors").write_bytes(b"of another run")
    engine = TrainingEngine(torch.nn.Linear(2, 1), EngineSettings(1e-3, 10), place)
    engine.save_sharded(tmp_path / "weights")
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]
    assert not any("of-00002" in path.name for path in (tmp_path / "weights").iterdir())
    assert ShardedTensors(tmp_path / "weights").damage() == []


def test_settings_that_deepspeed_cannot_do_are_refused() -> None:
    with pytest.raises(InputError, match="zero-stage 4"):
        EngineSettings(learning_rate=1e-3, total_steps=1, zero_stage=4)
    with pytest.raises(InputError, match="--zero-stage 1 or --dtype fp32"):
        EngineSettings(learning_rate=1e-3, total_steps=1, dtype="bf16")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_resume_is_exact(tmp_path: Path, dtype: str) -> None:
    """Killed after step 3 and resumed: weights, moments and reports equal those of an uninterrupted run."""
    stages = [0, 1, 2, 3] if dtype == "fp32" else [1, 2, 3]
    checkpoints = str(tmp_path / "checkpoints-{stage}")
    run(tmp_path / "whole", processes=1, stages=stages, steps=5, dtype=dtype)
    for stage in stages:
        job = {"processes": 1, "stages": [stage], "steps": 5, "dtype": dtype, "checkpoints": checkpoints}
        assert run(tmp_path / "killed", check=False, kill_after=3, **job) == -9
        run(tmp_path / "killed", **job)
        expected, found = load(tmp_path / "whole", stage), load(tmp_path / "killed", stage)
        assert found["reports"] == expected["reports"]
        assert difference(expected, found) == 0.0
        assert all(torch.equal(found["moments"][key], expected["moments"][key]) for key in expected["moments"])


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_checkpoint_of_two_ranks_resumes_on_one_and_on_four(one_rank: Path, tmp_path: Path, stage: int) -> None:
    """And with another ZeRO stage: a checkpoint contains elements of tensors, not ranks."""
    first = tmp_path / "two"
    run(first, processes=2, stages=[stage], steps=3, checkpoints=str(first / "checkpoints"))
    for ranks, other_stage in ((1, stage), (4, stage), (1, (stage + 1) % 4)):
        out = tmp_path / f"{ranks}-{other_stage}"
        shutil.copytree(first / "checkpoints", out / "checkpoints")
        run(out, processes=ranks, stages=[other_stage], steps=5, checkpoints=str(out / "checkpoints"))
        found = load(out, other_stage)
        assert len(found["reports"]) == 5
        assert difference(load(one_rank, 0), found) < 1e-6
