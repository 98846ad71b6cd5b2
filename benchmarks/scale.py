"""What a run costs as it grows, and where the design breaks first: docs/scale.md shows the tables that this prints.

    make bench NAME=scale            (half a minute on one core)

Each piece of the model names its source: measured by a script here, measured on an H200 by hand (docs/scale.md), a
published fact, or assumed. The cluster is simulated (`benchmarks/simulation.py`). The ratio is the agreement of the
simulation with its closed forms, the smallest of all cases; the goal is 0.95.
"""

import json
import math
import random
import tempfile
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import yaml

from benchmarks import simulation
from benchmarks.result import RESULTS, finish, seconds
from pebr.store.folder import FolderStore
from pipelines.paired import compare

HOUR, GIB = 3600.0, 2**30
LIMITS: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "pipelines" / "clusters" / "gpu.yaml").read_text())
GOAL = 0.95
HERE, H200, FACT, ASSUMED = "measured here", "measured on one H200", "published", "assumed"


class Piece(NamedTuple):
    """A number of the model, and where it is from."""

    value: float
    unit: str
    source: str


def _result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def pieces() -> dict[str, Piece]:
    """All pieces, by name."""
    data, store, merge = _result("data"), _result("store"), _result("merge")
    return {
        "filter": Piece(data["rows_per_second"]["pebr"], "rows/s, one core", f"{HERE}: benchmarks/data.py"),
        "fetch": Piece(store["megabytes_per_second"]["get"] * 1e6, "B/s", f"{HERE}: benchmarks/store.py"),
        "store": Piece(store["megabytes_per_second"]["put"] * 1e6, "B/s, one writer", f"{HERE}: benchmarks/store.py"),
        "merge": Piece(merge["bytes"]["ours"] / merge["ours"]["seconds"], "B/s", f"{HERE}: benchmarks/merge.py"),
        "update": Piece(1.40 / 16768, "s per packed token, 3B", H200),
        "reference": Piece(43 / 512, "s per question of 8 answers, 3B", f"{H200}, scaled up"),
        "sampling": Piece(16500, "tokens/s, 3B", f"{H200}: 15 to 18 thousand"),
        "sync": Piece(0.35, "s per step, 3B", H200),
        "text": Piece(298, "tokens of a prompt", f"{H200}: the shape that was measured"),
        "image": Piece(702, "tokens of a picture", f"{H200}: the shape that was measured"),
        "answer": Piece(400, "tokens", f"{H200}: the shape that was measured"),
        "picture": Piece(22e9 / 272e3, "B per row", f"{FACT}: Mulberry-SFT, 22 GB for 272,000 rows"),
        "benchmarks": Piece(19178, "rows", f"{FACT}: docs/method.md"),
        "state": Piece(18, "B per weight, sharded", "docs/gpu.md: weights, gradients, AdamW, reference"),
        "saved": Piece(12, "B per weight in a checkpoint", "docs/gpu.md: float32 weights and moments"),
        "easy": Piece(0.3, "of the questions", ASSUMED),
        "medium": Piece(0.5, "of the questions", ASSUMED),
        "jitter": Piece(0.02, "of a step, mean delay of a rank", ASSUMED),
        "inside": Piece(300e9, "B/s of a GPU inside a node", ASSUMED),
        "between": Piece(50e9, "B/s of a node to others", ASSUMED),
        "preemptions": Piece(1 / 24, "per node and hour", f"{ASSUMED}: cheap nodes"),
        "restart": Piece(300, "s until training goes on", ASSUMED),
        "device": Piece(80e9, "B of a GPU", "recipes 3b and 7b"),
    }


@dataclass(frozen=True)
class Size:
    """The size of a run."""

    rows: float  # of SFT data
    questions: float  # of the RL set
    answers: int  # per question
    weights: float  # of the model
    gpus: int
    nodes: int
    pictures: int = 1  # per row and question


METHOD = Size(rows=272e3, questions=20e3, answers=8, weights=3e9, gpus=8, nodes=1)  # the number of questions is assumed


