"""Packs loose images into tar shards while they arrive: many small files are slow in every hop between steps."""

import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

from pebr.data.read_ahead import read_ahead
from pebr.telemetry.logs import progress

IMAGES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"))
BYTES_PER_SHARD = 2**31
AHEAD, THREADS = 64, 32  # images that are fetched at the same time


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    return Path(name).suffix.lower() in IMAGES


def pack(names: Iterable[str], fetch: Callable[[str], bytes], output: Path) -> None:
    """Write images to `images-00000.tar`, ... in the order of their names; the same images give the same bytes.

    Args:
        names: of the images, relative to the source.
        fetch: reads an image; called in threads.
        output: the folder.
    """
    ordered = sorted(names)
    contents = read_ahead(fetch, ordered, AHEAD, THREADS)
    shard: tarfile.TarFile | None = None
    number = 0
    try:
        for name, data in progress(zip(ordered, contents, strict=True), len(ordered), "images"):
            if shard is None or shard.offset > BYTES_PER_SHARD:
                if shard is not None:
                    shard.close()
                shard = tarfile.open(_free(output, number), "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
                number += 1
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))
    finally:
        if shard is not None:
            shard.close()


def _free(output: Path, number: int) -> Path:
    """The path of a shard, which is not that of a file of the source."""
    path = output / f"images-{number:05d}.tar"
    while path.exists():
        path = path.with_name(f"packed-{path.name}")
    return path
