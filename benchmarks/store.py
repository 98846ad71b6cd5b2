"""Throughput of the S3 store, with checksums, against `put` and `get` of the minio client, on the same 1 GiB file.

    make bench NAME=store

Both sides use one SeaweedFS server on this machine, in alternation. The ratio is the store's throughput over the
client's, in the slower of the two directions.
"""

import os
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.result import finish, seconds
from pebr.store.s3 import S3Store
from tests.s3_server import BUCKET, environment, s3_server

SIZE = 2**30
ROUNDS = 3
GOAL = 0.8


def main() -> None:
    """Measure and report."""
    times: dict[str, list[float]] = {"put": [], "get": [], "client put": [], "client get": []}
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder) / "server") as address:
        os.environ.update(environment(address))
        source, target = Path(folder) / "source", Path(folder) / "target"
        with source.open("wb") as file:
            for _ in range(SIZE // 2**24):
                file.write(os.urandom(2**24))
        store = S3Store(BUCKET, "bench")
        for _ in range(ROUNDS):
            times["client put"].append(seconds(lambda: store.client.fput_object(BUCKET, "plain", str(source)))[0])
            times["put"].append(seconds(lambda: store.put(source, "ours"))[0])
            times["client get"].append(seconds(lambda: store.client.fget_object(BUCKET, "plain", str(target)))[0])
            times["get"].append(seconds(lambda: store.get("ours", target))[0])
        assert target.stat().st_size == SIZE
    rates = {name: SIZE / 1e6 / median(values) for name, values in times.items()}
    ratio = min(rates["put"] / rates["client put"], rates["get"] / rates["client get"])
    finish("store", ratio, GOAL, {"megabytes_per_second": {k: round(v, 1) for k, v in rates.items()}, "bytes": SIZE})


if __name__ == "__main__":
    main()
