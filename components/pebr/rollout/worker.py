"""A worker: admits, samples, scores and saves the questions of its shards.

The sampler gets the questions of all shards as one stream, so that it always has work while the last answers of a shard
are sampled. With a GPU, one thread reads and encodes questions ahead of the sampler. Another thread scores and saves
finished shards.
"""

import json
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pebr.answers.check import AnswerChecker
from pebr.answers.options import options_of
from pebr.data.read_ahead import read_ahead
from pebr.data.readers import Fault
from pebr.data.records import ROLLOUT_SCHEMA, Response
from pebr.data.shards import ShardedDataset, ShardWriter, iter_rows
from pebr.rollout.shards import Finished, Plan
from pebr.sampling.contract import Question, Sample, Sampler, SamplingSettings
from pebr.telemetry import metrics
from pebr.telemetry.logs import progress
from pebr.vlm.admission import admit, image_bytes
from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.reading import read_answer
from pebr.vlm.settings import Reading

Row = Mapping[str, Any]  # of `RL_SCHEMA`


def rows_ahead() -> int:
    """How many rows are read and encoded before the sampler asks for them.

    0 without a GPU, because a second thread would slow down the engine's own threads.
    """
    return 32 if torch.cuda.is_available() else 0


class _Read(NamedTuple):
    """A row that was read and checked."""

    shard: int
    place: int  # in the source
    row: Row
    admitted: Prompt | Fault


class _Settled(NamedTuple):
    """A row with its answers, or with the reason why it has none."""

    row: Row
    outcome: Fault | list[Sample]


@dataclass
class Worker:
    """Samples shards."""

    dataset: ShardedDataset  # the source
    plan: Plan  # which rows each shard has
    finished: Finished  # the store of finished shards
    encoder: Encoder
    sampler: Sampler
    sampling: SamplingSettings
    checker: AnswerChecker  # compares answers with references
    max_prompt_tokens: int  # longer prompts are rejected
    reading: Reading  # of the final answers

    def __post_init__(self) -> None:
        self._first = first_rows(self.dataset.directory)
        self._asked: dict[str, _Read] = {}  # by question id
        self._open: dict[int, dict[int, _Settled]] = {}  # shard -> index of the row -> its outcome

    def run(self, shards: Sequence[int]) -> None:
        """Sample and save these shards, in this order."""
        rows = sum(len(self.plan.rows_of(shard)) for shard in shards)
        saving: Future[None] | None = None
        with ThreadPoolExecutor(1) as saver:
            for read in progress(self._settled_rows(shards), rows, "rollout: questions"):
                if whole := self._whole(read.shard):
                    if saving:
                        saving.result()  # at most one shard waits; an error is raised now and not at the end
                    saving = saver.submit(self._save, read.shard, whole)
            if saving:
                saving.result()

    def _settled_rows(self, shards: Sequence[int]) -> Iterator[_Read]:
        """The rows of these shards, each once, as soon as its answers or its reason are known."""
        rejected: deque[tuple[_Read, Fault]] = deque()
        for question_id, samples in self.sampler.stream(self._questions(shards, rejected), self.sampling, step=0):
            yield self._settle(self._asked.pop(question_id), self._complete(samples))
            while rejected:
                yield self._settle(*rejected.popleft())
        while rejected:
            yield self._settle(*rejected.popleft())

    def _questions(self, shards: Sequence[int], rejected: deque[tuple[_Read, Fault]]) -> Iterator[Question]:
        """The questions of these shards, read and encoded ahead; rejected rows are added to `rejected`."""
        places = ((shard, index) for shard in shards for index in self.plan.rows_of(shard))
        for read in read_ahead(lambda place: self._read(*place), places, rows_ahead()):
            if isinstance(read.admitted, Fault):
                rejected.append((read, read.admitted))
            else:
                self._asked[read.row["qid"]] = read
                yield Question(read.row["qid"], read.admitted)

    def _read(self, shard: int, index: int) -> _Read:
        row = self.dataset[index]
        qid = row["qid"]
        if self._first[qid] != index:  # it would get the same random numbers as the first row
            return _Read(shard, index, row, Fault("qid not unique", f"qid {qid}: an earlier row has the same"))
        admitted = admit(row["problem"], image_bytes(row["images"]), self.encoder, self.max_prompt_tokens)
        return _Read(shard, index, row, admitted)

    def _complete(self, samples: list[Sample]) -> list[Sample] | Fault:
        """The answers to a question, or a fault where the engine gave up some of them."""
        if len(samples) >= self.sampling.samples:
            return samples
        return Fault("incomplete", f"{len(samples)} of {self.sampling.samples} answers: the engine gave up the others")

    def _settle(self, read: _Read, outcome: Fault | list[Sample]) -> _Read:
        self._open.setdefault(read.shard, {})[read.place] = _Settled(read.row, outcome)
        metrics.record_row(outcome.kind if isinstance(outcome, Fault) else "")
        for sample in [] if isinstance(outcome, Fault) else outcome:
            metrics.record_answer(len(sample.token_ids), sample.finish_reason)
        return read

    def _whole(self, shard: int) -> list[_Settled]:
        """All rows of a shard, in order; [] until the last one is settled."""
        if len(self._open[shard]) < len(self.plan.rows_of(shard)):
            return []
        settled = self._open.pop(shard)
        return [settled[index] for index in sorted(settled)]

    def _save(self, shard: int, settled: Sequence[_Settled]) -> None:
        """Score a shard's answers and put the shard into the store."""
        texts = [
            [self.encoder.decode(sample.token_ids) for sample in outcome] if isinstance(outcome, list) else []
            for _, outcome in settled
        ]
        given = [read_answer(text, self.reading).text for group in texts for text in group]
        asked = [row for (row, _), group in zip(settled, texts, strict=True) for _ in group]
        columns = [json.loads(row["extra"] or "{}").get("options") for row in asked]
        options = [options_of(row["problem"], column) for row, column in zip(asked, columns, strict=True)]
        right = iter(self.checker.check(given, [row["answer"] for row in asked], options))
        with tempfile.TemporaryDirectory() as scratch:
            with ShardWriter(Path(scratch) / "shard", ROLLOUT_SCHEMA, "rollouts", len(settled)) as writer:
                for (row, outcome), group in zip(settled, texts, strict=True):
                    if isinstance(outcome, Fault):
                        writer.reject(row, outcome.detail, outcome.kind)
                    else:
                        responses = [_response(*pair, next(right)) for pair in zip(group, outcome, strict=True)]
                        writer.write({**row, "responses": responses})
            self.finished.put(shard, Path(scratch) / "shard")


def _response(text: str, sample: Sample, right: bool) -> Response:
    return {
        "text": text,
        "token_count": len(sample.token_ids),
        "finish_reason": sample.finish_reason,
        "accuracy": float(right),
        "logprob": sum(sample.logprobs),
    }


def first_rows(directory: Path) -> dict[str, int]:
    """The first row of every qid of a dataset."""
    first: dict[str, int] = {}
    for index, row in enumerate(iter_rows(directory, columns=["qid"])):
        first.setdefault(row["qid"], index)
    return first
