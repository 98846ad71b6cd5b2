"""Log-probabilities of the answers' tokens. The output head runs only on answer positions, in chunks.

Full-vocabulary logits of a row would be the largest tensor of the whole update (4 200 tokens x 152 000 words in
float32 are 2.5 GB, and the softmax's gradient the same again). Here at most `CHUNK_VALUES` logits are in memory at any
time: the forward pass keeps one number per token, and the backward pass computes the logits of each chunk again.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pebr.vlm.attention import plan_group, use_row_attention
from pebr.vlm.families import family_of
from pebr.vlm.rows import Row

CHUNK_VALUES = 2**26  # logits in memory at a time: 256 MB in float32
BANNED_LOGIT = -1e9  # its probability is 0, and 0 times its logarithm is not NaN


class PolicyModel(nn.Module):
    """The model as the trainer calls it: from a packed row to the log-probabilities of its answers.

    DeepSpeed wraps this module and not the model inside, so that ZeRO-3 also gathers the head's weight.

    Args:
        model: a Hugging Face vision-language model.
        banned_token_ids: tokens that the sampler never draws. They get probability 0, as in the distribution that was
            sampled from.
    """

    def __init__(self, model: Any, banned_token_ids: Sequence[int] = ()) -> None:
        super().__init__()
        self.family = family_of(model.config)
        if not self.family.carries_state:
            use_row_attention(model)
        self.family.prepare(model)
        self.model = model
        self.banned_token_ids = tuple(banned_token_ids)

    def forward(
        self, row: Row, temperature: float = 1.0, hidden: Tensor | None = None, compare: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Compute log-probabilities and entropies of a row's T predicted tokens.

        Args:
            row: the packed row, on the model's device.
            temperature: divides the logits, as in the sampler.
            hidden: (L,) bool on the CPU, tokens of prompts to which no token attends; None for none.
            compare: return KL(without hidden tokens || with them) of each token's distribution, (T,), twice.

        Returns:
            Log-probabilities and entropies, (T,) each, differentiable; both float32, in nats.
        """
        states = self.states(row, hidden)
        other = self.states(row, None) if compare else None
        # Asked for after the passes: ZeRO-3 frees a weight when the layer that shares it has run.
        weight = self.model.get_output_embeddings().weight  # (V, D)
        if other is not None:
            found = answer_divergences(other, states, weight, temperature, self.banned_token_ids)
            return found, found
        return answer_logprobs(states, weight, row.targets, temperature, self.banned_token_ids)

    def states(self, row: Row, hidden: Tensor | None) -> Tensor:
        """The last hidden states at the places that predict, (T, D)."""
        if self.family.carries_state:
            if hidden is not None:
                raise ValueError(f"{self.family.model_type}: no token can be hidden from layers that carry a state")
            states = self.family.hidden_states(self.model, row.inputs, use_cache=False, spans=row.spans)
            return states[0][row.predictors]
        plans = [
            plan_group(
                span.prompt,
                span.answers,
                row.input_ids.device,
                None if hidden is None else hidden[span.start : span.start + span.prompt],
            )
            for span in row.spans
        ]
        states = self.family.hidden_states(self.model, row.inputs, attention_mask=None, use_cache=False, plans=plans)
        return states[0][row.predictors]


def answer_logprobs(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float = 1.0, banned_token_ids: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    """Compute the log-softmax of `hidden @ weight.T / temperature` at the targets, and its entropy, in chunks.

    Args:
        hidden: (T, D) hidden states of the positions that predict.
        weight: (V, D) of the output head.
        targets: (T,) predicted tokens.
        temperature: divides the logits.
        banned_token_ids: tokens that get probability 0.

    Returns:
        Log-probabilities and entropies, (T,) each, differentiable in `hidden` and `weight`; both float32. The gradient
        of entropies costs nothing where they are not used.
    """
    banned = torch.tensor(list(banned_token_ids), dtype=torch.long).to(hidden.device, non_blocking=True)
    return _AnswerLogprobs.apply(hidden, weight, targets, temperature, banned)


@torch.no_grad()
def answer_divergences(
    one: Tensor, other: Tensor, weight: Tensor, temperature: float = 1.0, banned_token_ids: Sequence[int] = ()
) -> Tensor:
    """Compute KL(softmax(one @ weight.T / temperature) || the same of `other`) at T places, in chunks.

    Args:
        one: (T, D) hidden states.
        other: (T, D) hidden states.
        weight: (V, D) of the output head.
        temperature: divides the logits.
        banned_token_ids: tokens that get probability 0.

    Returns:
        (T,) float32, in nats.
    """
    banned = torch.tensor(list(banned_token_ids), dtype=torch.long).to(one.device, non_blocking=True)
    divergences = one.new_empty(len(one), dtype=torch.float32)
    for part in _chunks(len(one), len(weight)):
        p, q = (_logits(x[part], weight, temperature, banned).log_softmax(-1) for x in (one, other))
        divergences[part] = (p.exp() * (p - q)).sum(dim=-1)
    return divergences


def _chunks(count: int, vocabulary: int) -> list[slice]:
    size = max(1, CHUNK_VALUES // vocabulary)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _logits(hidden: Tensor, weight: Tensor, temperature: float, banned: Tensor) -> Tensor:
    """(T, V) float32."""
    logits = (hidden @ weight.T).float().div_(temperature)
    return logits.index_fill_(1, banned, BANNED_LOGIT)


class _AnswerLogprobs(torch.autograd.Function):
    """d logprob_t / d logit_tv = [v = target_t] - p_tv, d entropy_t / d logit_tv = -p_tv (log p_tv + entropy_t)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, banned: Tensor
    ) -> tuple[Tensor, Tensor]:
        logprobs = hidden.new_empty(len(targets), dtype=torch.float32)
        entropies = torch.empty_like(logprobs)
        for part in _chunks(len(targets), len(weight)):
            distribution = _logits(hidden[part], weight, temperature, banned).log_softmax(dim=-1)
            logprobs[part] = distribution.gather(1, targets[part, None])[:, 0]
            entropies[part] = -(distribution.exp() * distribution).sum(dim=-1)
        ctx.save_for_backward(hidden, weight, targets, entropies)
        ctx.temperature, ctx.banned = temperature, banned
        ctx.set_materialize_grads(False)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, entropies = ctx.saved_tensors
        of_logprobs, of_entropies = (None if g is None else g.float() / ctx.temperature for g in gradients)
        if of_logprobs is None:
            of_logprobs = torch.zeros_like(entropies)
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for part in _chunks(len(targets), len(weight)):
            logits = _logits(hidden[part], weight, ctx.temperature, ctx.banned)
            factors = -of_logprobs[part, None]
            if of_entropies is not None:
                factors = factors - of_entropies[part, None] * (logits.log_softmax(dim=-1) + entropies[part, None])
            of_logits = logits.softmax(dim=-1).mul_(factors)
            of_logits.scatter_add_(1, targets[part, None], of_logprobs[part, None])
            of_logits = of_logits.to(hidden.dtype)
            if of_hidden is not None:
                of_hidden[part] = of_logits @ weight
            if of_weight is not None:
                of_weight += of_logits.T @ hidden[part]
        return of_hidden, None if of_weight is None else of_weight.to(weight.dtype), None, None, None
