"""Ingest, as a command: every scheme ends in a whole directory, or in one clear line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pebr.data.store import open_store
from pebr.ingest.settings import Settings
from pebr.ingest.sources import run
from pebr.step import InputError
from tests.ingest.hub import NAME, hub
from tests.s3_server import BUCKET


def ingest(source: str, output: Path, **settings: int) -> dict[str, bytes]:
    run(Settings(source=source, output=str(output), **settings))
    return {str(p.relative_to(output)): p.read_bytes() for p in sorted(output.rglob("*")) if p.is_file()}


def test_the_tiny_world_is_made_on_the_spot_and_follows_its_seed(tmp_path: Path) -> None:
    first = ingest("toy://rl", tmp_path / "1", rows=10, seed=3)
    assert "pebr_grpo_dataset.json" in first
    assert ingest("toy://rl", tmp_path / "2", rows=10, seed=3) == first
    assert ingest("toy://rl", tmp_path / "3", rows=10, seed=4) != first


def test_a_folder_and_a_file_are_copied(tmp_path: Path) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "sub" / "a").write_text("1")
    assert ingest(str(tmp_path / "data"), tmp_path / "1") == {"sub/a": b"1"}
    assert ingest(str(tmp_path / "data" / "sub" / "a"), tmp_path / "2") == {"a": b"1"}


def test_links_are_replaced_by_what_they_lead_to(tmp_path: Path) -> None:
    """As in the hub's own cache, whose snapshots are links."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "1").write_text("weights")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model").symlink_to("../blobs/1")
    assert ingest(str(tmp_path / "snapshot"), tmp_path / "out") == {"model": b"weights"}
    assert not (tmp_path / "out" / "model").is_symlink()
    (tmp_path / "blobs" / "1").unlink()
    with pytest.raises(InputError, match="model is a link that leads nowhere"):
        ingest(str(tmp_path / "snapshot"), tmp_path / "broken")
    assert not (tmp_path / "broken").exists()


@pytest.mark.s3
def test_a_prefix_or_an_object_of_a_bucket_is_copied(s3_address: str, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("index")
    prefix = f"s3://{BUCKET}/{tmp_path.name}"
    open_store(prefix).put(tmp_path / "a.tsv", "benchmarks/a.tsv")
    assert ingest(f"{prefix}/benchmarks/", tmp_path / "1") == {"a.tsv": b"index"}
    assert ingest(f"{prefix}/benchmarks/a.tsv", tmp_path / "2") == {"a.tsv": b"index"}


@pytest.mark.s3
def test_what_is_not_in_the_bucket_is_said(s3_address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing is stored here"):
        ingest(f"s3://{BUCKET}/{tmp_path.name}/nothing", tmp_path / "out")
    with pytest.raises(InputError, match="whole bucket"):
        ingest(f"s3://{BUCKET}", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def from_hub(address: str, name: str, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pebr.ingest", "--source", f"hf://{name}", "--output", str(output)]
    settings = {"HF_ENDPOINT": address, "HF_HOME": str(output.parent / "home"), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | settings)


def test_a_model_of_the_hub_is_downloaded_without_pickles(tmp_path: Path) -> None:
    with hub() as address:
        done = from_hub(address, NAME, tmp_path / "main")
        assert done.returncode == 0, done.stderr
        assert from_hub(address, f"{NAME}@v1", tmp_path / "v1").returncode == 0
    assert sorted(path.name for path in (tmp_path / "main").iterdir()) == ["config.json", "model.safetensors"]
    assert [path.name for path in (tmp_path / "v1").iterdir()] == ["config.json"]
    assert json.loads((tmp_path / "v1" / "config.json").read_text()) == {"old": 1}


@pytest.mark.parametrize("name", [f"{NAME}@v9", "tiny/nothing"])
def test_what_the_hub_has_not_is_said(tmp_path: Path, name: str) -> None:
    with hub() as address:
        done = from_hub(address, name, tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert f"hf://{name}" in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_hub_that_cannot_be_reached_may_be_tried_again(tmp_path: Path) -> None:
    done = from_hub("http://127.0.0.1:1", NAME, tmp_path / "out")
    assert done.returncode == 1
    assert "the hub cannot be reached" in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("toy://nothing", "the tiny world has"),
        ("ftp://host/x", "unknown scheme"),
        ("/no/such/folder", "no such file or folder"),
    ],
)
def test_a_wrong_source_is_said_and_nothing_is_written(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ingest(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_command_ends_with_2_and_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pebr.ingest", "--source", "/no/such", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
