"""Training checkpoints: atomic, written in the background, readable by any number of ranks.

    <location>/step-00000042/rank-00000-of-00002.safetensors, .json     each rank's part of weights and moments
    <location>/step-00000042/index.json                                 written last: the checkpoint is complete

All ranks write at the same time, each in its own thread from a copy, while training continues. Rank 0 waits for the
other ranks' descriptions and then writes the index. Parts are ranges of elements of named tensors (see sharded.py), so
a checkpoint of two ranks resumes on one or four, and with another ZeRO stage. The location is a folder that all ranks
can read, or an `s3://` prefix. For S3, files are written to a local folder first and removed after the upload.
"""

import json
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

import torch.distributed as dist

from pebr.errors import InputError
from pebr.files import blamed
from pebr.step.identity import Facts, differences, few, run_name
from pebr.step.launch import Place, is_first_here
from pebr.store.contract import AlteredError, NotThereError, Store
from pebr.store.opening import open_store
from pebr.telemetry import metrics
from pebr.training.settings import TrainingSettings
from pebr.training.sharded import INDEX, Run, ShardedTensors, description_names, write_index, write_shard

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 3600.0  # rank 0 waits so long for the slowest rank's part
LOOK_SECONDS = 0.02
STORE_LOOK_SECONDS = 0.5


STEP = re.compile(r"step-(\d{8})")  # name of a checkpoint; other folders beside them stay as they are
RUNS_COMPARED = 20  # runs whose facts are read, to say why none of them is continued

State = Mapping[str, object]  # JSON


class Checkpoints:
    """The newest `keep` checkpoints of one run, at a `location` (a folder or `s3://` prefix) that only this run uses.

    All ranks call its methods together. The `facts` that name the run are stored with each checkpoint; with None,
    checkpoints are not checked. `resume_from` is the location of another run's checkpoints, or of one of them, to
    continue from if there are none here.
    """

    def __init__(
        self, location: str, keep: int, place: Place, facts: Facts | None = None, resume_from: str = ""
    ) -> None:
        self.location, self.keep = location, max(keep, 1)
        self.facts, self.resume_from = facts, resume_from
        self.resumed_from = ""  # which checkpoint of another run was taken
        self.place = place
        self.rank, self.world_size = place.rank, place.world_size
        self._other: Checkpoints | None = None
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._store: Store | None = None
        if "://" in location and not location.startswith("file://"):
            self._store = open_store(location)
            # One folder per machine, made by its first rank; the ranks of a machine follow each other.
            made = [""] * self.world_size
            dist.all_gather_object(made, tempfile.mkdtemp(prefix="pebr-checkpoints-") if is_first_here() else "")
            self._folder = Path(next(filter(None, made[self.rank :: -1])))
        else:
            self._folder = Path(location.removeprefix("file://"))

    @classmethod
    def of(cls, settings: TrainingSettings, facts: Facts, place: Place) -> Self:
        """The checkpoints of a step's run that these facts name."""
        location = f"{settings.checkpoint_root}/{run_name(facts)}"
        return cls(location, settings.keep_checkpoints, place, facts, settings.resume_from)

    def save(self, step: int, runs: Sequence[Run], rank_state: State, state: State, best: int = 0) -> None:
        """Write a checkpoint in the background, after the previous one is written.

        Args:
            step: optimizer updates done.
            runs: this rank's tensors. Nothing else may write to their memory.
            rank_state: further state of this rank, JSON.
            state: state of the run, the same on all ranks, JSON.
            best: step of a checkpoint that is kept beside the newest ones; 0 for none.
        """
        self.wait()
        self._pending = self._writer.submit(self._write, step, list(runs), dict(rank_state), dict(state), best)

    def wait(self) -> None:
        """Wait until the last checkpoint is written. Raises the writer's error, if any."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def at(self, step: int) -> ShardedTensors:
        """The checkpoint of a step of this run, after the last one is written.

        Raises:
            InputError: it is missing or damaged.
        """
        self.wait()
        dist.barrier()  # the index is written by rank 0
        if self._newest_whole([step]) is None:
            raise InputError(
                f"{self.location}: the checkpoint of step {step} is missing or damaged: remove those of later steps,"
                " and start again to repeat the training from an older one"
            )
        return ShardedTensors(self._path(step))

    def newest(self) -> ShardedTensors | None:
        """Find the newest complete checkpoint; None if there is none. Damaged and incomplete ones are removed.

        If there is none, that of `resume_from` is taken; it stays as it is. Its `index` contains the keys of `state`;
        its `rank_state` returns a rank's state. The log says why no checkpoint was taken.

        Raises:
            InputError: the newest one has the format of another version, or is of another run. It is not removed.
        """
        whole = self._agreed(self._steps)
        chosen = self._newest_whole(whole)
        if chosen is not None:
            found = ShardedTensors(self._path(chosen))
            self._check_run(found)
        if self.rank == 0:
            self._remove(lambda step: chosen is None or step > chosen or step not in whole)
        dist.barrier()
        if chosen is not None:
            return found
        if self.resume_from:
            return self._adopted()
        if self.rank == 0 and self.facts is not None and (reason := why_none(self.location, self.facts)):
            log.warning("%s", reason)
        return None

    def _adopted(self) -> ShardedTensors:
        """The checkpoint that `resume_from` names."""
        base, _, name = self.resume_from.rstrip("/").rpartition("/")
        only = STEP.fullmatch(name)
        self._other = Checkpoints(base if only else self.resume_from, 1, self.place)
        chosen = self._other._newest_whole([int(only[1])] if only else self._agreed(self._other._steps))
        if chosen is None:
            raise InputError(
                f"--resume-from {self.resume_from}: no complete checkpoint: give a run's checkpoints, or one step-..."
            )
        found = ShardedTensors(self._other._path(chosen))
        self.resumed_from = f"{self._other.location}/{self._other._path(chosen).name}"
        changed = few(differences(found.index.get("facts", {}), self.facts or {}))
        if self.rank == 0:
            log.warning("continuing from %s of another run, as --resume-from says: %s", self.resumed_from, changed)
        return found

    def _check_run(self, found: ShardedTensors) -> None:
        """Check that a checkpoint is of this run."""
        if self.facts is None or found.index.get("run") == run_name(self.facts):
            return
        changed = few(differences(found.index.get("facts", {}), self.facts))
        raise InputError(
            f"{found.directory}: a checkpoint of another run under the name of this one ({changed}): move it away, and"
            " to continue from it knowingly give --resume-from"
        )

    def _newest_whole(self, steps: Sequence[int]) -> int | None:
        """The first of these steps whose checkpoint is complete and not damaged."""
        chosen = None
        for step in steps:
            found = self._fetch(step) or self._damage(step)
            damage = [line for lines in self._gathered(found) for line in lines]
            if not damage:
                chosen = step
                break
            if self.rank == 0:
                log.warning("checkpoint of step %d is damaged, using an older one: %s", step, "; ".join(damage[:3]))
        return chosen

    def close(self) -> None:
        """Finish writing and remove local copies of what is stored on S3. All ranks call this."""
        self.wait()
        self._writer.shutdown()
        dist.barrier()
        if self._store is not None and is_first_here():
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._other is not None:
            self._other.close()

    def _write(self, step: int, runs: list[Run], rank_state: State, state: State, best: int) -> None:
        directory = self._path(step)
        with blamed(directory):
            self._publish(write_shard(directory, self.rank, self.world_size, runs, {"rank_state": rank_state}))
        if self.rank == 0:
            self._await_parts(step)
            facts = {} if self.facts is None else {"run": run_name(self.facts), "facts": self.facts}
            self._publish([write_index(directory, self.world_size, {"step": step, **facts, **state})])
            for old in self._steps()[self.keep :]:
                if old != best:
                    self._delete(old)
            log.info("checkpoint of step %d written to %s", step, self.location)
            metrics.record("pebr_checkpoint_timestamp_seconds", time.time())

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
            names = {key.split("/")[0] for key in self._store.list("") if key.endswith(f"/{INDEX}")}
        else:
            names = {path.parent.name for path in self._folder.glob(f"step-*/{INDEX}")}
        return sorted(_steps_of(names), reverse=True)

    def _remove(self, condition: Callable[[int], bool]) -> None:
        """Remove checkpoints, complete or not, whose step satisfies the condition."""
        names = {path.name for path in self._folder.glob("step-*")}
        if self._store is not None:
            names |= {key.split("/")[0] for key in self._store.list("")}
        for step in filter(condition, _steps_of(names)):
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

    def _gathered(self, value: list[str]) -> list[list[str]]:
        values: list[list[str]] = [[]] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def _agreed(self, choose: Callable[[], list[int]]) -> list[int]:
        """Rank 0's choice, on all ranks."""
        choice = [choose() if self.rank == 0 else []]
        dist.broadcast_object_list(choice)
        return choice[0]

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:08d}"


