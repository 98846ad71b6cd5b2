"""The training objective: named terms, each with a loss and measures per token.

    loss = sum over tokens of token weight * sum over terms of coefficient * term's loss

Token weights are normalised over the whole optimizer update and all ranks, so the sum does not depend on how tokens are
split into micro-batches. To add a term: a field in `ObjectiveSettings`, a function, and a line in `TERMS`.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from pebr.grpo.cispo import cispo_loss
from pebr.grpo.loss import kl_divergence, policy_loss
from pebr.grpo.ratios import RATIOS
from pebr.grpo.sampler_mismatch import on_policy, sampler_weights
from pebr.grpo.settings import ObjectiveSettings


class Tokens(NamedTuple):
    """T sampled tokens of A answers on the policy's device. The tokens of an answer are neighbours."""

    logprobs: Tensor  # (T,) of the policy, differentiable
    entropies: Tensor  # (T,) of the policy, differentiable
    advantages: Tensor  # (T,)
    weights: Tensor  # (T,)
    sampler_logprobs: Tensor  # (T,)
    old_logprobs: Tensor | None  # (T,) denominator of the ratio; None: the policy's own
    reference_logprobs: Tensor | None  # (T,) None: no active term needs a reference
    blind_logprobs: Tensor | None  # (T,) of the policy that sees little of the images; None: no active term needs them
    lengths: Tensor  # (A,) tokens of each answer


class Part(NamedTuple):
    """A term's losses and measures."""

    losses: Tensor  # (T,) before the coefficient
    measures: dict[str, Tensor]  # (T,) each


class Term(NamedTuple):
    """A term of the loss."""

    function: Callable[[Tokens, ObjectiveSettings], Part]
    coefficient: Callable[[ObjectiveSettings], float]  # 0: the term is not computed and its measures are 0
    measures: Callable[[ObjectiveSettings], tuple[str, ...]]  # names in the history
    needs_reference: bool = False  # reads `reference_logprobs`
    needs_blind: bool = False  # reads `blind_logprobs`
    needs_advantage: bool = True  # its gradient is 0 for tokens whose advantage is 0


def policy(tokens: Tokens, settings: ObjectiveSettings) -> Part:
    """The policy loss. The ratio cap applies to the ratio only if its denominator is the sampler's probability."""
    old, advantages = tokens.old_logprobs, tokens.advantages
    before = tokens.logprobs.detach() if old is None else old
    log_ratio = RATIOS[settings.ratio](tokens.logprobs - before, tokens.lengths)
    if settings.surrogate == "cispo":
        loss = cispo_loss(log_ratio, tokens.logprobs, advantages, settings.clip_low, settings.clip_high)
    else:
        cap = settings.ratio_cap if old is not None and settings.old_logprobs == "sampler" else 0.0
        loss = policy_loss(log_ratio, advantages, settings.clip_low, settings.clip_high, settings.clip_dual, cap)
    weights = _weights(tokens, before, settings)
    if weights is None:
        return Part(loss.losses, {"clip_fraction": loss.clipped})
    return Part(weights * loss.losses, {"clip_fraction": loss.clipped, "left_out_fraction": weights == 0})


def _weights(tokens: Tokens, before: Tensor, settings: ObjectiveSettings) -> Tensor | None:
    """The weights by which tokens of another distribution count less, (T,); None if all count alike."""
    weights = None
    if settings.sampler_correction != "none":
        weights = sampler_weights(before, tokens.sampler_logprobs, settings.sampler_correction, settings.ratio_cap)
    if settings.off_policy_limit:
        kept = on_policy(
            tokens.logprobs, tokens.sampler_logprobs, tokens.advantages, tokens.lengths, settings.off_policy_limit
        )
        weights = kept.float() if weights is None else weights * kept
    return weights


def _policy_measures(settings: ObjectiveSettings) -> tuple[str, ...]:
    corrected = settings.sampler_correction != "none" or settings.off_policy_limit
    return ("clip_fraction", "left_out_fraction") if corrected else ("clip_fraction",)


def kl(tokens: Tokens, settings: ObjectiveSettings) -> Part:
    """The KL divergence from the reference model."""
    if tokens.reference_logprobs is None:
        raise ValueError("the KL term needs log-probabilities of the reference model")
    divergence = kl_divergence(tokens.logprobs, tokens.reference_logprobs, settings.kl_estimator)
    return Part(divergence, {"kl": divergence})


def entropy(tokens: Tokens, settings: ObjectiveSettings) -> Part:
    """The entropy bonus of A3C (arXiv 1602.01783), or with a negative weight the penalty that guards `seeing`."""
    return Part(-tokens.entropies, {})


def seeing(tokens: Tokens, settings: ObjectiveSettings) -> Part:
    """The implicit perception loss of PAPO (arXiv 2507.06448, eq. 5): the divergence from the blind view is to grow.

    As in PAPO's code, it is the k3 estimate of the KL divergence of the policy from its blind view, without a gradient
    through the latter. Its gradient is (1 - q / p) times that of log p, with p seeing and q blind: a token that
    the image makes likelier becomes likelier still. Tokens at the estimate's limit have no gradient.
    """
    if tokens.blind_logprobs is None:
        raise ValueError("the seeing term needs log-probabilities of the blind view")
    divergence = kl_divergence(tokens.logprobs, tokens.blind_logprobs, "k3")
    return Part(-divergence, {"seeing": divergence})


TERMS = {
    "policy": Term(policy, lambda _: 1.0, _policy_measures),
    "kl": Term(kl, lambda settings: settings.kl_weight, lambda _: ("kl",), needs_reference=True, needs_advantage=False),
    "seeing": Term(
        seeing,
        lambda settings: settings.seeing_weight,
        lambda settings: ("seeing",) if settings.seeing_weight else (),
        needs_blind=True,
        needs_advantage=False,
    ),
    "entropy": Term(entropy, lambda settings: settings.entropy_weight, lambda _: (), needs_advantage=False),
}


def active_terms(settings: ObjectiveSettings) -> list[Term]:
    """The terms whose coefficient is not 0."""
    return [term for term in TERMS.values() if term.coefficient(settings)]


def measures(settings: ObjectiveSettings) -> tuple[str, ...]:
    """The names of the measures of all terms."""
    return ("entropy", *(name for term in TERMS.values() for name in term.measures(settings)))


def objective(tokens: Tokens, settings: ObjectiveSettings) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the loss of some tokens, a scalar, and the sum of each measure over them."""
    losses: Tensor | float = 0.0
    sums = {"entropy": tokens.entropies.detach().sum()}
    for term in active_terms(settings):
        part = term.function(tokens, settings)
        losses = losses + term.coefficient(settings) * part.losses
        sums |= {name: values.detach().sum() for name, values in part.measures.items()}
    return (tokens.weights * losses).sum(), sums
