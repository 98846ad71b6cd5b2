"""Padded widths change no result; fused kernels, where a GPU and liger-kernel are, change it by rounding only."""

import copy
import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from pebr.vlm import kernels
from pebr.vlm.families import family_of
from pebr.vlm.loading import load_model


class GatedMlp(nn.Module):
    """As in the vision tower of Qwen2.5-VL."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, inner), nn.Linear(width, inner)
        self.down_proj = nn.Linear(inner, width)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.down_proj(nn.functional.silu(self.gate_proj(inputs)) * self.up_proj(inputs))


@pytest.mark.parametrize("inner", [20, 24, 27])
def test_padded_widths_give_the_same_output_and_gradients(inner):
    torch.manual_seed(inner)
    plain = nn.Sequential(GatedMlp(12, inner), GatedMlp(12, inner)).double()
    padded = copy.deepcopy(plain)
    kernels.pad_widths(padded)
    inputs = torch.randn(5, 12, dtype=torch.double)
    widths = []
    padded[0].down_proj.register_forward_pre_hook(lambda _, given: widths.append(given[0].shape[-1]))
    results = []
    for model in (plain, padded):
        output = model(inputs)
        output.square().sum().backward()
        results.append([output.detach(), *(parameter.grad for parameter in model.parameters())])
    assert widths == [-(-inner // 8) * 8]
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert [p.shape for p in padded.parameters()] == [p.shape for p in plain.parameters()]


def test_without_a_gpu_nothing_changes(tiny_models, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = load_model(tiny_models["qwen2_5_vl"])
    kernels.use_fast_kernels(model, "model.visual")
    assert all("forward" not in vars(module) for module in model.modules())


@pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("liger_kernel") is None, reason="a GPU and liger-kernel"
)
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_fused_kernels_give_the_same_hidden_states(tiny_models, family):
    input_ids = torch.arange(20, 60, device="cuda")[None]
    states = []
    for fast in (False, True):
        model = load_model(tiny_models[family]).to("cuda")
        if fast:
            family_of(model.config).prepare(model)
        states.append(model.model(input_ids=input_ids).last_hidden_state)
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-4)


@pytest.mark.vllm  # its installation has Triton
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_fused_rotary_embedding_gives_the_same_states_and_gradients(tiny_models, family):
    """Triton's interpreter runs the kernel on a CPU, if it is told so before it is imported."""
    command = [sys.executable, "-m", "tests.vlm.fused_rotary", str(tiny_models[family])]
    interpreted = os.environ | {"TRITON_INTERPRET": "1"}
    ran = subprocess.run(command, check=False, env=interpreted, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
