"""Answers and rewards of every training step: a Parquet dataset with one shard per step.

Each shard is stored beside the checkpoints after its step, so that a run resumed on another machine has those of its
earlier steps. They become a dataset when the run is done.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pebr.data.shards import SCHEMA_VERSION, Manifest, Shard, write_manifest, write_shard
from pebr.files import atomic_directory, sha256
from pebr.grpo.experience import Experience
from pebr.store.opening import open_store

_RESPONSE = pa.struct(
    {
        "text": pa.string(),
        "token_count": pa.int32(),
        "finish_reason": pa.string(),
        "reward": pa.float32(),
        "advantage": pa.float32(),
        "logprob": pa.float32(),  # sum over the tokens
        "components": pa.map_(pa.string(), pa.float32()),  # before their weights
        "weighted": pa.map_(pa.string(), pa.float32()),  # their sum is the reward
    }
)

SCHEMA = pa.schema(
    {
        "step": pa.int32(),
        "qid": pa.string(),
        "problem": pa.string(),
        "answer": pa.string(),
        "key_words": pa.list_(pa.string()),
        "responses": pa.list_(_RESPONSE),
    }
)


class Rollouts:
    """The shards of a run. They lie beside its `checkpoints`, a folder or `s3://` prefix, until the run is done."""

    def __init__(self, checkpoints: str, weights: Mapping[str, float], mode: str) -> None:
        self._store = open_store(f"{checkpoints}-rollouts")
        self.weights, self.mode = dict(weights), mode

    def write(self, step: int, experiences: Sequence[Experience]) -> None:
        """Store the shard of a training step (counted from 1), replacing an earlier one."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _shard(step)
            write_shard(path, [_row(experience, step, self.weights) for experience in experiences], SCHEMA)
            self._store.put(path, path.name)

    def adopt(self, checkpoints: str, steps: int) -> None:
        """Copy the shards of the first steps of another run, which this one continues.

        Args:
            checkpoints: location of the other run's checkpoints.
            steps: number of steps.
        """
        other = open_store(f"{checkpoints}-rollouts")
        with tempfile.TemporaryDirectory() as folder:
            for name in map(_shard, range(1, steps + 1)):
                other.get(name, Path(folder) / name)
                self._store.put(Path(folder) / name, name)

    def complete(self, directory: Path | str, steps: int) -> None:
        """Write a dataset of the shards of steps 1 to `steps`."""
        with atomic_directory(directory) as beside:
            shards = []
            for step in range(1, steps + 1):
                path = beside / _shard(step)
                self._store.get(path.name, path)
                shards.append(Shard(path.name, pq.read_metadata(path).num_rows, sha256(path)))
            rows = sum(shard.rows for shard in shards)
            extra = {"reward_weights": self.weights, "reward_mode": self.mode}
            write_manifest(beside, Manifest(SCHEMA_VERSION, "grpo_rollouts", rows, shards, extra=extra))


def _shard(step: int) -> str:
    return f"part-{step:05d}.parquet"


def _row(experience: Experience, step: int, weights: Mapping[str, float]) -> dict[str, object]:
    advantages = experience.advantages.tolist()
    responses = [
        {
            "text": text,
            "token_count": len(experience.token_ids[place]),
            "finish_reason": experience.finish_reasons[place],
            "reward": experience.rewards[place],
            "advantage": advantages[place],
            "logprob": sum(experience.logprobs[place]),
            "components": {name: values[place] for name, values in experience.components.items()},
            "weighted": {name: weights[name] * values[place] for name, values in experience.components.items()},
        }
        for place, text in enumerate(experience.responses)
    ]
    return {"step": step, **experience.question, "responses": responses}
