"""A full, read-only or forbidden folder ends a command with one line, and no incomplete file stays there.

Each command runs in its own mount namespace with its own file system.
"""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from pebr.data.records import ROLLOUT_SCHEMA
from pebr.data.shards import ShardWriter
from pebr.toy.formats import write_rl
from tests.mounted import run_in


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_rl(folder / "rl", seed=0, rows=60)
    for path in (folder / "rl" / "images").iterdir():
        Image.effect_noise((112, 112), 90).save(path)
    noise = os.urandom(100_000)
    with ShardWriter(folder / "rollouts", ROLLOUT_SCHEMA, "rollouts") as writer:
        for i in range(40):
            response = {"text": "t", "token_count": 1, "finish_reason": "stop", "logprob": -1.0, "accuracy": i % 2}
            image = {"bytes": noise[i:], "path": "p"}
            row = {"qid": f"q{i}", "problem": "p", "answer": "a", "key_words": [], "images": [image], "extra": "{}"}
            writer.write(row | {"responses": [response]})
    return folder


def commands(inputs: Path, place: Path) -> dict[str, list[str]]:
    return {
        "filter": ["--source", f"{inputs / 'rl'}", "--kind", "rl", "--output", f"{place / 'out'}"],
        "ingest": ["--source", f"{inputs / 'rl'}", "--output", f"{place / 'out'}"],
        "split": ["--rollouts", f"{inputs / 'rollouts'}",
                  *(word for level in ("easy", "medium", "hard") for word in (f"--{level}", f"{place / level}"))],
    }  # fmt: skip


@pytest.mark.parametrize("step", ["filter", "ingest", "split"])
@pytest.mark.parametrize(
    ("options", "said"),
    [("size=200k", "No space left on device: make room"), ("ro,size=1m", "Read-only file system: mount it writable")],
)
@pytest.mark.slow
def test_a_full_or_read_only_place_is_said(step: str, options: str, said: str, inputs: Path, mount_point: Path) -> None:
    command = [sys.executable, "-m", f"pebr.{step}", *commands(inputs, mount_point)[step]]
    done = run_in(mount_point, options, *command)
    assert done.returncode == 2, done.stderr
    (line,) = (line for line in done.stderr.strip().splitlines() if " INFO " not in line)
    assert said in line
    assert str(mount_point) in line
    left = done.stdout.split()
    whole = {
        str(mount_point / "easy"),
        str(mount_point / "medium"),
        str(mount_point / "hard"),
    }  # one of them may be finished before another
    assert all(any(path.startswith(name) for name in whole) for path in left), left


def test_a_place_that_may_not_be_written_is_said(tmp_path: Path, inputs: Path) -> None:
    (tmp_path / "place").mkdir(mode=0o555)
    command = [sys.executable, "-m", "pebr.filter", *commands(inputs, tmp_path / "place")["filter"]]
    if os.geteuid() == 0:  # root may write everywhere, unless this right is removed
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Permission denied: grant this user the right" in done.stderr.splitlines()[-1]


def test_pyarrow_says_what_the_system_says() -> None:
    """`pebr.step.command.main` uses the error number; pyarrow's errors have it."""
    with pytest.raises(OSError, match="No space left") as error, pa.OSFile("/dev/full", "wb") as file:
        file.write(b"x" * 2**20)
    assert error.value.errno == 28
