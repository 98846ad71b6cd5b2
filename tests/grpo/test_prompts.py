"""Every question is encoded once per step, in a thread, whichever rank trains on it."""

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.grpo.conftest import ROOT, Command, environment, history

pytestmark = pytest.mark.slow


def test_two_ranks_encode_each_question_once(command: Command, tmp_path: Path) -> None:
    arguments = command(tmp_path, processes=2, learning_rate=1e-4)
    arguments[2] = "tests.grpo.counting"
    counts = tmp_path / "counts"
    counts.mkdir()
    subprocess.run(
        [*arguments[:2], "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", *arguments[2:]],
        cwd=ROOT,
        env=environment() | {"ENCODINGS": str(counts)},
        check=True,
        capture_output=True,
    )
    rows = history(tmp_path)
    found = [Counter((counts / rank).read_text().splitlines()) for rank in ("0", "1")]
    assert len(rows) == 3
    for of_rank in found:  # each has 4 of a step's 8 questions
        assert of_rank["encoded by a thread"] == of_rank["got"] == 4 * len(rows)
        assert of_rank["encoded by the loop"] <= 1  # a check of the processor at the start
    assert max(row["drift/max"] for row in rows) < 1e-4  # the exchanged questions are the ones that were sampled
