"""A stage with a custom reward by file: its failures end the stage, and its source names the run."""

import subprocess
from pathlib import Path

import pytest

from tests.grpo.conftest import ROOT, Command, environment

pytestmark = pytest.mark.slow


def run(command: Command, folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    plugin = folder / "plugin.py"
    plugin.write_text(source)
    arguments = command(folder, reward=f"{plugin}:f=0.1", accuracy_weight=1, max_steps=1, samples=2)
    return subprocess.run(arguments, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("import sys\ndef f(batch):\n    sys.exit(0)\n", 1, "plugin.py:f: question "),
        ("def f(batch)\n    return [0.0]\n", 2, "(plugin.py, line 1)): fix it"),
    ],
)
def test_a_reward_that_fails_ends_the_stage(
    command: Command, tmp_path: Path, source: str, code: int, said: str
) -> None:
    done = run(command, tmp_path, source)
    assert done.returncode == code
    assert said in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "weights").exists()


def test_a_changed_reward_starts_anew_and_it_is_said(command: Command, tmp_path: Path) -> None:
    source = "def f(batch):\n    return [float(len(text) % 7) for text in batch.responses]\n"
    assert run(command, tmp_path, source).returncode == 0
    again = run(command, tmp_path, source)
    assert "resumed from the checkpoint of step 2" in again.stderr
    changed = run(command, tmp_path, source.replace("7", "5"))
    assert changed.returncode == 0
    assert "resumed" not in changed.stderr
    assert "is of another run: rewards of plugin.py; --resume-from takes it knowingly" in changed.stderr
