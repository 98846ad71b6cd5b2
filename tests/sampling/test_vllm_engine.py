"""vLLM's CPU build equals transformers: the same tokens, the same log-probabilities, no stale cache."""

import dataclasses
import math
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pebr.errors import InputError
from pebr.sampling.contract import IncompleteError, Question, Sampler, SamplingSettings, SyncError
from pebr.sampling.start import start_sampler
from pebr.sampling.vllm_engine import VllmSampler
from pebr.training import lora
from pebr.vlm.loading import load_model

pytestmark = pytest.mark.vllm

SETTINGS = SamplingSettings(samples=3, temperature=1.2, top_p=1.0, max_response_tokens=24, seed=7)


@pytest.fixture(scope="module")
def sampler(tiny: Any) -> Iterator[Sampler]:
    engine = start_sampler("vllm", tiny.path, tiny.encoder, max_tokens=256, memory_share=0.3)
    yield engine
    engine.close()


@pytest.fixture(autouse=True)
def weights_are_put_back(tiny: Any) -> Iterator[None]:
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    yield
    tiny.model.load_state_dict(before)


def test_greedy_answers_are_those_of_transformers(tiny: Any, sampler: Sampler) -> None:
    sampler.sync(tiny.model.named_parameters())
    greedy = dataclasses.replace(SETTINGS, samples=2, temperature=0.0)
    live = start_sampler("transformers", tiny.path, tiny.encoder, model=tiny.model)
    expected = live.sample(tiny.prompts, tiny.question_ids, greedy, 0)
    given = sampler.sample(tiny.prompts, tiny.question_ids, greedy, 0)
    assert [[s.token_ids for s in samples] for samples in given] == [[s.token_ids for s in g] for g in expected]
    assert [[s.finish_reason for s in samples] for samples in given] == [[s.finish_reason for s in g] for g in expected]


def test_log_probabilities_are_those_of_a_forward_pass(tiny: Any, sampler: Sampler) -> None:
    sampler.sync(tiny.model.named_parameters())
    assert tiny.difference(sampler, SETTINGS) < 1e-3


