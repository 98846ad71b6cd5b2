"""What sampling is, whichever engine does it: questions in, several answers to each out, with their log-probabilities.

Two engines stand behind the interface. `vllm` is for size. `transformers` is for truth and for small models: a sample
depends on the weights, its question and its seed, and not on what else is in the batch; it can sample from the very
module that is being trained.

A sample's randomness follows from coordinates, (run seed, step, question id, place among the question's answers), so
any sample can be made again alone, and a resumed run draws what the killed one would have drawn.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from pebr.vlm.encoding import Prompt


@dataclass(frozen=True)
class SamplingSettings:
    """How to sample.

    Args:
        samples: answers a question (G).
        temperature: divides the logits; 0 takes the likeliest token each time.
        top_p: sample from the smallest set of likeliest tokens that has this probability; 1 samples from all.
        max_response_tokens: an answer is cut off after this many tokens.
        seed: of the run.
    """

    samples: int
    temperature: float
    top_p: float
    max_response_tokens: int
    seed: int

    def __post_init__(self) -> None:
        if self.samples < 1 or self.max_response_tokens < 1:
            raise ValueError(f"{self}: samples and max_response_tokens must be at least 1")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"{self}: temperature must not be negative and top_p must be in (0, 1]")


class Sample(NamedTuple):
    """One sampled answer of R tokens."""

    token_ids: list[int]  # (R,), with the end token where the answer was finished by one
    logprobs: list[float]  # (R,), natural logarithms, of the distribution that was sampled from
    finish_reason: Literal["stop", "length"]


class Question(NamedTuple):
    """A question to sample answers to."""

    question_id: str  # names its random numbers
    prompt: Prompt


class Sampler(Protocol):
    """An engine that samples."""

    def stream(
        self, questions: Iterable[Question], settings: SamplingSettings, step: int
    ) -> Iterator[tuple[str, list[Sample]]]:
        """Take questions as there is room for them, and yield each with its answers when the last of these is done.

        Questions come back in any order; `questions` is read ahead by no more than the engine can hold. A question has
        fewer answers than asked for where the engine gave some up.
        """
        ...

    def sample(
        self, prompts: Sequence[Prompt], question_ids: Sequence[str], settings: SamplingSettings, step: int
    ) -> list[list[Sample]]:
        """The answers to a batch of questions, in the questions' order.

        Args:
            prompts: the encoded questions.
            question_ids: one different name a question.
            settings: how to sample.
            step: optimizer step that the samples are for; 0 outside training.

        Raises:
            IncompleteError: the engine gave up an answer.
        """
        ...

    def sync(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        """Take over the trainer's weights, under their names in the Hugging Face model, each of its full shape.

        Raises:
            SyncError: a name is missing, unknown or given twice, or a shape is another one.
        """
        ...

    def sleep(self) -> None:
        """Free the accelerator's memory, as far as the engine can, until `wake`."""
        ...

    def wake(self) -> None:
        """Make ready to sample again; weights must be synced before the next sample."""
        ...

    def close(self) -> None:
        """Free everything; the sampler cannot be used again."""
        ...


class SyncError(RuntimeError):
    """Weights that do not fit the sampler's model; the message names them."""


class IncompleteError(RuntimeError):
    """A question with fewer answers than were asked for."""


def sample_seed(run_seed: int, step: int, question_id: str, place: int) -> int:
    """The seed, in [0, 2^63), of one sample's random numbers.

    >>> sample_seed(0, 1, "q", 0) == sample_seed(0, 1, "q", 0) != sample_seed(0, 1, "q", 1)
    True
    """
    digest = hashlib.blake2b(f"{run_seed}/{step}/{place}/{question_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def in_order(
    sampler: Sampler, prompts: Sequence[Prompt], question_ids: Sequence[str], settings: SamplingSettings, step: int
) -> list[list[Sample]]:
    """Every engine's `sample`, by its `stream`."""
    if len(set(question_ids)) != len(question_ids):
        raise ValueError("question ids must differ: two questions of one id would draw the same random numbers")
    questions = (Question(qid, prompt) for qid, prompt in zip(question_ids, prompts, strict=True))
    answers = dict(sampler.stream(questions, settings, step))
    for question_id, samples in answers.items():
        if len(samples) < settings.samples:
            raise IncompleteError(
                f"question {question_id}: {len(samples)} of {settings.samples} answers, the engine gave up the others:"
                " the log says why"
            )
    return [answers[question_id] for question_id in question_ids]
