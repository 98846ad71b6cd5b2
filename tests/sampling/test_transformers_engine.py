"""The transformers engine equals `model.generate` and plain forward passes."""

import dataclasses
from typing import Any

import pytest
import torch

from pebr.sampling.contract import Sampler, SamplingSettings, SyncError
from pebr.sampling.start import start_sampler
from tests.sampling.conftest import FAMILIES, make_tiny

ALL = (*FAMILIES, "qwen3_5")
SETTINGS = SamplingSettings(samples=4, temperature=1.2, top_p=1.0, max_response_tokens=24, seed=7)


@pytest.fixture(scope="module", params=ALL)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_tiny(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def sampler(tiny: Any) -> Sampler:
    return start_sampler("transformers", tiny.path, tiny.encoder, model=tiny.model)


def test_greedy_answers_are_those_of_generate(tiny: Any, sampler: Sampler) -> None:
    greedy = dataclasses.replace(SETTINGS, samples=2, temperature=0.0)
    answers = sampler.sample(tiny.prompts, tiny.question_ids, greedy, 0)
    seen: set[int] = set()
    for prompt, (first, second) in zip(tiny.prompts, answers, strict=True):
        ids = torch.tensor([prompt.token_ids])
        images = {} if prompt.pixel_values is None else {
            "pixel_values": prompt.pixel_values, "image_grid_thw": prompt.image_grids
        }  # fmt: skip
        expected = tiny.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == tiny.model.config.image_token_id).int(),
            **images,
            max_new_tokens=24,
            do_sample=False,
            suppress_tokens=list(tiny.encoder.banned_token_ids),
            eos_token_id=list(tiny.encoder.eos_token_ids),
            pad_token_id=tiny.encoder.pad_token_id,
        )[0, ids.shape[1] :].tolist()
        assert first.token_ids == second.token_ids == expected
        seen |= set(expected)
    assert len(seen) > 10, "answers of the same few tokens would prove little"


def test_log_probabilities_are_those_of_a_forward_pass(tiny: Any, sampler: Sampler) -> None:
    answers = sampler.sample(tiny.prompts, tiny.question_ids, SETTINGS, 0)
    for prompt, samples in zip(tiny.prompts, answers, strict=True):
        for sample in samples:
            expected = tiny.logprobs(prompt, sample.token_ids, SETTINGS.temperature)
            torch.testing.assert_close(torch.tensor(sample.logprobs), expected, atol=1e-3, rtol=0)


def test_samples_do_not_depend_on_the_batch(tiny: Any, sampler: Sampler) -> None:
    together = sampler.sample(tiny.prompts, tiny.question_ids, SETTINGS, 3)
    alone = [sampler.sample([p], [q], SETTINGS, 3)[0] for p, q in zip(tiny.prompts, tiny.question_ids, strict=True)]
    backwards = sampler.sample(tiny.prompts[::-1], tiny.question_ids[::-1], SETTINGS, 3)[::-1]
    assert together == alone == backwards  # tokens and log-probabilities, to the last bit


def test_samples_do_not_depend_on_when_other_questions_end(tiny: Any, sampler: Sampler) -> None:
    hot = dataclasses.replace(SETTINGS, samples=1, temperature=20.0, max_response_tokens=250)
    together = sampler.sample(tiny.prompts, tiny.question_ids, hot, 3)
    alone = [sampler.sample([p], [q], hot, 3)[0] for p, q in zip(tiny.prompts, tiny.question_ids, strict=True)]
    assert len({len(samples[0].token_ids) for samples in together}) > 2
    assert together == alone


def test_samples_differ_by_place_question_step_and_seed(tiny: Any, sampler: Sampler) -> None:
    prompt = tiny.prompts[0]
    base = sampler.sample([prompt], ["a"], SETTINGS, 0)[0]
    assert len({tuple(sample.token_ids) for sample in base}) == SETTINGS.samples
    for question_id, seed, step in (("b", 7, 0), ("a", 8, 0), ("a", 7, 1)):
        other = sampler.sample([prompt], [question_id], dataclasses.replace(SETTINGS, seed=seed), step)[0]
        assert all(a.token_ids != b.token_ids for a, b in zip(base, other, strict=True))


def test_more_samples_begin_with_the_same_ones(tiny: Any, sampler: Sampler) -> None:
    more = sampler.sample(tiny.prompts[:1], ["a"], dataclasses.replace(SETTINGS, samples=7), 0)[0]
    fewer = sampler.sample(tiny.prompts[:1], ["a"], SETTINGS, 0)[0]
    assert [sample.token_ids for sample in more[:4]] == [sample.token_ids for sample in fewer]


def test_answers_end_at_the_end_of_turn_and_hold_no_vision_token(tiny: Any, sampler: Sampler) -> None:
    long = dataclasses.replace(SETTINGS, samples=16, temperature=4.0, max_response_tokens=200)
    samples = [s for samples in sampler.sample(tiny.prompts, tiny.question_ids, long, 0) for s in samples]
    ends = set(tiny.encoder.eos_token_ids)
    assert {sample.finish_reason for sample in samples} == {"stop", "length"}
    for sample in samples:
        assert not set(sample.token_ids[:-1]) & ends
        assert (sample.token_ids[-1] in ends) == (sample.finish_reason == "stop")
        assert sample.finish_reason == "stop" or len(sample.token_ids) == 200
        assert not set(sample.token_ids) & set(tiny.encoder.banned_token_ids)
        assert len(sample.logprobs) == len(sample.token_ids)


def test_a_live_module_is_left_as_it_was(tiny: Any, sampler: Sampler) -> None:
    tiny.model.train()
    before = tiny.model.config.text_config._attn_implementation
    before_deltas = tiny.model.model.rope_deltas
    sampler.sample(tiny.prompts[:1], ["a"], SETTINGS, 0)
    assert tiny.model.config.text_config._attn_implementation == before
    assert all(module.training for module in tiny.model.modules())
    assert tiny.model.model.rope_deltas is before_deltas
    tiny.model.eval()


def test_sync_takes_all_weights_or_none_is_trusted(tiny: Any) -> None:
    own = start_sampler("transformers", tiny.path, tiny.encoder)
    weights = {name: parameter.detach() * 0.9 for name, parameter in tiny.model.named_parameters()}
    before = own.sample(tiny.prompts[:1], ["a"], SETTINGS, 0)
    own.sync(weights.items())
    assert own.sample(tiny.prompts[:1], ["a"], SETTINGS, 0) != before
    name = "model.language_model.norm.weight"
    with pytest.raises(SyncError, match=name):
        own.sync((key, value) for key, value in weights.items() if key != name)
    with pytest.raises(SyncError, match="not a weight"):
        own.sync([("model.unheard_of.weight", torch.zeros(1))])
    with pytest.raises(SyncError, match="shape"):
        own.sync([(name, torch.zeros(3))])
    with pytest.raises(SyncError, match="twice"):
        own.sync([(name, weights[name]), (name, weights[name])])