def test_log_probabilities_are_normalised_within_the_nucleus(tiny: Any, sampler: Sampler) -> None:
    sampler.sync(tiny.model.named_parameters())
    cut = dataclasses.replace(SETTINGS, top_p=0.7)
    for prompt, samples in zip(tiny.prompts, sampler.sample(tiny.prompts, tiny.question_ids, cut, 0), strict=True):
        for sample in samples:
            expected = tiny.logprobs(prompt, sample.token_ids, cut.temperature, top_p=0.7)
            torch.testing.assert_close(torch.tensor(sample.logprobs), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_tokens_are_as_frequent_as_their_log_probabilities_say(tiny: Any, sampler: Sampler, top_p: float) -> None:
    first = dataclasses.replace(SETTINGS, samples=64, temperature=2.0, top_p=top_p, max_response_tokens=1)
    cells, chi_square = 0, 0.0
    for prompt in tiny.prompts:
        groups = sampler.sample([prompt] * 32, [str(i) for i in range(32)], first, 0)
        samples = [sample for group in groups for sample in group]
        drawn = Counter(sample.token_ids[0] for sample in samples)
        for token, logprob in {sample.token_ids[0]: sample.logprobs[0] for sample in samples}.items():
            expected = len(samples) * math.exp(logprob)
            if expected > 20:
                chi_square += (drawn[token] - expected) ** 2 / expected
                cells += 1
    assert cells > 10
    assert chi_square < cells + 4 * math.sqrt(2 * cells)


def test_answers_end_at_the_end_of_turn_and_hold_no_vision_token(tiny: Any, sampler: Sampler) -> None:
    long = dataclasses.replace(SETTINGS, samples=16, temperature=2.0, max_response_tokens=150)
    samples = [s for samples in sampler.sample(tiny.prompts, tiny.question_ids, long, 0) for s in samples]
    ends = set(tiny.encoder.eos_token_ids)
    assert {sample.finish_reason for sample in samples} == {"stop", "length"}
    for sample in samples:
        assert not set(sample.token_ids[:-1]) & ends
        assert (sample.token_ids[-1] in ends) == (sample.finish_reason == "stop")
        assert not set(sample.token_ids) & set(tiny.encoder.banned_token_ids)
        assert len(sample.logprobs) == len(sample.token_ids)


def test_a_batch_is_drawn_again_alike_and_leaves_the_trainers_random_numbers(tiny: Any, sampler: Sampler) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = sampler.sample(tiny.prompts, tiny.question_ids, SETTINGS, 5)
    assert torch.equal(torch.rand(4), expected)
    assert sampler.sample(tiny.prompts, tiny.question_ids, SETTINGS, 5) == first
    assert sampler.sample(tiny.prompts, tiny.question_ids, SETTINGS, 6) != first
    assert all(len({tuple(s.token_ids) for s in samples}) == SETTINGS.samples for samples in first)


@pytest.mark.parametrize("part", ["visual", "layers", "embed_tokens", "norm", ""])
def test_changed_weights_are_sampled_from_after_a_sync_and_only_then(tiny: Any, sampler: Sampler, part: str) -> None:
    sampler.sync(tiny.model.named_parameters())
    assert tiny.difference(sampler, SETTINGS) < 1e-3  # the caches now hold these prompts and images
    tiny.change(part)
    assert tiny.difference(sampler, SETTINGS) > 0.05
    sampler.sync(tiny.model.named_parameters())
    assert tiny.difference(sampler, SETTINGS) < 1e-3


def test_without_a_reset_the_encoder_cache_is_stale(tiny: Any, sampler: Sampler, monkeypatch: Any) -> None:
    """Why every sync resets the cache. If this test fails, vLLM does it by itself and the reset can be removed."""
    assert isinstance(sampler, VllmSampler)
    sampler.sync(tiny.model.named_parameters())
    tiny.difference(sampler, SETTINGS)
    tiny.change("visual")
    core = sampler.engine.engine_core.engine_core
    runner = core.model_executor.driver_worker.worker.model_runner
    for owner in (sampler.engine, runner):  # reload_weights resets the runner's part by itself
        monkeypatch.setattr(owner, "reset_encoder_cache", lambda: None)
    sampler.sync(tiny.model.named_parameters())
    assert tiny.difference(sampler, SETTINGS) > 0.05


def test_a_sync_takes_every_weight_once(tiny: Any, sampler: Sampler) -> None:
    name = "model.language_model.norm.weight"
    weights = dict(tiny.model.named_parameters())
    with pytest.raises(SyncError, match="were not given"):
        sampler.sync((key, value) for key, value in weights.items() if key != name)
    with pytest.raises(SyncError, match="not a weight"):
        sampler.sync([*weights.items(), ("model.unheard_of.weight", torch.zeros(1))])
    with pytest.raises(SyncError, match="shape"):
        sampler.sync([(name, torch.zeros(3))])
    sampler.sync(weights.items())
    assert tiny.difference(sampler, SETTINGS) < 1e-3


def test_weights_are_not_changed_under_answers_that_are_being_sampled(tiny: Any, sampler: Sampler) -> None:
    questions = (Question(str(i), prompt) for i, prompt in enumerate(tiny.prompts * 120))  # more than run at a time
    uneven = dataclasses.replace(SETTINGS, samples=1, max_response_tokens=4)
    stream = sampler.stream(questions, uneven, 0)
    next(stream)
    with pytest.raises(SyncError, match="still sampling"):
        sampler.sync(tiny.model.named_parameters())
    stream.close()
    sampler.sync(tiny.model.named_parameters())


def test_questions_join_as_they_are_encoded(tiny: Any, sampler: Sampler, monkeypatch: Any) -> None:
    """As on a GPU: with one new question per pass, each is answered, and the last is read after the first passes."""
    assert isinstance(sampler, VllmSampler)
    sampler.sync(tiny.model.named_parameters())
    events: list[str] = []

    def questions() -> Iterator[Question]:
        for qid, prompt in zip(tiny.question_ids, tiny.prompts, strict=True):
            events.append("question")
            yield Question(qid, prompt)

    step = sampler.engine.step
    monkeypatch.setattr(sampler, "_joining", 1)
    monkeypatch.setattr(sampler.engine, "step", lambda: (events.append("pass"), step())[1])
    assert {qid for qid, _ in sampler.stream(questions(), SETTINGS, 0)} == set(tiny.question_ids)
    assert events[: 2 * len(tiny.prompts)] == ["question", "pass"] * len(tiny.prompts)
    assert tiny.difference(sampler, SETTINGS) < 1e-3


def test_answers_that_vllm_gives_up_are_not_made_up(tiny: Any, sampler: Sampler, caplog: Any) -> None:
    """As if a request was aborted inside the engine: the question has only its complete answers."""
    assert isinstance(sampler, VllmSampler)

    class Losing:
        """The real engine, but it gives up the third answer of each question."""

        def __init__(self, engine: Any) -> None:
            self.engine = engine

        def __getattr__(self, name: str) -> Any:
            return getattr(self.engine, name)

        def step(self) -> Any:
            outputs = self.engine.step()
            for output in outputs:
                if output.finished:
                    output.outputs[2].finish_reason = "abort"
            return outputs

    whole = sampler.sample(tiny.prompts, tiny.question_ids, SETTINGS, 5)
    engine = sampler.engine
    sampler.engine = Losing(engine)
    try:
        questions = (Question(name, prompt) for name, prompt in zip(tiny.question_ids, tiny.prompts, strict=True))
        left = dict(sampler.stream(questions, SETTINGS, 5))
        assert [left[name] for name in tiny.question_ids] == [samples[:2] for samples in whole]
        assert "vLLM ended an answer with abort" in caplog.text
        with pytest.raises(IncompleteError, match="2 of 3 answers"):
            sampler.sample(tiny.prompts, tiny.question_ids, SETTINGS, 5)
    finally:
        sampler.engine = engine


def test_values_need_to_be_good_only_until_the_next_is_asked_for(tiny: Any, sampler: Sampler) -> None:
    def fleeting() -> Iterator[tuple[str, torch.Tensor]]:
        for name, parameter in tiny.model.named_parameters():
            value = parameter.detach().clone()
            yield name, value
            value.fill_(torch.nan)

    tiny.change("")
    sampler.sync(fleeting())
    assert tiny.difference(sampler, SETTINGS) < 1e-3


def test_memory_does_not_grow_with_syncs(tiny: Any, sampler: Sampler) -> None:
    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def round_trip(seed: int) -> None:
        tiny.change("", seed)
        sampler.sync(tiny.model.named_parameters())
        sampler.sample(tiny.prompts, tiny.question_ids, SETTINGS, seed)
        tiny.model.load_state_dict(before)

    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    for seed in range(3):
        round_trip(seed)
    start = resident()
    for seed in range(10):
        round_trip(seed)
    weights = sum(parameter.nbytes for parameter in tiny.model.parameters())
    assert resident() - start < max(2 * weights, 8 * 2**20)


def test_further_arguments_reach_the_engine_and_adapters_are_sampled_from_without_a_merge(tiny: Any) -> None:
    """Two sets of adapters, the second in place of the first; merged into the model, they give the same values."""
    chosen = {"max_num_seqs": 4, "enforce_eager": True}
    sampler = start_sampler(
        "vllm", tiny.path, tiny.encoder, max_tokens=256, memory_share=0.3, lora_rank=4, vllm_args=chosen
    )
    try:
        assert isinstance(sampler, VllmSampler)
        assert sampler.engine.vllm_config.scheduler_config.max_num_seqs == 4
        assert tiny.difference(sampler, SETTINGS) < 1e-3
        before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
        for seed in (1, 2):
            adapted = load_model(tiny.path)
            lora.attach(adapted, rank=4, seed=seed)
            with torch.no_grad():
                for name, parameter in adapted.named_parameters():
                    if "lora_B" in name:
                        parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed))
            tiny.model.load_state_dict(before | {w.name: w.value() for w in lora.weights_of(adapted)})
            assert tiny.difference(sampler, SETTINGS) > 0.05
            sampler.sync_adapters(((w.name, w.value()) for w in lora.adapters_of(adapted)), lora.SCALING)
            assert tiny.difference(sampler, SETTINGS) < 1e-3
    finally:
        sampler.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_num_seq": 4}, "this vLLM has no argument max_num_seq: did you mean max_num_seqs"),
        ({"kv_cache_dtype": "fp7"}, "--vllm-args: vLLM does not start: .*cache_dtype Input should be"),
    ],
)
def test_arguments_that_vllm_does_not_take_are_named(tiny: Any, given: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        start_sampler("vllm", tiny.path, tiny.encoder, max_tokens=256, memory_share=0.3, vllm_args=given)
