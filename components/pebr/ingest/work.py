"""The work of ingest: copy one or more sources to one directory.

toy://NAME      generated from a seed: sft, pebr, rl, parquet, benchmarks, model, clip
s3://b/prefix   copied from object storage
hf://org/name   downloaded from the Hugging Face hub: datasets/org/name for a dataset, @revision to pin a revision
a path          copied from a mounted file or folder

Inputs that a later step would refuse after hours are refused here, if `kind` is given: see `check`.
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
from pebr.errors import InputError
from pebr.files import atomic_directory
from pebr.ingest.listed import folders, parse
from pebr.ingest.packing import is_image, pack
from pebr.ingest.settings import Settings
from pebr.store.contract import NotThereError
from pebr.store.listing import files_of
from pebr.store.opening import open_store

log = logging.getLogger("pebr")

TOY = ("sft", "pebr", "rl", "parquet", "benchmarks", "model", "clip")
ARRIVED = ".arrived"  # folder of what has come and is not in its place yet
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
    if settings.rows < 0:
        raise InputError(f"--rows {settings.rows}: give 0 for the usual number, or more")
    listed = parse(settings.source)
    with atomic_directory(settings.output) as output:
        if len(listed) == 1 and listed[0].is_plain:
            bring(listed[0].location, output, settings)
        elif settings.kind:
            raise InputError(f"--source {settings.source}: give one source of {settings.kind}, with all its files")
        else:
            named = folders(listed)
            for name, source in named.items():
                (output / name).mkdir()
                bring(source.location, output / name, settings)
            entries = [{"folder": n, "name": n, "share": s.share, "limit": s.limit} for n, s in named.items()]
            (output / SOURCES).write_text(json.dumps(entries, indent=1) + "\n")
        files = [path for path in output.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    log.info("ingest %s: %d files, %.1f MB", settings.source, len(files), size / 1e6)
    return {"files": len(files), "bytes": size}


def bring(location: str, output: Path, settings: Settings) -> None:
    """Copy one source to a folder. Loose images of a dataset are packed into archives.

    Raises:
        InputError: the source is missing, has an unknown scheme, or is not of the given kind.
    """
    scheme, _, rest = location.partition("://")
    packs = not settings.kind
    if not rest:
        copy_path(Path(location), output, packs)
    elif scheme == "toy":
        make_toy(rest, output / ARRIVED, settings.seed, settings.rows)
        copy_path(output / ARRIVED, output, packs)
        shutil.rmtree(output / ARRIVED)
    elif scheme == "s3":
        copy_s3(location, output, packs)
    elif scheme == "hf":
        download(rest, output, packs)
    else:
        raise InputError(f"--source {location}: unknown scheme: give toy://, s3://, hf:// or a path")
    if not any(path.is_file() for path in output.rglob("*")):
        raise InputError(f"--source {location}: nothing is there: check the name")
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
    if name == "model":
        from pebr.toy.vlm import build_model

        build_model(output, seed)
    elif name == "clip":
        from pebr.toy.clip import train_clip

        train_clip(output, seed)
    elif name in TOY:
        from pebr.toy import formats

        getattr(formats, f"write_{name}")(output, seed, rows)
    else:
        raise InputError(f"--source toy://{name}: the tiny world has {', '.join(TOY)}")


def copy_path(source: Path, output: Path, packs: bool = False) -> None:
    """Copy the files of a folder, or one file; links are replaced by the files they point to.

    Args:
        source: the folder or file; what lies in `output` already is moved.
        output: the folder to copy to.
        packs: whether images go into archives.

    Raises:
        InputError: the source does not exist, or a link is broken.
    """
    if not source.exists():
        raise InputError(f"--source {source}: no such file or folder: check the path and the volume's mount")
    files = files_of(source) if source.is_dir() else {source.name: source}
    take = os.replace if source.is_relative_to(output) else shutil.copyfile
    for name, path in files.items():
        if not path.exists():
            raise InputError(f"--source {source}: {name} is a link that leads nowhere: fix or remove it")
        if not (packs and is_image(name)):
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            take(path, output / name)
    if packs:
        pack(filter(is_image, files), lambda name: files[name].read_bytes(), output)


def copy_s3(source: str, output: Path, packs: bool = False) -> None:
    """Copy an object, or all objects under a prefix.

    Raises:
        InputError: nothing complete is stored there, or the settings of the store are wrong.
    """
    location, _, name = source.rstrip("/").rpartition("/")
    if location in {"s3:/", "s3:"}:
        raise InputError(f"--source {source}: this is a whole bucket: give s3://bucket/prefix")
    store = open_store(location)
    arrived = output / ARRIVED
    images = [] if store.exists(name) or not packs else list(filter(is_image, store.list(f"{name}/")))
    if not images:  # one object, a folder that a `Store` wrote with digests, or a folder without images
        try:
            store.get(name, arrived)
        except NotThereError as error:
            raise InputError(f"--source {source}: {error}: check the name, or put the data there") from error
        if arrived.is_dir():
            copy_path(arrived, output, packs)
            shutil.rmtree(arrived)
        else:
            arrived.rename(output / name)
        return

    def fetch(key: str) -> bytes:
        path = arrived / hashlib.sha256(key.encode()).hexdigest()
        store.get(key, path)
        data = path.read_bytes()
        path.unlink()
        return data

    for key in store.list(f"{name}/"):
        if not is_image(key):
            store.get(key, output / key.removeprefix(f"{name}/"))
    pack([key.removeprefix(f"{name}/") for key in images], lambda below: fetch(f"{name}/{below}"), output)
    shutil.rmtree(arrived)


def download(name: str, output: Path, packs: bool = False) -> None:
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
    arrived = output / ARRIVED
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
    copy_path(Path(snapshot), output, packs)
    shutil.rmtree(arrived, ignore_errors=True)
