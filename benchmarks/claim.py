"""Does perception before reasoning help? An experiment in a tiny world in which seeing is the bottleneck.

The results and what they mean: docs/claim.md.

    python -m benchmarks.claim --seeds 0-7 --minutes 60     (continues what is there; two processes share the seeds)
    python -m benchmarks.claim --start sees_poorly          (the same from a warm-up whose vision tower is damaged)
    python -m benchmarks.claim --report                     (writes the tables and figures of docs/claim.md)

Each seed has its own data, warm-up, rollout and split; its arms differ in their stages of GRPO alone. A finished arm is
a file in `benchmarks/results/claim/START/`; unfinished steps are continued from `runs/claim/`. One thread per process
(OMP_NUM_THREADS=1) keeps the bytes the same on every machine and lets two seeds run side by side. There is no goal: the
experiment's outcome is what docs/claim.md says.
"""

import argparse
import logging
import re
import sys
from pathlib import Path

import torch

from benchmarks.experiment import figure, page
from benchmarks.experiment.arms import STARTS, Start, arms, values
from benchmarks.experiment.lab import Clock, OutOfTime
from benchmarks.experiment.runs import read, run_seed
from benchmarks.result import RESULTS
from pebr.errors import Preempted

log = logging.getLogger("claim")

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = DOCS / "claim.md"
KEPT = RESULTS / "claim"
WORK = ROOT / "runs" / "claim"
NO_TIME = 3  # exit code: continue another time


def seeds_of(text: str) -> list[int]:
    """The seeds of a range or a list.

    >>> seeds_of("0-2,7")
    [0, 1, 2, 7]
    """
    found: list[int] = []
    for part in text.split(","):
        if not (match := re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())):
            raise argparse.ArgumentTypeError(f"{text!r}: give seeds such as 0-7 or 0,3,5")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return found


def main() -> None:
    """Run what is missing, then report how much is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("0-7"), help="seeds to run, in this order")
    parser.add_argument("--minutes", type=float, default=9.0, help="begin no step after so many minutes; 0: no limit")
    parser.add_argument("--start", choices=STARTS, default="sees", help="what the arms start from")
    parser.add_argument("--arms", default="", help="names of the arms to run, separated by commas; empty for all")
    parser.add_argument("--report", action="store_true", help="run nothing; write docs/claim.md and its figures")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    recipe = values()
    every = arms(recipe)
    if chosen.report:
        for start in STARTS.values():
            results = read(KEPT / start.name, recipe, start)
            page.write(PAGE, start.name, page.tables(results, every))
            (DOCS / figure.name_of(start)).write_text(figure.draw(results, every), encoding="utf-8")
            _tell(start, len(results), sum(map(len, results.values())), len(every))
        return
    names = [name for name in chosen.arms.split(",") if name]
    if unknown := set(names) - {arm.name for arm in every}:
        parser.error(f"--arms {', '.join(sorted(unknown))}: give names among {', '.join(arm.name for arm in every)}")
    wanted = [arm for arm in every if not names or arm.name in names]
    torch.set_num_threads(1)
    clock, code, start = Clock(chosen.minutes), 0, STARTS[chosen.start]
    try:
        for seed in chosen.seeds:
            run_seed(seed, WORK, KEPT / start.name, recipe, wanted, clock, start)
    except (OutOfTime, Preempted) as end:
        log.info("stopped (%s); the same command continues", str(end) or f"{chosen.minutes:g} minutes are over")
        code = NO_TIME
    results = read(KEPT / start.name, recipe, start)
    _tell(start, len(results), sum(map(len, results.values())), len(every))
    sys.exit(code)


def _tell(start: Start, seeds: int, done: int, every: int) -> None:
    print(f"claim, {start.name}: {seeds} seeds, {done} results of {every} arms each")


if __name__ == "__main__":
    main()