@dataclass(frozen=True)
class Cost:
    """What a step takes: seconds without preemption, with it, and bytes read and written."""

    seconds: float
    preempted: float
    read: float
    written: float
    gpus: int = 0


def costs(size: Size) -> dict[str, Cost]:
    """The expected cost of each step of a run of this size."""
    p = {name: piece.value for name, piece in pieces().items()}
    model, larger = 2 * size.weights, size.weights / 3e9
    data, shard = (count * p["picture"] * size.pictures for count in (size.rows, size.questions))
    prompt = p["text"] + p["image"] * size.pictures
    harmonic = sum(1 / i for i in range(1, size.gpus + 1))

    def train(compute: float, steps: float, fixed: float, passes: float) -> tuple[float, float]:
        """Seconds of steps with so much compute of one GPU each, without and with preemption."""
        one = compute / size.gpus
        rate = p["inside"] if size.nodes == 1 else p["between"]  # a ring crosses each node's network once
        exchanged = passes * 3 * model / rate  # ZeRO-3: weights twice, gradients once, for each micro-batch
        step = max(one, exchanged) + one * p["jitter"] * harmonic + fixed
        save = p["saved"] * size.weights / (p["store"] * size.gpus)  # each rank writes its own shard
        work, rate_lost = steps * step, p["preemptions"] * size.nodes / HOUR
        plain = simulation.expected_preempted(work, 1200, save, p["restart"], 0)
        return plain, simulation.expected_preempted(work, 1200, save, p["restart"], rate_lost)

    def generate(answers: float) -> float:
        return answers * p["answer"] / p["sampling"] * larger / size.gpus

    def stage(questions: float, per_step: int, epochs: int) -> tuple[float, float]:
        steps = max(1, questions // per_step) * epochs
        tokens = prompt + size.answers * p["answer"]
        of_one = p["update"] * tokens + p["reference"] * tokens / (p["text"] + p["image"] + 8 * p["answer"])
        sampling = size.answers * p["answer"] / p["sampling"]
        passes = math.ceil(per_step * tokens / 16384 / size.gpus)  # packed rows per rank
        return train(per_step * (of_one + sampling) * larger, steps, p["sync"] * larger, passes)

    fetch = model / p["fetch"]
    steps = size.rows * 2 / (16 * size.gpus)
    sft = train(16 * size.gpus * (prompt + p["answer"]) * p["update"] * larger, steps, 0.0, 4)
    first = stage(size.questions * p["easy"], 560, 1)
    second = stage(size.questions * p["medium"], 512, 2)
    evaluation = generate(p["benchmarks"]) + fetch
    rollout = generate(size.questions * size.answers) + fetch
    merge = model / p["merge"] + fetch
    checkpoint = p["saved"] * size.weights
    return {
        "ingest": Cost(data / p["fetch"], data / p["fetch"], data, data),
        "filter": Cost(size.rows / p["filter"] + data / p["fetch"], size.rows / p["filter"], data, data),
        "sft": Cost(sft[0] + fetch, sft[1] + fetch, data + model, model, size.gpus),
        "rollout": Cost(rollout, rollout, shard + model, shard, size.gpus),
        "stage 1": Cost(first[0] + fetch, first[1] + fetch, model + shard, checkpoint, size.gpus),
        "stage 2": Cost(second[0] + fetch, second[1] + fetch, model + shard, checkpoint, size.gpus),
        "merge": Cost(merge, merge, checkpoint + model, model),
        "evaluate": Cost(evaluation, evaluation, model, 1e9, size.gpus),
    }


def broken(size: Size, made: Mapping[str, Cost]) -> list[str]:
    """The limits of the cluster file gpu.yaml and of the GPUs that a run of this size does not keep."""
    p = {name: piece.value for name, piece in pieces().items()}
    found = []
    scratch = float(str(LIMITS["defaults"]["scratch"]).removesuffix("Gi")) * GIB
    if made["filter"].read + made["filter"].written > scratch:
        found.append(f"scratch: filter needs {(made['filter'].read + made['filter'].written) / GIB:.0f} Gi of 500 Gi")
    for step, name in (("filter", "filter"), ("sft", "sft"), ("rollout", "rollout"), ("stage 1", "grpo"),
                       ("stage 2", "grpo"), ("evaluate", "evaluate")):  # fmt: skip
        most = {**LIMITS["defaults"], **LIMITS["steps"].get(name, {})}["timeout"]
        if made[step].seconds > most:
            found.append(f"time: {step} takes {made[step].seconds / HOUR:.0f} h of {most / HOUR:.0f} h")
    training = p["state"] * size.weights / size.gpus
    if training > 0.95 * p["device"]:
        found.append(f"memory: training needs {training / 1e9:.0f} GB per GPU of {p['device'] / 1e9:.0f} GB")
    if 2 * size.weights > 0.5 * p["device"]:
        found.append(f"memory: vLLM on one GPU holds {2 * size.weights / 1e9:.0f} GB of weights: set tensor_parallel")
    return found


def agreement() -> dict[str, float]:
    """1 minus the relative error of the simulation against its closed forms, by case."""
    draw, found = random.Random(0), {}
    for name, (interval, rate) in {"rare": (1200.0, 1 / 36000), "often": (1200.0, 1 / 3600)}.items():
        work = 8 * HOUR
        mean = fmean(simulation.preempted(work, interval, 30, 300, rate, draw) for _ in range(4000))
        found[f"preemption, {name}"] = mean / simulation.expected_preempted(work, interval, 30, 300, rate)
    for ranks in (8, 64):
        mean = fmean(simulation.synchronous_step(10, 1, ranks, draw) for _ in range(3000))
        found[f"stragglers, {ranks} ranks"] = mean / (10 + sum(1 / i for i in range(1, ranks + 1)))
    found["queue"] = simulation.mean_wait(0.006, 100, 1, 100_000, draw) / (0.6 * 100 / (2 * 0.4))
    found["transfers"] = max(simulation.shared_transfers([0.0] * 32, 1e9, 1e8, 4e8)) / (32 * 1e9 / 4e8)
    return {name: 1 - abs(ratio - 1) for name, ratio in found.items()}


def measured() -> dict[str, float]:
    """Quick measurements on this machine, of what grows with rows or files."""
    questions = {("b", str(i), "d"): {"accuracy": float(i % 2)} for i in range(19178)}
    tracemalloc.start()
    seen = {i.to_bytes(32, "big"): "source" for i in range(100_000)}
    per_row = tracemalloc.get_traced_memory()[0] / len(seen)
    tracemalloc.stop()
    with tempfile.TemporaryDirectory() as folder:
        many = Path(folder) / "many"
        many.mkdir()
        for i in range(2000):
            (many / f"{i}.png").write_bytes(b"x" * 1000)
        store = FolderStore(Path(folder) / "store")
        files = seconds(lambda: store.put(many, "many"))[0] / 2000
    return {
        "seconds to compare two evaluations of 19178 questions": seconds(
            lambda: compare("accuracy", questions, questions)
        )[0],
        "bytes per row that filter remembers": per_row,
        "milliseconds per small file in a folder's store": 1000 * files,
    }


def cluster() -> dict[str, float]:
    """Cases of the simulated cluster that docs/scale.md tells of."""
    draw = random.Random(0)
    dealt = fmean(simulation.static_shares(160, 8, 60, 30, draw) for _ in range(300))
    fetched = fmean(simulation.fetched_shares(160, 8, 60, 30, draw) for _ in range(300))
    alone, many = (max(simulation.shared_transfers([0.0] * n, 6e9, 1.25e9, 5e9)) for n in (1, 64))
    waits = {
        f"{n} runs a week": simulation.mean_wait(n / 604800, 40 * HOUR, 1, 20_000, draw) / HOUR for n in (1, 2, 3, 4)
    }
    intervals = {}
    for name, size in (("3B", SIZES["the method"]), ("72B, 8 nodes", SIZES["72B, 8 nodes"])):
        p = {name: piece.value for name, piece in pieces().items()}
        save = p["saved"] * size.weights / (p["store"] * size.gpus)
        rate = p["preemptions"] * size.nodes / HOUR
        intervals[f"seconds per checkpoint, {name}"] = save
        intervals[f"best minutes between checkpoints, {name}"] = simulation.best_interval(save, rate) / 60
    return {
        **intervals,
        "rollout shards dealt out, seconds": dealt,
        "rollout shards fetched, seconds": fetched,
        "6 GB of weights to 1 node, seconds": alone,
        "6 GB of weights to 64 nodes at once, seconds": many,
        **{f"hours of waiting for one pool, {name}": wait for name, wait in waits.items()},
    }


SIZES = {
    "the method": METHOD,
    "10 x rows": replace(METHOD, rows=2.72e6),
    "100 x rows": replace(METHOD, rows=27.2e6),
    "10 x questions": replace(METHOD, questions=200e3),
    "100 x questions": replace(METHOD, questions=2e6),
    "10 x answers": replace(METHOD, answers=80),
    "4 pictures": replace(METHOD, pictures=4),
    "1 GPU": replace(METHOD, gpus=1),
    "7B": replace(METHOD, weights=7e9),
    "32B": replace(METHOD, weights=32e9),
    "72B, 8 nodes": replace(METHOD, weights=72e9, gpus=64, nodes=8),
    "100 x questions, 8 nodes": replace(METHOD, questions=2e6, gpus=64, nodes=8),
    "100 x questions, 64 nodes": replace(METHOD, questions=2e6, gpus=512, nodes=64),
}


def first_breaks() -> dict[str, str]:
    """For rows, questions and weights: what breaks as they grow from the method's size, and at which multiple."""
    found: dict[str, str] = {}
    for name in ("rows", "questions", "weights"):
        factor = 1.0
        while factor < 200:
            size = replace(METHOD, **{name: getattr(METHOD, name) * factor})
            for line in broken(size, costs(size)):
                what = f"{name}: {' '.join(line.split()[:2])}"
                found.setdefault(what, f"at {factor:.3g} times: {line}")
            factor *= 1.05
    return found


def main() -> None:
    """Print the tables of docs/scale.md, and report."""
    tables = {name: costs(size) for name, size in SIZES.items()}
    steps = list(tables["the method"])
    print(f"| hours | {' | '.join(steps)} | with preemption | GPU hours | breaks |")
    print("|---" * (len(steps) + 4) + "|")
    for name, made in tables.items():
        hours = " | ".join(f"{cost.seconds / HOUR:.2g}" for cost in made.values())
        whole = sum(cost.preempted for cost in made.values()) / HOUR
        gpu = sum(cost.seconds * cost.gpus for cost in made.values()) / HOUR
        print(f"| {name} | {hours} | {whole:.3g} | {gpu:.3g} | {'; '.join(broken(SIZES[name], made)) or '-'} |")
    print("\n| piece | value | unit | source |\n|---|---|---|---|")
    for name, piece in pieces().items():
        print(f"| {name} | {piece.value:.4g} | {piece.unit} | {piece.source} |")
    quick, cases, agrees = measured(), cluster(), agreement()
    for name, value in {**quick, **cases, **agrees}.items():
        print(f"{name}: {value:.4g}")
    breaks = first_breaks()
    print("\n".join(f"{name}: {told}" for name, told in breaks.items()))
    numbers = {
        "hours": {name: {s: round(c.seconds / HOUR, 4) for s, c in made.items()} for name, made in tables.items()},
        "breaks": {name: broken(SIZES[name], made) for name, made in tables.items()},
        "first breaks": breaks,
        "measured": quick,
        "cluster": cases,
        "agreement": agrees,
    }
    finish("scale", min(agrees.values()), GOAL, numbers)


if __name__ == "__main__":
    main()
