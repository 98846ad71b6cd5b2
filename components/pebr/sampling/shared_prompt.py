"""Attention of several answers to one prompt whose keys and values are stored and read once.

In `model.generate(num_return_sequences=G)` every answer has a copy of its prompt's key-value cache, and each decoding
step reads all G copies. Here the G answers of a question are G queries to one copy, and each answer has a cache of its
own tokens. The two parts of the softmax are joined by their maxima and sums (as in Hydragen, arXiv 2402.05099).

It is an attention implementation of transformers: the layer rotates queries and keys, passes the new keys and values to
`SharedPromptCache.update`, and calls `shared_prompt_attention` with the result.

Shapes: Q questions, G answers per question, H query heads, K key-value heads, P prompt tokens of the longest question,
T answer tokens so far, C values per head. Prompts are padded at the end.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pebr.vlm.families.contract import Config

NAME = "pebr_shared_prompt"
_PADDING = 16  # prompts and rows are padded to a multiple, so the same kernels run whatever else is in the batch
_GROWTH = 64  # answer tokens by which the cache grows

KeyValues = list[tuple[Tensor, Tensor]]  # per layer: keys and values, each (K, P, C)


class SharedPromptCache:
    """Keys and values of a batch: of the prompts, once per question, and of the answers."""

    def __init__(self, prompts: Sequence[KeyValues], answers: int) -> None:
        self.answers = answers  # G
        self.length = 0  # T
        lengths = torch.tensor([layers[0][0].shape[1] for layers in prompts])
        padded = padded_rows(int(lengths.max()))
        self._prompts = [
            (_stacked([keys for keys, _ in layer], padded), _stacked([values for _, values in layer], padded))
            for layer in zip(*prompts, strict=True)
        ]  # per layer, each (Q, K, P, C)
        device = self._prompts[0][0].device
        self._outside = (torch.arange(padded) >= lengths[:, None])[:, None, None].to(device)  # (Q, 1, 1, P)
        self._answers: list[tuple[Tensor, Tensor] | None] = [None] * len(self._prompts)  # each (Q * G, K, room, C)

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the text model. Its attention needs no mask, and passes on one of four dimensions unchanged."""
        mask = torch.zeros(1, 1, 1, 1, device=self._outside.device)
        return {"past_key_values": self, "shared": self, "attention_mask": mask}

    @property
    def rows(self) -> int:
        """Answers in the batch, Q * G."""
        return self._outside.shape[0] * self.answers

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Store keys and values, each (rows or more, K, 1, C), of every answer's next token. The layer calls this."""
        keys, values = keys[: self.rows], values[: self.rows]
        kept = self._answers[layer]
        if kept is None or self.length == kept[0].shape[2]:
            room = keys.new_empty(self.rows, keys.shape[1], self.length + _GROWTH, keys.shape[3])
            grown = (room, torch.empty_like(room))
            for new, old in zip(grown, kept or (), strict=False):
                new[:, :, : self.length] = old
            kept = self._answers[layer] = grown
        for store, new in zip(kept, (keys, values), strict=True):
            store[:, :, self.length] = new[:, :, 0]
        return kept[0][:, :, : self.length + 1], kept[1][:, :, : self.length + 1]

    def advance(self) -> None:
        """Count the token that all layers have stored."""
        self.length += 1

    def keep(self, questions: Tensor) -> None:
        """Keep only these questions, given by their indices in the batch."""
        rows = (questions[:, None] * self.answers + torch.arange(self.answers, device=questions.device)).flatten()
        self._outside = self._outside[questions]
        self._prompts = [(keys[questions], values[questions]) for keys, values in self._prompts]
        self._answers = [kept and (kept[0][rows], kept[1][rows]) for kept in self._answers]

    def prompt(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values (Q, K, P, C) of a layer, and where they are padding (Q, 1, 1, P)."""
        keys, values = self._prompts[layer]
        return keys, values, self._outside


def shared_prompt_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    shared: SharedPromptCache | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention for transformers, called in each layer: a prompt is causal, an answer sees its prompt and itself.

    Args:
        module: the layer's attention; its `layer_idx` is the number of the layer.
        query: (rows or more, H, 1, C) of answers, (1, H, P, C) of a prompt.
        key, value: (rows, K, T, C) of the answers' tokens, or (1, K, P, C).
        shared: the cache, for answers; None for a prompt.

    Returns:
        Attention output, (rows or more, 1, H, C) or (1, P, H, C).
    """
    if sliding_window is not None:
        raise NotImplementedError(
            f"attention with a window of {sliding_window} tokens is not supported: give --sampling vllm"
        )
    if shared is None:
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=True)
        return seen.transpose(1, 2).contiguous(), None
    rows, answers = shared.rows, shared.answers
    prompt_keys, prompt_values, outside = shared.prompt(int(module.layer_idx))  # type: ignore[arg-type]
    questions, heads, width = rows // answers, key.shape[1], key.shape[3]
    own = query[:rows].view(rows, heads, -1, width) * scaling  # (Q * G, K, H / K, C)
    grouped = own.view(questions, answers, heads, -1, width).transpose(1, 2)  # (Q, K, G, H / K, C)
    queries = grouped.reshape(questions, heads, -1, width)  # (Q, K, G * H / K, C)

    prompt_scores = (queries @ prompt_keys.mT).masked_fill_(outside, -torch.inf).float()
    own_scores = (own @ key.mT).float()  # (Q * G, K, H / K, T)
    top = torch.maximum(_by_row(prompt_scores.amax(-1, keepdim=True), answers), own_scores.amax(-1, keepdim=True))
    by_question = top.view(questions, answers, heads, -1, 1).transpose(1, 2).reshape(questions, heads, -1, 1)
    prompt_weights = (prompt_scores - by_question).exp_()
    own_weights = (own_scores - top).exp_()
    total = _by_row(prompt_weights.sum(-1, keepdim=True, dtype=torch.float64), answers)
    total = (total + own_weights.sum(-1, keepdim=True, dtype=torch.float64)).float()
    seen = _by_row(prompt_weights.to(value.dtype) @ prompt_values, answers) + own_weights.to(value.dtype) @ value
    seen = (seen / total).to(query.dtype).reshape(rows, 1, -1, width)
    return F.pad(seen, (0, 0, 0, 0, 0, 0, 0, query.shape[0] - rows)), None


