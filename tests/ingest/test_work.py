"""Ingest: every scheme gives a complete directory, or one clear error line."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pebr.data.archives import open_archive
from pebr.data.shards import iter_rows, read_manifest
from pebr.errors import InputError
from pebr.filter.settings import Settings as FilterSettings
from pebr.filter.work import work as filter_work
from pebr.ingest import packing
from pebr.ingest.listed import folders, parse
from pebr.ingest.settings import Settings
from pebr.ingest.work import size_of, work
from pebr.store.contract import StoreError
from pebr.store.listing import LISTING
from pebr.store.opening import open_store
from pebr.store.s3 import S3Store
from tests.data.archiving import write_archive
from tests.filter.layouts import ITEMS, mulberry, pebr_sft
from tests.ingest.hub import NAME, hub
from tests.s3_server import BUCKET


def ingest(source: str, output: Path, **settings: int) -> dict[str, bytes]:
    work(Settings(source=source, output=str(output), **settings))
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
    """The snapshots in the hub's own cache consist of links."""
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


@pytest.mark.parametrize(
    ("kind", "files", "said"),
    [
        ("benchmarks", {"a.tsv": "index\tanswer\n1\tA\n"}, "a.tsv: no column 'question' among index, answer"),
        ("benchmarks", {"a.csv": "index"}, r"no \*.tsv here"),
        ("model", {"config.json": "{}", "pytorch_model.bin": ""}, r"no model model: it needs config.json and \*.safe"),
        ("model", {"config.json": "{}", "model.safetensors": ""}, "model_type '' is not supported"),
        ("clip", {"model.safetensors": ""}, "no clip model: it needs open_clip_config.json and"),
        ("clip", {"config.json": "{}", "model.safetensors": ""}, "the clip model cannot be used"),
        ("clip", {"open_clip_config.json": "{}", "open_clip_model.safetensors": ""}, "the clip model cannot be used"),
    ],
)
def test_what_is_not_of_its_kind_is_refused_when_it_is_brought(
    tmp_path: Path, kind: str, files: dict[str, str], said: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, text in files.items():
        (source / name).write_text(text)
    with pytest.raises(InputError, match=said) as error:
        work(Settings(source=str(source), output=str(tmp_path / "out"), kind=kind))
    assert f"--source {source}: " in str(error.value)
    assert ".partial" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("benchmarks", {"a.tsv": "index\tquestion\tanswer\n1\tWhich?\tA\n"}),
        ("", {"a.csv": "index"}),
    ],
)
def test_what_is_of_its_kind_is_brought(tmp_path: Path, kind: str, files: dict[str, str]) -> None:
    (tmp_path / "source").mkdir()
    for name, text in files.items():
        (tmp_path / "source" / name).write_text(text)
    work(Settings(source=str(tmp_path / "source"), output=str(tmp_path / "out"), kind=kind))
    assert {path.name for path in (tmp_path / "out").iterdir()} == files.keys()


