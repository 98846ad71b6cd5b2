"""The shards of an evaluation: which rows each has, and the finished ones in the checkpoint store.

The rows of each benchmark are divided into shards of `ROWS`; the shards of all benchmarks are numbered through, so that
workers get equal shares. A finished shard is a JSON file with the outcome of each row: scored answers, or a fault. Its
key follows from all inputs that change the answers.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pebr.data.readers import Fault
from pebr.store.contract import Store

ROWS = 128  # of a shard; fixed, so that the shards do not depend on the number of workers


class Answered(NamedTuple):
    """One scored response to one row; JSON keeps every number exactly."""

    response: str
    finish_reason: str
    response_tokens: int
    given: str
    correct: float
    measures: dict[str, float | None]


Outcome = list[Answered] | Fault  # of a row


class Part(NamedTuple):
    """A shard: a part of a benchmark's rows."""

    benchmark: str
    number: int  # within the benchmark
    rows: range


def parts_of(benchmarks: Mapping[str, int]) -> list[Part]:
    """The shards of benchmarks, given by their numbers of rows.

    >>> [(part.benchmark, part.rows) for part in parts_of({"a": 130, "b": 7})]
    [('a', range(0, 128)), ('a', range(128, 130)), ('b', range(0, 7))]
    """
    return [
        Part(name, number, range(start, min(start + ROWS, rows)))
        for name, rows in benchmarks.items()
        for number, start in enumerate(range(0, rows, ROWS))
    ]


class Finished:
    """The finished shards of an evaluation.

    Args:
        store: of the checkpoints.
        keys: of the benchmarks.
    """

    def __init__(self, store: Store, keys: Mapping[str, str]) -> None:
        self.store, self.keys = store, keys

    def has(self, part: Part) -> bool:
        """Whether a shard is finished."""
        return self.store.exists(self._key(part))

    def put(self, part: Part, outcomes: Sequence[Outcome]) -> None:
        """Store the outcomes of a shard's rows, in order."""
        rows = [
            {"fault": list(outcome)}
            if isinstance(outcome, Fault)
            else {"answers": [answered._asdict() for answered in outcome]}
            for outcome in outcomes
        ]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "shard.json"
            path.write_text(json.dumps(rows))
            self.store.put(path, self._key(part))

    def get(self, part: Part) -> list[Outcome]:
        """The outcomes of a finished shard's rows, in order."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "shard.json"
            self.store.get(self._key(part), path)
            rows = json.loads(path.read_text())
        return [
            Fault(*row["fault"]) if "fault" in row else [Answered(**answered) for answered in row["answers"]]
            for row in rows
        ]

    def _key(self, part: Part) -> str:
        return f"{self.keys[part.benchmark]}/shard-{part.number:05d}.json"
