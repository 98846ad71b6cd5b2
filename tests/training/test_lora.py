"""LoRA: only adapters are trained, and the engine's output is the model with merged adapters."""

from pathlib import Path

import pytest
import torch

from pebr.step import launch
from pebr.training import lora
from pebr.training.consolidate import consolidate
from pebr.training.engine import EngineSettings, TrainingEngine
from pebr.vlm.loading import load_model

FAMILIES = ["qwen2_5_vl", "qwen3_vl", "qwen3_5"]


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_trained_adapters_are_merged_into_a_plain_model(
    tiny_models: dict[str, Path], tmp_path: Path, family: str, stage: int
) -> None:
    def train(place: launch.Place) -> torch.Tensor:
        model = load_model(tiny_models[family])
        lora.attach(model, 4, seed=0)
        assert torch.equal(logits(model), logits(load_model(tiny_models[family])))  # B is zero at first
        trained = {name for name, value in model.named_parameters() if value.requires_grad}
        assert trained == {name for name, _ in model.named_parameters() if ".lora_" in name}
        assert all(name.startswith("model.language_model.layers.") for name in trained)
        engine = TrainingEngine(model, EngineSettings(1e-2, 10, zero_stage=stage), place)
        for _ in range(3):
            engine.update(
                [torch.tensor([[5, 6, 7, 8]])],
                lambda module, ids: (
                    -module(input_ids=ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None]).sum()
                ),
            )
        engine.save_sharded(tmp_path / "sharded")
        with torch.no_grad():
            return engine.module(input_ids=torch.tensor([[5, 6, 7, 8]])).logits

    expected = launch.as_rank(train)
    consolidate(tmp_path / "sharded", tiny_models[family], tmp_path / "merged")
    merged = load_model(tmp_path / "merged")
    assert not torch.allclose(logits(load_model(tiny_models[family])), expected, atol=1e-2)
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)


def test_switched_off_adapters_leave_the_model_that_training_began_with(tiny_models):
    adapted = load_model(tiny_models["qwen2_5_vl"])
    lora.attach(adapted, 4, seed=3)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    input_ids = torch.arange(20, 40)[None]
    expected = load_model(tiny_models["qwen2_5_vl"])(input_ids).logits
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert not torch.allclose(adapted(input_ids).logits, expected, atol=1e-2)
    assert torch.equal(lora.WithoutAdapters(adapted)(input_ids).logits, expected)
    assert not torch.allclose(adapted(input_ids).logits, expected, atol=1e-2)
    assert trained == [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
