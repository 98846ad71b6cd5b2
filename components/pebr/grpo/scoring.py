"""Scores the answers of a training step in a thread, while other answers are still sampled.

Built-in rewards look at one sample at a time. They score `TOGETHER` questions as soon as these are answered: the answer
check works in its processes, the CLIP model in the gaps of the GPU. Custom rewards get all samples of this rank in one
batch, after the last answer, and so do CLIP on a CPU and rewards that need the second sampling pass. Which questions
are scored together follows from the order in which the sampler finishes them, never from the speed of the thread.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

import torch

from pebr.grpo.questions import QuestionRow, further_columns
from pebr.rewards.batch import RewardBatch
from pebr.rewards.stages import Part, Scores, StageReward
from pebr.sampling.contract import Sample

TOGETHER = 8  # questions; with 8 answers each, their descriptions fill a batch of the CLIP model


class Answered(NamedTuple):
    """A question with its answers."""

    question: QuestionRow
    samples: list[Sample]  # (G,)


class _Scored(NamedTuple):
    """Some questions with the values of the components that score in parts."""

    answered: list[Answered]
    texts: list[list[str]]  # (questions, G) decoded
    part: Part
    cut_off: int | None
    seconds: float


class Scoring:
    """Scores one training step; a context manager, which ends its thread.

    Args:
        reward: of the stage.
        decode: from the tokens of an answer to its text.
    """

    def __init__(self, reward: StageReward, decode: Callable[[Sequence[int]], str]) -> None:
        self.reward, self.decode = reward, decode
        self.seconds = 0.0  # of all scoring; complete after `scores`
        self._failures = reward.checker.failures
        use_same_gpu = (
            partial(torch.cuda.set_device, torch.cuda.current_device()) if torch.cuda.is_available() else None
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rewards", initializer=use_same_gpu)
        self._waiting: list[Answered] = []
        self._parts: list[Future[_Scored]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def add(self, answered: Answered) -> None:
        """Score a question's answers as soon as `TOGETHER` questions have theirs.

        Raises:
            RewardError: a component could not score an earlier question.
        """
        self._waiting.append(answered)
        if len(self._waiting) == TOGETHER:
            self._submit()
        for part in self._parts:
            if part.done():
                part.result()

    def scores(self, qids: Sequence[str], retold: Sequence[str] = ()) -> tuple[list[list[str]], Scores]:
        """The decoded answers of all questions, and their scores, in the order of `qids`.

        Args:
            qids: of all questions.
            retold: what the model answers from each answer's description alone, if a component needs it.

        Raises:
            RewardError: a component cannot score a sample.
        """
        if not qids:
            return [], Scores([], {}, {}, {}, 0)
        self._submit()
        parts = [part.result() for part in self._parts]
        started = time.perf_counter()
        found = {
            answered.question["qid"]: (answered, texts, {name: next(values) for name, values in columns.items()})
            for scored in parts
            for columns in [{name: _split(values, scored.texts) for name, values in scored.part.raw.items()}]
            for answered, texts in zip(scored.answered, scored.texts, strict=True)
        }
        groups = [found[qid] for qid in qids]
        texts = [group_texts for _, group_texts, _ in groups]
        raw = {name: [value for *_, values in groups for value in values[name]] for name in parts[0].part.raw}
        seconds = {name: sum(scored.part.seconds[name] for scored in parts) for name in raw}
        together = self.reward.components.keys() - self.reward.by_sample
        if together:
            rest = self.reward.part(_batch([answered for answered, *_ in groups], texts, retold), together)
            raw |= rest.raw
            seconds |= rest.seconds
        failures = self.reward.checker.failures - self._failures
        cut_off = [scored.cut_off for scored in parts if scored.cut_off is not None]
        result = self.reward.scores(Part(raw, seconds), failures, sum(cut_off) if cut_off else None)
        self.seconds = sum(scored.seconds for scored in parts) + time.perf_counter() - started
        return texts, result

    def _submit(self) -> None:
        if self._waiting:
            self._parts.append(self._thread.submit(self._score, self._waiting))
            self._waiting = []

    def _score(self, answered: list[Answered]) -> _Scored:
        """Decode and score some questions, in the thread."""
        started = time.perf_counter()
        texts = [[self.decode(sample.token_ids) for sample in samples] for _, samples in answered]
        batch = _batch(answered, texts)
        part, cut_off = self.reward.part(batch, self.reward.by_sample), self.reward.cut_off(batch)
        return _Scored(answered, texts, part, cut_off, time.perf_counter() - started)


def _split(values: list[float], groups: Sequence[Sequence[object]]) -> Iterator[list[float]]:
    """The values of each group."""
    remaining = iter(values)
    return ([next(remaining) for _ in group] for group in groups)


def _batch(answered: Sequence[Answered], texts: Sequence[Sequence[str]], retold: Sequence[str] = ()) -> RewardBatch:
    """The input of the rewards: one row per sample."""
    pairs = [(question, sample) for question, samples in answered for sample in samples]
    questions = [question for question, _ in pairs]
    return RewardBatch(
        qids=[question["qid"] for question in questions],
        questions=[question["problem"] for question in questions],
        references=[question["answer"] for question in questions],
        responses=[text for group in texts for text in group],
        response_tokens=[len(sample.token_ids) for _, sample in pairs],
        key_words=[question["key_words"] for question in questions],
        images=[[image["bytes"] for image in question["images"]] for question in questions],
        extra=further_columns([question for question, _ in answered], [len(samples) for _, samples in answered]),
        retold=retold,
    )
