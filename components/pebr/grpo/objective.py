"""The training objective: named terms, each with a loss and measures per token.

    loss = sum over tokens of token weight * sum over terms of coefficient * term's loss

Token weights are normalised over the whole optimizer update and all ranks, so the sum does not depend on how tokens are
split into micro-batches. To add a term: a field in `ObjectiveSettings`, a function, and a line in `TERMS`.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from pebr.grpo.loss import kl_divergence, policy_loss
from pebr.grpo.settings import ObjectiveSettings


class Tokens(NamedTuple):
    """T sampled tokens on the policy's device."""

    logprobs: Tensor  # (T,) of the policy, differentiable
    entropies: Tensor  # (T,) of the policy, not differentiable
    advantages: Tensor  # (T,)
    weights: Tensor  # (T,)
    sampler_logprobs: Tensor  # (T,)
    old_logprobs: Tensor | None  # (T,) denominator of the ratio; None: the policy's own
    reference_logprobs: Tensor | None  # (T,) None: no active term needs a reference


class Part(NamedTuple):
    """A term's losses and measures."""

    losses: Tensor  # (T,) before the coefficient
    measures: dict[str, Tensor]  # (T,) each


class Term(NamedTuple):
    """A term of the loss."""

    function: Callable[[Tokens, ObjectiveSettings], Part]
    coefficient: Callable[[ObjectiveSettings], float]  # 0: the term is not computed and its measures are 0
    measures: tuple[str, ...]  # names in the history
    needs_reference: bool = False  # reads `reference_logprobs`
    needs_advantage: bool = True  # its gradient is 0 for tokens whose advantage is 0


def policy(tokens: Tokens, settings: ObjectiveSettings) -> Part:
    """The clipped policy loss. The ratio cap applies only if the denominator is the sampler's probability."""
    old = tokens.old_logprobs
    loss = policy_loss(
        tokens.logprobs,
        tokens.logprobs.detach() if old is None else old,
        tokens.advantages,
        settings.clip_low,
        settings.clip_high,
        settings.clip_dual,
        settings.ratio_cap if old is not None and settings.old_logprobs == "sampler" else 0.0,
    )
    return Part(loss.losses, {"clip_fraction": loss.clipped})


def kl(tokens: Tokens, settings: ObjectiveSettings) -> Part:
    """The KL divergence from the reference model."""
    if tokens.reference_logprobs is None:
        raise ValueError("the KL term needs log-probabilities of the reference model")
    divergence = kl_divergence(tokens.logprobs, tokens.reference_logprobs, settings.kl_estimator)
    return Part(divergence, {"kl": divergence})


TERMS = {
    "policy": Term(policy, lambda _: 1.0, ("clip_fraction",)),
    "kl": Term(kl, lambda settings: settings.kl_weight, ("kl",), needs_reference=True, needs_advantage=False),
}

MEASURES = ("entropy", *(name for term in TERMS.values() for name in term.measures))


def active_terms(settings: ObjectiveSettings) -> list[Term]:
    """The terms whose coefficient is not 0."""
    return [term for term in TERMS.values() if term.coefficient(settings)]


def objective(tokens: Tokens, settings: ObjectiveSettings) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the loss of some tokens, a scalar, and the sum of each measure over them."""
    losses: Tensor | float = 0.0
    sums = {"entropy": tokens.entropies.sum()}
    for term in active_terms(settings):
        part = term.function(tokens, settings)
        losses = losses + term.coefficient(settings) * part.losses
        sums |= {name: values.detach().sum() for name, values in part.measures.items()}
    return (tokens.weights * losses).sum(), sums
