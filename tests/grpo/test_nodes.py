"""GRPO on two nodes with a rank each, simulated on this machine: the same bytes as two ranks on one node."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.grpo.conftest import ROOT, Command, environment, finish, history
from tests.grpo.test_resume import digests, rows
from tests.step.test_nodes import free_port, places

pytestmark = pytest.mark.slow

SETTINGS = {"max_steps": 3, "zero_stage": 2, "keep_checkpoints": 2}


def nodes(arguments: list[str]) -> list["subprocess.Popen[str]"]:
    return [
        subprocess.Popen(arguments, cwd=ROOT, env=environment() | place, stderr=subprocess.PIPE, text=True)
        for place in places(2, free_port())
    ]


@pytest.mark.timeout(900)
def test_two_nodes_train_as_two_ranks_do_and_survive_the_loss_of_one(command: Command, tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    finish(command(whole, **SETTINGS, processes=2))
    arguments = command(parted, **SETTINGS)
    first, second = nodes(arguments)
    while rows(parted) < 1:
        assert first.poll() is None, first.stderr and first.stderr.read()
        time.sleep(0.01)
    second.kill()  # its rank ends with it
    said = first.communicate(timeout=300)[1]
    assert first.returncode == 1
    assert "node 1 (" in said
    assert "is gone" in said
    assert "start all nodes again, they resume" in said
    second.communicate()
    assert not (parted / "weights").exists()
    again = nodes(arguments)
    for node in again:
        assert node.communicate(timeout=600)[0] is None
        assert node.returncode == 0
    assert history(parted) == history(whole)
    assert digests(parted) == digests(whole)
