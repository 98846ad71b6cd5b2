"""The memory plan: which models fit, and what is refused."""

import dataclasses

import pytest
from transformers import AutoConfig

from pebr.errors import InputError
from pebr.training.engine import EngineSettings
from pebr.training.memory import GIB, Plan, Sizes, check, plan

SETTINGS = EngineSettings(1e-6, 1, dtype="bf16", zero_stage=3, row_tokens=16384)
GPU = int(79.2 * GIB)  # free on a card of 80 GB
HOST = 1000 * GIB
VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
DIMENSIONS = {  # of Qwen2.5: layers, width, width of the MLP, heads, key-value heads
    "3b": (36, 2048, 11008, 16, 2),
    "7b": (28, 3584, 18944, 28, 4),
    "14b": (48, 5120, 13824, 40, 8),
    "32b": (64, 5120, 27648, 40, 8),
}


def config_of(name):
    layers, width, inner, heads, key_heads = DIMENSIONS[name]
    text = {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "vocab_size": 152064,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }
    tied = name == "3b"
    vision = VISION | {"out_hidden_size": width}
    return AutoConfig.for_model("qwen2_5_vl", text_config=text, vision_config=vision, tie_word_embeddings=tied)


@pytest.fixture(scope="module")
def models():
    return {name: (config, Sizes.of(config)) for name in DIMENSIONS for config in [config_of(name)]}


def planned(models, name, reference="device", share=0.4, ranks=8, **changes):
    return plan(*models[name], dataclasses.replace(SETTINGS, **changes), ranks, reference, int(share * 80 * GIB))


def test_sizes_follow_from_the_configuration(models):
    billions = {name: round(sizes.weights / 1e9, 1) for name, (_, sizes) in models.items()}
    assert billions == {"3b": 3.8, "7b": 8.3, "14b": 15.5, "32b": 33.4}


@pytest.mark.parametrize("name", ["3b", "7b", "14b"])
def test_up_to_14b_fits_eight_gpus_of_80_gb(models, name):
    check(planned(models, name), GPU, HOST, 8, "an 80 GB GPU")


def test_32b_needs_the_optimizer_on_the_host(models):
    with pytest.raises(InputError, match="--offload optimizer"):
        check(planned(models, "32b"), GPU, HOST, 8, "an 80 GB GPU")
    offloaded = planned(models, "32b", offload="optimizer")
    check(offloaded, GPU, HOST, 8, "an 80 GB GPU")
    with pytest.raises(InputError, match="host's memory"):
        check(offloaded, GPU, 256 * GIB, 8, "an 80 GB GPU")


def test_parts_follow_from_the_weights(models):
    count = models["3b"][1].weights
    made = planned(models, "3b", ranks=4, share=0)
    assert (made.weights, made.gradients, made.moments, made.reference) == (
        2 * count // 4, 4 * count // 4, 12 * count // 4, 2 * count // 4
    )  # fmt: skip
    whole = planned(models, "3b", ranks=4, reference="host", zero_stage=1, share=0)
    assert (whole.weights, whole.gradients, whole.moments) == (2 * count, 4 * count, 12 * count // 4)
    assert (whole.reference, whole.host) == (0, 2 * count // 4)


def test_adapters_and_a_frozen_tower_train_less(models):
    config, full = models["3b"]
    frozen, adapters = Sizes.of(config, trains_vision=False), Sizes.of(config, lora_rank=16)
    assert frozen.weights == adapters.weights == full.weights == full.trained
    assert 0.6e9 < full.trained - frozen.trained < 0.7e9
    assert adapters.trained < 0.02 * full.trained


def test_the_peaks_are_of_training_and_of_sampling():
    made = Plan(1, 2, 3, 4, activations=50, buffers=60, sampler=700, host=8000)
    assert (made.training, made.sampling) == (120, 710)
