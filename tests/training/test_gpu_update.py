"""The GPU benchmark runs, here on a CPU, and shows what the forward pass has saved in operator calls."""

import json

import pytest

from benchmarks import gpu_update


@pytest.mark.slow
def test_a_dry_run_of_the_gpu_benchmark_counts_at_most_a_third_of_the_operator_calls(tmp_path):
    out = tmp_path / "result.json"
    ratio = gpu_update.main(["--dry", "--depth", "1", "4", "--out", str(out)])
    result = json.loads(out.read_text())
    (shape,) = gpu_update.DRY_SHAPES
    ways = result[f"{shape[0]}/{shape[1]}"]
    assert result["card"] == "CPU"
    assert ratio == ways["as it was"]["launches"] / ways["ours"]["launches"] > 3
    assert all(way["seconds"] > 0 for way in [*ways.values(), result["sft"]["ours"]])
