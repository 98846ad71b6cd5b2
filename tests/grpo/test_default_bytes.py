"""Methods that are off change nothing: a run with default settings has the weights it had before there were any.

Recorded at commit 3df8dc1, the last one before GSPO, CISPO and the other methods of docs/methods.md. Float arithmetic
differs between processors and libraries, so the record counts only where it was made.
"""

import hashlib
from pathlib import Path

import pytest
import torch

from tests.grpo.conftest import Command, finish

RECORDED = {("AMD EPYC", "AVX512", "2.13.0+cpu"): "24fe350dc4f4"}


def this_machine() -> tuple[str, str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names or [""])[0], torch.backends.cpu.get_cpu_capability(), torch.__version__


@pytest.mark.skipif(this_machine() not in RECORDED, reason=f"no record for {this_machine()}")
def test_a_run_of_defaults_has_the_weights_from_before_the_methods(command: Command, tmp_path: Path) -> None:
    finish(command(tmp_path))
    (weights,) = (tmp_path / "weights").glob("*.safetensors")
    assert hashlib.sha256(weights.read_bytes()).hexdigest()[:12] == RECORDED[this_machine()]
