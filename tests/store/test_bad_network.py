"""The S3 store behind a proxy that damages connections: the result is correct or a clear error, never wrong."""

import hashlib
import math
import random
import shutil
from pathlib import Path

import pytest

from pebr.errors import InputError
from pebr.store.contract import StoreError
from pebr.store.listing import files_of
from pebr.store.s3 import S3Store
from tests.s3_server import BUCKET, environment
from tests.store.faulty_proxy import faulty_proxy

MOST = 64 * 2**20  # bytes


def write(path: Path, data: bytes, files: int) -> None:
    """Write the bytes to one file, or to several files of a directory."""
    if files == 1:
        path.write_bytes(data)
        return
    path.mkdir()
    for i in range(files):
        (path / f"part-{i}").write_bytes(data[i * len(data) // files : (i + 1) * len(data) // files])


def digests(path: Path) -> dict[str, str]:
    """The SHA-256 of a file, or of each file of a directory."""
    files = files_of(path) if path.is_dir() else {"": path}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}


@pytest.mark.s3
@pytest.mark.slow
def test_500_transfers_over_a_bad_network_are_right_or_an_error(s3_address: str, tmp_path: Path) -> None:
    draw = random.Random(7)
    sizes = [1, MOST] + [int(2 ** draw.uniform(0, math.log2(MOST))) for _ in range(248)]  # log-uniform
    right = 0
    errors: list[str] = []
    direct = S3Store(BUCKET, "bad-network", environment(s3_address))
    with faulty_proxy(int(s3_address.rsplit(":", 1)[1]), share=0.25, seed=3) as proxy:
        settings = environment(f"http://127.0.0.1:{proxy.port}")
        for i, size in enumerate(sizes):
            store = S3Store(BUCKET, "bad-network", settings)  # new connections, which the proxy may damage
            source, back = tmp_path / f"source-{i}", tmp_path / "back"
            write(source, draw.randbytes(size), 1 if i % 10 else 5)
            try:
                store.put(source, f"key-{i}")
                right += 1
                store.get(f"key-{i}", back)
                assert digests(back) == digests(source)
                right += 1
            except StoreError as error:
                errors.append(str(error))
                if direct.exists(f"key-{i}"):  # complete or absent
                    direct.get(f"key-{i}", back)
                    assert digests(back) == digests(source)
            for path in (source, back):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        assert {"drop", "503", "cut upload", "cut download", "delay"} <= set(proxy.faults)
        print(f"{right} right, {len(errors)} errors, faults {dict(proxy.faults)}")
    assert right >= 0.95 * 2 * len(sizes), errors  # most transfers succeed because of the retries
    assert all("\n" not in error for error in errors)


@pytest.mark.s3
@pytest.mark.parametrize("size", [100_000, 40_000_000])
def test_bytes_that_change_on_the_way_up_are_noticed(
    s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("pebr.store.s3_client.TRIES", 2)
    (tmp_path / "source").write_bytes(b"\0" * size + b"MARK")
    with faulty_proxy(int(s3_address.rsplit(":", 1)[1]), 0.0, 0, swap=(b"MARK", b"MORK")) as proxy:
        store = S3Store(BUCKET, tmp_path.name, environment(f"http://127.0.0.1:{proxy.port}"))
        with pytest.raises((StoreError, InputError)):
            store.put(tmp_path / "source", "key")


@pytest.mark.s3
def test_bytes_that_change_on_the_way_down_are_noticed(s3_address: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"\0" * 100_000 + b"MARK")
    S3Store(BUCKET, tmp_path.name).put(tmp_path / "source", "key")
    with faulty_proxy(int(s3_address.rsplit(":", 1)[1]), 0.0, 0, swap=(b"MARK", b"MORK")) as proxy:
        store = S3Store(BUCKET, tmp_path.name, environment(f"http://127.0.0.1:{proxy.port}"))
        with pytest.raises(StoreError, match="not what was stored"):
            store.get("key", tmp_path / "back")
    assert not (tmp_path / "back").exists()
