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
NOT_FINITE_SHARE = 0.05  # of a step's answers; with more, training on the others would be wrong too


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

    def sync_adapters(self, parameters: Iterable[tuple[str, Tensor]], scaling: int) -> None:
        """Replace the LoRA adapters by the trainer's; the other weights stay those that the sampler started with.

        Only for a sampler that was started with a `lora_rank`. A layer's weight is then W + scaling * B A. Names are
        the layers' in the Hugging Face model, with `.lora_A.weight` (rank, in) and `.lora_B.weight` (out, rank).
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


def is_finite(sample: Sample) -> bool:
    """Whether all log-probabilities of a sample are finite."""
    return all(map(math.isfinite, sample.logprobs))


def check_not_finite(left_out: Mapping[str, int], answers: int) -> str:
    """Check how many of a step's answers have log-probabilities that are not finite.

    Args:
        left_out: such answers by question id; questions without any need not be there.
        answers: of the step, these included.

    Returns:
        A warning that names the usual causes; "" if there are none.

    Raises:
        SampleError: they are more than `NOT_FINITE_SHARE` of the answers.
    """
    questions = [question for question, count in left_out.items() if count]
    if not questions:
        return ""
    count = sum(left_out.values())
    more = f" and {len(questions) - QUESTIONS_TOLD} more" if len(questions) > QUESTIONS_TOLD else ""
    found = (
        f"sampler: {count} of {answers} answers have log-probabilities that are NaN or infinite, to question"
        f" {', '.join(questions[:QUESTIONS_TOLD])}{more}"
    )
    causes = (
        "in single answers of vLLM this usually comes from CUDA graphs at large capture sizes (give --vllm-args"
        """ '{"max_cudagraph_capture_size": 128}' or '{"enforce_eager": true}'), in many answers from weights"""
        " that have diverged (lower --learning-rate) or from --dtype bf16 that overflows (try fp32)"
    )
    if count > NOT_FINITE_SHARE * answers:
        raise SampleError(f"{found}, more than {NOT_FINITE_SHARE:.0%}: {causes}")
    return f"{found}; they are left out of the update: {causes}"


def check_complete(question_id: str, samples: Sequence[Sample], settings: SamplingSettings) -> None:
    """Check that a question has all its answers.

    Raises:
        IncompleteError: naming the question.
    """
    if len(samples) < settings.samples:
        raise IncompleteError(
            f"question {question_id}: {len(samples)} of {settings.samples} answers, the engine gave up the others:"
            " see the log for the reason"
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
        check_complete(question_id, samples, settings)
    return [answers[question_id] for question_id in question_ids]
