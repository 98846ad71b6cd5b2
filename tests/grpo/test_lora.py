"""GRPO with LoRA by the real commands: only adapters are trained, sampling uses them, `merge` merges them."""

import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.grpo.conftest import finish, history

pytestmark = pytest.mark.slow


def test_adapters_train_are_sampled_from_and_end_in_a_plain_model(command, tiny_models, tmp_path):
    base, merged, histories = load_file(tiny_models["qwen2_5_vl"] / "model.safetensors"), [], []
    for stage in (0, 3):
        folder = tmp_path / str(stage)
        finish(command(folder, lora_rank=4, learning_rate=1e-2, zero_stage=stage))
        flags = {"checkpoint": folder / "weights", "model": tiny_models["qwen2_5_vl"], "output": folder / "merged"}
        finish([sys.executable, "-m", "pebr.merge", *(str(w) for n, v in flags.items() for w in (f"--{n}", v))])
        merged.append(load_file(folder / "merged" / "model.safetensors"))
        histories.append(history(folder))
    changed = {name for name, value in merged[0].items() if not torch.equal(value, base[name])}
    assert changed == {name for name in base if name.startswith("model.layers.") and "proj.weight" in name}
    for name, value in merged[0].items():
        torch.testing.assert_close(merged[1][name], value, rtol=1e-3, atol=1e-4)
    for one, other in zip(*histories, strict=True):
        # no drift: the sampler uses the trained adapters
        assert max(one["drift/mean"], other["drift/mean"]) < 1e-5
        assert one["reward"] == pytest.approx(other["reward"], rel=2e-3)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=2e-3)
