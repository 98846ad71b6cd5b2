"""The ratios equal plain transcriptions of GSPO's formulas, one answer at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pebr.grpo.loss import policy_loss
from pebr.grpo.ratios import RATIOS, answer_means

answers = st.lists(st.lists(st.floats(-2, 2), min_size=1, max_size=9), min_size=1, max_size=5)


def flat(lists: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([x for values in lists for x in values]), torch.tensor([len(values) for values in lists])


@given(answers)
def test_a_sequence_ratio_is_the_geometric_mean_of_its_tokens(ratios):
    values, lengths = flat(ratios)
    expected = [math.prod(math.exp(x) for x in answer) ** (1 / len(answer)) for answer in ratios for _ in answer]
    for kind in ("sequence", "sequence_token"):
        assert RATIOS[kind](values, lengths).exp().tolist() == pytest.approx(expected, rel=1e-5)
    assert RATIOS["token"](values, lengths) is values


@given(answers)
def test_the_gradient_of_a_sequence_ratio_goes_to_all_its_tokens_and_that_of_a_token_ratio_to_one(ratios):
    values, lengths = flat(ratios)
    upstream = torch.arange(1.0, len(values) + 1)
    of_answers = torch.cat([part.mean().expand(len(part)) for part in upstream.split(lengths.tolist())])
    for kind, expected in (("sequence", of_answers), ("sequence_token", upstream), ("token", upstream)):
        given_values = values.clone().requires_grad_()
        (RATIOS[kind](given_values, lengths) * upstream).sum().backward()
        torch.testing.assert_close(given_values.grad, expected)


@given(answers, st.sampled_from([0.2, 3e-4]))
def test_both_forms_of_gspo_are_one_loss_if_an_answers_tokens_are_alike(ratios, clip):
    """Equal advantages and weights in an answer: GSPO paper, section 4.3."""
    values, lengths = flat(ratios)
    advantages = torch.linspace(-1, 1, len(lengths)).repeat_interleave(lengths)
    found = []
    for kind in ("sequence", "sequence_token"):
        logprobs = values.clone().requires_grad_()
        loss = (policy_loss(RATIOS[kind](logprobs, lengths), advantages, clip, clip, 0.0).losses / 7).sum()
        loss.backward()
        found.append((loss.detach(), logprobs.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_no_tokens_are_no_error():
    none = torch.zeros(0, requires_grad=True)
    answer_means(none, torch.zeros(0, dtype=torch.long)).sum().backward()
