"""Samples the questions of shards and saves each shard as soon as it is complete.

The sampler gets the questions of all shards as one stream, so that it always has work while the last answers of a shard
are sampled. With a GPU, one thread reads and encodes questions ahead of the sampler. Another thread saves finished
shards, which includes scoring them.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import torch

from pebr.data.read_ahead import read_ahead
from pebr.data.readers import Fault
from pebr.sampling.contract import Question, Sample, Sampler, SamplingSettings
from pebr.telemetry import metrics
from pebr.telemetry.logs import progress
from pebr.vlm.encoding import Prompt

Key = TypeVar("Key", bound=Hashable)
Row = TypeVar("Row")


def rows_ahead() -> int:
    """How many rows are read and encoded before the sampler asks for them.

    0 without a GPU, because a second thread would slow down the engine's own threads.
    """
    return 32 if torch.cuda.is_available() else 0


class Asked(NamedTuple, Generic[Row]):
    """A row that was read and checked."""

    question_id: str  # different for all rows that are asked
    row: Row
    admitted: Prompt | Fault


class Settled(NamedTuple, Generic[Row]):
    """A row with its answers, or with the reason why it has none."""

    row: Row
    outcome: list[Sample] | Fault


@dataclass
class ShardSampler(Generic[Key, Row]):
    """Samples shards.

    Args:
        sampler: of the model.
        sampling: its settings.
        read: reads, checks and encodes the row at a place.
        save: scores and stores a shard, given its rows in order; called in a thread.
        description: of the progress.
    """

    sampler: Sampler
    sampling: SamplingSettings
    read: Callable[[int], Asked[Row]]
    save: Callable[[Key, Sequence[Settled[Row]]], None]
    description: str
    _asked: dict[str, tuple[Key, int, Row]] = field(default_factory=dict)  # shard and place of a row, by question id
    _open: dict[Key, dict[int, Settled[Row]]] = field(default_factory=dict)  # shard -> place -> its outcome

    def run(self, shards: Mapping[Key, range]) -> None:
        """Sample and save these shards, each given by the places of its rows, in this order."""
        saving: Future[None] | None = None
        with ThreadPoolExecutor(1) as saver:
            rows = sum(map(len, shards.values()))
            for shard in progress(self._settled(shards), rows, self.description):
                if len(self._open[shard]) == len(shards[shard]):
                    if saving:
                        saving.result()  # at most one shard waits; an error is raised now and not at the end
                    settled = self._open.pop(shard)
                    saving = saver.submit(self.save, shard, [settled[place] for place in sorted(settled)])
            if saving:
                saving.result()

    def _settled(self, shards: Mapping[Key, range]) -> Iterator[Key]:
        """The shard of each row, as soon as the row's answers or its reason are known."""
        rejected: deque[tuple[Key, int, Settled[Row]]] = deque()
        for question_id, samples in self.sampler.stream(self._questions(shards, rejected), self.sampling, step=0):
            shard, place, row = self._asked.pop(question_id)
            yield self._settle(shard, place, Settled(row, self._complete(samples)))
            while rejected:
                yield self._settle(*rejected.popleft())
        while rejected:
            yield self._settle(*rejected.popleft())

    def _settle(self, shard: Key, place: int, settled: Settled[Row]) -> Key:
        self._open.setdefault(shard, {})[place] = settled
        metrics.record_row(settled.outcome.kind if isinstance(settled.outcome, Fault) else "")
        for sample in [] if isinstance(settled.outcome, Fault) else settled.outcome:
            metrics.record_answer(len(sample.token_ids), sample.finish_reason)
        return shard

    def _questions(
        self, shards: Mapping[Key, range], rejected: deque[tuple[Key, int, Settled[Row]]]
    ) -> Iterator[Question]:
        """The questions of these shards, read and encoded ahead; rejected rows are added to `rejected`."""
        places = [(shard, place) for shard, rows in shards.items() for place in rows]
        reading = read_ahead(self.read, (place for _, place in places), rows_ahead())
        for (shard, place), (question_id, row, admitted) in zip(places, reading, strict=True):
            if isinstance(admitted, Fault):
                rejected.append((shard, place, Settled(row, admitted)))
            else:
                self._asked[question_id] = shard, place, row
                yield Question(question_id, admitted)

    def _complete(self, samples: list[Sample]) -> list[Sample] | Fault:
        """The answers to a question, or a fault where the engine gave up some of them."""
        if len(samples) >= self.sampling.samples:
            return samples
        return Fault("incomplete", f"{len(samples)} of {self.sampling.samples} answers: the engine gave up the others")
