"""The vision tower's attention in one call per layer equals transformers' own path, a call per segment."""

import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.overrides import TorchFunctionMode

from pebr.training.logprobs import PolicyModel
from pebr.vlm.encoding import Encoder
from pebr.vlm.families import family_of
from pebr.vlm.loading import load_model, load_processor
from pebr.vlm.rows import Group, pack
from pebr.vlm.segments import segment_attention, segments_of

HEADS, WIDTH = 2, 8
FAMILIES = ["qwen2_5_vl", "qwen3_vl"]
SIZES = [(300, 200), (28, 28), (131, 300), (56, 112)]  # pixels: windows and images of different length


class AttentionCalls(TorchFunctionMode):
    """Counts calls of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += function is F.scaled_dot_product_attention
        return function(*args, **(kwargs or {}))


def one_by_one(query, key, value, lengths):
    """A call per segment."""
    cut = [tensor.split(lengths, dim=2) for tensor in (query, key, value)]
    seen = [F.scaled_dot_product_attention(*parts, scale=0.3) for parts in zip(*cut, strict=True)]
    return torch.cat(seen, dim=2).transpose(1, 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.booleans())
def test_lanes_equal_a_call_per_segment_forward_and_backward(lengths, planned):
    torch.manual_seed(sum(lengths))
    values = [torch.randn(1, HEADS, sum(lengths), WIDTH) for _ in range(3)]
    upstream = torch.randn(1, sum(lengths), HEADS, WIDTH)
    segments = segments_of(lengths)
    own = {"segments": [segments_of([3]), segments]} if planned else {}
    results = []
    for way in ("lanes", "one by one"):
        tensors = [value.clone().requires_grad_() for value in values]
        if way == "lanes":
            with AttentionCalls() as calls:
                seen, _ = segment_attention(
                    torch.nn.Identity(), *tensors, None, scaling=0.3, cu_seq_lens_q=segments.bounds, **own
                )
            assert calls.count == 1
        else:
            seen = one_by_one(*tensors, lengths)
        (seen * upstream).sum().backward()
        results.append([seen.detach(), *(tensor.grad for tensor in tensors)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_lanes_hold_at_most_twice_the_patches(lengths):
    segments = segments_of(lengths)
    assert segments.lanes * segments.longest < 2 * sum(lengths) + segments.longest


def tower_of(path, ours):
    """The vision tower, prepared or as transformers loads it, in double precision; its family."""
    model = load_model(path)
    family = family_of(model.config)
    if ours:
        family.prepare(model)
    return model.double(), family


@pytest.fixture(scope="module")
def row(tiny_models):
    """A row with images of different sizes, per family."""
    rng = random.Random(0)
    images = [Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1])) for size in SIZES]
    rows = {}
    for family in FAMILIES:
        encoder = Encoder(load_processor(tiny_models[family]))
        prompts = [encoder.prompt("<image><image>Which?", images[:2]), encoder.prompt("<image><image>Why?", images[2:])]
        rows[family] = pack(
            [Group(p, [[30, 31, 32], [33]], [2 * n, 2 * n + 1]) for n, p in enumerate(prompts)], 9999, encoder
        )
    return {family: only for family, (only,) in rows.items()}


def computed(model, family, row, ours):
    """Hidden states of a row, and the gradients of the vision tower."""
    text = {"attention_mask": None, "use_cache": False}
    row = row._replace(pixel_values=row.pixel_values.double())
    if ours:
        states = family.hidden_states(model, row.inputs, **text)
    else:
        images = {"pixel_values": row.pixel_values, "image_grid_thw": row.image_grids}
        states = model.model(input_ids=row.input_ids, position_ids=row.position_ids, **images, **text).last_hidden_state
    states.cos().sum().backward()
    return states, {name: p.grad for name, p in model.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_and_gradients_are_those_of_transformers_own_path(tiny_models, row, family):
    (ours, gradients), (theirs, expected) = (
        computed(*tower_of(tiny_models[family], ours), row[family], ours) for ours in (True, False)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert any("visual" in name for name in gradients)
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_called_once_per_layer_of_the_vision_tower(tiny_models, row, family):
    model, family_ = tower_of(tiny_models[family], True)
    tower, calls = model.model.visual, {}

    def counted(name, call):
        def forward(*args, **kwargs):
            with AttentionCalls() as counter:
                result = call(*args, **kwargs)
            calls[name] = calls.get(name, 0) + counter.count
            return result

        return forward

    tower.forward = counted("vision", tower.forward)
    computed(model, family_, row[family], True)
    assert calls == {"vision": model.config.vision_config.depth}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_forward_pass_never_waits_for_the_device(tiny_models, row, family):
    # Tensors of the device "meta" have no values: whatever would wait for one (item, tolist, nonzero) raises an error.
    model = PolicyModel(load_model(tiny_models[family]), banned_token_ids=[3, 4])
    logprobs, entropies = model.to("meta")(row[family].to("meta"), 1.2)
    assert logprobs.shape == entropies.shape == row[family].targets.shape
    logprobs.sum().backward()


@pytest.mark.parametrize("family", FAMILIES)
def test_other_calls_of_a_prepared_model_give_the_same(tiny_models, row, family):
    models = [tower_of(tiny_models[family], ours)[0] for ours in (True, False)]
    states = [computed(model, None, row[family], ours=False)[0] for model in models]
    torch.testing.assert_close(*states, rtol=1e-9, atol=1e-9)
