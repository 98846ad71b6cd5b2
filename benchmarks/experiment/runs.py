"""One seed of the experiment: data, warm-up, rollout, split, then the stages and evaluations of each arm.

The result of an arm is a small JSON file, written when its evaluation is done.
"""

import fcntl
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.experiment.arms import BASE, STARTS, WARM_UP, Arm, Start, design, stage_names
from benchmarks.experiment.damage import damaged
from benchmarks.experiment.lab import Clock, Lab
from pebr.files import atomic_file
from pebr.telemetry.history import read_history
from pipelines.recipes import Value

log = logging.getLogger("claim")

SCORES = (
    "accuracy",
    "oracle",
    "described",
    "stated_right",
    "keyword",
    "clip",
    "format",
    "no_answer",
    "response_tokens",
)
CURVES = (
    "reward",
    "reward/accuracy",
    "reward/keyword",
    "reward/clip",
    "response_tokens",
    "entropy",
    "zero_advantage_share",
)


def path_of(results: Path, seed: int, arm: str) -> Path:
    """The result file of an arm."""
    return results / f"seed-{seed}-{arm}.json"


def read(
    results: Path, chosen: dict[str, Value], start: Start = STARTS["sees"]
) -> dict[int, dict[str, dict[str, Any]]]:
    """The results of this design: seed -> arm -> result."""
    wanted, found = design(chosen, start), dict[int, dict[str, dict[str, Any]]]()
    for path in sorted(results.glob("seed-*.json")):
        result = json.loads(path.read_text())
        if result["design"] == wanted:
            found.setdefault(result["seed"], {})[result["arm"]] = result
    return dict(sorted(found.items()))


@contextmanager
def alone(folder: Path, waits: bool = False) -> Iterator[bool]:
    """Whether no other process works in the folder; if so, none does until this ends. `waits`: wait until it is so."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def run_seed(
    seed: int,
    work: Path,
    results: Path,
    chosen: dict[str, Value],
    arms: Sequence[Arm],
    clock: Clock,
    start: Start = STARTS["sees"],
) -> None:
    """Run what is missing of a seed.

    Args:
        seed: of data, warm-up, damage and training.
        work: the folder of all seeds.
        results: the folder of the result files.
        chosen: the recipe's values of all parameters.
        arms: to run, in this order.
        clock: of the experiment.
        start: what the arms start from.

    Raises:
        OutOfTime: the time is over.
    """
    wanted, common = design(chosen, start), work / design(chosen) / "shared"
    missing = [arm for arm in arms if not _is_done(path_of(results, seed, arm.name), wanted)]
    if not missing:
        return
    with alone(common, waits=True):
        shared = _shared(Lab(common, chosen | {"seed": 0}, clock))
    with alone(work / wanted / f"seed-{seed}") as free:
        if not free:
            log.info("seed %d: another process runs it", seed)
            return
        lab = Lab(work / wanted / f"seed-{seed}", chosen | {"seed": seed}, clock)
        made = shared | _common(lab, shared, start, seed)
        for arm in missing:
            result = {"seed": seed, "arm": arm.name, "design": wanted, **_run_arm(lab, arm, made)}
            results.mkdir(parents=True, exist_ok=True)
            with atomic_file(path_of(results, seed, arm.name)) as path:
                path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
            log.info("seed %d, %s: accuracy %.3f", seed, arm.name, result["scores"]["accuracy"])


def _is_done(path: Path, wanted: str) -> bool:
    return path.exists() and json.loads(path.read_text())["design"] == wanted


def _shared(lab: Lab) -> dict[str, Path]:
    """What all seeds have in common: the CLIP model and the base model."""
    clip = lab.run("clip_model", "clip") / "output"
    random = lab.run("base_model", "random_model") / "output"
    return {"clip_model": clip, "base": _taught(lab, "base", random, BASE)}


def _common(lab: Lab, shared: Mapping[str, Path], start: Start, seed: int) -> dict[str, Path]:
    """What all arms of a seed start from: benchmarks, warm-up and the questions by difficulty."""
    benchmarks = lab.run("benchmarks", "benchmarks") / "output"
    rl = lab.run("rl_data", "rl_data") / "output"
    rl_rows = lab.run("rl_filter", "rl_filter", source=rl) / "output"
    warm = _taught(lab, "warm_up", shared["base"], WARM_UP)
    if start.noise:
        warm = damaged(warm, lab.folder / "damaged", start.noise, seed)
    rollouts = lab.run("rollout", "rollout", model=warm, dataset=rl_rows) / "output"
    split = lab.run("split", "split", rollouts=rollouts)
    return {"warm": warm, "benchmarks": benchmarks, **{level: split / level for level in ("easy", "medium", "hard")}}


def _taught(lab: Lab, name: str, model: Path, changes: Mapping[str, Value]) -> Path:
    """A model after SFT on the data that the changes name."""
    data = lab.run("sft_data", f"{name}_data", changes) / "output"
    rows = lab.run("sft_filter", f"{name}_rows", source=data) / "output"
    return lab.run("sft", name, changes, model=model, dataset=rows) / "output"


def _run_arm(lab: Lab, arm: Arm, made: dict[str, Path]) -> dict[str, Any]:
    """Train the stages of an arm and evaluate the last model; returns scores, difficulties and curves."""
    model, name, curves = made["warm"], "warm_up", []
    for stage, name in zip(arm.stages, stage_names(arm), strict=True):
        trained = lab.run(
            stage.task, name, stage.changes, model=model, dataset=made[stage.questions], clip_model=made["clip_model"]
        )
        model = lab.run("merge", f"{name}-merged", checkpoint=trained / "output", model=model) / "output"
        shutil.rmtree(trained / "output.checkpoints", ignore_errors=True)
        curves.append(curve(trained / "history"))
    scored = lab.run(
        "evaluate", f"{name}-scores", model=model, benchmarks=made["benchmarks"], clip_model=made["clip_model"]
    )
    scores = json.loads((scored / "output" / "scores.json").read_text())
    by_hops = next(iter(scores["benchmarks"].values()))["by"]["category"]
    split = lab.metrics("split")
    return {
        "scores": {key: scores[key] for key in SCORES if key in scores},
        "by_hops": {hops: group["accuracy"] for hops, group in by_hops.items()},
        "questions": {level: split[level] for level in ("easy", "medium", "hard")},
        "seconds": {key: lab.metrics(key)["seconds"] for key in ("warm_up", *stage_names(arm), f"{name}-scores")},
        "curves": curves,
    }


def curve(history: Path) -> dict[str, list[float | None]]:
    """The measures of each training step of a stage, in order."""
    # A custom reward is named by its place, as in package.module:accuracy.
    rows = [
        {f"reward/{k.rpartition(':')[2]}" if k.startswith("reward/") and ":" in k else k: v for k, v in row.items()}
        for row in read_history(history)
    ]
    found = {name: [row.get(name) for row in rows] for name in CURVES}
    return {
        name: [None if value is None else round(value, 4) for value in values]
        for name, values in found.items()
        if any(value is not None for value in values)
    }
