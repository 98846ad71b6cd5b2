"""Packed rows: the micro-batches of SFT and GRPO.

A group is a prompt and its G answers. It becomes one part of a row,

    [prompt][answer 1][answer 2]...[answer G]

Each answer attends to the prompt and to itself, and its positions continue those of the prompt. So the prompt and its
images are computed once per group instead of G times, while log-probabilities and gradients are those of G separate
copies. A row holds several groups, which do not attend to each other, up to a token budget. A group that is longer
than the budget is split between answers, and its prompt is repeated. An SFT example is a group with one answer.

Two details save more tokens: an answer's last token predicts nothing and is not part of the input, and the first token
of every answer is predicted at the same place, the prompt's last token.

Shapes: G answers per group, P prompt tokens, R answer tokens, L tokens of a row, T predicted tokens of a row, A axes of
positions, I images with N patches of C values and K tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.families.contract import Inputs, Span
from pebr.vlm.first_fit import first_fit
from pebr.vlm.whole_rows import tokens_computed


class Group(NamedTuple):
    """A prompt with its answers, each numbered by the caller (`Row.segments` repeats the numbers)."""

    prompt: Prompt
    answers: Sequence[Sequence[int]]  # G answers of R tokens each
    numbers: Sequence[int]  # (G,)


class Row(NamedTuple):
    """One micro-batch for the model.

    Every row has at least one image. A row without any gets a blank one, of one token that nothing attends to: ranks
    that shard the vision tower's weights must all call it in every forward pass.
    """

    input_ids: Tensor  # (1, L)
    position_ids: Tensor  # (A, 1, L)
    pixel_values: Tensor  # (N, C) patches of all images, in order
    image_grids: Tensor  # (I, 3), always on the CPU
    image_places: Tensor  # (K,) index in the row of each image token
    spans: tuple[Span, ...]  # the groups, in order, without gaps
    predictors: Tensor  # (T,) index in the row of the hidden state that predicts the token
    targets: Tensor  # (T,) the token predicted
    segments: Tensor  # (T,) number of the token's answer
    offsets: Tensor  # (T,) place of the token in its answer, from 0

    @property
    def tokens(self) -> int:
        """L, the number of input tokens."""
        return self.input_ids.shape[1]

    def to(self, device: torch.device | str) -> "Row":
        """The same row with its tensors on a device, which the CPU does not wait for; the grids stay on the CPU."""
        moved = [_moved(field, device) for field in self]
        return Row(*moved)._replace(image_grids=self.image_grids)  # type: ignore[arg-type]

    @property
    def inputs(self) -> Inputs:
        """What the model's hidden states are computed of."""
        return Inputs(self.input_ids, self.position_ids, self.pixel_values, self.image_grids, self.image_places)


def _moved(field: object, device: torch.device | str) -> object:
    return field.to(device, non_blocking=True) if isinstance(field, Tensor) else field


def pack(groups: Sequence[Group], tokens_per_row: int, encoder: Encoder) -> list[Row]:
    """Pack groups into rows of at most `tokens_per_row` tokens, by first-fit decreasing.

    A row exceeds the budget only if a prompt with one answer does. The split changes results by rounding only. For a
    family that carries state, a prompt counts once per answer: so often is it computed.
    """
    repeats = encoder.family.carries_state
    pieces = [piece for group in groups for piece in _split(group, tokens_per_row, repeats)]
    bins = first_fit([_tokens(piece, repeats) for piece in pieces], tokens_per_row)
    return [_row([pieces[number] for number in row], encoder) for row in bins]


def blank_row(encoder: Encoder) -> Row:
    """A row that predicts nothing, for a rank that has fewer rows than the others."""
    return _row([], encoder)


def _tokens(group: Group, repeats: bool) -> int:
    """Input tokens of a group; with `repeats`, its prompt counts once per answer."""
    answers = [len(answer) - 1 for answer in group.answers]
    prompt = len(group.prompt.token_ids)
    return tokens_computed(prompt, answers) if repeats else prompt + sum(answers)


def _split(group: Group, tokens_per_row: int, repeats: bool) -> list[Group]:
    """The group, or parts of it that fit the budget, each with the whole prompt.

    Answers are sorted, the longest first: neighbors of similar length are computed together (`pebr.vlm.attention`).
    """
    parts: list[tuple[list[Sequence[int]], list[int]]] = []
    left = 0
    by_length = sorted(zip(group.answers, group.numbers, strict=True), key=lambda pair: len(pair[0]), reverse=True)
    for answer, number in by_length:
        if not answer:
            raise ValueError(f"answer {number} has no tokens: it needs at least the end token")
        cost = len(answer) - 1 + (len(group.prompt.token_ids) if repeats else 0)
        if not parts or cost > left:
            parts.append(([], []))
            left = tokens_per_row - (0 if repeats else len(group.prompt.token_ids))
        parts[-1][0].append(answer)
        parts[-1][1].append(number)
        left -= cost
    return [Group(group.prompt, answers, numbers) for answers, numbers in parts]


def _row(groups: Sequence[Group], encoder: Encoder) -> Row:
    """One row of these groups."""
    groups = list(groups)
    if all(group.prompt.image_grids is None for group in groups):
        groups.append(Group(encoder.blank_image(), [], []))
    token_ids: list[int] = []
    positions: list[Tensor] = []
    spans: list[Span] = []
    predictors: list[int] = []
    targets: list[int] = []
    segments: list[int] = []
    offsets: list[int] = []
    for group in groups:
        prompt = group.prompt
        of_prompt = encoder.positions(prompt)  # (A, P)
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
            positions.append(torch.arange(following, following + len(answer) - 1).expand(len(of_prompt), -1))
    pixels = [g.prompt.pixel_values for g in groups if g.prompt.pixel_values is not None]
    image_grids = [g.prompt.image_grids for g in groups if g.prompt.image_grids is not None]
    input_ids = torch.tensor([token_ids])
    return Row(
        input_ids=input_ids,
        position_ids=torch.cat(positions, dim=1)[:, None],
        pixel_values=pixels[0] if len(pixels) == 1 else torch.cat(pixels),  # parts of a split group share one copy
        image_grids=torch.cat(image_grids),
        image_places=(input_ids[0] == encoder.image_token_id).nonzero()[:, 0],
        spans=tuple(spans),
        predictors=torch.tensor(predictors, dtype=torch.long),
        targets=torch.tensor(targets, dtype=torch.long),
        segments=torch.tensor(segments, dtype=torch.long),
        offsets=torch.tensor(offsets, dtype=torch.long),
    )
