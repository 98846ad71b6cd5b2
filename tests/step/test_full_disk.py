"""A disk that becomes full while a library writes ends a step with one line, as for any other write."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.mounted import run_in

WRITERS = {
    "safetensors": "torch_files.save_file({'weight': torch.ones(2**20)}, output / 'model.safetensors')",
    "tokenizers": "build_tokenizer().save_pretrained(str(output))",
}
STEP = """
import dataclasses, sys
from pathlib import Path
import safetensors.torch as torch_files
import torch
from pebr.files import atomic_directory
from typing import Annotated
from pebr.step.command import main
from pebr.step.settings import StepSettings
from pebr.toy.vlm import build_tokenizer

@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StepSettings):
    output: Annotated[str, "Where to write."]

def work(settings):
    with atomic_directory(settings.output) as output:
        {writer}
    return {{}}

main(Settings, work)
"""


def told(done: subprocess.CompletedProcess[str], place: Path) -> None:
    assert done.returncode == 2, done.stderr
    (line,) = (line for line in done.stderr.strip().splitlines() if " ERROR " in line)
    assert line.endswith(f"{place / 'out'}: No space left on device: make room, or give another place")
    assert "Traceback" not in done.stderr
    assert str(place) not in done.stdout  # nothing is left there


@pytest.mark.slow
@pytest.mark.parametrize("library", WRITERS)
def test_a_library_that_fills_the_disk_is_told_in_one_line(library: str, mount_point: Path) -> None:
    step = STEP.format(writer=WRITERS[library])
    told(run_in(mount_point, "size=12k", sys.executable, "-c", step, "--output", str(mount_point / "out")), mount_point)


@pytest.mark.slow
def test_a_model_that_does_not_fit_is_told_in_one_line(mount_point: Path) -> None:
    command = ["-m", "pebr.ingest", "--source", "toy://model", "--output", str(mount_point / "out")]
    told(run_in(mount_point, "size=2m", sys.executable, *command), mount_point)


ELSEWHERE = {
    "checkpoints": """
place = launch.join()
checkpoints = Checkpoints(f"{full}/checkpoints", 2, place)
checkpoints.save(1, [Run("weight", (2**20,), 0, torch.ones(2**20))], {}, {"state": {}})
checkpoints.wait()
""",
    "store": """
(Path(settings.output).parent / "large").write_bytes(bytes(2**22))
open_store(f"{full}/checkpoints").put(Path(settings.output).parent / "large", "shard")
""",
    "history": """
history = History(f"{full}/checkpoints")
for step in range(100_000):
    history.append({"step": step, "note": "x" * 1000})
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", ELSEWHERE)
def test_the_path_that_is_full_is_named_and_not_the_output(what: str, mount_point: Path, tmp_path: Path) -> None:
    step = f"""
import dataclasses
from pathlib import Path
from typing import Annotated
import torch
from pebr.step import launch
from pebr.step.command import main
from pebr.step.settings import StepSettings
from pebr.store.opening import open_store
from pebr.telemetry.history import History
from pebr.training.checkpoints import Checkpoints
from pebr.training.sharded import Run

@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StepSettings):
    output: Annotated[str, "Where to write."]

def work(settings):
    full = {str(mount_point)!r}
{textwrap.indent(ELSEWHERE[what], "    ")}
    return {{}}

main(Settings, work)
"""
    done = run_in(mount_point, "size=1m", sys.executable, "-c", step, "--output", str(tmp_path / "out"))
    assert done.returncode == 2, done.stderr
    (line,) = (line for line in done.stderr.strip().splitlines() if " ERROR " in line)
    assert f"ERROR {mount_point}/checkpoints" in line
    assert line.endswith(": No space left on device: make room, or give another place")
