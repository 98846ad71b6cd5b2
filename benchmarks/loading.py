"""Peak memory per rank of loading a model of 1 GB for ZeRO-3, whole as it was and partitioned from the start.

    make bench NAME=loading

whole:   each rank loads the model, then DeepSpeed cuts it up
shares:  each rank reads its own elements of every weight (`pebr.training.zero_loading`)

Counted is the resident memory beyond that of the same process before it begins, from the first byte read until the
engine stands; libraries are imported before. All weights but one are frozen, so that loading and partitioning are
measured and not the optimizer, which is the same in both. After an update of the trained weight, both must have the
same weights to the last bit. Goal: with 2 ranks at most 0.65 of the memory of `whole`, with 4 ranks at most 0.4. The
printed ratio is the smaller of goal over share, so that 1 is the goal.
"""

import json
import os
import subprocess
import sys
import tempfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.result import finish, peak_bytes
from pebr.step import launch
from pebr.toy.vlm import build_model
from pebr.training.engine import EngineSettings, TrainingEngine
from pebr.vlm.loading import load_model

GOALS = {2: 0.65, 4: 0.4}  # ranks -> most of the memory of `whole`
WIDTH, LAYERS = 1024, 20  # 253 million float32 weights
TRAINED = "model.language_model.norm.weight"
SETTINGS = EngineSettings(learning_rate=1e-2, total_steps=1, zero_stage=3)


def start(path: Path, way: str, place: launch.Place, made: list[TrainingEngine]) -> None:
    """Load the model and start its engine."""
    if way == "whole":
        model = load_model(path)
    else:
        from pebr.training.zero_loading import load_trainable

        model = load_trainable(path, SETTINGS, place)
    model.requires_grad_(False)
    model.get_parameter(TRAINED).requires_grad_(True)
    made.append(TrainingEngine(model, SETTINGS, place))


def rank(path: Path, way: str, out: Path, place: launch.Place) -> None:
    """Measure one rank; rank 0 also writes a checksum of the weights after an update."""
    import deepspeed.runtime.zero.stage3  # noqa: F401 - the memory of libraries is not the model's
    import transformers.models.qwen2_5_vl.modeling_qwen2_5_vl  # noqa: F401

    made: list[TrainingEngine] = []
    peak = peak_bytes(partial(start, path, way, place, made))
    token_ids = torch.arange(20, 28)[None]
    made[0].update([token_ids], lambda module, row: module(input_ids=row).logits.float().square().mean())
    checksum = 0
    for _, value in made[0].gathered_parameters():
        checksum = zlib.crc32(value.contiguous().view(-1).view(torch.uint8).numpy(), checksum)  # type: ignore[arg-type]
    (out / f"{place.rank}.json").write_text(json.dumps({"peak": peak, "checksum": checksum}))


def measure(path: Path, way: str, ranks: int) -> dict[str, int]:
    """The largest peak of all ranks in bytes, and the checksum of the weights."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "benchmarks.loading", str(path), way, str(ranks), out]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        found = [json.loads(file.read_text()) for file in Path(out).iterdir()]
    assert len(found) == ranks
    assert len({entry["checksum"] for entry in found}) == 1
    return {"peak": max(entry["peak"] for entry in found), "checksum": found[0]["checksum"]}


def main() -> None:
    if sys.argv[1:]:
        launch.relaunch_with_processes("benchmarks.loading", int(sys.argv[3]))
        launch.as_rank(partial(rank, Path(sys.argv[1]), sys.argv[2], Path(sys.argv[4])))
        return
    numbers: dict[str, Any] = {}
    ratio = float("inf")
    with tempfile.TemporaryDirectory() as folder:
        path = build_model(Path(folder) / "model", 0, width=WIDTH, layers=LAYERS)
        size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
        for ranks, goal in GOALS.items():
            found = {way: measure(path, way, ranks) for way in ("whole", "shares")}
            assert found["whole"]["checksum"] == found["shares"]["checksum"]
            share = found["shares"]["peak"] / found["whole"]["peak"]
            peaks = {f"{way}_peak_mb": round(entry["peak"] / 1e6) for way, entry in found.items()}
            numbers[f"{ranks} ranks"] = {**peaks, "share": round(share, 3), "goal": goal}
            print(f"{ranks} ranks", numbers[f"{ranks} ranks"], flush=True)
            ratio = min(ratio, goal / share)
    finish("loading", ratio, 1.0, {"model_mb": round(size / 1e6), "by_ranks": numbers})


if __name__ == "__main__":
    main()
