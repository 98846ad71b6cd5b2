"""Brings the files that ranks on other machines have written to rank 0's machine, through the checkpoints' store."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch.distributed as dist

from pebr.errors import InputError
from pebr.store.opening import open_store

log = logging.getLogger(__name__)


def gather(directory: Path, own: Sequence[Path], checkpoints: str, rank: int) -> None:
    """Make every rank's files part of rank 0's `directory`. All ranks call this after their files are written.

    Nothing is copied if all machines share the folder.

    Args:
        directory: the same path on all machines.
        own: this rank's files in it.
        checkpoints: location of the run's checkpoints. The files lie beside it while they are on their way.
        rank: of this process.

    Raises:
        InputError: the machines do not share the folder, and the checkpoints are not on S3 either; on all ranks.
    """
    names: list[list[str]] = [[]] * dist.get_world_size()
    dist.all_gather_object(names, [path.name for path in own])  # also: all ranks have written
    missing = [[name for part in names for name in part if not (directory / name).is_file()] if rank == 0 else []]
    dist.broadcast_object_list(missing)
    if not missing[0]:
        return
    if not checkpoints.startswith("s3://"):
        raise InputError(
            f"{directory}: rank 0 does not see {missing[0][0]}, which another node has written: give an output on a"
            " volume that all nodes share, or --checkpoints s3://bucket/prefix"
        )
    store = open_store(f"{checkpoints}-handed-over")
    for path in own:
        if path.name in missing[0]:
            store.put(path, f"weights/{path.name}")
            path.unlink()
    dist.barrier()
    if rank == 0:
        for name in missing[0]:
            store.get(f"weights/{name}", directory / name)
        store.delete_prefix("weights/")
        log.info("%s: fetched %d files of other nodes", directory, len(missing[0]))
    dist.barrier()
