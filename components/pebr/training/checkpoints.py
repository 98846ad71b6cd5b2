"""Training checkpoints: atomic, written in the background, readable by any number of ranks.

    <location>/step-00000042/rank-00000-of-00002.safetensors, .json     each rank's part of weights and moments
    <location>/step-00000042/index.json                                 written last: the checkpoint is complete

All ranks write at the same time, each in its own thread from a copy, while training continues. Rank 0 waits for the
other ranks' descriptions and then writes the index. Parts are ranges of elements of named tensors (see sharded.py), so
a checkpoint of two ranks resumes on one or four, and with another ZeRO stage. The location is a folder that all ranks
can read, or an `s3://` prefix. For S3, files are written to a local folder first and removed after the upload.
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch.distributed as dist

from pebr.errors import InputError
from pebr.step.launch import Place, is_first_here
from pebr.store.contract import AlteredError, NotThereError, Store
from pebr.store.opening import open_store
from pebr.training.sharded import INDEX, Run, ShardedTensors, description_names, write_index, write_shard

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 3600.0  # rank 0 waits so long for the slowest rank's part
LOOK_SECONDS = 0.02
STORE_LOOK_SECONDS = 0.5


State = Mapping[str, object]  # JSON


class Checkpoints:
    """The newest `keep` checkpoints of one run, at a `location` (a folder or `s3://` prefix) that only this run uses.

    All ranks call its methods together.
    """

    def __init__(self, location: str, keep: int, place: Place) -> None:
        self.location, self.keep = location, max(keep, 1)
        self.rank, self.world_size = place.rank, place.world_size
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._store: Store | None = None
        if "://" in location and not location.startswith("file://"):
            self._store = open_store(location)
            staging = [tempfile.mkdtemp(prefix="pebr-checkpoints-") if self.rank == 0 else ""]
            dist.broadcast_object_list(staging)
            self._folder = Path(staging[0])
        else:
            self._folder = Path(location.removeprefix("file://"))

    def save(self, step: int, runs: Sequence[Run], rank_state: State, state: State) -> None:
        """Write a checkpoint in the background, after the previous one is written.

        Args:
            step: optimizer updates done.
            runs: this rank's tensors. Nothing else may write to their memory.
            rank_state: further state of this rank, JSON.
            state: state of the run, the same on all ranks, JSON.
        """
        self.wait()
        self._pending = self._writer.submit(self._write, step, list(runs), dict(rank_state), dict(state))

    def wait(self) -> None:
        """Wait until the last checkpoint is written. Raises the writer's error, if any."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def newest(self) -> ShardedTensors | None:
        """Find the newest complete checkpoint; None if there is none. Damaged and incomplete ones are removed.

        Its `index` contains the keys of `state`; its `rank_state` returns a rank's state.

        Raises:
            InputError: the newest one has the format of another version. It is not removed.
        """
        chosen = None
        of_rank_0 = [self._steps() if self.rank == 0 else []]
        dist.broadcast_object_list(of_rank_0)
        (whole,) = of_rank_0
        for step in whole:
            found: list[list[str]] = [[]] * self.world_size
            dist.all_gather_object(found, self._fetch(step) or self._damage(step))
            damage = [line for lines in found for line in lines]
            if not damage:
                chosen = step
                break
            if self.rank == 0:
                log.warning("checkpoint of step %d is damaged, using an older one: %s", step, "; ".join(damage[:3]))
        if self.rank == 0:
            self._remove(lambda step: chosen is None or step > chosen or step not in whole)
        dist.barrier()
        return None if chosen is None else ShardedTensors(self._path(chosen))

    def close(self) -> None:
        """Finish writing and remove local copies of what is stored on S3. All ranks call this."""
        self.wait()
        self._writer.shutdown()
        dist.barrier()
        if self._store is not None and is_first_here():
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, step: int, runs: list[Run], rank_state: State, state: State) -> None:
        directory = self._path(step)
        self._publish(write_shard(directory, self.rank, self.world_size, runs, {"rank_state": rank_state}))
        if self.rank == 0:
            self._await_parts(step)
            self._publish([write_index(directory, self.world_size, {"step": step, **state})])
            for old in self._steps()[self.keep :]:
                self._delete(old)
            log.info("checkpoint of step %d written to %s", step, self.location)

    def _await_parts(self, step: int) -> None:
        """Wait for every rank's description, which is stored after its part, and copy it to the local folder."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        for name in description_names(self.world_size):
            local, key = self._path(step) / name, f"{self._path(step).name}/{name}"
            while not (local.is_file() if self._store is None else self._store.exists(key)):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{local}: a rank has not written its part within {PATIENCE_SECONDS:.0f} s")
                time.sleep(LOOK_SECONDS if self._store is None else STORE_LOOK_SECONDS)
            if self._store is not None:
                self._store.get(key, local)

    def _publish(self, files: Sequence[Path]) -> None:
        """Upload files in this order and remove the local copies. Without a store, do nothing."""
        if self._store is not None:
            for file in files:
                self._store.put(file, f"{file.parent.name}/{file.name}")
                file.unlink()

    def _steps(self) -> list[int]:
        """Steps of the complete checkpoints, newest first."""
        if self._store is not None:
            names = [key.split("/")[-2] for key in self._store.list("") if key.endswith(f"/{INDEX}")]
        else:
            names = [path.parent.name for path in self._folder.glob(f"step-*/{INDEX}")]
        return sorted((int(name.removeprefix("step-")) for name in names), reverse=True)

    def _remove(self, condition: Callable[[int], bool]) -> None:
        """Remove checkpoints, complete or not, whose step satisfies the condition."""
        names = {path.name for path in self._folder.glob("step-*")}
        if self._store is not None:
            names |= {key.split("/")[0] for key in self._store.list("")}
        for step in (int(name.removeprefix("step-")) for name in names):
            if condition(step):
                self._delete(step)

    def _delete(self, step: int) -> None:
        directory = self._path(step)
        if self._store is not None:
            self._store.delete_prefix(f"{directory.name}/{INDEX}")
            self._store.delete_prefix(f"{directory.name}/")
        (directory / INDEX).unlink(missing_ok=True)  # first, so that a half-deleted one does not look complete
        shutil.rmtree(directory, ignore_errors=True)

    def _fetch(self, step: int) -> list[str]:
        """Download a checkpoint to this machine. Returns errors of files that are missing or were altered."""
        found = []
        if self._store is not None and is_first_here():
            directory = self._path(step)
            directory.mkdir(parents=True, exist_ok=True)
            for key in self._store.list(f"{directory.name}/"):
                try:
                    self._store.get(key, directory / key.split("/")[-1])
                except (AlteredError, NotThereError) as error:
                    found.append(str(error))
        dist.barrier()
        return found

    def _damage(self, step: int) -> list[str]:
        """Check this rank's share of a checkpoint's files. Returns the errors."""
        if not (self._path(step) / INDEX).is_file():
            return [f"{self._path(step) / INDEX}: not there"]
        try:
            checkpoint = ShardedTensors(self._path(step))
            return checkpoint.damage(sorted(checkpoint.index["files"])[self.rank :: self.world_size])
        except InputError:  # of another version
            raise
        except ValueError as error:  # the index itself is damaged
            return [str(error)]

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:08d}"
