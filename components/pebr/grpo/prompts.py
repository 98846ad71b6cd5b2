"""The encoded questions of a training step: encoded once, in threads ahead of the sampler, and kept for the updates.

An update may give a question to another rank than the one that sampled it. Then its encoded form is sent there, and not
computed again.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from pebr.data.images import ImageError, decode
from pebr.data.read_ahead import read_ahead
from pebr.errors import InputError
from pebr.grpo.questions import QuestionRow
from pebr.sampling.contract import Question
from pebr.step.launch import Place, available_cores
from pebr.vlm.encoding import Encoder, Prompt

MOST_THREADS = 8

View = Callable[[Prompt, str], Prompt]  # from an encoded question and its qid to another view of it


def noisy(qid: str) -> str:
    """The name of a question's disturbed view, which determines the random numbers of its answers."""
    return f"{qid}\tnoisy"  # a tab, which no other question has in its name by chance


class Move(NamedTuple):
    """A question that goes from one rank to another."""

    row: int  # of the question in the dataset
    owner: int  # the rank that has it
    to: int


@dataclass
class Prompts:
    """The encoded questions that this rank holds, by row of the dataset."""

    source: str  # the dataset, for errors
    encoder: Encoder
    place: Place
    seconds: float = 0.0  # that threads took to encode the last questions
    waited: float = 0.0  # seconds that the sampler waited for them
    _held: dict[int, Prompt] = field(default_factory=dict)

    def __getitem__(self, row: int) -> Prompt:
        return self._held[row]

    def ask(
        self, questions: Mapping[int, QuestionRow], further: bool = False, view: View | None = None
    ) -> Iterator[Question]:
        """Encode questions, by row, and yield them in this order.

        Args:
            questions: by row of the dataset.
            further: whether they are further questions of this step; else those of the last step are dropped.
            view: another view of a question, which is yielded after it, with the name of `noisy`. It is not kept.

        Raises:
            InputError: an image is broken.
        """
        self.seconds = self.waited = 0.0
        if not further:
            self._held = {}
        threads = max(1, min(MOST_THREADS, available_cores() // self.place.world_size - 1))
        encoded = read_ahead(
            partial(self._encode, view=view),
            questions.values(),
            len(questions),
            threads,
            start_thread=lambda: torch.set_num_threads(1),  # images are too small to share their work among cores
        )
        for row, question in questions.items():
            started = time.perf_counter()
            prompt, other, seconds = next(encoded)
            self.waited += time.perf_counter() - started
            self.seconds += seconds
            self._held[row] = prompt
            yield Question(question["qid"], prompt)
            if other is not None:
                yield Question(noisy(question["qid"]), other)

    def exchange(self, moves: Sequence[Move]) -> None:
        """Send encoded questions to the ranks that train on them. All ranks call this with the same moves."""
        for row, owner, to in moves:
            if self.place.rank == owner:  # training needs neither the images nor the text
                dist.send_object_list([self._held[row]._replace(images=(), text="")], dst=to)
            elif self.place.rank == to:
                received: list[Any] = [None]
                dist.recv_object_list(received, src=owner)
                self._held[row] = received[0]

    def _encode(self, question: QuestionRow, view: View | None) -> tuple[Prompt, Prompt | None, float]:
        """The encoded question, its other view, and the seconds that both took."""
        started = time.perf_counter()
        try:
            images = [decode(image["bytes"]) for image in question["images"]]
        except ImageError as error:
            raise InputError(f"{self.source}: question {question['qid']}: {error}: filter the dataset again") from error
        prompt = self.encoder.prompt(question["problem"], images)
        other = view(prompt, question["qid"]) if view else None
        return prompt, other, time.perf_counter() - started
