"""A worker of the rollout: admits, samples, scores and saves the questions of its shards."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pebr.answers.check import AnswerChecker
from pebr.answers.options import options_of
from pebr.data.readers import Fault
from pebr.data.records import ROLLOUT_SCHEMA, Response
from pebr.data.shards import ShardedDataset, ShardWriter, iter_rows
from pebr.rollout.shards import Finished, Plan
from pebr.sampling.contract import Sample, Sampler, SamplingSettings
from pebr.sampling.sharded import Asked, Settled, ShardSampler
from pebr.vlm.admission import admit, image_bytes
from pebr.vlm.encoding import Encoder
from pebr.vlm.reading import read_answer
from pebr.vlm.settings import Reading

Row = Mapping[str, Any]  # of `RL_SCHEMA`


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

    def run(self, shards: Sequence[int]) -> None:
        """Sample and save these shards, in this order."""
        sharded = ShardSampler(self.sampler, self.sampling, self._read, self._save, "rollout: questions")
        sharded.run({shard: self.plan.rows_of(shard) for shard in shards})

    @cached_property
    def _first(self) -> dict[str, int]:
        return first_rows(self.dataset.directory)

    def _read(self, index: int) -> Asked[Row]:
        row = self.dataset[index]
        qid = row["qid"]
        if self._first[qid] != index:  # it would get the same random numbers as the first row
            return Asked(qid, row, Fault("qid not unique", f"qid {qid}: an earlier row has the same"))
        return Asked(qid, row, admit(row["problem"], image_bytes(row["images"]), self.encoder, self.max_prompt_tokens))

    def _save(self, shard: int, settled: Sequence[Settled[Row]]) -> None:
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
