"""Merge a sharded checkpoint into one Hugging Face model: this project's merge against DeepSpeed's consolidation.

    make bench NAME=merge

A Qwen2.5-VL with a quarter of a billion weights (1 GB in float32) is sharded by ZeRO-3 over two ranks and written
twice: by `save_sharded` of the engine, and by `save_checkpoint` of DeepSpeed without Adam's moments, so that both are
1 GB. (A checkpoint during training is three times as large, and DeepSpeed reads all of it.) Then both are merged to
float32 in alternation, each in a separate process; the clock starts after the imports. DeepSpeed's side is the function
of `zero_to_fp32.py` with its default output, pickles: its safetensors output refuses tied weights, which this model
has. DeepSpeed does not check names. This project's merge writes safetensors, matches every tensor with the model's
configuration and verifies the checksums of the shards, all within the measured time. Seconds are the minimum over the
rounds, bytes the median.

Peak memory is the high-water mark of the resident set (including files mapped into memory) minus the size of the
process before. The peak of anonymous memory alone is also reported. Goal: at most half the peak memory in at most the
same time. The printed ratio is the smaller of (memory ratio / 2) and the time ratio.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pebr.vlm.torchvision_operators  # noqa: F401 - before transformers
from benchmarks.result import finish, status_bytes

ROUNDS = 5
RANKS = 2
SIZE: dict[str, Any] = {"width": 1024, "layers": 20, "vision_width": 512, "vision_layers": 8}
OURS, THEIRS = "ours", "deepspeed"


def prepare(folder: Path) -> None:
    """Shard the model and write it in both ways. Runs on each rank."""
    from pebr.step import launch
    from pebr.training.engine import EngineSettings, TrainingEngine
    from pebr.vlm.loading import load_model

    launch.relaunch_with_processes("benchmarks.merge", RANKS)

    def save(place: launch.Place) -> None:
        engine = TrainingEngine(load_model(folder / "model"), EngineSettings(1e-5, 1, zero_stage=3), place)
        engine.save_sharded(folder / OURS)
        engine._optimizer.state.clear()
        engine._deepspeed.save_checkpoint(str(folder / THEIRS), tag="final")

    launch.as_rank(save)


def consolidate_ours(folder: Path, output: Path) -> Callable[[], object]:
    """The work of `python -m pebr.merge`."""
    import transformers.models.qwen2_5_vl.modeling_qwen2_5_vl  # noqa: F401

    from pebr.merge.settings import Settings
    from pebr.merge.work import work

    settings = Settings(checkpoint=str(folder / OURS), model=str(folder / "model"), output=str(output))
    return lambda: work(settings)


def consolidate_theirs(folder: Path, output: Path) -> Callable[[], object]:
    """The function of DeepSpeed's script."""
    import huggingface_hub  # noqa: F401
    from deepspeed.utils.zero_to_fp32 import convert_zero_checkpoint_to_state_dict

    return lambda: convert_zero_checkpoint_to_state_dict(str(folder / THEIRS), str(output))


def measure(side: str, folder: Path) -> None:
    """Measure one merge and print seconds and bytes. Runs in a separate process."""
    output = folder / "output"
    consolidation = {OURS: consolidate_ours, THEIRS: consolidate_theirs}[side](folder, output)
    done, anonymous = threading.Event(), [status_bytes("RssAnon")]

    def watch() -> None:
        while not done.wait(0.002):
            anonymous.append(status_bytes("RssAnon"))

    watcher = threading.Thread(target=watch)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = status_bytes("VmRSS")
    watcher.start()
    began = time.perf_counter()
    consolidation()
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    found = {
        "seconds": seconds,
        "peak": status_bytes("VmHWM") - before,
        "anonymous_peak": max(anonymous) - anonymous[0],
    }
    print(json.dumps(found | {"whole_peak": status_bytes("VmHWM"), "files": digest(output)}))


def digest(output: Path) -> list[float]:
    """The number of tensors, the number of values and the sum of absolute values, to compare both outputs."""
    import torch
    from safetensors.torch import load_file

    found: dict[int, torch.Tensor] = {}
    for path in output.iterdir():
        if path.suffix in (".safetensors", ".bin"):
            tensors = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
            found |= {tensor.data_ptr(): tensor for tensor in tensors.values()}  # tied weights once
    values = sum(tensor.numel() for tensor in found.values())
    return [len(found), values, round(sum(tensor.abs().double().sum().item() for tensor in found.values()), 3)]


def child(*words: str) -> str:
    """Run this module in a process with these arguments; returns its last line."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.merge", *words]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().rsplit("\n", 1)[-1]


def main() -> None:
    from pebr.toy.vlm import build_model

    rounds: dict[str, list[dict[str, Any]]] = {OURS: [], THEIRS: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_model(folder / "model", 0, **SIZE)
        child("prepare", name)
        size = sum(path.stat().st_size for path in (folder / OURS).iterdir())
        size_theirs = sum(path.stat().st_size for path in (folder / THEIRS / "final").iterdir())
        for _ in range(ROUNDS):
            for side, results in rounds.items():
                results.append(json.loads(child("measure", side, name)))
                shutil.rmtree(folder / "output")
    written = [results[0]["files"] for results in rounds.values()]
    assert written[0] == written[1], f"the two sides wrote different models: {written}"
    numbers: dict[str, Any] = {"bytes": {OURS: size, THEIRS: size_theirs}, "rounds": ROUNDS}
    for side, results in rounds.items():
        numbers[side] = {key: median(row[key] for row in results) for key in results[0] if key != "files"}
        numbers[side]["seconds"] = min(row["seconds"] for row in results)
        print(
            f"{side:10s}",
            {key: round(value / (1 if key == "seconds" else 1e6), 2) for key, value in numbers[side].items()},
        )
    ratios = {key: numbers[THEIRS][key] / numbers[OURS][key] for key in ("seconds", "peak", "whole_peak")}
    numbers["deepspeed_over_ours"] = ratios
    finish("merge", min(ratios["peak"] / 2, ratios["whole_peak"] / 2, ratios["seconds"]), 1.0, numbers)


if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:
        prepare(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
