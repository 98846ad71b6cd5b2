"""A model as an OCI image: each large file a layer of its own, the small ones together in one.

A layer is an uncompressed tar with the files below `models/`, where KServe looks for them; a cluster mounts the image
as a volume. The same files give the same bytes, so a second push finds all of it in the registry. Layers are read from
the files and never written to disk.

The formats are those of the OCI image specification 1.1 (image manifest, image configuration, layer filesystem).
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pebr.files import sha256

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
FOLDER = "models"
LARGE = 16 * 2**20  # bytes of a file from which it is a layer of its own
CHUNK = 2**20  # bytes
END = bytes(2 * tarfile.BLOCKSIZE)  # of a tar


@dataclass(frozen=True)
class Blob:
    """Some bytes of a registry."""

    digest: str  # sha256:...
    size: int
    media_type: str
    annotations: Mapping[str, str]
    files: tuple[tuple[str, Path], ...] = ()  # of a layer: name and path
    data: bytes = b""  # of other blobs

    def chunks(self) -> Iterator[bytes]:
        """Its bytes."""
        return tar_of(self.files) if self.files else iter([self.data])

    def descriptor(self) -> dict[str, Any]:
        """How a manifest names it."""
        told = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return told | ({"annotations": dict(self.annotations)} if self.annotations else {})


def layers_of(folder: Path) -> list[Blob]:
    """The layers of a model's folder, large files in the order of their names, then all small ones."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    large = [(file,) for file in files if file[1].stat().st_size >= LARGE]
    small = tuple(file for file in files if file[1].stat().st_size < LARGE)
    return [_layer(group) for group in [*large, *([small] if small else [])]]


def _layer(files: tuple[tuple[str, Path], ...]) -> Blob:
    """A layer; its annotations name each file's own SHA-256."""
    digest, size = hashlib.sha256(), 0
    for chunk in tar_of(files):
        digest.update(chunk)
        size += len(chunk)
    sums = {f"pebr.sha256/{name}": sha256(path) for name, path in files}
    title = {"org.opencontainers.image.title": files[0][0]} if len(files) == 1 else {}
    return Blob(f"sha256:{digest.hexdigest()}", size, LAYER, title | sums, files)


def tar_of(files: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """A tar of files below `models/`, without times and owners."""
    for folder in _folders(files):
        yield _header(folder, tarfile.DIRTYPE, 0, 0o755)
    for name, path in files:
        size = path.stat().st_size
        yield _header(f"{FOLDER}/{name}", tarfile.REGTYPE, size, 0o644)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield END


def _folders(files: Iterable[tuple[str, Path]]) -> list[str]:
    """The folders that these files lie in, outer ones first."""
    parents = {str(parent) for name, _ in files for parent in PurePosixPath(FOLDER, name).parents}
    return sorted(parents - {"."})


def _header(name: str, kind: bytes, size: int, mode: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mode = kind, size, mode
    return entry.tobuf(tarfile.PAX_FORMAT)


def image_of(layers: Iterable[Blob], annotations: Mapping[str, str]) -> tuple[Blob, Blob]:
    """The configuration and the manifest of an image with these layers."""
    listed = list(layers)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": dict(annotations)},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in listed]},  # of the uncompressed tars
    }
    described = _document(config, CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described.descriptor(),
        "layers": [layer.descriptor() for layer in listed],
        "annotations": dict(annotations),
    }
    return described, _document(manifest, MANIFEST)


def _document(content: Mapping[str, Any], media_type: str) -> Blob:
    data = json.dumps(content, sort_keys=True).encode()
    return Blob(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data), media_type, {}, data=data)
