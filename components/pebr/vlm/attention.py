"""Attention of packed rows, piece by piece, without a mask of the whole row and without masked-out blocks.

In a row `[prompt][answer 1]...[answer G][prompt]...` a dense mask would have L x L values, most of them False. Here
each prompt attends to itself (causal), and its answers, padded to batches of similar length, attend to the prompt and
to themselves. `row_attention` is an attention implementation of transformers: the layers of a text model call it when
its configuration names `NAME`. Without a row it is transformers' own `sdpa`.

Shapes: G answers of a batch, P prompt tokens, R answer tokens of the longest answer of a batch, L tokens of a row, H
query heads, K key-value heads, C values per head.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right

from pebr.vlm.families.contract import Model

NAME = "pebr_rows"

# An answer joins a batch if it is at least this share of the longest answer, or needs at most this much padding.
_SIMILAR = 0.75
_SHORT = 32  # tokens


class AnswerBatch(NamedTuple):
    """Answers of one prompt that are computed together."""

    places: Tensor | None  # (G * R,) index in the batch of each padded token; None: its own order, no padding
    kept: Tensor | None  # (tokens,) which of the G * R are not padding
    tokens: int  # of all answers
    answers: int  # G


class GroupPlan(NamedTuple):
    """How one group of a row is computed."""

    prompt: int  # P; a single answer counts as part of the prompt
    batches: tuple[AnswerBatch, ...]
    shown: Tensor | None = None  # (S,) places in the prompt that other tokens attend to; None: all
    visible: Tensor | None = None  # (P, S) bool: which of them each token of the prompt attends to


def plan_group(prompt: int, answers: Sequence[int], device: torch.device, hidden: Tensor | None = None) -> GroupPlan:
    """The plan of a group, from the lengths of its prompt and answers.

    Neighboring answers of similar length share a batch.

    Args:
        prompt: P.
        answers: (G,) tokens of each answer.
        device: of the row.
        hidden: (P,) bool on the CPU, tokens of the prompt to which no token attends; None for none. The first is none
            of them.
    """
    answers = [length for length in answers if length]
    shown = visible = None
    if hidden is not None and bool(hidden.any()):
        alone = prompt + (answers[0] if len(answers) == 1 else 0)
        shown = F.pad(~hidden, (0, alone - prompt), value=True).nonzero()[:, 0]
        visible = (shown <= torch.arange(alone)[:, None]).to(device)
        shown = shown.to(device)
    if len(answers) == 1:
        return GroupPlan(prompt + answers[0], (), shown, visible)
    batches: list[AnswerBatch] = []
    first = 0
    while first < len(answers):
        last = first + 1
        while last < len(answers) and _fit(answers[first : last + 1]):
            last += 1
        batches.append(_batch(answers[first:last], device))
        first = last
    return GroupPlan(prompt, tuple(batches), shown, visible)


def _fit(lengths: Sequence[int]) -> bool:
    longest, shortest = max(lengths), min(lengths)
    return shortest >= _SIMILAR * longest or longest - shortest <= _SHORT


def _batch(lengths: Sequence[int], device: torch.device) -> AnswerBatch:
    longest = max(lengths)
    of_lengths = torch.tensor(lengths)
    starts = of_lengths.cumsum(0) - of_lengths
    within = torch.arange(longest)
    real = within < of_lengths[:, None]  # (G, R)
    places = kept = None
    if not bool(real.all()):
        places = torch.where(real, starts[:, None] + within, starts[:, None]).flatten().to(device, non_blocking=True)
        kept = real.flatten().nonzero()[:, 0].to(device, non_blocking=True)
    return AnswerBatch(places, kept, sum(lengths), len(lengths))


def row_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    plans: Sequence[GroupPlan] | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention function that transformers calls in each layer of the text model.

    Args:
        query: (1, H, L, C).
        key, value: (1, K, L, C).
        attention_mask: not used with a row.
        plans: of the row's groups, without gaps; None when the model is called without a row.

    Returns:
        Attention output (1, L, H, C), and None for the weights.
    """
    if plans is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **others)
    # Split at once: the gradient of a slice would be a tensor of the whole row, one for each piece.
    sizes = [size for plan in plans for size in (plan.prompt, *(batch.tokens for batch in plan.batches))]
    parts = zip(*(tensor[0].transpose(0, 1).split(sizes) for tensor in (query, key, value)), strict=True)
    pieces: list[Tensor] = []
    for plan in plans:
        prompt = [part.transpose(0, 1)[None] for part in next(parts)]  # (1, heads, P, C)
        if plan.shown is not None:
            prompt[1:] = [of_prompt.index_select(2, plan.shown) for of_prompt in prompt[1:]]
        own_query, own_key, own_value = prompt
        seen = F.scaled_dot_product_attention(
            own_query,
            own_key,
            own_value,
            attn_mask=plan.visible,
            is_causal=plan.visible is None,
            scale=scaling,
            enable_gqa=True,
        )
        pieces.append(seen[0].transpose(0, 1))
        pieces += [_answers(batch, next(parts), prompt, scaling) for batch in plan.batches]
    return torch.cat(pieces)[None], None


def _answers(batch: AnswerBatch, parts: Sequence[Tensor], prompt: Sequence[Tensor], scaling: float | None) -> Tensor:
    """Attention output of a batch's tokens, (tokens, H, C)."""
    own = []
    for part in parts:
        flat = part if batch.places is None else part.index_select(0, batch.places)
        own.append(flat.view(batch.answers, -1, *flat.shape[1:]).transpose(1, 2))  # (G, heads, R, C)
    keys, values = (
        torch.cat([of_prompt.expand(batch.answers, -1, -1, -1), of_answers], dim=2)
        for of_prompt, of_answers in zip(prompt[1:], own[1:], strict=True)
    )
    # Flash attention on a GPU; on a CPU a mask of (R, P + R).
    visible = causal_lower_right(own[0].shape[2], keys.shape[2])
    seen = F.scaled_dot_product_attention(own[0], keys, values, attn_mask=visible, scale=scaling, enable_gqa=True)
    flat = seen.transpose(1, 2).flatten(0, 1)  # (G * R, H, C)
    return flat if batch.kept is None else flat.index_select(0, batch.kept)


def use_row_attention(model: Model) -> None:
    """Let a vision-language model's text model take rows; calls without a row give the same results as before."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, row_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation({"text_config": NAME})
