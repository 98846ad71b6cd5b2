"""Attention of the vision tower: one call per layer, whatever the number of images and windows.

The patches of all images of a row are one sequence, cut into segments that attend to themselves alone: whole images,
and in Qwen2.5-VL windows of an image. transformers' `sdpa` calls attention once per segment, which on a GPU means
thousands of small kernels per update. `segment_attention` is an attention implementation of transformers. On a GPU, in
16-bit formats, it is one variable-length flash-attention call. Elsewhere segments are laid side by side in lanes, each
as long as the longest segment, and attention is one batched call over the lanes.

`Segments` are made on the CPU from the sizes of the images, so the forward pass never waits for the device.

Shapes: N patches of a row, H heads, C values per head, J lanes of M patches.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pebr.vlm.families.contract import Config, Model
from pebr.vlm.first_fit import first_fit

NAME = "pebr_flash_segments"  # for an implementation named "flash", transformers does not cut the sequence itself

HALF = (torch.bfloat16, torch.float16)


class Segments(NamedTuple):
    """How a sequence is cut, and how its segments lie in lanes."""

    bounds: Tensor  # (segments + 1,) int32: where each segment starts, and the end of the last
    longest: int  # M
    lanes: int  # J
    places: Tensor | None  # (J * M,) index in the sequence of each place in the lanes; None: the sequence's own order
    kept: Tensor | None  # (N,) the place of each patch in the lanes
    visible: Tensor | None  # (J, 1, M or 1, M) True where a query may see a key; None: everything in its lane

    def to(self, device: torch.device) -> "Segments":
        """The same on a device; the CPU does not wait."""
        return Segments(*(_sent(field, device) if isinstance(field, Tensor) else field for field in self))  # type: ignore[arg-type]


def segments_of(lengths: Sequence[int], lanes: bool = True) -> Segments:
    """The segments of these lengths. `lanes` False leaves out what a variable-length kernel does not need."""
    of_lengths = torch.tensor(lengths)
    longest = max(lengths)
    bounds = F.pad(of_lengths.cumsum(0), (1, 0))
    if not lanes or min(lengths) == longest:
        return Segments(bounds.int(), longest, len(lengths), None, None, None)
    hands = first_fit(lengths, longest)  # at most one lane is less than half full
    places = torch.zeros(len(hands), longest, dtype=torch.long)
    owner = torch.full((len(hands), longest), -1)  # padding belongs to no segment, and sees only padding
    kept = torch.empty(int(bounds[-1]), dtype=torch.long)
    for lane, hand in enumerate(hands):
        start = 0
        for segment in hand:
            first, last = int(bounds[segment]), int(bounds[segment + 1])
            end = start + last - first
            places[lane, start:end] = torch.arange(first, last)
            owner[lane, start:end] = segment
            kept[first:last] = torch.arange(start, end) + lane * longest
            start = end
    if all(len(hand) == 1 for hand in hands):
        visible = (owner >= 0)[:, None, None]
    else:
        visible = (owner[:, :, None] == owner[:, None])[:, None]
    return Segments(bounds.int(), longest, len(hands), places.flatten(), kept, visible)


def segment_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    segments: Sequence[Segments] = (),
    **_: object,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls in each layer of the vision tower.

    Args:
        query, key, value: (1, H, N, C).
        attention_mask: not used.
        cu_seq_lens_q: the `bounds` of this layer's segments.
        segments: of all kinds of layers. Without them (a call that is not ours) they are made here, and waited for.

    Returns:
        Attention output (1, N, H, C), and None for the weights.
    """
    if cu_seq_lens_q is None:
        raise ValueError("attention of a vision tower needs the bounds of its segments")
    flash = uses_flash(query.device, query.dtype)
    own = next((each for each in segments if each.bounds is cu_seq_lens_q), None)
    if own is None:
        own = segments_of(cu_seq_lens_q.diff().tolist(), not flash).to(query.device)
    rows = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]  # (N, H, C)
    return (_flash(rows, own, scaling) if flash else _in_lanes_attention(rows, own, scaling))[None], None


def uses_flash(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether attention is one variable-length flash-attention call: flash kernels take 16-bit formats only."""
    return device.type == "cuda" and dtype in HALF


def _flash(rows: Sequence[Tensor], own: Segments, scaling: float | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = rows
    seen: Any = varlen_attn(query, key, value, own.bounds, own.bounds, own.longest, own.longest, scale=scaling)
    return seen


def _in_lanes_attention(rows: Sequence[Tensor], own: Segments, scaling: float | None) -> Tensor:
    """(N, H, C) of queries, keys and values -> attention output (N, H, C)."""
    lanes = []
    for row in rows:
        flat = row if own.places is None else row.index_select(0, own.places)
        lanes.append(flat.reshape(own.lanes, own.longest, *row.shape[1:]).transpose(1, 2))  # (J, H, M, C)
    query, key, value = lanes
    seen = F.scaled_dot_product_attention(query, key, value, attn_mask=own.visible, scale=scaling)
    flat = seen.transpose(1, 2).flatten(0, 1)  # (J * M, H, C)
    return flat if own.kept is None else flat.index_select(0, own.kept)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.to(device, non_blocking=True)


def use_segment_attention(model: Model, vision: str) -> None:
    """Let a model's vision tower (the submodule `vision`) compute all segments of a layer in one call."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, segment_attention)
    # Not by `set_attn_implementation`, which looks for a library of that name if it contains "flash".
    config: Config = model.get_submodule(vision).config
    config._attn_implementation = NAME
