"""The memory budget: sums from the headers, and an early error if the model does not fit."""

from typing import Any

import pytest
import torch

from pebr.errors import InputError
from pebr.sampling import memory
from pebr.sampling.memory import GIB, budget, weight_count


def test_weights_are_counted_from_the_headers(tiny: Any) -> None:
    assert weight_count(tiny.path) == sum(parameter.numel() for parameter in tiny.model.parameters())


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_an_answers_cache_is_its_keys_and_values(tiny: Any, dtype: torch.dtype, size: int) -> None:
    plan = budget(tiny.path, tiny.model.config, dtype, max_tokens=100, share=0.1, parallel=1)
    width = 32  # of a head; one key-value head, two layers, keys and values
    assert plan.cache_per_answer == 100 * 2 * 2 * width * size
    assert plan.weights == weight_count(tiny.path) * size
    assert plan.answers == plan.cache // plan.cache_per_answer > 0


def test_what_does_not_fit_is_refused_with_the_remedy(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: (80 * GIB, 79 * GIB, "GPU"))
    arguments = (tiny.path, tiny.model.config, torch.bfloat16)
    assert budget(*arguments, max_tokens=4096, share=0.5, parallel=1).allowed == 40 * GIB
    with pytest.raises(InputError, match="raise --memory-share or --tensor-parallel"):
        budget(*arguments, max_tokens=4096, share=1e-4, parallel=1)
    monkeypatch.setattr(memory, "free_memory", lambda: (80 * GIB, 30 * GIB, "GPU"))
    with pytest.raises(InputError, match=r"30\.0 are free: lower --memory-share"):
        budget(*arguments, max_tokens=4096, share=0.5, parallel=1)
