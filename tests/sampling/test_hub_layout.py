"""Models with a configuration as on the Hub: keys of the text model at the top level, the head tied or not."""

from typing import Any

import pytest

from pebr.sampling.contract import SamplingSettings
from pebr.sampling.start import start_sampler
from pebr.sampling.weights import expected_weights
from pebr.vlm.loading import load_config

SETTINGS = SamplingSettings(samples=3, temperature=1.2, top_p=1.0, max_response_tokens=24, seed=7)


def test_expected_are_a_trainers_parameters(hub_like: Any) -> None:
    config = load_config(hub_like.path)
    expected = expected_weights(config)
    assert expected == {name: parameter.shape for name, parameter in hub_like.model.named_parameters()}
    assert ("lm_head.weight" in expected) == (not config.tie_word_embeddings)


@pytest.mark.vllm
def test_vllm_samples_from_what_the_trainer_has(hub_like: Any) -> None:
    sampler = start_sampler("vllm", hub_like.path, hub_like.encoder, max_tokens=256, memory_share=0.3)
    assert hub_like.difference(sampler, SETTINGS) < 1e-3
    for part in ("", "embed_tokens", "norm" if hub_like.model.config.tie_word_embeddings else "lm_head"):
        hub_like.change(part)
        assert hub_like.difference(sampler, SETTINGS) > 0.05
        sampler.sync(hub_like.model.named_parameters())
        assert hub_like.difference(sampler, SETTINGS) < 1e-3
    sampler.close()
