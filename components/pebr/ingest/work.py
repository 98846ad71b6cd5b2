"""The work of ingest: copy one source to one directory.

toy://NAME      generated from a seed: sft, rl, benchmarks, model, clip
s3://b/prefix   copied from object storage
hf://org/name   downloaded from the Hugging Face hub: datasets/org/name for a dataset, @revision to pin a revision
a path          copied from a mounted file or folder

Inputs that a later step would refuse after hours are refused here, if `kind` is given: see `check`.
"""

import logging
import os
import re
import shutil
from pathlib import Path

from pebr.data.benchmark import check_table
from pebr.errors import InputError
from pebr.files import atomic_directory
from pebr.ingest.settings import Settings
from pebr.store.contract import NotThereError
from pebr.store.listing import files_of
from pebr.store.opening import open_store

log = logging.getLogger("pebr")

TOY = ("sft", "rl", "benchmarks", "model", "clip")
NEEDED = {  # files at the top of a model's folder: all files of one of these sets
    "model": [("config.json", "*.safetensors")],
    "clip": [("open_clip_config.json", "open_clip_model.safetensors"), ("config.json", "model.safetensors")],
}


def work(settings: Settings) -> dict[str, float]:
    """Copy the source to the output; returns the number of files and bytes.

    Raises:
        InputError: the source is missing, has an unknown scheme, or is not of the given kind.
    """
    scheme, _, rest = settings.source.partition("://")
    with atomic_directory(settings.output) as output:
        if not rest:
            copy_path(Path(settings.source), output)
        elif scheme == "toy":
            make_toy(rest, output, settings.seed, settings.rows)
        elif scheme == "s3":
            copy_s3(settings.source, output)
        elif scheme == "hf":
            download(rest, output)
        else:
            raise InputError(f"--source {settings.source}: unknown scheme: give toy://, s3://, hf:// or a path")
        files = [path for path in output.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        if not files:
            raise InputError(f"--source {settings.source}: nothing is there: check the name")
        try:
            check(output, settings.kind, settings.source)
        except InputError as error:  # the source, not the copy that is now removed
            where = f"--source {settings.source}: "
            raise InputError(re.sub(rf"(clip model )?{re.escape(str(output))}(/|: )", where, str(error))) from None
    log.info("ingest %s: %d files, %.1f MB", settings.source, len(files), size / 1e6)
    return {"files": len(files), "bytes": size}


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

        write = {"sft": formats.write_sft, "rl": formats.write_rl, "benchmarks": formats.write_benchmarks}[name]
        write(output, seed, rows)
    else:
        raise InputError(f"--source toy://{name}: the tiny world has {', '.join(TOY)}")


def copy_path(source: Path, output: Path) -> None:
    """Copy the files of a folder, or one file; links are replaced by the files they point to.

    Raises:
        InputError: the source does not exist, or a link is broken.
    """
    if not source.exists():
        raise InputError(f"--source {source}: no such file or folder: check the path and the volume's mount")
    for name, path in files_of(source).items() if source.is_dir() else [(source.name, source)]:
        if not path.exists():
            raise InputError(f"--source {source}: {name} is a link that leads nowhere: fix or remove it")
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, output / name)


def copy_s3(source: str, output: Path) -> None:
    """Copy an object, or all objects under a prefix.

    Raises:
        InputError: nothing complete is stored there, or the settings of the store are wrong.
    """
    location, _, name = source.rstrip("/").rpartition("/")
    if location in {"s3:/", "s3:"}:
        raise InputError(f"--source {source}: this is a whole bucket: give s3://bucket/prefix")
    arrived = output / ".arrived"
    try:
        open_store(location).get(name, arrived)
    except NotThereError as error:
        raise InputError(f"--source {source}: {error}: check the name, or put the data there") from error
    for path in list(arrived.iterdir()) if arrived.is_dir() else ():
        path.rename(output / path.name)
    if arrived.is_dir():
        arrived.rmdir()
    else:
        arrived.rename(output / name)


def download(name: str, output: Path) -> None:
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
            local_dir=None if is_cached else output,
            ignore_patterns=["*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt"],  # safetensors, never pickles
        )
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--source hf://{name}: {reason}: check the name, the revision and HF_TOKEN") from error
    except LocalEntryNotFoundError as error:
        raise ConnectionError(f"--source hf://{name}: the hub cannot be reached: {error.__cause__ or error}") from error
    if is_cached:
        copy_path(Path(snapshot), output)
    shutil.rmtree(output / ".cache", ignore_errors=True)
