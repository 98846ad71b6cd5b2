"""Packed rows: what the trainer feeds to the model, under GRPO and under SFT.

A group is a prompt and its G answers. It becomes one stretch of a row,

    [prompt][answer 1][answer 2]...[answer G]

in which each answer attends to the prompt and to itself, and its positions start again after the prompt's last one. So
the prompt and its images are computed once a group, not G times, and log-probabilities and gradients are those of G
separate copies. Several groups stand side by side in a row, blind to one another, up to a token budget; a group too
long for the budget is split between answers, its prompt repeated. An SFT example is a group with one answer.

Two details save more: an answer's last token predicts nothing and is left out of the input, and the first token of
every answer is predicted by the same place, the prompt's last token.

Shapes: G answers a group, P prompt tokens, R answer tokens, L packed row, T predicted tokens of a row.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.positions import prompt_positions


class Group(NamedTuple):
    """A prompt with its answers, each numbered by the caller (`Row.segments` repeats the numbers)."""

    prompt: Prompt
    answers: Sequence[Sequence[int]]  # G answers of R tokens each
    numbers: Sequence[int]  # (G,)


class Span(NamedTuple):
    """A group's stretch of a row, in input tokens: an answer of R tokens takes R - 1."""

    start: int
    prompt: int
    answers: tuple[int, ...]  # (G,)

    @property
    def end(self) -> int:
        return self.start + self.prompt + sum(self.answers)


class Row(NamedTuple):
    """One micro-batch for the model.

    Every row holds at least one image: a row without any has a blank one, of one token that nothing attends to, so that
    the vision tower takes part in every forward pass (ranks that shard its weights must call it together).
    """

    input_ids: Tensor  # (1, L)
    position_ids: Tensor  # (3, 1, L) time, height, width
    mm_token_type_ids: Tensor  # (1, L) 0 text, 1 image
    pixel_values: Tensor  # (N, C) patches of all images, in order
    image_grid_thw: Tensor  # (I, 3)
    spans: tuple[Span, ...]  # the groups, in order; they fill the row
    predictors: Tensor  # (T,) place in the row whose hidden state predicts the token
    targets: Tensor  # (T,) the token predicted
    segments: Tensor  # (T,) number of the answer that the token belongs to
    offsets: Tensor  # (T,) place of the token in its answer, from 0

    @property
    def tokens(self) -> int:
        """L, the tokens that the model computes."""
        return self.input_ids.shape[1]

    def to(self, device: torch.device | str) -> "Row":
        """The same row with its tensors on a device."""
        moved = [field.to(device) if isinstance(field, Tensor) else field for field in self]
        return Row(*moved)  # type: ignore[arg-type]


def pack(groups: Sequence[Group], tokens_per_row: int, encoder: Encoder) -> list[Row]:
    """Pack groups into as few rows as first-fit decreasing finds, each of at most `tokens_per_row` tokens.

    A row is longer than the budget only where one prompt with one answer is. The split changes no result but rounding.

    Args:
        groups: prompts with their answers.
        tokens_per_row: the budget L.
        encoder: knows the image token and the patch sizes.
    """
    pieces = [piece for group in groups for piece in _split(group, tokens_per_row)]
    rows: list[list[Group]] = []
    room: list[int] = []
    for piece in sorted(pieces, key=_tokens, reverse=True):
        size = _tokens(piece)
        index = next((i for i, left in enumerate(room) if left >= size), None)
        if index is None:
            rows.append([piece])
            room.append(tokens_per_row - size)
        else:
            rows[index].append(piece)
            room[index] -= size
    return [_row(row, encoder) for row in rows]


def blank_row(encoder: Encoder) -> Row:
    """A row that predicts nothing, for a rank that has less to do than the others."""
    return _row([], encoder)


def _tokens(group: Group) -> int:
    """Input tokens of a group."""
    return len(group.prompt.token_ids) + sum(len(answer) - 1 for answer in group.answers)


def _split(group: Group, tokens_per_row: int) -> list[Group]:
    """The group, or parts of it that fit the budget, each with the whole prompt; longer answers first.

    Neighbours of similar length are computed side by side (`pebr.vlm.attention`).
    """
    parts: list[tuple[list[Sequence[int]], list[int]]] = []
    left = 0
    by_length = sorted(zip(group.answers, group.numbers, strict=True), key=lambda pair: len(pair[0]), reverse=True)
    for answer, number in by_length:
        if not answer:
            raise ValueError(f"answer {number} has no tokens: an answer has at least its end token")
        if not parts or len(answer) - 1 > left:
            parts.append(([], []))
            left = tokens_per_row - len(group.prompt.token_ids)
        parts[-1][0].append(answer)
        parts[-1][1].append(number)
        left -= len(answer) - 1
    return [Group(group.prompt, answers, numbers) for answers, numbers in parts]


def _row(groups: Sequence[Group], encoder: Encoder) -> Row:
    """One row of these groups."""
    groups = list(groups)
    if all(group.prompt.image_grid_thw is None for group in groups):
        groups.append(Group(_blank_image(encoder), [], []))
    token_ids: list[int] = []
    positions: list[Tensor] = []
    spans: list[Span] = []
    predictors: list[int] = []
    targets: list[int] = []
    segments: list[int] = []
    offsets: list[int] = []
    merge_size = encoder.processor.image_processor.merge_size
    for group in groups:
        prompt = group.prompt
        grids = [] if prompt.image_grid_thw is None else prompt.image_grid_thw.tolist()
        of_prompt = prompt_positions(prompt.token_ids, encoder.image_token_id, grids, merge_size)
        following = int(of_prompt.max()) + 1
        spans.append(Span(len(token_ids), len(prompt.token_ids), tuple(len(answer) - 1 for answer in group.answers)))
        token_ids += prompt.token_ids
        positions.append(of_prompt)
        last_of_prompt = len(token_ids) - 1
        for answer, number in zip(group.answers, group.numbers, strict=True):
            predictors += [last_of_prompt, *range(len(token_ids), len(token_ids) + len(answer) - 1)]
            targets += answer
            segments += [number] * len(answer)
            offsets += range(len(answer))
            token_ids += answer[:-1]
            positions.append(torch.arange(following, following + len(answer) - 1).expand(3, -1))
    input_ids = torch.tensor([token_ids])
    pixels = [g.prompt.pixel_values for g in groups if g.prompt.pixel_values is not None]
    image_grids = [g.prompt.image_grid_thw for g in groups if g.prompt.image_grid_thw is not None]
    return Row(
        input_ids=input_ids,
        position_ids=torch.cat(positions, dim=1)[:, None],
        mm_token_type_ids=(input_ids == encoder.image_token_id).int(),
        pixel_values=pixels[0] if len(pixels) == 1 else torch.cat(pixels),  # parts of a split group share one copy
        image_grid_thw=torch.cat(image_grids),
        spans=tuple(spans),
        predictors=torch.tensor(predictors, dtype=torch.long),
        targets=torch.tensor(targets, dtype=torch.long),
        segments=torch.tensor(segments, dtype=torch.long),
        offsets=torch.tensor(offsets, dtype=torch.long),
    )


def _blank_image(encoder: Encoder) -> Prompt:
    """The smallest image there is: one token of grey."""
    processor = encoder.processor.image_processor
    values = 3 * processor.temporal_patch_size * processor.patch_size**2
    return Prompt(
        token_ids=[encoder.image_token_id],
        pixel_values=torch.zeros(processor.merge_size**2, values),
        image_grid_thw=torch.tensor([[1, processor.merge_size, processor.merge_size]]),
        images=(),
        text="",
    )
