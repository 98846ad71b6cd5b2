"""The same tests for both stores; the S3 store uses a real server."""

import os
import random
import shutil
import threading
from pathlib import Path

import pytest

from pebr.errors import InputError
from pebr.store.contract import NotThereError, Store, StoreError
from pebr.store.folder import FolderStore
from pebr.store.listing import LISTING
from pebr.store.opening import open_store
from pebr.store.s3 import OPEN, S3Store
from tests.s3_server import BUCKET


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return f"file://{tmp_path / 'store'}"
    request.getfixturevalue("s3_address")
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def store(location: str) -> Store:
    return open_store(location)


def put_raw(store: Store, key: str, content: bytes, scratch: Path) -> None:
    """Put bytes under a key as another program or a broken disk would."""
    scratch.write_bytes(content)
    if isinstance(store, S3Store):
        store.client.fput_object(BUCKET, store._name(key), str(scratch))
    elif isinstance(store, FolderStore):
        (store.root / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(scratch, store.root / key)


def tree(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    (path / "sub").mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / ".gitattributes").write_text("*.safetensors")
    (path / "empty").write_bytes(b"")
    (path / "sub" / "weights").write_bytes(random.Random(0).randbytes(300_000))
    return path


def test_a_directory_comes_back_as_it_was(store: Store, folder: Path, tmp_path: Path) -> None:
    store.put(folder, "runs/model")
    assert store.exists("runs/model")
    store.get("runs/model", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(folder)


def test_an_empty_directory_comes_back(store: Store, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    store.put(tmp_path / "nothing", "nothing")
    assert store.exists("nothing")
    store.get("nothing", tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


def test_a_second_put_replaces_the_first(store: Store, folder: Path, tmp_path: Path) -> None:
    store.put(folder, "model")
    (folder / "config.json").unlink()
    (folder / "new").write_text("1")
    store.put(folder, "model")
    store.get("model", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(folder)
    assert store.list("model/") == ["model/.gitattributes", "model/empty", "model/new", "model/sub/weights"]


def test_a_file_and_a_directory_replace_each_other(store: Store, folder: Path, tmp_path: Path) -> None:
    store.put(folder / "config.json", "key")
    store.put(folder, "key")
    store.get("key", tmp_path / "directory")
    assert tree(tmp_path / "directory") == tree(folder)
    store.put(folder / "config.json", "key")
    store.get("key", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "{}"
    assert store.list("") == ["key"]


def test_keys_are_listed_and_deleted_by_prefix(store: Store, folder: Path) -> None:
    store.put(folder / "config.json", "a/1")
    store.put(folder / "config.json", "a/2")
    store.put(folder, "b")
    assert store.list("a/") == ["a/1", "a/2"]
    store.delete_prefix("a/")
    store.delete_prefix("b/")
    assert store.list("") == []
    assert not store.exists("b")


def test_a_stored_directory_can_be_opened_as_a_store(location: str, store: Store, folder: Path) -> None:
    store.put(folder, "model")
    assert open_store(f"{location}/model").list("") == sorted(tree(folder))


def test_what_is_not_there_is_said(store: Store, tmp_path: Path) -> None:
    assert not store.exists("nothing")
    with pytest.raises(NotThereError, match="nothing"):
        store.get("nothing", tmp_path / "back")
    with pytest.raises(StoreError, match="no such file or directory to store"):
        store.put(tmp_path / "nothing", "key")
    assert list(tmp_path.iterdir()) == []


def test_what_another_program_has_put_there_can_be_fetched(store: Store, tmp_path: Path) -> None:
    put_raw(store, "data/sub/a.tsv", b"index", tmp_path / "raw")
    store.get("data", tmp_path / "back")
    assert tree(tmp_path / "back") == {"sub/a.tsv": b"index"}


def test_a_file_that_was_changed_is_refused(store: Store, folder: Path, tmp_path: Path) -> None:
    store.put(folder, "model")
    put_raw(store, "model/config.json", b"[]", tmp_path / "raw")
    with pytest.raises(StoreError, match="not what was stored"):
        store.get("model", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_listing_that_is_broken_is_said(store: Store, folder: Path, tmp_path: Path) -> None:
    store.put(folder, "model")
    put_raw(store, f"model/{LISTING}", b'{"config.json": 1', tmp_path / "raw")
    with pytest.raises(StoreError, match=r"store .* again"):
        store.get("model", tmp_path / "back")


@pytest.mark.parametrize("key", ["/etc/passwd", "../outside", "a/../../outside"])
def test_a_key_cannot_lead_out_of_the_store(store: Store, key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leads out"):
        store.get(key, tmp_path / "back")


@pytest.mark.slow
def test_two_writers_of_a_directory_leave_one_whole(location: str, tmp_path: Path) -> None:
    """Some of their files have the same names. While they write, a reader gets one version or an error."""
    for i in range(2):
        (tmp_path / f"{i}").mkdir()
        for name in ("a", "b", "c", f"own-{i}"):
            (tmp_path / f"{i}" / name).write_bytes(random.Random(f"{i}{name}").randbytes(200_000))
    contents = [tree(tmp_path / f"{i}") for i in range(2)]
    done = threading.Event()
    wrong: list[str] = []

    def write(i: int) -> None:
        for _ in range(4):
            try:
                open_store(location).put(tmp_path / f"{i}", "race")
            except (OSError, ValueError) as error:
                wrong.append(str(error))

    def read() -> None:
        while not done.is_set():
            try:
                open_store(location).get("race", tmp_path / "seen")
            except (StoreError, NotThereError):
                continue
            if tree(tmp_path / "seen") not in contents:
                wrong.append("a mixture was read")

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(i,)) for i in range(2)]
    for thread in (reader, *writers):
        thread.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    assert wrong == []
    open_store(location).get("race", tmp_path / "back")
    assert tree(tmp_path / "back") in contents


@pytest.mark.slow
def test_two_writers_of_a_file_leave_one_whole(location: str, tmp_path: Path) -> None:
    contents = [random.Random(i).randbytes(5_000_000 + i) for i in range(2)]
    for i, content in enumerate(contents):
        (tmp_path / f"{i}").write_bytes(content)
    failed: list[Exception] = []

    def write(i: int) -> None:
        try:
            open_store(location).put(tmp_path / f"{i}", "key")
        except (OSError, ValueError) as error:
            failed.append(error)

    for _ in range(5):
        writers = [threading.Thread(target=write, args=(i,)) for i in range(2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        open_store(location).get("key", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() in contents
    assert failed == []


def test_what_a_killed_writer_left_is_not_seen(tmp_path: Path, folder: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.put(folder, "model")
    (tmp_path / "store" / "model").rename(tmp_path / "store" / ".model.0123.partial")
    assert not store.exists("model")
    assert store.list("") == []
    with pytest.raises(NotThereError):
        store.get("model", tmp_path / "back")


def test_a_folder_with_links_is_stored_with_what_they_lead_to(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "inner").symlink_to(folder / "sub", target_is_directory=True)
    FolderStore(tmp_path / "store").put(tmp_path / "linked", "key")
    FolderStore(tmp_path / "store").get("key", tmp_path / "back")
    assert tree(tmp_path / "back") == {"inner/weights": (folder / "sub" / "weights").read_bytes()}


def test_a_link_that_leads_nowhere_is_an_error_and_nothing_is_stored(tmp_path: Path, folder: Path) -> None:
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="gone"):
        FolderStore(tmp_path / "store").put(folder, "key")
    assert os.listdir(tmp_path / "store") == []


def test_a_file_in_the_way_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "data").write_text("x")
    with pytest.raises(StoreError, match="file stands where a folder is needed"):
        FolderStore(tmp_path / "file").put(tmp_path / "data", "key")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("location", ["gs://bucket/x", "s3://", "s3://b/x", "s3://Bad Name/x"])
def test_a_location_that_is_none_is_named(location: str) -> None:
    with pytest.raises(InputError, match=location.split("/")[2] or "s3://"):
        open_store(location)


@pytest.mark.s3
@pytest.mark.parametrize("killed_at", ["put_object", "remove_object"])
def test_a_directory_half_written_or_half_deleted_is_not_there(
    s3_address: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    """The process dies at its third request of a kind. The rest is neither a complete directory nor foreign files."""
    store = S3Store(BUCKET, tmp_path.name)
    store.put(folder, "model")
    calls = 0
    real = getattr(store.client, killed_at)

    def dying(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls >= 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(store.client, killed_at, dying)
    with pytest.raises(KeyboardInterrupt):
        store.put(folder, "model") if killed_at == "put_object" else store.delete_prefix("model/")
    after = S3Store(BUCKET, tmp_path.name)
    assert after.list("model/") != []
    assert not after.exists("model")
    with pytest.raises(NotThereError, match="not complete"):
        after.get("model", tmp_path / "back")
    after.put(folder, "model")
    after.get("model", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(folder)


@pytest.mark.s3
def test_a_large_file_travels_in_parts(s3_address: str, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(70_000_000)
    (tmp_path / "large").write_bytes(content)
    store = S3Store(BUCKET, tmp_path.name)
    store.put(tmp_path / "large", "large")
    assert "-3" in str(store.client.stat_object(BUCKET, f"{tmp_path.name}/large").etag)  # as S3 marks three parts
    store.get("large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


@pytest.mark.s3
def test_other_programs_read_the_objects_by_their_names(s3_address: str, folder: Path, tmp_path: Path) -> None:
    store = S3Store(BUCKET, tmp_path.name)
    store.put(folder, "model")
    store.client.fget_object(BUCKET, f"{tmp_path.name}/model/config.json", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "{}"
    with store.client.get_object(BUCKET, f"{tmp_path.name}/model/{LISTING}") as listing:
        assert not listing.read().startswith(OPEN)


@pytest.mark.s3
@pytest.mark.parametrize("size", [0, 1, 2**23, 2**23 + 1, 20_000_000, 2**25, 2**25 + 1])
def test_the_servers_etag_is_the_one_we_compute(
    s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """An upload is checked without reading it back."""
    monkeypatch.setattr(S3Store, "_digest", lambda *_: pytest.fail("read back"))
    (tmp_path / "file").write_bytes(random.Random(1).randbytes(size))
    S3Store(BUCKET, tmp_path.name).put(tmp_path / "file", "key")
