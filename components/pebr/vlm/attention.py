"""Attention of packed rows, piece by piece: no mask of a whole row is ever made, and no masked-out block computed.

In a row `[prompt][answer 1]...[answer G][prompt]...` a dense mask would have L x L values, most of them False. Here
each prompt attends to itself (causal), and its answers, padded to batches of similar length, attend to the prompt and
to themselves. It plugs into transformers as an attention implementation: `row_attention` is what a text model's layers
call once its configuration names `NAME`; without a row it is transformers' own `sdpa`.

Shapes: G answers of a batch, P prompt tokens, R answer tokens of the longest answer of a batch, L packed row, H query
heads, K key-value heads, C values a head.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right

import pebr.vlm  # noqa: F401 - makes transformers importable

NAME = "pebr_rows"

_SIMILAR = 0.75  # answers at least this share of a batch's longest are padded to it,
_SHORT = 32  # and those that need no more than this much padding


class AnswerBatch(NamedTuple):
    """Answers of one prompt that are computed side by side."""

    places: Tensor | None  # (G * R,) where in the row each padded token is; None: the row's own order, no padding
    kept: Tensor | None  # (tokens,) which of the G * R are no padding
    start: int  # in the row
    end: int
    answers: int  # G


class GroupPlan(NamedTuple):
    """How one group of a row is computed."""

    start: int  # in the row
    prompt: int  # P; where there is one answer, it counts as prompt
    batches: tuple[AnswerBatch, ...]


def plan_group(start: int, prompt: int, answers: Sequence[int], device: torch.device) -> GroupPlan:
    """The plan of a group.

    Args:
        start: of the group in the row.
        prompt: its tokens P.
        answers: tokens of each answer, in the row's order; neighbours of similar length share a batch.
        device: of the model.
    """
    answers = [length for length in answers if length]
    if len(answers) == 1:
        return GroupPlan(start, prompt + answers[0], ())
    batches: list[AnswerBatch] = []
    begin, first = start + prompt, 0
    while first < len(answers):
        last = first + 1
        while last < len(answers) and _fit(answers[first : last + 1]):
            last += 1
        batches.append(_batch(begin, answers[first:last], device))
        begin, first = begin + sum(answers[first:last]), last
    return GroupPlan(start, prompt, tuple(batches))


def _fit(lengths: Sequence[int]) -> bool:
    longest, shortest = max(lengths), min(lengths)
    return shortest >= _SIMILAR * longest or longest - shortest <= _SHORT


def _batch(start: int, lengths: Sequence[int], device: torch.device) -> AnswerBatch:
    longest = max(lengths)
    of_lengths = torch.tensor(lengths)
    starts = start + of_lengths.cumsum(0) - of_lengths
    within = torch.arange(longest)
    real = within < of_lengths[:, None]  # (G, R)
    places = kept = None
    if not bool(real.all()):
        places = torch.where(real, starts[:, None] + within, starts[:, None]).flatten().to(device)
        kept = real.flatten().nonzero()[:, 0].to(device)
    return AnswerBatch(places, kept, start, start + sum(lengths), len(lengths))


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
        module: the layer's attention.
        query: (1, H, L, C).
        key: (1, K, L, C).
        value: as `key`.
        attention_mask: not used with a row.
        scaling: of the scores.
        plans: of the row's groups, which fill it; None where the model is called without a row.
        others: of transformers.

    Returns:
        What was seen, (1, L, H, C), and None for the weights.
    """
    if plans is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **others)
    rows = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]  # (L, heads, C)
    pieces: list[Tensor] = []
    for plan in plans:
        prompt = [row[plan.start : plan.start + plan.prompt].transpose(0, 1)[None] for row in rows]
        own_query, own_key, own_value = prompt
        seen = F.scaled_dot_product_attention(
            own_query, own_key, own_value, is_causal=True, scale=scaling, enable_gqa=True
        )
        pieces.append(seen[0].transpose(0, 1))
        pieces += [_answers(batch, rows, prompt, scaling) for batch in plan.batches]
    return torch.cat(pieces)[None], None


def _answers(batch: AnswerBatch, rows: Sequence[Tensor], prompt: Sequence[Tensor], scaling: float | None) -> Tensor:
    """What a batch's tokens see, (tokens, H, C)."""
    own = []
    for row in rows:
        flat = row[batch.start : batch.end] if batch.places is None else row.index_select(0, batch.places)
        own.append(flat.view(batch.answers, -1, *flat.shape[1:]).transpose(1, 2))  # (G, heads, R, C)
    keys, values = (
        torch.cat([of_prompt.expand(batch.answers, -1, -1, -1), of_answers], dim=2)
        for of_prompt, of_answers in zip(prompt[1:], own[1:], strict=True)
    )
    # Flash attention on a GPU; on a CPU it becomes a mask of (R, P + R).
    visible = causal_lower_right(own[0].shape[2], keys.shape[2])
    seen = F.scaled_dot_product_attention(own[0], keys, values, attn_mask=visible, scale=scaling, enable_gqa=True)
    flat = seen.transpose(1, 2).flatten(0, 1)  # (G * R, H, C)
    return flat if batch.kept is None else flat.index_select(0, batch.kept)


def use_row_attention(model: Any) -> None:
    """Make a vision-language model's text model take rows; what is called without a row is computed as before."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, row_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation({"text_config": NAME})
