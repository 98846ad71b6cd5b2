"""Packs loose images into tar shards while they arrive: many small files are slow in every hop between steps."""

import io
import shutil
import tarfile
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from pebr.data.read_ahead import read_ahead
from pebr.files import atomic_file
from pebr.telemetry.logs import progress

IMAGES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"))
BYTES_PER_SHARD = 2**31
FORMAT = tarfile.GNU_FORMAT
AHEAD, THREADS = 64, 32  # images that are fetched at the same time


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    return Path(name).suffix.lower() in IMAGES


def pack(names: Iterable[str], fetch: Callable[[str], bytes], output: Path, unfinished: Path) -> None:
    """Write images to `images-00000.tar`, ... in the order of their names; the same images give the same bytes.

    Args:
        names: of the images, relative to the source.
        fetch: reads an image; called in threads.
        output: the folder.
        unfinished: a folder for archives while others are missing. An earlier attempt's are kept and continued.
    """
    unfinished.mkdir(parents=True, exist_ok=True)
    finished = sorted(unfinished.glob("[0-9]*.tar"))
    packed = set[str]()
    for earlier in finished:
        with tarfile.open(earlier) as archive:
            packed |= set(archive.getnames())
    number = len(finished)
    ordered = [name for name in sorted(names) if name not in packed]
    contents = read_ahead(fetch, ordered, AHEAD, THREADS)
    images = progress(zip(ordered, contents, strict=True), len(ordered), "images")
    for first in images:
        with atomic_file(unfinished / f"{number:05d}.tar") as path, tarfile.open(path, "w", format=FORMAT) as shard:
            for name, data in chain([first], images):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))
                if shard.offset > BYTES_PER_SHARD:
                    break
        number += 1
    for place, path in enumerate(sorted(unfinished.glob("[0-9]*.tar"))):
        shutil.move(path, _free(output, place))
    shutil.rmtree(unfinished)


def _free(output: Path, number: int) -> Path:
    """The path of a shard, which is not that of a file of the source."""
    path = output / f"images-{number:05d}.tar"
    while path.exists():
        path = path.with_name(f"packed-{path.name}")
    return path
