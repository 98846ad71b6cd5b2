"""Separate advantages for the tokens of an answer's description and for its other tokens.

As with the two roles of PRCO (arXiv 2603.28618): what describes is judged by the rewards of descriptions (CLIP,
keywords, length, self-sufficiency), what reasons and answers by the others. So a wrong answer does not blame a good
description, and a right one does not praise a bad description.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pebr.grpo.advantages import group_advantages
from pebr.vlm.response import description_span


class Separate(NamedTuple):
    """The advantages of a group's two kinds of tokens, and which tokens are of the description."""

    description: Tensor  # (G,) float32
    rest: Tensor  # (G,) float32
    spans: list[tuple[int, int]]  # (G,) the first token of the description and the one after its last; equal for none

    @property
    def teaches(self) -> bool:
        """False if every advantage is 0."""
        return bool(self.description.any() or self.rest.any())

    def kept(self, places: Sequence[int]) -> "Separate":
        """Those of some answers of the group."""
        index = list(places)
        return Separate(self.description[index], self.rest[index], [self.spans[place] for place in places])

    def of_tokens(self, whole: Tensor, lengths: Sequence[int]) -> Tensor:
        """The advantages of the tokens of all answers, (T,).

        An answer without a description has only the advantage of its whole reward: nothing in it describes.

        Args:
            whole: (G,) advantages by the whole reward.
            lengths: (G,) tokens of each answer.
        """
        parts = []
        for place, length in enumerate(lengths):
            start, end = self.spans[place]
            tokens = (self.rest if end > start else whole)[place].repeat(length)
            tokens[start:end] = self.description[place]
            parts.append(tokens)
        return torch.cat(parts) if parts else torch.zeros(0)


def separate(
    weighted: Mapping[str, Sequence[float]], of_description: Collection[str], kind: str, spans: list[tuple[int, int]]
) -> Separate:
    """The advantages of a group.

    Args:
        weighted: component -> (G,), after its weight.
        of_description: the components that judge descriptions.
        kind: of the advantage, see `group_advantages`.
        spans: of the descriptions' tokens.
    """

    def advantages(names: Collection[str]) -> Tensor:
        return group_advantages([[sum(values) for values in zip(*(weighted[n] for n in names), strict=True)]], kind)[0]

    rest = [name for name in weighted if name not in of_description]
    return Separate(advantages([n for n in weighted if n in of_description]), advantages(rest), spans)


def description_tokens(token_ids: Sequence[int], text: str, decode: Callable[[Sequence[int]], str]) -> tuple[int, int]:
    """The first token of an answer's description and the one after its last; (0, 0) for none.

    A token is of the description if any of its characters is, white space at either end apart. The number of texts
    that are decoded grows with the logarithm of the answer's length.

    Args:
        token_ids: (R,) of the answer.
        text: decoded from them.
        decode: from tokens to their text.
    """
    start, end = description_span(text)
    if start == end:
        return 0, 0
    counts = range(len(token_ids) + 1)
    first = bisect_right(counts, start, key=lambda count: len(decode(token_ids[:count]))) - 1
    # Part of a character decodes to another one, so the text is compared, not only its length.
    last = bisect_left(counts, True, key=lambda count: decode(token_ids[:count])[:end] == text[:end])
    return first, last