def _stacked(tensors: Sequence[Tensor], length: int) -> Tensor:
    """(K, P, C) of each question -> (Q, K, length, C), padded with zeros at the end."""
    return torch.stack([F.pad(tensor, (0, 0, 0, length - tensor.shape[1])) for tensor in tensors])


def _by_row(grouped: Tensor, answers: int) -> Tensor:
    """(Q, K, G * H / K, X) -> (Q * G, K, H / K, X)."""
    questions, heads, _, size = grouped.shape
    return (
        grouped.view(questions, heads, answers, -1, size).transpose(1, 2).reshape(questions * answers, heads, -1, size)
    )


def padded_rows(count: int) -> int:
    """The next multiple of 16: with fewer rows, matrix products use other kernels, which round differently.

    >>> padded_rows(1), padded_rows(16), padded_rows(17)
    (16, 16, 32)
    """
    return -(-count // _PADDING) * _PADDING


@contextmanager
def attention_of(text_model: nn.Module) -> Iterator[None]:
    """Make a text model use `shared_prompt_attention`, in evaluation mode; both are undone at the end."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, shared_prompt_attention)
    config: Config = text_model.config
    implementation, training = config._attn_implementation, text_model.training
    config._attn_implementation = NAME
    text_model.eval()
    try:
        yield
    finally:
        config._attn_implementation = implementation
        text_model.train(training)
