"""Synced weights: each one once, with the right shape."""

from typing import Any

import pytest
import torch

from pebr.sampling.contract import SyncError
from pebr.sampling.weights import checked, expected_weights

EXPECTED = {"a": torch.Size([2]), "b": torch.Size([3, 1])}
A, B = torch.zeros(2), torch.zeros(3, 1)


def test_expected_are_a_trainers_parameters(tiny: Any) -> None:
    given = {name: parameter.shape for name, parameter in tiny.model.named_parameters()}
    assert expected_weights(tiny.model.config) == given
    assert "lm_head.weight" not in given  # tied to the embeddings


def test_complete_weights_pass_in_any_order() -> None:
    assert [name for name, _ in checked([("b", B), ("a", A)], EXPECTED)] == ["b", "a"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([("a", A)], "1 of 2 weights were not given, the first is b"),
        ([("a", A), ("b", B), ("c", A)], "c: not a weight"),
        ([("a", A), ("a", A), ("b", B)], "a: given twice"),
        ([("a", A), ("b", A)], r"b: shape \(2,\), the sampler's is \(3, 1\)"),
    ],
)
def test_others_are_refused(given: list[tuple[str, torch.Tensor]], message: str) -> None:
    with pytest.raises(SyncError, match=message):
        list(checked(given, EXPECTED))
