"""Which layers recompute, what it changes, and what `auto` chooses."""

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pebr.errors import InputError
from pebr.sft.settings import Settings
from pebr.training import recomputation
from pebr.training.logprobs import PolicyModel
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_model, load_processor
from pebr.vlm.rows import Group, pack


@pytest.fixture(scope="module")
def row(tiny_models):
    encoder = Encoder(load_processor(tiny_models["qwen2_5_vl"]))
    prompt = encoder.prompt("<image>How many red bars?", [Image.effect_noise((224, 168), 50).convert("RGB")])
    (only,) = pack([Group(prompt, [list(range(20, 150)), list(range(40, 170))], [0, 1])], 9999, encoder)
    return only


def passed(model, row):
    """Bytes kept for the backward pass, weights apart; the loss; the gradients."""
    module = PolicyModel(model).train()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = module(row)[0].sum()
    size = sum(kept.values())
    loss.backward()
    return size, loss.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}


def test_recomputing_some_layers_changes_no_bit_and_keeps_less(tiny_models, row):
    found = {}
    for every in (recomputation.NEVER, 2, 1):
        model = load_model(tiny_models["qwen2_5_vl"])
        recomputation.use(model, every)
        found[every] = passed(model, row)
    assert found[0][0] > found[2][0] > found[1][0]
    for _, loss, gradients in found.values():
        assert torch.equal(loss, found[0][1])
        assert all(torch.equal(gradients[name], gradient) for name, gradient in found[0][2].items())


def test_the_estimate_is_near_what_a_forward_pass_keeps(tiny_models, row):
    model = load_model(tiny_models["qwen2_5_vl"])
    measured, *_ = passed(model, row)
    estimate = recomputation.bytes_kept(model, row.tokens, len(row.pixel_values), recomputation.NEVER)
    assert 0.7 < estimate / measured < 1.4, (estimate, measured)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_less_free_memory_never_means_less_recomputation(one, other):
    model = torch.nn.Linear(1, 1)
    sizes = {recomputation.NEVER: 10**9, 4: 8 * 10**8, 3: 7 * 10**8, 2: 6 * 10**8, 1: 10**8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recomputation, "bytes_kept", lambda *arguments: sizes[arguments[-1]])
        less, more = (recomputation.fitting(model, 1, 1, free) for free in sorted((one, other)))
    assert recomputation.STEPS.index(less) >= recomputation.STEPS.index(more)


def test_on_a_cpu_auto_is_on_and_says_so(tiny_models, row, caplog):
    model = load_model(tiny_models["qwen2_5_vl"])
    with caplog.at_level(logging.INFO):
        assert recomputation.choose(model, [row], 4096, torch.device("cpu")) == 1
        assert recomputation.fitting(model, 16384, 11232, 2**40) == recomputation.NEVER
        assert recomputation.fitting(model, 16384, 11232, 2**20) == 1
    assert [record.message.split("(")[0] for record in caplog.records] == [
        "gradient checkpointing auto: on ",
        "gradient checkpointing auto: off ",
        "gradient checkpointing auto: on ",
    ]


ARTIFACTS = {"model": "m", "dataset": "d", "output": "o", "history": "h"}


@pytest.mark.parametrize(
    ("given_", "taken"), [("auto", "auto"), ("every=3", "every=3"), ("true", "on"), (False, "off"), ("off", "off")]
)
def test_forms_of_the_setting(given_, taken):
    assert Settings(**ARTIFACTS, gradient_checkpointing=given_).gradient_checkpointing == taken


@pytest.mark.parametrize("given_", ["every=0", "every=", "yes", ""])
def test_other_forms_are_refused(given_):
    with pytest.raises(InputError, match="gradient-checkpointing"):
        Settings(**ARTIFACTS, gradient_checkpointing=given_)


def test_the_optimizer_moves_to_the_host_only_with_sharded_weights():
    with pytest.raises(InputError, match="zero-stage 3"):
        Settings(**ARTIFACTS, offload="optimizer", zero_stage=1, dtype="fp32")
