"""The updater with a real engine: neither groups that are left out nor the packing of rows change the result."""

import random
from array import array

import pytest
import torch

from pebr.grpo.advantages import group_advantages
from pebr.grpo.experience import Experience
from pebr.grpo.micro_batches import Packer
from pebr.grpo.settings import ObjectiveSettings
from pebr.grpo.update import Updater
from pebr.step.launch import join
from pebr.toy.world import questions
from pebr.training.engine import EngineSettings, TrainingEngine
from pebr.training.logprobs import PolicyModel
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_model, load_processor

ANSWERS = 4


@pytest.fixture(scope="module")
def place():
    return join()  # and never leave: DeepSpeed supports only one process group per process


@pytest.fixture(scope="module")
def encoder(tiny_models):
    return Encoder(load_processor(tiny_models["qwen2_5_vl"]))


@pytest.fixture(scope="module")
def prompts(encoder):
    return [encoder.prompt(question.problem, [question.image.resize((56, 56))]) for question in questions(0, 6, "rl")]


def make_experience(prompts, rewards_of, seed=0):
    rng = random.Random(seed)
    found = []
    for row, prompt in enumerate(prompts):
        answers = [[rng.randrange(20, 400) for _ in range(rng.randrange(1, 20))] for _ in range(ANSWERS)]
        rewards = rewards_of(row, rng)
        found.append(
            Experience(
                row=row,
                question={"qid": str(row)},
                prompt_tokens=len(prompt.token_ids),
                token_ids=[array("l", ids) for ids in answers],
                logprobs=[array("f", [-6.0 + rng.random() for _ in ids]) for ids in answers],
                finish_reasons=["stop"] * ANSWERS,
                responses=[""] * ANSWERS,
                rewards=rewards,
                components={},
                advantages=group_advantages([rewards], "std")[0],
            )
        )
    return found


def updated(path, encoder, place, prompts, updates, tokens_per_batch=16384, **changes):
    """Reports and weights after a training step with these updates."""
    settings = ObjectiveSettings(**{"kl_weight": 0.0, **changes})
    model = load_model(path)
    reference = PolicyModel(load_model(path)).eval() if settings.kl_weight else None
    engine = TrainingEngine(PolicyModel(model), EngineSettings(1e-3, total_steps=10), place, weights=model)
    packer = Packer(encoder, lambda row: prompts[row], settings, tokens_per_batch, 32, engine.rank, engine.world_size)
    updater = Updater(engine, reference, packer, settings, temperature=1.2)
    reports = updater.step(updates)
    return updater, reports, {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_same(one, other, tolerance=1e-4):
    for first, second in zip(one[1], other[1], strict=True):
        assert first.loss == pytest.approx(second.loss, rel=1e-4, abs=1e-6)
        assert first.grad_norm == pytest.approx(second.grad_norm, rel=1e-4)
    moved = [
        float((one[2][name] - weight).abs().max()) for name, weight in other[2].items() if "k_proj.bias" not in name
    ]
    assert max(moved) < tolerance  # updates move weights by about 1e-3


def random_rewards(row, rng):
    return [rng.random() for _ in range(ANSWERS)]


def some_equal_rewards(row, rng):
    return [0.5] * ANSWERS if row % 2 else random_rewards(row, rng)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kl_weight": 0.1},
        {"normalisation": "sequence"},
        {"old_logprobs": "recompute"},
        {"ratio": "sequence", "off_policy_limit": 0.5, "entropy_weight": 0.01},
        {"surrogate": "cispo", "seeing_weight": 0.1},
        {"credit": "pgpo", "hidden_share": 1.0},
        {"credit": "vppo", "hidden_share": 0.5},
    ],
    ids=str,
)
def test_packing_changes_nothing(tiny_models, encoder, place, prompts, changes):
    experience = make_experience(prompts, random_rewards)
    updates = [experience[:3], experience[3:]]
    found = [
        updated(tiny_models["qwen2_5_vl"], encoder, place, prompts, updates, **changes, tokens_per_batch=budget)
        for budget in (100, 10_000)
    ]
    assert_same(*found)


def test_the_blind_view_hides_most_of_the_image_and_the_answers_come_to_depend_on_it(
    tiny_models, encoder, place, prompts
):
    """Without advantages, the seeing term alone moves the weights: its divergence grows."""
    settings = ObjectiveSettings(kl_weight=0.0, seeing_weight=1.0)
    model = load_model(tiny_models["qwen2_5_vl"])
    engine = TrainingEngine(PolicyModel(model), EngineSettings(1e-3, total_steps=10), place, weights=model)
    packer = Packer(encoder, lambda row: prompts[row], settings, 400, 32, engine.rank, engine.world_size)
    updater = Updater(engine, None, packer, settings, temperature=1.2)
    experience = make_experience(prompts, lambda row, rng: [0.5] * ANSWERS)
    for batch in packer.pack(experience):
        image = batch.row.input_ids[0] == encoder.image_token_id
        assert not bool((batch.hidden & ~image).any())
        assert 0.3 < float(batch.hidden.sum() / image.sum()) < 0.9
    grown = []
    for _ in range(4):
        updater.step([experience])
        grown.append(updater.sums.means()["seeing"])
    assert grown[-1] > 2 * grown[0] > 0


