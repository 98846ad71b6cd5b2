"""From the dataset to packed rows: the order of the rows, what is set aside, each rank's share, read ahead.

The batch of a step follows from the seed and the step's number alone, so a resumed run needs no other position. Every
rank looks at the lengths of all rows of a batch (arithmetic, no pixels) and so knows, without asking the others, the
batch's token count and its own share; it decodes the images of its share only.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from pebr.data.images import ImageError, decode, size_of
from pebr.data.read_ahead import read_ahead
from pebr.data.shards import ShardedDataset
from pebr.errors import InputError
from pebr.training.balance import deal
from pebr.vlm.encoding import Encoder
from pebr.vlm.prompt import PromptError
from pebr.vlm.rows import Group, Row, pack

READ_AHEAD = 2  # batches


class SetAsideError(ValueError):
    """A row that is not trained on; the message is the reason that it is counted under."""


class Example(NamedTuple):
    """One row of the dataset, measured."""

    row: int  # its number in the dataset
    problem: str
    images: list[bytes]
    answer: list[int]  # (R,) with the end token
    tokens: int  # of question and answer


class Batch(NamedTuple):
    """One rank's part of an optimizer step."""

    rows: list[Row]  # micro-batches; [] where other ranks have it all
    answer_tokens: int  # that the loss is a mean over, of all ranks
    tokens: int  # that the model reads, of all ranks
    set_aside: Counter[str]  # rows of all ranks by reason


class Batches:
    """The batches of a run.

    Args:
        dataset: rows of `SFT_SCHEMA`.
        encoder: of the model.
        batch_size: rows a step, over all ranks.
        max_tokens: longer rows are set aside.
        tokens_per_batch: token budget of a packed row.
        seed: of the order, which differs from epoch to epoch.
        rank: this process's.
        world_size: number of ranks.
    """

    def __init__(
        self,
        dataset: ShardedDataset,
        encoder: Encoder,
        batch_size: int,
        max_tokens: int,
        tokens_per_batch: int,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.dataset, self.encoder = dataset, encoder
        self.batch_size, self.max_tokens, self.tokens_per_batch = batch_size, max_tokens, tokens_per_batch
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.steps_per_epoch = -(-len(dataset) // batch_size)

    def run(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps `first` to `last` - 1, prepared ahead in a thread."""
        # One torch thread: small images only lose by sharing their work among cores.
        return read_ahead(self.batch, range(first, last), READ_AHEAD, start_thread=lambda: torch.set_num_threads(1))

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        examples, set_aside = [], Counter[str]()
        for index in self.indices(step):
            try:
                examples.append(self.measure(index))
            except SetAsideError as reason:
                set_aside[str(reason)] += 1
        mine = deal([example.tokens for example in examples], self.world_size)[self.rank]
        groups = [self.encode(examples[index]) for index in mine]
        return Batch(
            rows=pack(groups, self.tokens_per_batch, self.encoder),
            answer_tokens=sum(len(example.answer) for example in examples),
            tokens=sum(example.tokens for example in examples),
            set_aside=set_aside,
        )

    def indices(self, step: int) -> list[int]:
        """The rows of one step, in the epoch's order; the last step of an epoch may have fewer."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))
        return [int(row) for row in order[place * self.batch_size : (place + 1) * self.batch_size]]

    def measure(self, index: int) -> Example:
        """Read a row, but no pixels.

        Raises:
            SetAsideError: when it cannot be trained on.
        """
        row = self.dataset[index]
        if [message["role"] for message in row["messages"]] != ["user", "assistant"]:
            raise SetAsideError("not one question with one answer")
        problem, answer = (message["content"] for message in row["messages"])
        images = [image["bytes"] for image in row["images"]]
        try:
            prompt_tokens = self.encoder.prompt_length(problem, [size_of(data) for data in images])
        except PromptError as error:
            raise SetAsideError("question cannot be asked") from error
        except ImageError as error:
            raise SetAsideError("unusable image") from error
        ids = self.encoder.response_ids(answer)
        if prompt_tokens + len(ids) > self.max_tokens:
            raise SetAsideError("too long")
        return Example(index, problem, images, ids, prompt_tokens + len(ids))

    def encode(self, example: Example) -> Group:
        """Tokens and pixels of a row: a group of one answer, under the row's number."""
        try:
            images = [decode(data) for data in example.images]
        except ImageError as error:
            raise InputError(f"{self.dataset.directory}: row {example.row}: {error}: filter the data again") from error
        return Group(self.encoder.prompt(example.problem, images), [example.answer], [example.row])
