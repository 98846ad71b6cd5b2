"""One worker's way through its shards: admit, sample, score, save.

Questions flow to the sampler across the borders of shards, so that an engine that takes them one by one never runs
dry while the last answers of a shard are awaited. Beside a GPU a thread reads and encodes ahead of the sampler; another
one scores and saves behind it.
"""

import json
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pebr.answers.check import AnswerChecker
from pebr.answers.options import options_of
from pebr.data.read_ahead import read_ahead
from pebr.data.records import ROLLOUT_SCHEMA
from pebr.data.shards import ShardedDataset, ShardWriter, iter_rows
from pebr.rollout.shards import Finished, Plan
from pebr.sampling.contract import Question, Sample, Sampler, SamplingSettings
from pebr.telemetry.logs import progress
from pebr.vlm.admission import Refused, admit
from pebr.vlm.encoding import Encoder
from pebr.vlm.response import parse


def rows_ahead() -> int:
    """How many rows are read and encoded before the sampler asks for them.

    None without a GPU: a second thread's operators would slow down the engine's own threads.
    """
    return 32 if torch.cuda.is_available() else 0


class _Read(NamedTuple):
    """A row that is under way."""

    shard: int
    place: int  # in the source
    row: Mapping[str, Any]
    admitted: Question | Refused


class _Settled(NamedTuple):
    """A row that is done with."""

    row: Mapping[str, Any]
    outcome: Refused | list[Sample]


class Worker:
    """Samples shards.

    Args:
        dataset: the source.
        plan: how it is cut.
        finished: where finished shards go.
        encoder: of the model.
        sampler: answers.
        sampling: how.
        checker: compares answers with references.
        max_prompt_tokens: longer prompts are refused.
    """

    def __init__(
        self,
        dataset: ShardedDataset,
        plan: Plan,
        finished: Finished,
        encoder: Encoder,
        sampler: Sampler,
        sampling: SamplingSettings,
        checker: AnswerChecker,
        max_prompt_tokens: int,
    ) -> None:
        self.dataset, self.plan, self.finished = dataset, plan, finished
        self.encoder, self.sampler, self.sampling, self.checker = encoder, sampler, sampling, checker
        self.max_prompt_tokens = max_prompt_tokens
        self._first = first_rows(dataset.directory)
        self._asked: dict[str, _Read] = {}  # by question id
        self._open: dict[int, dict[int, _Settled]] = {}  # shard -> index of the row -> what came of it

    def run(self, shards: Sequence[int]) -> None:
        """Sample and save these shards, in this order."""
        rows = sum(len(self.plan.rows_of(shard)) for shard in shards)
        saving: Future[None] | None = None
        with ThreadPoolExecutor(1) as saver:
            for read in progress(self._settled_rows(shards), rows, "rollout: questions"):
                if whole := self._whole(read.shard):
                    if saving:
                        saving.result()  # at most one shard waits, and an error is not found at the end only
                    saving = saver.submit(self._save, read.shard, whole)
            if saving:
                saving.result()

    def _settled_rows(self, shards: Sequence[int]) -> Iterator[_Read]:
        """The source's rows as they are settled, each once."""
        refused: deque[_Read] = deque()
        for question_id, samples in self.sampler.stream(self._questions(shards, refused), self.sampling, step=0):
            yield self._settle(self._asked.pop(question_id), samples)
            while refused:
                yield self._settle(refused.popleft())
        while refused:
            yield self._settle(refused.popleft())

    def _questions(self, shards: Sequence[int], refused: deque[_Read]) -> Iterator[Question]:
        """The questions of these shards; refused rows go to `refused`."""
        for read in self._reads(shards):
            yield from self._admitted(read, refused)

    def _reads(self, shards: Sequence[int]) -> Iterator[_Read]:
        """The rows of these shards, read and encoded as far ahead as `rows_ahead` says."""
        places = ((shard, index) for shard in shards for index in self.plan.rows_of(shard))
        return read_ahead(lambda place: self._read(*place), places, rows_ahead())

    def _admitted(self, read: _Read, refused: deque[_Read]) -> Iterator[Question]:
        if isinstance(read.admitted, Refused):
            refused.append(read)
        else:
            self._asked[read.admitted.question_id] = read
            yield read.admitted

    def _read(self, shard: int, index: int) -> _Read:
        row = self.dataset[index]
        first = self._first[row["qid"]] == index
        return _Read(shard, index, row, admit(row, self.encoder, self.max_prompt_tokens, first))

    def _settle(self, read: _Read, samples: list[Sample] | None = None) -> _Read:
        outcome = read.admitted if samples is None else samples
        assert not isinstance(outcome, Question)  # noqa: S101 - only a refused row has no samples
        if isinstance(outcome, list) and len(outcome) < self.sampling.samples:
            reason = f"{len(outcome)} of {self.sampling.samples} answers: the engine gave up the others"
            outcome = Refused(reason, "incomplete")
        self._open.setdefault(read.shard, {})[read.place] = _Settled(read.row, outcome)
        return read

    def _whole(self, shard: int) -> list[_Settled]:
        """All rows of a shard, in order, once the last one is settled; till then none."""
        if len(self._open[shard]) < len(self.plan.rows_of(shard)):
            return []
        settled = self._open.pop(shard)
        return [settled[index] for index in sorted(settled)]

    def _save(self, shard: int, settled: Sequence[_Settled]) -> None:
        """Score a shard's answers and put it among the finished ones."""
        texts = [
            [self.encoder.decode(sample.token_ids) for sample in outcome] if isinstance(outcome, list) else []
            for _, outcome in settled
        ]
        given = [parse(text).answer or "" for group in texts for text in group]
        asked = [row for (row, _), group in zip(settled, texts, strict=True) for _ in group]
        columns = [json.loads(row["extra"] or "{}").get("options") for row in asked]
        options = [options_of(row["problem"], column) for row, column in zip(asked, columns, strict=True)]
        right = iter(self.checker.check(given, [row["answer"] for row in asked], options))
        with tempfile.TemporaryDirectory() as scratch:
            with ShardWriter(Path(scratch) / "shard", ROLLOUT_SCHEMA, "rollouts", len(settled)) as writer:
                for (row, outcome), group in zip(settled, texts, strict=True):
                    if isinstance(outcome, Refused):
                        writer.reject(row, outcome.reason, outcome.group)
                    else:
                        responses = [_response(*pair, next(right)) for pair in zip(group, outcome, strict=True)]
                        writer.write({**row, "responses": responses})
            self.finished.put(shard, Path(scratch) / "shard")


def _response(text: str, sample: Sample, right: bool) -> dict[str, Any]:
    return {
        "text": text,
        "token_count": len(sample.token_ids),
        "finish_reason": sample.finish_reason,
        "accuracy": float(right),
        "logprob": sum(sample.logprobs),
    }


def first_rows(directory: Path) -> dict[str, int]:
    """For every qid of a dataset the first row that has it."""
    first: dict[str, int] = {}
    for index, row in enumerate(iter_rows(directory, columns=["qid"])):
        first.setdefault(row["qid"], index)
    return first
