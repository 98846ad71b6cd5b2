"""The work of ingest: copy one or more sources to one directory.

toy://NAME      generated from a seed: sft, pebr, rl, parquet, benchmarks, model, clip; board/sft and so on
s3://b/prefix   copied from object storage
hf://org/name   downloaded from the Hugging Face hub: datasets/org/name for a dataset, @revision to pin a revision
a path          copied from a mounted file or folder

Inputs that a later step would refuse after hours are refused here, if `kind` is given: see `check`.

What has arrived lies in `OUTPUT.arriving` until all is there: an attempt that is killed, or whose connection ends, is
continued by the next one. Objects of a store are checked against their digests, files of the hub by its own client.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path

from pebr.data.benchmark import check_table
from pebr.data.sources import SOURCES
from pebr.errors import UNUSABLE, InputError
from pebr.files import atomic_directory, copy_file
from pebr.ingest.listed import Listed, folders, parse
from pebr.ingest.packing import is_image, pack
from pebr.ingest.settings import Settings
from pebr.ingest.watching import bytes_in, watched
from pebr.step.outputs import check_apart, check_no_file
from pebr.store.contract import NotThereError
from pebr.store.listing import LISTING, files_of
from pebr.store.opening import open_store

log = logging.getLogger("pebr")

TOY = ("sft", "pebr", "rl", "parquet", "benchmarks", "model", "clip")
BOARD = ("board/sft", "board/rl", "board/benchmarks", "board/model", "board/clip")
SHARDS, MADE = ".shards", ".made"  # folders of archives and of the tiny world, until they are in their place
NEEDED = {  # files at the top of a model's folder: all files of one of these sets
    "model": [("config.json", "*.safetensors")],
    "clip": [("open_clip_config.json", "open_clip_model.safetensors"), ("config.json", "model.safetensors")],
}


def work(settings: Settings) -> dict[str, float]:
    """Copy the sources to the output; returns the number of files and bytes.

    One source is copied into the output itself. Several, or one of which only a part is used, get a folder each, and
    `sources.json` lists them.

    Raises:
        InputError: a source is missing, has an unknown scheme, or is not of the given kind.
    """
    listed, output = parse(settings.source), Path(settings.output)
    paths = [("--source", Path(source.location)) for source in listed if "://" not in source.location]
    check_apart(f"--output {output}", output, paths)
    check_no_file(f"--output {output}", output)
    arriving = Path(f"{settings.output}.arriving")
    try:
        result = _bring_all(listed, settings, arriving)
    except (InputError, OSError) as error:
        if isinstance(error, InputError) or error.errno in UNUSABLE:  # another attempt cannot continue
            shutil.rmtree(arriving, ignore_errors=True)
        raise
    shutil.rmtree(arriving, ignore_errors=True)
    return result


def _bring_all(listed: list[Listed], settings: Settings, arriving: Path) -> dict[str, float]:
    with atomic_directory(settings.output) as output:
        if len(listed) == 1 and listed[0].is_plain:
            bring(listed[0].location, output, arriving, settings)
        elif settings.kind:
            raise InputError(f"--source {settings.source}: give one source of {settings.kind}, with all its files")
        else:
            named = folders(listed)
            for name, source in named.items():
                (output / name).mkdir()
                bring(source.location, output / name, arriving, settings)
            entries = [{"folder": n, "name": n, "share": s.share, "limit": s.limit} for n, s in named.items()]
            (output / SOURCES).write_text(json.dumps(entries, indent=1) + "\n")
        files = [path for path in output.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    log.info("ingest %s: %d files, %.1f MB", settings.source, len(files), size / 1e6)
    return {"files": len(files), "bytes": size}


def bring(location: str, output: Path, arriving: Path, settings: Settings) -> None:
    """Copy one source to a folder, by way of `arriving`. Loose images of a dataset are packed into archives.

    Raises:
        InputError: the source is missing, has an unknown scheme, or is not of the given kind.
    """
    scheme, _, rest = location.partition("://")
    packs = not settings.kind
    arrived = arriving / hashlib.sha256(location.encode()).hexdigest()[:16]  # another source does not continue it
    with watched(arrived if scheme in ("s3", "hf") else output, size_of(location), f"ingest {location}"):
        if not rest:
            copy_path(Path(location), output, packs)
        elif scheme == "toy":
            make_toy(rest, output / MADE, settings.seed, settings.rows)
            copy_path(output / MADE, output, packs, move=True)
            shutil.rmtree(output / MADE)
        elif scheme == "s3":
            copy_s3(location, output, arrived, packs)
        elif scheme == "hf":
            download(rest, output, arrived, packs)
        else:
            raise InputError(f"--source {location}: unknown scheme: give toy://, s3://, hf:// or a path")
    if not any(path.is_file() and (settings.kind or path.stat().st_size) for path in output.rglob("*")):
        raise InputError(f"--source {location}: nothing is there, or only empty files: check the name")
    try:
        check(output, settings.kind, location)
    except InputError as error:  # the source, not the copy that is now removed
        where = f"--source {location}: "
        raise InputError(re.sub(rf"(clip model )?{re.escape(str(output))}(/|: )", where, str(error))) from None


def check(output: Path, kind: str, source: str) -> None:
    """Check that the copied files are of the given kind.

    Raises:
        InputError: there is no benchmark, a benchmark lacks a required column, or a model is not whole.
    """
    if kind == "benchmarks":
        tables = sorted(output.glob("*.tsv"))
        if not tables:
            raise InputError(f"--source {source}: no *.tsv here: give a folder of VLMEvalKit TSV files")
        for table in tables:
            check_table(table)
    elif kind:
        sets = NEEDED[kind]
        if not any(all(list(output.glob(name)) for name in names) for names in sets):
            needed = ", or ".join(" and ".join(names) for names in sets)
            raise InputError(f"--source {source}: no {kind} model: it needs {needed}: check the name")
        if kind == "model":
            from pebr.vlm.loading import check_model

            check_model(output)
        else:
            from pebr.rewards.clip_models import load_feature_model

            load_feature_model(str(output))


def make_toy(name: str, output: Path, seed: int, rows: int) -> None:
    """Generate a toy dataset or model.

    Raises:
        InputError: the name is unknown.
    """
    if name.partition("?")[0] in BOARD:
        from pebr.toy.board import sources

        sources.make(*name.partition("?")[::2], output, seed, rows)
    elif name == "model":
        from pebr.toy.vlm import build_model

        build_model(output, seed)
    elif name == "clip":
        from pebr.toy.clip import train_clip

        train_clip(output, seed)
    elif name in TOY:
        from pebr.toy import formats

        getattr(formats, f"write_{name}")(output, seed, rows)
    else:
        raise InputError(f"--source toy://{name}: the tiny world has {', '.join((*TOY, *BOARD))}")


def size_of(location: str) -> int:
    """Bytes of a source; 0 if they are not known before they arrive."""
    if "://" not in location:
        return bytes_in(Path(location))
    if not location.startswith("s3://"):
        return 0
    store, _, name = location.rstrip("/").rpartition("/")
    return open_store(store).size(name) if store not in {"s3:/", "s3:"} else 0


def copy_path(source: Path, output: Path, packs: bool = False, move: bool = False) -> None:
    """Copy the files of a folder, or one file; links are replaced by the files they point to.

    Args:
        source: the folder or file.
        output: the folder to copy to.
        packs: whether images go into archives.
        move: whether the files are moved and not copied.

    Raises:
        InputError: the source does not exist, or a link is broken.
    """
    if not source.exists():
        numbers = (
            ", and write a share as *0.5, a number of rows as :20000" if re.search(r"[*:][^/]*$", str(source)) else ""
        )
        raise InputError(f"--source {source}: no such file or folder: check the path and the volume's mount{numbers}")
    files = files_of(source) if source.is_dir() else {source.name: source}
    for name, path in files.items():
        if not path.exists():
            raise InputError(f"--source {source}: {name} is a link that leads nowhere: fix or remove it")
        if not path.is_file():
            raise InputError(f"--source {source}: {name} is no regular file: remove it")
        if not (packs and is_image(name)):
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (shutil.move if move else copy_file)(path, output / name)
    if packs and (images := list(filter(is_image, files))):
        pack(images, lambda name: files[name].read_bytes(), output, output / SHARDS)


def copy_s3(source: str, output: Path, arrived: Path, packs: bool = False) -> None:
    """Copy an object, or all objects under a prefix; files that have arrived in an earlier attempt are kept.

    Raises:
        InputError: nothing complete is stored there, or the settings of the store are wrong.
    """
    location, _, name = source.rstrip("/").rpartition("/")
    if location in {"s3:/", "s3:"}:
        raise InputError(f"--source {source}: this is a whole bucket: give s3://bucket/prefix")
    store = open_store(location)
    keys = store.list(f"{name}/")
    if keys and store.exists(f"{name}/{LISTING}") and not store.exists(name):
        raise InputError(f"--source {source}: it is being written, or its writer was stopped: write it again")
    below = {key.removeprefix(f"{name}/"): key for key in keys} or {name: name}
    images = [part for part in below if packs and is_image(part)]

    def fetch(part: str) -> bytes:
        path = arrived / SHARDS / hashlib.sha256(part.encode()).hexdigest()
        store.get(below[part], path)
        data = path.read_bytes()
        path.unlink()
        return data

    try:
        for part in sorted(below.keys() - images):
            if not (arrived / part).is_file():
                store.get(below[part], arrived / part)
    except NotThereError as error:
        raise InputError(f"--source {source}: {error}: check the name, or put the data there") from error
    if images:
        pack(images, fetch, output, arrived / SHARDS)
    if arrived.is_dir():
        copy_path(arrived, output, move=True)


def download(name: str, output: Path, arrived: Path, packs: bool = False) -> None:
    """Download a repository from the Hugging Face hub, or from the server in HF_ENDPOINT.

    If HF_HOME names a volume (`cache_claim` in a cluster file), the files are kept there, and the next run copies them.

    Raises:
        InputError: the repository does not exist, or may not be read.
        ConnectionError: the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, _, revision = name.partition("@")
    is_dataset = repository.startswith("datasets/")
    is_cached = bool(os.environ.get("HF_HOME"))
    try:
        snapshot = snapshot_download(
            repository.removeprefix("datasets/"),
            repo_type="dataset" if is_dataset else "model",
            revision=revision or None,
            local_dir=None if is_cached else arrived,
            ignore_patterns=["*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt"],  # safetensors, never pickles
        )
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--source hf://{name}: {reason}: check the name, the revision and HF_TOKEN") from error
    except LocalEntryNotFoundError as error:
        raise ConnectionError(f"--source hf://{name}: the hub cannot be reached: {error.__cause__ or error}") from error
    shutil.rmtree(arrived / ".cache", ignore_errors=True)
    copy_path(Path(snapshot), output, packs, move=not is_cached)
