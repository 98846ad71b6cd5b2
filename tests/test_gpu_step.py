"""The benchmark of a whole GRPO step runs on a CPU, and its parts add up to the step."""

import json
from pathlib import Path

from benchmarks.gpu_step import PARTS, main


def test_a_dry_run_writes_the_breakdown_of_a_step(tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    result = main(["--dry", "--output", str(output)])
    assert json.loads(output.read_text()) == result
    seconds = result["seconds"]
    assert set(seconds) == set(PARTS)
    assert (result["card"], result["engine"], result["answers_left_out"]) == ("CPU", "transformers", 0)
    assert seconds["reference"] + seconds["update"] <= seconds["training"]
    assert seconds["sync"] + seconds["sampling"] + seconds["training"] <= seconds["step"] + 1e-3  # they are rounded
    assert 0 < result["ratio"] < 1