def test_a_whole_model_is_brought_and_a_cut_one_is_not(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    source = tiny_models["qwen3_vl"]
    work(Settings(source=str(source), output=str(tmp_path / "out"), kind="model"))
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {
        p.name: p.read_bytes() for p in source.iterdir()
    }
    cut = Path(shutil.copytree(source, tmp_path / "cut"))
    (cut / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[:-1])
    with pytest.raises(InputError, match=f"^--source {cut}: model.safetensors cannot be used"):
        work(Settings(source=str(cut), output=str(tmp_path / "refused"), kind="model"))
    assert not (tmp_path / "refused").exists()


def from_hub(address: str, name: str, output: Path, home: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pebr.ingest", "--source", f"hf://{name}", "--output", str(output)]
    settings = {"HF_ENDPOINT": address, "HOME": str(output.parent), "HF_HUB_DISABLE_XET": "1"}
    settings |= {"HF_HOME": home} if home else {}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | settings)


def test_a_volume_keeps_what_was_downloaded(tmp_path: Path) -> None:
    with hub() as (address, asked):
        for name in ("first", "second"):
            done = from_hub(address, NAME, tmp_path / name, str(tmp_path / "volume"))
            assert done.returncode == 0, done.stderr
            sent, asked[:] = [path for path in asked if "/resolve/" in path], []
            assert bool(sent) == (name == "first")
            path = tmp_path / name / "model.safetensors"
            assert path.read_bytes() == b"weights"
            assert not path.is_symlink()


def test_a_model_of_the_hub_is_downloaded_without_pickles(tmp_path: Path) -> None:
    with hub() as (address, _):
        done = from_hub(address, NAME, tmp_path / "main")
        assert done.returncode == 0, done.stderr
        assert from_hub(address, f"{NAME}@v1", tmp_path / "v1").returncode == 0
    assert sorted(path.name for path in (tmp_path / "main").iterdir()) == ["config.json", "model.safetensors"]
    assert [path.name for path in (tmp_path / "v1").iterdir()] == ["config.json"]
    assert json.loads((tmp_path / "v1" / "config.json").read_text()) == {"old": 1}


@pytest.mark.parametrize("name", [f"{NAME}@v9", "tiny/nothing"])
def test_what_the_hub_has_not_is_said(tmp_path: Path, name: str) -> None:
    with hub() as (address, _):
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


def test_several_sources_get_a_folder_each_and_are_filtered_into_one_dataset(tmp_path: Path) -> None:
    pebr_sft(tmp_path / "mine", ITEMS)
    mulberry(tmp_path / "other" / "mine", ITEMS[:6])
    listed = f"{tmp_path}/mine:3, {tmp_path}/other/mine*0.5,toy://sft"
    brought = ingest(listed, tmp_path / "out", rows=5)
    assert {name.partition("/")[0] for name in brought} == {"sources.json", "mine", "mine-2", "sft"}
    filter_work(FilterSettings(source=str(tmp_path / "out"), output=str(tmp_path / "rows")))
    rows = list(iter_rows(tmp_path / "rows"))
    assert Counter(row["source"] for row in rows) == {"mine": 3, "mine-2": 3, "sft": 5}
    assert len({row["qid"] for row in rows}) == 11
    facts = read_manifest(tmp_path / "rows").extra["sources"]
    assert facts["mine-2"]["changes"] == {"instructions removed": 3}
    assert facts["mine-2"]["duplicates"] == 1  # of questions 1, 3, 5 and 0, 1, 2


def test_a_share_above_one_repeats_rows(tmp_path: Path) -> None:
    pebr_sft(tmp_path / "mine", ITEMS)
    ingest(f"{tmp_path}/mine*2.5", tmp_path / "out")
    filter_work(FilterSettings(source=str(tmp_path / "out"), output=str(tmp_path / "rows")))
    qids = [row["qid"] for row in iter_rows(tmp_path / "rows")]
    assert len(set(qids)) == len(qids) == 20
    assert qids[:3] == ["00000000", "00000000~2", "00000001"]


def test_loose_images_are_packed_and_all_else_is_left_as_it_is(tmp_path: Path) -> None:
    pebr_sft(tmp_path / "mine", ITEMS)
    brought = ingest(str(tmp_path / "mine"), tmp_path / "1")
    assert set(brought) == {"pebr_sft.json", "images-00000.tar"}
    assert ingest(str(tmp_path / "mine"), tmp_path / "2") == brought
    archive = open_archive(tmp_path / "1" / "images-00000.tar", [tmp_path / "1" / "images-00000.tar"])
    assert {name: archive.read(name) for name in archive.names()} == {
        f"images/{n}.png": item.image for n, item in enumerate(ITEMS)
    }
    filter_work(FilterSettings(source=str(tmp_path / "1"), output=str(tmp_path / "rows")))
    assert read_manifest(tmp_path / "rows").extra["sources"]["pebr_sft"]["images"] == {"by path": 8}


@pytest.mark.parametrize("listed", ["a,,b", "a*0", ",", "a:0", "a*nan"])
def test_a_wrong_list_of_sources_is_said(tmp_path: Path, listed: str) -> None:
    with pytest.raises(InputError, match="--source"):
        ingest(listed, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_benchmarks_are_one_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one source of benchmarks"):
        work(Settings(source="toy://benchmarks,toy://benchmarks", output=str(tmp_path / "out"), kind="benchmarks"))


@pytest.mark.s3
def test_loose_images_of_a_bucket_are_packed_while_they_arrive(s3_address: str, tmp_path: Path) -> None:
    """Objects that any client has put there, one by one; an archive stays as it is."""
    pebr_sft(tmp_path / "mine", ITEMS)
    write_archive(tmp_path / "mine" / "more.zip", {"a.png": b"1"})
    store = open_store(f"s3://{BUCKET}")
    for path in (path for path in (tmp_path / "mine").rglob("*") if path.is_file()):
        store.put(path, f"{tmp_path.name}/loose/{path.relative_to(tmp_path / 'mine')}")
    brought = ingest(f"s3://{BUCKET}/{tmp_path.name}/loose", tmp_path / "1")
    assert brought == ingest(str(tmp_path / "mine"), tmp_path / "2")
    assert set(brought) == {"pebr_sft.json", "images-00000.tar", "more.zip"}
    store.put(tmp_path / "mine", f"{tmp_path.name}/whole")
    assert ingest(f"s3://{BUCKET}/{tmp_path.name}/whole", tmp_path / "3") == brought


@pytest.mark.s3
def test_a_broken_download_is_continued(s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt ends at another request, until one has nothing left to fetch; no file comes twice."""
    monkeypatch.setattr(packing, "BYTES_PER_SHARD", 2000)  # some images each
    pebr_sft(tmp_path / "mine", ITEMS)
    (tmp_path / "mine" / "more.tsv").write_text("1")
    store = open_store(f"s3://{BUCKET}")
    for path in (path for path in (tmp_path / "mine").rglob("*") if path.is_file()):
        store.put(path, f"{tmp_path.name}/broken/{path.relative_to(tmp_path / 'mine')}")
    source = f"s3://{BUCKET}/{tmp_path.name}/broken"
    whole = ingest(source, tmp_path / "1")
    assert len([name for name in whole if name.endswith(".tar")]) > 1
    get, came = S3Store.get, Counter[str]()

    def breaking(self: S3Store, key: str, local: Path) -> None:
        if sum(came.values()) % 5 == 4:
            came["broken"] += 1
            raise StoreError("the connection is gone")
        get(self, key, local)
        came[key] += 1

    monkeypatch.setattr(S3Store, "get", breaking)
    monkeypatch.setattr(packing, "THREADS", 1)
    monkeypatch.setattr(packing, "AHEAD", 0)
    while True:
        try:
            assert ingest(source, tmp_path / "2") == whole
            break
        except StoreError:
            assert came["broken"] < 20
    assert came["broken"] >= 2
    assert came["broken/more.tsv"] == came["broken/pebr_sft.json"] == 1
    assert not (tmp_path / "2.arriving").exists()


@pytest.mark.s3
def test_a_folder_that_is_being_written_is_refused(s3_address: str, tmp_path: Path) -> None:
    pebr_sft(tmp_path / "mine", ITEMS)
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}")
    store.put(tmp_path / "mine", "half")
    store._put_bytes(b"being written by somebody", f"half/{LISTING}")
    with pytest.raises(InputError, match="it is being written"):
        ingest(f"s3://{BUCKET}/{tmp_path.name}/half", tmp_path / "1")


@pytest.mark.s3
def test_the_size_of_a_source_is_known_before_it_arrives(s3_address: str, tmp_path: Path) -> None:
    pebr_sft(tmp_path / "mine", ITEMS)
    open_store(f"s3://{BUCKET}/{tmp_path.name}").put(tmp_path / "mine", "sized")
    assert size_of(f"s3://{BUCKET}/{tmp_path.name}/sized") == size_of(str(tmp_path / "mine")) > 0
    assert size_of(f"s3://{BUCKET}/{tmp_path.name}/siz") == 0


def test_a_link_to_a_folder_around_it_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.tsv").write_text("1")
    (tmp_path / "mine" / "loop").symlink_to(tmp_path / "mine")
    assert ingest(str(tmp_path / "mine"), tmp_path / "1") == {"a.tsv": b"1"}


def test_an_output_in_its_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("1")
    with pytest.raises(InputError, match=r"lies in what --source .* reads"):
        ingest(str(tmp_path), tmp_path / "sub")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tsv"]


def test_an_output_that_would_replace_its_source_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home" / "raw").mkdir(parents=True)
    (tmp_path / "home" / "raw" / "a.tsv").write_text("1")
    (tmp_path / "home" / "precious.txt").write_text("2")
    for output in (tmp_path / "home", tmp_path / "home" / "raw"):
        for source in (tmp_path / "home" / "raw", f"toy://rl, {tmp_path / 'home' / 'raw'}:5"):
            with pytest.raises(InputError, match=r"would replace what --source .* reads"):
                ingest(str(source), output)
    with pytest.raises(InputError, match="a file is there"):
        ingest(str(tmp_path / "home" / "raw"), tmp_path / "home" / "precious.txt")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tsv", "home", "precious.txt", "raw"]


def test_names_that_follow_others_lose_no_source() -> None:
    made = folders(parse("x/a, y/a, z/a-2, w/a"))
    assert {name: source.location for name, source in made.items()} == {
        "a": "x/a", "a-2": "y/a", "a-2-2": "z/a-2", "a-3": "w/a",
    }  # fmt: skip


def test_a_source_with_only_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rows.json").touch()
    with pytest.raises(InputError, match="nothing is there, or only empty files"):
        ingest(str(tmp_path / "in"), tmp_path / "out")
