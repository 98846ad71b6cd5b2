"""Qwen's three-axis rotary positions (M-RoPE) of a prompt, from its tokens and image grids alone.

Text counts up on all three axes alike. An image of h x w tokens that starts at position s takes (s, s + row,
s + column) for its tokens, and what follows it goes on at s + max(h, w). (Qwen2-VL, arXiv 2409.12191, section 2.1.)
The model's own `get_rope_index` computes the same, but needs the model; rows are built where data is read.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def prompt_positions(
    token_ids: Sequence[int], image_token_id: int, grids: Sequence[Sequence[int]], merge_size: int
) -> Tensor:
    """The positions (3, P) of a prompt's tokens: time, height, width.

    Args:
        token_ids: (P,) tokens, each image expanded to its tokens.
        image_token_id: the token that stands for a piece of an image.
        grids: (time, height, width) of each image in patches, in the order of the images.
        merge_size: patches a side that become one token.

    Raises:
        ValueError: when images and image tokens do not match.

    >>> prompt_positions([5, 9, 9, 9, 9, 9, 9, 6], 9, [(1, 4, 6)], 2).tolist()
    [[0, 1, 1, 1, 1, 1, 1, 4], [0, 1, 1, 1, 2, 2, 2, 4], [0, 1, 2, 3, 1, 2, 3, 4]]
    """
    pieces: list[Tensor] = []
    index = position = 0
    for time, height, width in grids:
        shape = (int(time), int(height) // merge_size, int(width) // merge_size)
        image_start = _find(token_ids, image_token_id, index)
        image_end = image_start + shape[0] * shape[1] * shape[2]
        if any(token != image_token_id for token in token_ids[image_start:image_end]) or image_end > len(token_ids):
            raise ValueError(f"an image of {shape} tokens does not fill its place at token {image_start}")
        pieces.append(_text(position, image_start - index))
        position += image_start - index
        axes = torch.meshgrid(*(torch.arange(length) for length in shape), indexing="ij")
        pieces.append(torch.stack(axes).reshape(3, -1) + position)
        position += max(shape[1:])
        index = image_end
    if image_token_id in token_ids[index:]:
        raise ValueError(f"the prompt has more image tokens than its {len(grids)} images")
    pieces.append(_text(position, len(token_ids) - index))
    return torch.cat(pieces, dim=1)


def _text(position: int, length: int) -> Tensor:
    return torch.arange(position, position + length).expand(3, -1)


def _find(token_ids: Sequence[int], token_id: int, start: int) -> int:
    for index in range(start, len(token_ids)):
        if token_ids[index] == token_id:
            return index
    raise ValueError(f"the prompt has fewer image tokens than images: none from token {start} on")
