"""The shards of a run: which rows each has, which are finished, and how they become one dataset.

Shard k starts at row k * rows_per_shard of the source. A finished shard is a small dataset directory in the checkpoint
store. Its name follows from everything that determines its content, so a restarted run finds exactly the shards that it
can use. The store shows a directory only when it is complete.
"""

import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from pebr.data.records import ROLLOUT_SCHEMA
from pebr.data.shards import SCHEMA_VERSION, Manifest, Shard, read_manifest, write_manifest, write_shard
from pebr.rollout.settings import Settings
from pebr.step.identity import facts_of, run_name
from pebr.store.contract import Store


@dataclass(frozen=True)
class Plan:
    """How a source's rows are divided into shards."""

    rows: int  # of the source
    rows_per_shard: int  # of a full shard

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-self.rows // self.rows_per_shard)

    def rows_of(self, shard: int) -> range:
        """The rows of one shard, as indices into the source.

        >>> [list(Plan(5, 2).rows_of(shard)) for shard in range(3)]
        [[0, 1], [2, 3], [4]]
        """
        return range(shard * self.rows_per_shard, min((shard + 1) * self.rows_per_shard, self.rows))


def name_of(settings: Settings) -> str:
    """The name of a run's finished shards: it changes with everything that changes the answers."""
    return run_name(facts_of(settings))


class Finished:
    """The finished shards of a run, which `name_of` names, in its checkpoint store."""

    def __init__(self, store: Store, run: str) -> None:
        self.store, self.run = store, run

    def has(self, shard: int) -> bool:
        """Whether a shard is finished."""
        return self.store.exists(self._key(shard))

    def put(self, shard: int, directory: Path) -> None:
        """Store a finished shard, which is the dataset directory `directory`."""
        self.store.put(directory, self._key(shard))

    def assemble(self, shards: int, scratch: Path, output: Path, extra: dict[str, float]) -> Manifest:
        """Make one dataset of all shards, in their order; `extra` are further facts for its manifest.

        `scratch` is an empty folder for copies of the shards, `output` the empty directory of the dataset.
        """
        kept: list[Shard] = []
        rejected: Counter[str] = Counter()
        rejected_files = 0
        for number in range(shards):
            part = scratch / f"{number:05d}"
            self.store.get(self._key(number), part)
            manifest = read_manifest(part)
            for shard in manifest.shards:
                if shard.rows:
                    kept.append(replace(shard, file=f"part-{len(kept):05d}.parquet"))
                    shutil.copyfile(part / shard.file, output / kept[-1].file)
            for file in sorted((part / "rejected").glob("*.parquet")):
                (output / "rejected").mkdir(exist_ok=True)
                shutil.copyfile(file, output / "rejected" / f"part-{rejected_files:05d}.parquet")
                rejected_files += 1
            rejected.update(manifest.rejected)
            shutil.rmtree(part)
        if not kept:  # without rows, an empty shard keeps the schema
            kept.append(write_shard(output / "part-00000.parquet", [], ROLLOUT_SCHEMA))
        whole = Manifest(
            SCHEMA_VERSION, "rollouts", sum(shard.rows for shard in kept), kept, dict(sorted(rejected.items())), extra
        )
        write_manifest(output, whole)
        return whole

    def _key(self, shard: int) -> str:
        return f"{self.run}/shard-{shard:05d}"
