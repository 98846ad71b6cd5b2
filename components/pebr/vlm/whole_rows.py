"""Packed rows for models whose layers carry a state along the row: every answer in a sequence of its own.

A group row `[prompt][answer 1]...[answer G]` is computed as the sequences `[prompt][answer 1]`, ..., `[prompt][answer
G]`, padded at the end to the longest. Causal layers do not see what follows a token, so padding changes nothing. The
embeddings are computed before: the vision tower still runs once per group.

Shapes: L tokens of a row, S sequences, W tokens of the longest.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pebr.vlm.families.contract import Span


class Sequences(NamedTuple):
    """How a row's tokens are laid out in sequences, and back."""

    places: Tensor  # (S, W) index in the row of each token; padding repeats the sequence's first token
    back: Tensor  # (L,) index in the flattened (S * W) of each token of the row


def sequences_of(spans: Sequence[Span], device: torch.device) -> Sequences:
    """The sequences of a row with these groups.

    A prompt's own hidden states are taken from its first sequence; they are the same in all.

    >>> laid = sequences_of([Span(0, 2, (2, 1))], torch.device("cpu"))
    >>> laid.places.tolist(), laid.back.tolist()
    ([[0, 1, 2, 3], [0, 1, 4, 0]], [0, 1, 2, 3, 6])
    """
    rows: list[list[int]] = []
    found: dict[int, tuple[int, int]] = {}  # place in the row -> sequence, place in it
    for span in spans:
        prompt = list(range(span.start, span.start + span.prompt))
        begin = span.start + span.prompt
        for length in [length for length in span.answers if length] or [0]:
            sequence = prompt + list(range(begin, begin + length))
            begin += length
            for place, token in enumerate(sequence):
                found.setdefault(token, (len(rows), place))
            rows.append(sequence)
    width = max(map(len, rows))
    places = torch.tensor([row + [row[0]] * (width - len(row)) for row in rows])
    back = torch.tensor([row * width + place for row, place in (found[token] for token in range(len(found)))])
    return Sequences(places.to(device, non_blocking=True), back.to(device, non_blocking=True))


def tokens_computed(prompt: int, answers: Sequence[int]) -> int:
    """Tokens that the sequences of a group have, from the input tokens of its prompt and its answers.

    >>> tokens_computed(10, [3, 0, 2])
    25
    """
    real = [length for length in answers if length]
    return prompt * max(len(real), 1) + sum(real)
