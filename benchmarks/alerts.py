"""Whether each alert fires in a run with its fault, and none in healthy ones, by a real Prometheus beside real steps.

    make bench NAME=alerts

Each fault is made as it arises: a learning rate that is too high, answers that are cut off, small images, a reward
that hangs, a full disk. Minutes of the rules (`k8s/monitoring/alerts.yaml`) pass 120 times faster than they say, since
the runs take seconds. The ratio is the share of right outcomes: one per alert, and one per healthy run of three seeds.
Needs Debian's packages prometheus and prometheus-pushgateway, and the right to mount a small file system.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.result import finish
from tests.monitoring.tiny_run import TinyRun
from tests.prometheus import free_port, prometheus, pushgateway

FACTOR = 120.0
LONGEST = 300.0  # seconds until a faulty run counts as silent, once it trains; on an idle machine all fire within 75
TOGETHER = 3  # runs at the same time, each with one thread; some of them wait
SEEDS = (0, 1, 2)

# Rewards in files of their own, as users write them.
REWARDS = {
    "hangs": "import time\ncalls = 0\n\n\ndef reward(batch):\n    global calls\n    calls += 1\n"
    "    time.sleep(600 if calls > 3 else 0)\n    return [len(text) % 7 / 7 for text in batch.responses]\n",
    "slow": "import time\nended = 0.0\n\n\ndef reward(batch):\n    global ended\n"
    "    time.sleep(2 * (time.monotonic() - ended) if ended else 0)\n    ended = time.monotonic()\n"
    "    return [len(text) % 7 / 7 for text in batch.responses]\n",
    "huge": "calls = 0\n\n\ndef reward(batch):\n    global calls\n    calls += 1\n"
    "    return [len(text) % 7 * (1e30 if calls % 3 == 0 else 1.0) for text in batch.responses]\n",
    "lengths": "def reward(batch):\n    return [len(text) / 100 for text in batch.responses]\n",
}
ENDLESS = {"max_steps": 100000, "epochs": 1000000, "futile_steps": 0, "drift_limit": 0, "save_every": 20}
PLAIN = {"stage": "reasoning", "accuracy_weight": 0, "format_weight": 0}


class Fault(NamedTuple):
    """A step that has a fault."""

    step: str
    changes: Mapping[str, object]
    variables: Mapping[str, str] = {}


def faults(run: TinyRun, disk: Path) -> dict[str, Fault]:
    """The fault of each alert."""

    def reward(name: str) -> dict[str, object]:
        path = run.folder / f"{name}.py"
        path.write_text(REWARDS[name])
        return {**ENDLESS, **PLAIN, "reward": f"{path}:reward=1"}

    gone = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    return {
        "PebrNoTrainingStep": Fault("grpo", reward("hangs")),
        "PebrDriftRising": Fault("grpo", {**reward("lengths"), "top_p": 0.5}),
        "PebrKlRunaway": Fault("grpo", {**reward("lengths"), "learning_rate": 3e-3, "kl_weight": 1e-4}),
        "PebrEntropyRunaway": Fault("grpo", {**reward("lengths"), "learning_rate": 1e-2, "kl_weight": 1e-4}),
        "PebrRewardFlat": Fault("grpo", {**ENDLESS, **PLAIN, "accuracy_weight": 1, "max_response_tokens": 2}),
        "PebrAnswersCutOff": Fault("grpo", {**reward("lengths"), "max_response_tokens": 8}),
        "PebrUpdatesRefused": Fault("grpo", {**reward("huge"), "advantage": "mean"}),
        "PebrCheckpointOld": Fault("grpo", {**reward("lengths"), "save_every": 0}),
        "PebrRowsRejected": Fault("filter", {"min_side": 200}),
        "PebrProcessorWaiting": Fault("grpo", reward("slow")),
        "PebrDiskNearlyFull": Fault(
            "grpo", {**reward("lengths"), "output": disk / "out", "checkpoints": run.folder / "full"}
        ),
        "PebrTrackingLost": Fault("grpo", reward("lengths"), gone),
    }


def main() -> None:
    """Provoke, watch and report; with names of alerts as arguments, only print what these faults fire."""
    only = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        run = TinyRun(Path(folder) / "run")
        for step in ("filter", "sft"):
            run.run(step)
        disk = Path(folder) / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)], check=True)
        (disk / "other").write_bytes(os.urandom(2_030_000))
        watches = {} if only else {f"healthy, seed {seed}": partial(healthy, run, seed) for seed in SEEDS}
        for alert, fault in faults(run, disk).items():
            if not only or alert in only:
                watches[alert] = partial(watched, run, alert, fault, LONGEST, alert)
        pool = ThreadPoolExecutor(TOGETHER)
        try:
            fired = dict(zip(watches, pool.map(_told, watches, watches.values()), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)
            subprocess.run(["umount", str(disk)], check=True)
    if only:
        return
    right = [not found if name.startswith("healthy") else name in found for name, found in fired.items()]
    finish("alerts", sum(right) / len(right), 1.0, {"fired": fired})


def _told(name: str, watch: Callable[[], set[str]]) -> list[str]:
    """The alerts that fire in a run, which are also printed."""
    fired = sorted(watch())
    print(f"{name}: {fired}", file=sys.stderr, flush=True)
    return fired


def healthy(run: TinyRun, seed: int) -> set[str]:
    """The alerts that fire in a good GRPO run, in 30 seconds of training."""
    changes = {**ENDLESS, "seed": seed, "learning_rate": 1e-5}
    return watched(run, f"healthy-{seed}", Fault("grpo", changes), seconds=30.0)


def watched(run: TinyRun, name: str, fault: Fault, seconds: float, awaited: str = "") -> set[str]:
    """Run a step beside a Prometheus, for so long at most once it trains; returns the alerts that have fired."""
    port = free_port()
    with pushgateway(run.folder / f"{name}-push") as gateway:
        scraped = {gateway: True, port: False}
        with prometheus(run.folder / f"{name}-prometheus", scraped, FACTOR) as server:
            variables = {"PEBR_METRICS_PORT": str(port), "PEBR_PUSHGATEWAY": f"127.0.0.1:{gateway}", "PEBR_RUN": name}
            process = run.start(fault.step, name, {**variables, **fault.variables}, **fault.changes)
            until = time.monotonic() + seconds
            while time.monotonic() < until and not (awaited and awaited in server.fired()):
                if fault.step == "grpo" and process.poll() is None and not server.curves("pebr_training_steps_planned"):
                    until = time.monotonic() + seconds  # it has not begun
                if process.poll() is not None:
                    until = min(until, time.monotonic() + 5)
                time.sleep(0.5)
            process.kill()
            process.wait()
            return server.fired()


if __name__ == "__main__":
    main()