def test_groups_of_equal_rewards_are_left_out_and_change_nothing(tiny_models, encoder, place, prompts):
    path = tiny_models["qwen2_5_vl"]
    experience = make_experience(prompts, some_equal_rewards)
    skipping = updated(path, encoder, place, prompts, [experience])
    # with a KL weight no group is left out; this one is too small to matter
    keeping = updated(path, encoder, place, prompts, [experience], kl_weight=1e-12)
    assert_same(skipping, keeping)
    tokens = [updater.sums.tokens for updater, _, _ in (skipping, keeping)]
    assert tokens == [
        sum(e.answer_tokens for e in experience if e.teaches),
        sum(e.answer_tokens for e in experience),
    ]


def test_answers_that_are_cut_off_can_be_left_out(tiny_models, encoder, place, prompts):
    """As if they had no weight, and were not there."""
    path = tiny_models["qwen2_5_vl"]
    experience = [
        e._replace(finish_reasons=["length", "stop", "stop", "length"])
        for e in make_experience(prompts, random_rewards)
    ]
    left_out = [e.complete() for e in experience]
    for whole, part in zip(experience, left_out, strict=True):
        assert part.token_ids == whole.token_ids[1:3]
        assert part.advantages.tolist() == whole.advantages[1:3].tolist()
    updater, (report,), _ = updated(path, encoder, place, prompts, [left_out])
    assert updater.sums.tokens == sum(len(ids) for e in experience for ids in e.token_ids[1:3])
    assert report.grad_norm > 0
    none = [e._replace(finish_reasons=["length"] * ANSWERS).complete() for e in experience]
    _, (report,), _ = updated(path, encoder, place, prompts, [none])
    assert (report.loss, report.grad_norm, report.refused) == (0.0, 0.0, False)


def test_an_update_of_equal_rewards_has_no_gradient(tiny_models, encoder, place, prompts):
    experience = make_experience(prompts, lambda row, rng: [0.5] * ANSWERS)
    _, (report,), _ = updated(tiny_models["qwen2_5_vl"], encoder, place, prompts, [experience])
    assert (report.loss, report.grad_norm, report.refused) == (0.0, 0.0, False)


def test_one_update_needs_no_old_logprobs(tiny_models, encoder, place, prompts):
    """The loss of a single update does not depend on the sampler's log-probabilities."""
    path = tiny_models["qwen2_5_vl"]
    experience = make_experience(prompts, random_rewards)
    shifted = [
        e._replace(logprobs=[array("f", [v - 3.0 for v in values]) for values in e.logprobs]) for e in experience
    ]
    assert_same(updated(path, encoder, place, prompts, [experience]), updated(path, encoder, place, prompts, [shifted]))


def test_the_ratio_to_the_sampler_is_truncated_where_a_step_has_several_updates(tiny_models, encoder, place, prompts):
    path = tiny_models["qwen2_5_vl"]
    unlikely = [
        e._replace(logprobs=[array("f", [v - 4.0 for v in values]) for values in e.logprobs])
        for e in make_experience(prompts, random_rewards)
    ]
    for updates, differs in (([unlikely[:3], unlikely[3:]], True), ([unlikely], False)):
        losses = [updated(path, encoder, place, prompts, updates, ratio_cap=cap)[1][0].grad_norm for cap in (0.0, 2.0)]
        assert (losses[0] != losses[1]) == differs


def test_a_poisoned_update_is_refused_and_is_no_drift(tiny_models, encoder, place, prompts):
    """The model's log-probabilities of one question are NaN; those of the others are correct."""
    experience = make_experience(prompts, random_rewards)
    poisoned = [prompts[0]._replace(pixel_values=prompts[0].pixel_values * torch.nan), *prompts[1:]]
    path = tiny_models["qwen2_5_vl"]
    updater, (report,), _ = updated(path, encoder, place, poisoned, [experience], tokens_per_batch=1)
    drift = updater.drift.drift()
    drift.check(100.0)
    assert report.refused
    assert updater.engine.refused_steps == 1
    assert drift.tokens == sum(e.answer_tokens for e in experience[1:])


def test_drift_is_the_trainers_minus_the_samplers_in_the_first_update(tiny_models, encoder, place, prompts):
    path = tiny_models["qwen2_5_vl"]
    experience = make_experience(prompts, random_rewards)
    updater, *_ = updated(path, encoder, place, prompts, [experience[:2], experience[2:]])
    drift = updater.drift.drift()
    assert drift.tokens == sum(e.answer_tokens for e in experience[:2])
    model = PolicyModel(load_model(path))
    with torch.no_grad():
        expected = torch.cat(
            [
                (model(batch.row, updater.temperature)[0] - batch.sampler_logprobs).abs()
                for batch in updater.packer.pack(experience[:2])
            ]
        )
    assert drift.mean == pytest.approx(float(expected.mean()), rel=1e-4)
