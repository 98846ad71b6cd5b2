"""A command that trains a small network with the engine, on any number of ranks.

    python -m tests.training.engine_worker JOB

JOB is JSON: processes, stages, steps, out; optionally checkpoints, dtype, bad_step, kill_after, save_every, whole.
Rank 0 writes `out/stage-S.pt`: parameters, the reports of the steps, the optimizer's moments.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from pebr.step import launch
from pebr.training import zero
from pebr.training.checkpoints import Checkpoints
from pebr.training.engine import EngineSettings, TrainingEngine


class Network(nn.Module):
    """Large enough that ranks share tensors; has a frozen part and a buffer that bf16 would round."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 401)
        self.second = nn.Linear(401, 401)
        self.last = nn.Linear(401, 1)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.register_buffer("frequency", torch.tensor([0.1234567]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = inputs.to(self.first.weight.dtype)
        return self.last(torch.tanh(self.second(torch.tanh(self.first(inputs))))).float()


def micro_batches(step: int, split: list[list[int]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The 12 rows of this step, split into micro-batches of these rows."""
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(12, 8, generator=generator)
    targets = inputs.sum(dim=1, keepdim=True)
    return [(inputs[rows], targets[rows]) for rows in split]


SPLITS = {  # world size -> rank -> rows of each micro-batch; ranks have different numbers of them, one has none
    1: [[[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]],
    2: [[[0, 1, 2, 3, 4, 5, 6]], [[7], [8, 9], [10, 11]]],
    4: [[[0, 1, 2, 3]], [[4, 5], [6, 7]], [[8, 9, 10, 11]], []],
}


def train(job: dict, stage: int, place: launch.Place) -> None:
    torch.manual_seed(0)
    network = Network()
    settings = EngineSettings(
        learning_rate=1e-2,
        total_steps=10,
        weight_decay=0.1,
        schedule="cosine",
        warmup_ratio=0.2,
        zero_stage=stage,
        dtype=job.get("dtype", "fp32"),
    )
    checkpoints = None
    if "checkpoints" in job:
        location = job["checkpoints"].format(stage=stage)
        checkpoints = Checkpoints(location, 2, place)
    engine = TrainingEngine(network, settings, place, checkpoints=checkpoints)
    resumed = engine.resume()
    reports = [] if resumed is None else resumed["reports"]
    for step in range(engine.step, job["steps"]):
        split = SPLITS[place.world_size][place.rank]
        rows = micro_batches(step, [[row for part in split for row in part]] if job.get("whole") else split)
        if step == job.get("bad_step") and place.rank == 0:
            rows[0] = (rows[0][0], rows[0][1] * torch.nan)
        filler = micro_batches(step, [[0]])[0]
        report = engine.update(rows, lambda module, row: ((module(row[0]) - row[1]) ** 2).sum() / 12, filler)
        reports.append([report.loss, report.grad_norm, report.learning_rate, report.refused])
        engine.checkpoint({"reports": reports}, due=engine.step % job.get("save_every", 1) == 0)
        if step + 1 == job.get("kill_after"):
            engine.finish()
            os.kill(os.getpid(), signal.SIGKILL)
    engine.finish()
    moments = {
        f"{key}:{piece.name}:{piece.start}": view.clone()
        for piece in zero.pieces(engine._deepspeed)
        for key, view in piece.tensors.items()
    }
    parameters = {name: value.clone() for name, value in engine.gathered_parameters()}
    engine.save_sharded(Path(job["out"]) / f"sharded-{stage}")
    if place.rank == 0:
        result = {"parameters": parameters, "reports": reports, "moments": moments, "frequency": network.frequency}
        torch.save(result, Path(job["out"]) / f"stage-{stage}.pt")


def main() -> None:
    job = json.loads(sys.argv[1])
    launch.relaunch_with_processes("tests.training.engine_worker", job["processes"])

    def stages(place: launch.Place) -> None:
        for stage in job["stages"]:
            train(job, stage, place)

    launch.as_rank(stages)


if __name__ == "__main__":
    main()
