"""From the dataset to packed rows: the order of the rows, which are rejected, each rank's share, read ahead.

The batch of a training step follows from the seed and the step's number alone, so a resumed run needs no other state.
Every rank computes the lengths of all rows of a batch (arithmetic, no pixels). So it knows the batch's token count and
its own share without communication, and decodes the images of its share only.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from pebr.data.images import ImageError, decode
from pebr.data.read_ahead import read_ahead
from pebr.data.readers import Fault
from pebr.data.shards import ShardedDataset
from pebr.errors import InputError
from pebr.training.balance import deal
from pebr.vlm.admission import BAD_IMAGE, image_bytes, prompt_tokens
from pebr.vlm.encoding import Encoder
from pebr.vlm.prompt import IMAGE_PLACEHOLDER
from pebr.vlm.rows import Group, Row, pack

READ_AHEAD = 2  # batches


class Example(NamedTuple):
    """The last answer of a row of the dataset, with its lengths; further examples for the answers before it."""

    row: int  # its number in the dataset
    problem: str
    images: list[bytes]  # of the history and the question
    answer: list[int]  # (R,) with the end token
    tokens: int  # of history, question and answer
    history: list[str]  # earlier questions of the row, each followed by its answer
    earlier: "list[Example]"


class Batch(NamedTuple):
    """One rank's part of an optimizer update."""

    rows: list[Row]  # micro-batches; [] if the other ranks have all examples
    answer_tokens: int  # of all ranks; the loss is a mean over them
    tokens: int  # of all ranks, questions and answers
    rejected: Counter[str]  # rows of all ranks by reason


@dataclass
class Batches:
    """The batches of a run."""

    dataset: ShardedDataset  # rows of `SFT_SCHEMA`
    encoder: Encoder
    batch_size: int  # rows per training step, summed over ranks
    max_tokens: int  # longer rows are rejected
    tokens_per_batch: int  # token budget of a packed row
    seed: int  # of the row order, which differs between epochs
    rank: int
    world_size: int
    places: Sequence[int] | None = None  # rows to train on; None for all

    @property
    def trained(self) -> Sequence[int]:
        """The rows to train on."""
        return range(len(self.dataset)) if self.places is None else self.places

    @property
    def steps_per_epoch(self) -> int:
        """Training steps per epoch."""
        return -(-len(self.trained) // self.batch_size)

    def run(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of training steps `first` to `last` - 1, prepared ahead in a thread."""
        # One torch thread: small images only lose by sharing their work among cores.
        return read_ahead(self.batch, range(first, last), READ_AHEAD, start_thread=lambda: torch.set_num_threads(1))

    def batch(self, step: int) -> Batch:
        """The batch of one training step."""
        return self.of(self.indices(step))

    def of(self, rows: Sequence[int]) -> Batch:
        """This rank's part of these rows."""
        examples, rejected = list[Example](), Counter[str]()
        for index in rows:
            measured = self.measure(index)
            if isinstance(measured, Example):
                examples += [*measured.earlier, measured]
            else:
                rejected[measured] += 1
        mine = deal([example.tokens for example in examples], self.world_size)[self.rank]
        groups = [self.encode(examples[index]) for index in mine]
        return Batch(
            rows=pack(groups, self.tokens_per_batch, self.encoder),
            answer_tokens=sum(len(example.answer) for example in examples),
            tokens=sum(example.tokens for example in examples),
            rejected=rejected,
        )

    def indices(self, step: int) -> list[int]:
        """The rows of one training step, in the epoch's order; the last step of an epoch may have fewer."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.trained))
        return [self.trained[row] for row in order[place * self.batch_size : (place + 1) * self.batch_size]]

    def measure(self, index: int) -> Example | str:
        """Read a row and compute its lengths, without pixels; or the reason why it is rejected.

        A conversation of several turns is one example per answer, each after the turns before it.
        """
        row = self.dataset[index]
        turns = [message["content"] for message in row["messages"]]
        if [message["role"] for message in row["messages"]] != ["user", "assistant"] * (len(turns) // 2) or not turns:
            return "turns out of order"
        images = image_bytes(row["images"])
        placed = any(IMAGE_PLACEHOLDER in turn for turn in turns)
        examples: list[Example] = []
        for place in range(1, len(turns), 2):
            history, problem, answer = turns[: place - 1], turns[place - 1], turns[place]
            asked = "".join([*history[::2], problem]).count(IMAGE_PLACEHOLDER)
            shown = images[:asked] if placed and place < len(turns) - 1 else images
            tokens = prompt_tokens(problem, shown, self.encoder, history=history)
            if isinstance(tokens, Fault):
                return "unusable image" if tokens.kind == BAD_IMAGE else tokens.kind
            ids = self.encoder.response_ids(answer)
            if tokens + len(ids) > self.max_tokens:
                return "too long"
            examples.append(Example(index, problem, shown, ids, tokens + len(ids), history, earlier=examples[:]))
        return examples[-1]

    def encode(self, example: Example) -> Group:
        """Tokens and pixels of an answer: a group of one, numbered as the row.

        Raises:
            InputError: when an image's pixels are broken.
        """
        try:
            images = [decode(data) for data in example.images]
        except ImageError as error:
            raise InputError(f"{self.dataset.directory}: row {example.row}: {error}: filter the data again") from error
        return Group(self.encoder.prompt(example.problem, images, example.history), [example.answer], [example.row])
