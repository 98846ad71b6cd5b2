"""Archives for tests, made with the standard library and the zstd of Arrow."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

PACKERS = {
    "tar": lambda data: data,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
KINDS = (*PACKERS, "zip")


def tar_of(files: Mapping[str, bytes], layout: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar with these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=layout) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip with these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return buffer.getvalue()


def packed(kind: str, files: Mapping[str, bytes]) -> bytes:
    """An archive of a kind."""
    return zip_of(files) if kind == "zip" else PACKERS[kind](tar_of(files))


def write_archive(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write the archive that the path's name asks for."""
    kind = next(kind for kind in sorted(KINDS, key=len, reverse=True) if path.name.endswith(kind))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(kind, files))
    return path
