"""The chunked output head equals the full log-softmax, forward and backward."""

import pytest
import torch

from pebr.training import logprobs
from pebr.training.logprobs import answer_divergences, answer_logprobs


def full(hidden, weight, targets, temperature):
    """The plain computation, all logits at once."""
    distribution = (hidden @ weight.T / temperature).log_softmax(-1)
    entropy = -(distribution.exp() * distribution).sum(-1)
    return distribution.gather(1, targets[:, None])[:, 0], entropy


@pytest.mark.parametrize("chunk_values", [1, 700, 2**26])
@pytest.mark.parametrize("temperature", [1.0, 1.2, 0.5])
def test_equals_the_full_log_softmax_and_its_gradients(monkeypatch, chunk_values, temperature):
    monkeypatch.setattr(logprobs, "CHUNK_VALUES", chunk_values)
    torch.manual_seed(0)
    hidden, weight = torch.randn(23, 16), torch.randn(101, 16)
    targets, upstream = torch.randint(101, (23,)), torch.randn(23)
    results = []
    for function in (full, answer_logprobs):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        values, entropy = function(h, w, targets, temperature)
        (values * upstream - 0.3 * entropy * upstream.flip(0)).sum().backward()
        results.append((values.detach(), entropy.detach(), h.grad, w.grad))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk_values", [1, 700, 2**26])
def test_divergences_are_those_of_the_full_distributions(monkeypatch, chunk_values):
    monkeypatch.setattr(logprobs, "CHUNK_VALUES", chunk_values)
    torch.manual_seed(0)
    one, other, weight = torch.randn(23, 16), torch.randn(23, 16), torch.randn(101, 16)
    p, q = ((states @ weight[:90].T / 1.2).softmax(-1) for states in (one, other))
    expected = (p * (p / q).log()).sum(-1)
    found = answer_divergences(one, other, weight, 1.2, banned_token_ids=range(90, 101))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert answer_divergences(one, one, weight).abs().max() == 0


def test_a_banned_token_has_no_share():
    hidden, weight, targets = torch.randn(5, 4), torch.randn(7, 4), torch.tensor([0, 1, 2, 3, 0])
    without = full(hidden, weight[:5], targets, 1.2)
    found = answer_logprobs(hidden, weight, targets, 1.2, banned_token_ids=[5, 6])
    for expected, value in zip(without, found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    weight.requires_grad_()
    answer_logprobs(hidden, weight, targets, 1.2, banned_token_ids=[5, 6])[0].sum().backward()
    assert float(weight.grad[5:].abs().sum()) == 0 < float(weight.grad[:5].abs().sum())


def test_a_frozen_head_passes_the_gradient_on():
    hidden = torch.randn(3, 4, requires_grad=True)
    weight = torch.randn(7, 4)
    values, entropy = answer_logprobs(hidden, weight, torch.tensor([0, 1, 2]))
    (values.sum() + entropy.sum()).backward()
    assert float(hidden.grad.norm()) > 0


def test_no_predicted_token_is_no_error():
    hidden, weight = torch.empty(0, 4, requires_grad=True), torch.randn(7, 4, requires_grad=True)
    values, _ = answer_logprobs(hidden, weight, torch.empty(0, dtype=torch.long))
    values.sum().backward()
    assert float(weight.grad.norm()) == 0


def test_never_holds_more_logits_than_a_chunk(monkeypatch):
    monkeypatch.setattr(logprobs, "CHUNK_VALUES", 1000)
    assert max(part.stop - part.start for part in logprobs._chunks(95, 100)) == 10
    assert sum(part.stop - part.start for part in logprobs._chunks(95, 100)) == 95
