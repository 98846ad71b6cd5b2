"""Packed rows equal one forward pass per answer, with positions and mask computed by the model itself."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pebr.training.logprobs import PolicyModel
from pebr.vlm.encoding import Encoder
from pebr.vlm.families.qwen import prompt_positions
from pebr.vlm.loading import load_model, load_processor
from pebr.vlm.rows import Group, pack

FAMILIES = ["qwen2_5_vl", "qwen3_vl", "qwen3_5", "untied"]
TEMPERATURE = 1.2


@pytest.fixture(scope="module")
def encoders(tiny_models):
    return {family: Encoder(load_processor(path)) for family, path in tiny_models.items()}


@pytest.fixture
def model(tiny_models, family):
    return load_model(tiny_models[family])


def random_image(rng: random.Random) -> Image.Image:
    size = (rng.randrange(28, 120), rng.randrange(28, 120))
    return Image.frombytes("RGB", size, rng.randbytes(size[0] * size[1] * 3))


def random_groups(encoder: Encoder, rng: random.Random, image_counts: list[int]) -> list[Group]:
    """Groups of random length, one per entry of `image_counts`, numbered in order."""
    groups, number = [], 0
    for count in image_counts:
        words = "<image>" * count + " how many red bars? " * rng.randrange(1, 6)
        prompt = encoder.prompt(words, [random_image(rng) for _ in range(count)])
        answers = [
            [rng.randrange(20, 400) for _ in range(rng.choice([1, 2, 5, 17]))] for _ in range(rng.randrange(1, 5))
        ]
        groups.append(Group(prompt, answers, list(range(number, number + len(answers)))))
        number += len(answers)
    return groups


def by_copies(model, groups: list[Group]) -> dict[int, torch.Tensor]:
    """Log-probabilities of each answer, from its own forward pass over the whole vocabulary."""
    result = {}
    for group in groups:
        prompt = group.prompt
        for answer, number in zip(group.answers, group.numbers, strict=True):
            input_ids = torch.tensor([prompt.token_ids + list(answer)])
            logits = model(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                pixel_values=prompt.pixel_values,
                image_grid_thw=prompt.image_grids,
                mm_token_type_ids=(input_ids == model.config.image_token_id).int(),
            ).logits[0]
            logprobs = (logits[len(prompt.token_ids) - 1 : -1] / TEMPERATURE).log_softmax(-1)
            result[number] = logprobs.gather(1, torch.tensor(answer)[:, None])[:, 0]
    return result


def by_rows(model, rows) -> dict[int, torch.Tensor]:
    """The same from packed rows."""
    result: dict[int, torch.Tensor] = {}
    for row in rows:
        logprobs, _ = PolicyModel(model)(row, TEMPERATURE)
        for number in row.segments.unique().tolist():
            own = row.segments == number
            assert row.offsets[own].tolist() == list(range(int(own.sum())))
            assert number not in result
            result[number] = logprobs[own]
    return result


def weighted(logprobs: dict[int, torch.Tensor]) -> torch.Tensor:
    """A loss that changes with any permutation of the tokens."""
    return sum((torch.arange(1, len(v) + 1) * v * (1 + 0.3 * k)).sum() for k, v in logprobs.items())


def gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).detach().norm() / (1e-12 + other.detach().norm()))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("images", [[0], [1], [2], [1, 0, 2, 1]], ids=str)
@pytest.mark.parametrize("budget", [10_000, 150])
def test_logprobs_and_every_gradient_are_those_of_separate_copies(model, encoders, family, images, budget):
    groups = random_groups(encoders[family], random.Random(f"{images}"), images)
    rows = pack(groups, budget, encoders[family])
    expected, given_ = by_copies(model, groups), by_rows(model, rows)
    assert expected.keys() == given_.keys()
    for number, logprobs in expected.items():
        assert relative(given_[number], logprobs) < 1e-5
    wanted, found = gradients(model, weighted(expected)), gradients(model, weighted(given_))
    scale = max(float(g.norm()) for g in wanted.values())
    for name, gradient in wanted.items():
        # A key's bias shifts all scores by the same value: its true gradient is 0, and the computed one is rounding.
        assert relative(found[name], gradient) < 1e-5 or float((found[name] - gradient).norm()) < 1e-6 * scale, name
    if any(images):
        assert any(float(found[name].norm()) > 0 for name in found if "visual" in name)


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_are_the_models_own(model, encoders, family):
    encoder = encoders[family]
    for group in random_groups(encoder, random.Random(1), [1, 2, 3]):
        input_ids = torch.tensor([group.prompt.token_ids])
        expected, _ = model.model.get_rope_index(
            input_ids, (input_ids == encoder.image_token_id).int(), group.prompt.image_grids
        )
        assert encoder.positions(group.prompt).equal(expected[:, 0])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), budget=st.integers(40, 600))
def test_packing_keeps_every_token_once_and_the_budget(encoders, seed, budget):
    encoder = encoders["qwen2_5_vl"]
    rng = random.Random(seed)
    groups = random_groups(encoder, rng, [rng.randrange(3) for _ in range(rng.randrange(1, 5))])
    rows = pack(groups, budget, encoder)
    found: dict[int, list[int]] = {}
    for row in rows:
        assert row.tokens == row.spans[-1].end == row.position_ids.shape[2]
        predicting_spans = [span for span in row.spans if span.answers]
        assert row.tokens <= budget + 1 or [len(s.answers) for s in predicting_spans] == [1]
        for number, target in zip(row.segments.tolist(), row.targets.tolist(), strict=True):
            found.setdefault(number, []).append(target)
    answers = {n: list(a) for group in groups for n, a in zip(group.numbers, group.answers, strict=True)}
    assert found == answers


def test_answers_follow_their_prompt_and_positions_restart(encoders):
    encoder = encoders["qwen2_5_vl"]
    prompt = encoder.prompt("a", [])._replace(token_ids=[400, 401])
    (row,) = pack([Group(prompt, [[600, 601], [500, 501, 502]], [0, 1])], 100, encoder)
    assert row.input_ids[0, :-1].tolist() == [400, 401, 500, 501, 600]  # the longest first; then the blank image
    assert row.position_ids[0, 0].tolist() == [0, 1, 2, 3, 2, 0]
    assert row.predictors.tolist() == [1, 2, 3, 1, 4]
    assert row.targets.tolist() == [500, 501, 502, 600, 601]
    assert row.segments.tolist() == [1, 1, 1, 0, 0]
    assert row.offsets.tolist() == [0, 1, 2, 0, 1]


def test_an_empty_answer_is_refused(encoders):
    encoder = encoders["qwen2_5_vl"]
    with pytest.raises(ValueError, match="answer 7 has no tokens"):
        pack([Group(encoder.prompt("a", []), [[]], [7])], 100, encoder)


@pytest.mark.parametrize(("tokens", "grids"), [([9, 1], [(1, 4, 4)]), ([1], [(1, 2, 2)]), ([9, 9], [(1, 2, 2)])])
def test_images_that_do_not_match_the_tokens_are_refused(tokens, grids):
    with pytest.raises(ValueError, match="image"):
        prompt_positions(tokens, 9, grids, 2)
