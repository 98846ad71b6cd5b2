"""Attention piece by piece equals attention with one dense mask over the whole row."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pebr.vlm.attention import plan_group, row_attention

QUERY_HEADS, KEY_HEADS, WIDTH = 4, 2, 8
CPU = torch.device("cpu")

groups = st.lists(st.tuples(st.integers(1, 40), st.lists(st.integers(0, 60), max_size=6)), min_size=1, max_size=4)


def dense_mask(row: list[tuple[int, list[int]]], hidden: torch.Tensor | None = None) -> torch.Tensor:
    """(L, L): True where the token of the row attends to the token of the column.

    >>> dense_mask([(1, [2, 1])]).int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    """
    places = [
        (group, answer)
        for group, (prompt, answers) in enumerate(row)
        for answer, length in enumerate([prompt, *answers])
        for _ in range(length)
    ]
    mask = torch.tensor(
        [[k <= q and g == h and b in (0, a) for k, (h, b) in enumerate(places)] for q, (g, a) in enumerate(places)]
    )
    return mask if hidden is None else mask & ~hidden


def piecewise(tensors, row, hidden=None):
    plans, start = [], 0
    for prompt, answers in row:
        of_prompt = None if hidden is None else hidden[start : start + prompt]
        plans.append(plan_group(prompt, answers, CPU, of_prompt))
        start += prompt + sum(answers)
    return row_attention(torch.nn.Identity(), *tensors, None, scaling=0.3, plans=plans)[0]


def dense(tensors, row, hidden=None):
    seen = F.scaled_dot_product_attention(*tensors, attn_mask=dense_mask(row, hidden), scale=0.3, enable_gqa=True)
    return seen.transpose(1, 2)


@settings(max_examples=60, deadline=None)
@given(groups, st.booleans(), st.sampled_from([None, 0.0, 0.5, 1.0]))
def test_equals_the_dense_mask_forward_and_backward(row, longest_first, hidden_share):
    """Also with tokens of prompts that are hidden; the first of a prompt is none of them."""
    if longest_first:
        row = [(prompt, sorted(answers, reverse=True)) for prompt, answers in row]
    length = sum(prompt + sum(answers) for prompt, answers in row)
    torch.manual_seed(length)
    hidden = None
    if hidden_share is not None:
        in_prompt = [i > 0 for prompt, answers in row for i in [*range(prompt), *[0] * sum(answers)]]
        hidden = torch.tensor(in_prompt) & (torch.rand(length) < hidden_share)
    upstream = torch.randn(1, length, QUERY_HEADS, WIDTH)
    results = []
    values = [torch.randn(1, heads, length, WIDTH) for heads in (QUERY_HEADS, KEY_HEADS, KEY_HEADS)]
    for way in (piecewise, dense):
        tensors = [value.clone().requires_grad_() for value in values]
        seen = way(tensors, row, hidden)
        (seen * upstream).sum().backward()
        results.append([seen.detach(), *(tensor.grad for tensor in tensors)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("lengths", "batches"),
    [([50, 50, 50], [3]), ([200, 160, 100, 90], [2, 2]), ([20, 3, 1], [3]), ([7], []), ([], []), ([9, 0, 8], [2])],
)
def test_answers_of_similar_length_are_computed_together(lengths, batches):
    plan = plan_group(10, lengths, CPU)
    assert [batch.answers for batch in plan.batches] == batches


def test_equal_lengths_are_not_copied():
    (batch,) = plan_group(10, [4, 4, 4], CPU).batches
    assert batch.places is None
    assert batch.kept is None
