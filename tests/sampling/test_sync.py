"""vLLM gets the weights of the training engine, whole or sharded, on one rank and on two."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.vllm
@pytest.mark.parametrize(("processes", "parallel"), [(1, 1), (2, 1), (2, 2)])
def test_synced_weights_are_the_trainers(tiny: Any, tmp_path: Path, processes: int, parallel: int) -> None:
    job = {"model": str(tiny.path), "processes": processes, "parallel": parallel, "out": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-m", "tests.sampling.sync_worker", json.dumps(job)],
        check=False,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for rank in range(processes):
        stages = json.loads((tmp_path / f"rank-{rank}.json").read_text())
        assert set(stages) == {"0", "3"}
        for differences in stages.values():
            assert differences["before"] > 0.05
            assert differences["after"] < 1e-3
