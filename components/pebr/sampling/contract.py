"""The interface of the sampling engines: questions in, several answers per question out, with their log-probabilities.

The engine `vllm` is for large models. The engine `transformers` is for small models and as the reference: a sample
depends on the weights, its question and its seed, and not on the rest of the batch. It can sample from the module that
is being trained.

The random numbers of a sample follow from (run seed, step, question id, place among the question's answers). So any
sample can be drawn again alone, and a resumed run draws the same samples as the killed run would have drawn.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, Self

from torch import Tensor

from pebr.sampling.settings import SamplerSettings
from pebr.vlm.encoding import Prompt

QUESTIONS_TOLD = 5


@dataclass(frozen=True)
class SamplingSettings:
    """How to sample."""

    samples: int  # answers per question (G)
    temperature: float  # divides the logits; 0 always takes the most likely token
    # Sample from the smallest set of most likely tokens with at least this probability; 1 samples from all
    top_p: float
    max_response_tokens: int  # an answer is cut off after this many tokens
    seed: int  # of the run

    def __post_init__(self) -> None:
        if self.samples < 1 or self.max_response_tokens < 1:
            raise ValueError(f"{self}: samples and max_response_tokens must be at least 1")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"{self}: temperature must not be negative and top_p must be in (0, 1]")

    @classmethod
    def of(cls, settings: SamplerSettings, seed: int) -> Self:
        """The part of a step's settings that an engine reads with each question."""
        return cls(settings.samples, settings.temperature, settings.top_p, settings.max_response_tokens, seed)


class Sample(NamedTuple):
    """One sampled answer of R tokens."""

    token_ids: list[int]  # (R,), with the end token unless the answer was cut off
    logprobs: list[float]  # (R,), natural logarithms, of the distribution that was sampled from
    finish_reason: Literal["stop", "length"]


class Question(NamedTuple):
    """A question to sample answers to."""

    question_id: str  # determines its random numbers
    prompt: Prompt


class Sampler(Protocol):
    """An engine that samples."""

    def stream(
        self, questions: Iterable[Question], settings: SamplingSettings, step: int
    ) -> Iterator[tuple[str, list[Sample]]]:
        """Take questions while there is room, and yield each with its answers as soon as all of them are finished.

        Questions are yielded in any order. `questions` is read ahead only as far as the engine has room. A question has
        fewer answers than requested if the engine gave some up.
        """
        ...

    def sample(
        self, prompts: Sequence[Prompt], question_ids: Sequence[str], settings: SamplingSettings, step: int
    ) -> list[list[Sample]]:
        """The answers to a batch of questions, in the questions' order.

        Args:
            prompts: the encoded questions.
            question_ids: one per question, all different.
            settings: how to sample.
            step: training step that the samples are for; 0 outside training.

        Raises:
            IncompleteError: when the engine gave up an answer.
        """
        ...

    def sync(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        """Replace the weights by the trainer's, under their names in the Hugging Face model, each with its full shape.

        Raises:
            SyncError: when a name is missing, unknown or repeated, or a shape differs.
        """
        ...

    def sleep(self) -> None:
        """Free the accelerator's memory, as far as the engine can, until `wake` is called."""
        ...

    def wake(self) -> None:
        """Prepare to sample again; weights must be synced before the next sample."""
        ...

    def close(self) -> None:
        """Free everything; the sampler cannot be used again."""
        ...


class SyncError(RuntimeError):
    """Weights that do not match the sampler's model; the message names them."""


class IncompleteError(RuntimeError):
    """A question with fewer answers than requested."""


class SampleError(RuntimeError):
    """Samples that cannot be used; the message names the questions and the usual causes."""


def check_logprobs(answers: Mapping[str, Sequence[Sample]]) -> None:
    """Check that the log-probabilities of samples are finite.

    Args:
        answers: by question id.

    Raises:
        SampleError: with the number of values that are not, and some of the questions.
    """
    found = {
        question: sum(not math.isfinite(value) for sample in samples for value in sample.logprobs)
        for question, samples in answers.items()
    }
    wrong = [question for question, count in found.items() if count]
    if not wrong:
        return
    tokens = sum(len(sample.logprobs) for samples in answers.values() for sample in samples)
    more = f" and {len(wrong) - QUESTIONS_TOLD} more" if len(wrong) > QUESTIONS_TOLD else ""
    raise SampleError(
        f"sampler: {sum(found.values())} of {tokens} log-probabilities are NaN or infinite, in answers to question"
        f" {', '.join(wrong[:QUESTIONS_TOLD])}{more}: usually the weights have diverged (lower --learning-rate), or"
        " --dtype bf16 overflows (try fp32)"
    )


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
    """Implement `sample` by `stream`."""
    if len(set(question_ids)) != len(question_ids):
        raise ValueError("question ids must differ: two questions with the same id would get the same random numbers")
    questions = (Question(qid, prompt) for qid, prompt in zip(question_ids, prompts, strict=True))
    answers = dict(sampler.stream(questions, settings, step))
    for question_id, samples in answers.items():
        if len(samples) < settings.samples:
            raise IncompleteError(
                f"question {question_id}: {len(samples)} of {settings.samples} answers, the engine gave up the others:"
                " see the log for the reason"
            )
    return [answers[question_id] for question_id in question_ids]
