"""The sampled distribution equals a slow reference; draws have its frequencies."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pebr.sampling.distribution import draw, next_token_logprobs, uniforms_of


def obvious(logits: list[float], temperature: float, top_p: float, banned: set[int]) -> list[float]:
    """Probabilities by the definition, token by token."""
    weights = [0.0 if i in banned else math.exp(x / temperature) for i, x in enumerate(logits)]
    chances = [weight / sum(weights) for weight in weights]
    kept, mass = set(), 0.0
    for token in sorted(range(len(chances)), key=lambda i: (-chances[i], i)):
        if mass >= top_p:
            break
        kept.add(token)
        mass += chances[token]
    return [chance / mass if i in kept else 0.0 for i, chance in enumerate(chances)]


@settings(deadline=None)
@given(
    st.lists(st.integers(-40, 40), min_size=4, max_size=12),
    st.sampled_from([0.5, 1.0, 1.2]),
    st.sampled_from([0.3, 0.83, 0.99, 1.0]),
    st.sets(st.integers(0, 2)),
)
def test_it_is_the_obvious_distribution(logits: list[int], temperature: float, top_p: float, banned: set[int]) -> None:
    # Distinct values, so that rounding decides no tie at the border of the nucleus.
    values = [x / 10 + i * 0.0137 for i, x in enumerate(logits)]
    result = next_token_logprobs(torch.tensor([values]), temperature, top_p, sorted(banned))[0]
    assert result.exp().tolist() == pytest.approx(obvious(values, temperature, top_p, banned), abs=1e-5)


def test_greedy_is_the_models_own_distribution() -> None:
    logits = torch.randn(2, 9)
    assert torch.equal(next_token_logprobs(logits, 0.0, 0.5, []), logits.log_softmax(-1))


def test_draws_have_the_frequencies_of_the_distribution() -> None:
    logprobs = next_token_logprobs(torch.randn(1, 30, generator=torch.Generator().manual_seed(0)), 1.0, 0.9, [3, 29])
    tokens = draw(logprobs.expand(100_000, -1), uniforms_of([5], 100_000)[0])
    frequencies = torch.bincount(tokens, minlength=30) / 100_000
    torch.testing.assert_close(frequencies, logprobs[0].exp(), atol=0.005, rtol=0)
    assert not frequencies[logprobs[0] == -math.inf].any()


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
def test_impossible_tokens_are_not_drawn_at_the_ends_of_the_range(uniform: float) -> None:
    logprobs = torch.tensor([[-math.inf, -math.inf, math.log(0.25), -math.inf, math.log(0.75), -math.inf]])
    assert draw(logprobs, torch.tensor([uniform], dtype=torch.float64)).item() in (2, 4)


def test_random_numbers_depend_on_the_seed_alone() -> None:
    together = uniforms_of([1, 2, 3], 40)
    assert torch.equal(together[1], uniforms_of([2], 40)[0])
    assert torch.equal(together[:, :7], uniforms_of([1, 2, 3], 7))
    assert len(set(together.flatten().tolist())) == 120