def why_none(location: str, facts: Facts) -> str:
    """Why a run starts from the beginning although there are checkpoints: how it differs from the most similar run.

    Args:
        location: of the run's checkpoints, beside those of other runs.
        facts: of the run.

    Returns:
        "" if there are no checkpoints of such a run.
    """
    root, _, name = location.rpartition("/")
    store = open_store(root)
    newest: dict[str, int] = {}  # run -> step
    for key in store.list(""):
        run, _, rest = key.partition("/")
        folder, _, last = rest.partition("/")
        match = STEP.fullmatch(folder)  # another folder's index, such as of the exchange of a step on several nodes
        if run != name and match and last == INDEX:
            newest[run] = max(newest.get(run, 0), int(match[1]))
    found: list[tuple[int, int, str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for run, step in sorted(newest.items())[:RUNS_COMPARED]:
            index = Path(scratch) / run
            try:
                store.get(f"{run}/step-{step:08d}/{INDEX}", index)
            except NotThereError:  # its run has removed it meanwhile
                continue
            there = json.loads(index.read_text()).get("facts", {})
            if there.keys() - {"rewards"} == facts.keys() - {"rewards"}:  # of the same step
                changed = differences(there, facts)
                found.append((len(changed), -step, f"{root}/{run}/step-{step:08d} is of another run: {few(changed)}"))
    return f"no checkpoint of this run; {min(found)[2]}; --resume-from takes it knowingly" if found else ""


def _steps_of(names: Iterable[str]) -> list[int]:
    """The steps of names of checkpoints; names of anything else are left out."""
    return [int(match[1]) for match in map(STEP.fullmatch, names) if match]
