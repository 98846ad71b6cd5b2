"""Does training improve the model? The whole toy pipeline with several seeds, scored on held-out questions.

    make bench NAME=learning            (three seeds, about 40 minutes on 2 cores; the other benchmarks take less than
                                         ten minutes. Runs of earlier calls in runs/learning are reused.)

The ablation is reasoning alone, directly after the warm-up: once with as many training steps as stage 2, once with as
many as both stages together. The ratio is the gain in accuracy of stage 2 over the warm-up, divided by 10 points. It
counts only if the warm-up and stage 1 meet the conditions in `conditions`, else it is 0.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.result import finish
from pipelines import recipes

SEEDS = (0, 1, 2)
MEASURES = ("accuracy", "format", "clip", "keyword")
WORK = Path("runs") / "learning"
GOAL_POINTS = 0.10

Scores = dict[str, dict[str, float]]  # model -> measure -> mean


def conditions(mean: Scores, sizes: Mapping[str, float]) -> dict[str, bool]:
    """The conditions besides the gain, on the means over seeds and on the shares of the difficulties."""
    warm, first = mean["warm-up"], mean["stage 1"]
    return {
        "warm-up: format right in at least 95 %": warm["format"] >= 0.95,
        "warm-up: accuracy from 30 % to 80 %": 0.30 <= warm["accuracy"] <= 0.80,
        "easy, medium and hard: each at least 10 % of the questions": min(sizes.values()) >= 0.10,
        "stage 1: CLIP + keyword higher than after the warm-up": first["clip"] + first["keyword"]
        > warm["clip"] + warm["keyword"],
    }


def run(seed: int, ablation_steps: int) -> Path:
    """Run the pipeline with a seed; finished steps are not rerun. Returns the work folder."""
    work = WORK / f"seed-{seed}"
    changes = {"seed": seed, "ablation": True, "ablation_max_steps": ablation_steps}
    command = [sys.executable, "-m", "pipelines.run", "--recipe", "toy", "--work", str(work)]
    for name, value in changes.items():
        command += ["--set", f"{name}={value}"]
    subprocess.run(command, check=True)
    return work


def read(work: Path) -> tuple[Scores, dict[str, float]]:
    """The scores of each model of a run, and the shares of easy, medium and hard questions."""
    scores: Scores = {}
    sizes: dict[str, float] = {}
    for step in json.loads((work / "run.json").read_text())["steps"]:
        metrics_file = work / "artifacts" / step["step"] / step["key"] / "metrics"
        if step["title"].startswith("Evaluate ") and metrics_file.is_file():
            metrics = json.loads(metrics_file.read_text())
            scores[step["title"].removeprefix("Evaluate ")] = {name: metrics[name] for name in MEASURES}
        if step["title"] == "Split by difficulty":
            metrics = json.loads(metrics_file.read_text())
            total = sum(metrics[level] for level in ("easy", "medium", "hard"))
            sizes = {level: metrics[level] / total for level in ("easy", "medium", "hard")}
    return scores, sizes


def main() -> None:
    """Run all seeds, print the table, report the result."""
    toy = yaml.safe_load((Path(recipes.__file__).parent / "toy.yaml").read_text())["parameters"]
    equal = toy["reasoning_max_steps"]
    total = equal + toy["perception_max_steps"]
    by_seed: dict[int, Scores] = {}
    shares: list[dict[str, float]] = []
    started = time.monotonic()
    for seed in SEEDS:
        scores, sizes = read(run(seed, equal))
        scores["reasoning only, equal stage-2 steps"] = scores.pop("ablation")
        scores["reasoning only, equal total steps"] = read(run(seed, total))[0]["ablation"]
        by_seed[seed] = scores
        shares.append(sizes)
    models = list(by_seed[SEEDS[0]])
    mean = {m: {name: fmean(by_seed[seed][m][name] for seed in SEEDS) for name in MEASURES} for m in models}
    sizes = {level: fmean(share[level] for share in shares) for level in ("easy", "medium", "hard")}
    table = Table(title=f"Held-out questions, mean of seeds {', '.join(map(str, SEEDS))}")
    table.add_column("model")
    for name in MEASURES:
        table.add_column(name, justify="right")
    for model in models:
        table.add_row(model, *(f"{mean[model][name]:.3f}" for name in MEASURES))
    Console().print(table)
    met = conditions(mean, sizes)
    for what, holds in met.items():
        print(f"{'ok   ' if holds else 'SHORT'} {what}")
    gain = mean["stage 2"]["accuracy"] - mean["warm-up"]["accuracy"]
    numbers = {
        "mean": mean,
        "seeds": {str(seed): scores for seed, scores in by_seed.items()},
        "difficulty": sizes,
        "conditions": met,
        "gain": gain,
        "seconds": round(time.monotonic() - started),
    }
    finish("learning", gain / GOAL_POINTS if all(met.values()) else 0.0, 1.0, numbers)


if __name__ == "__main__":
    main()
